"""Pixels: from RGB in [0, 255] to the range that a network was trained on."""

import keras
from keras import ops

from lmk.models.backbones.catalogue import Scaling
from lmk.models.device import full_precision

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's mean and standard deviation of pixels in [0, 1], RGB."""


@keras.saving.register_keras_serializable("lmk")
class PixelScaling(keras.layers.Layer):
    """RGB in [0, 255], (batch, height, width, 3), to the range that a network was trained on, in full precision."""

    def __init__(self, scaling: Scaling, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)
        self.scaling = scaling

    def call(self, images):
        images = ops.cast(images, self.compute_dtype)
        if self.scaling == "tf":
            return images / 127.5 - 1
        if self.scaling == "lite":
            return (images - 127) / 128
        if self.scaling == "unit":
            return images / 255
        if self.scaling == "caffe":
            return ops.flip(images, axis=-1) - ops.convert_to_tensor((103.939, 116.779, 123.68), dtype=images.dtype)
        mean, deviation = (ops.convert_to_tensor(values, dtype=images.dtype) for values in (MEAN, DEVIATION))
        return (images / 255 - mean) / deviation

    def get_config(self):
        return super().get_config() | {"scaling": self.scaling}
