"""A trial of each device: one training step and one pass of a small network, and how fast more of them are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from lmk.models.device import computing_in, gpus, jit_for_device

SIDE, BATCH, CLASSES = 96, 32, 10
SECONDS = 0.2
"""Seconds that each of training and prediction is timed for, after the first step, which compiles."""


@dataclass(frozen=True)
class Trial:
    """Result of a trial on a device.

    Attributes:
        device: As Keras calls it, such as `gpu:0`.
        training, prediction: Images a second of a small network at 96 x 96 pixels; 0 where the trial failed.
        failure: The first line of what it failed with, else empty.
    """

    device: str
    training: float = 0.0
    prediction: float = 0.0
    failure: str = ""


def try_devices() -> list[Trial]:
    """A trial of each GPU that the backend sees, or of the CPU where it sees none."""
    return [_tried(device) for device in gpus() or ["cpu:0"]]


def _tried(device: str) -> Trial:
    rng = np.random.default_rng(0)
    views = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    classes = rng.integers(0, CLASSES, BATCH).astype(np.int32)
    try:
        with keras.device(device), computing_in():
            model = _small_network()
            training = _rate(lambda: model.train_on_batch(views, classes))
            prediction = _rate(lambda: model.predict_on_batch(views))
    except Exception as error:  # whatever a driver or compiler raises is what the trial is for
        return Trial(device, failure=(str(error) or repr(error)).splitlines()[0])
    return Trial(device, training, prediction)


def _small_network() -> keras.Model:
    """A compiled network with a convolution, a depthwise one and batch normalization, as the backbones have them."""
    layers, images = keras.layers, keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(16, 3, strides=2, use_bias=False)(layers.Rescaling(1 / 255)(images))
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(32, 1, activation="relu")(layers.DepthwiseConv2D(3, strides=2)(x))
    outputs = layers.Dense(CLASSES, dtype="float32")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(images, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=jit_for_device())
    return model


def _rate(step: Callable[[], object]) -> float:
    """Images a second; each step waits for its result."""
    step()
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        step()
        steps += 1
    return BATCH * steps / (time.perf_counter() - start)
