"""Images through a detector's network, as many at once as suit the device."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from lmk.local.learned import Detected, Detector
from lmk.models.device import has_gpu, jit_for_device

GPU_IMAGES = 8
"""Images that a GPU gets at once; a CPU is as fast with one."""


def detector_of(model: keras.Model) -> Detector:
    """The detector of a model from images (b, h, w, 3) to scores, places and descriptors.

    A pass always has as many images, the last some that are blank: another number might round differently, so that a
    photo's features would depend on how many were asked with it.
    """
    model.compile(jit_compile=jit_for_device())
    size = GPU_IMAGES if has_gpu() else 1

    def found(images: np.ndarray) -> Detected:
        parts = []
        for start in range(0, len(images), size):
            batch = np.zeros((size, *images.shape[1:]), np.uint8)
            batch[: len(images) - start] = images[start : start + size]
            parts.append([ops.convert_to_numpy(part) for part in model.predict_on_batch(batch)])
        return Detected(*(np.concatenate(arrays)[: len(images)] for arrays in zip(*parts, strict=True)))

    return found
