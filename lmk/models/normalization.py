"""Batch normalization that was folded into convolutions, made ready to learn again."""

from collections.abc import Iterable

import keras
import numpy as np

from lmk.models.backbones.build import network_of
from lmk.models.device import jit_for_device, predict


def match_normalization(extractor: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Give batch normalization the statistics of the photos at hand, and leave what the extractor computes as it is.

    Published weights may have batch normalization folded into the convolutions (scale 1, mean 0, variance 1: all that
    went through an inference format have). They predict well, but in training the batch's own statistics take the
    place of those, and the signal is gone after a few layers. Here scale and offset are set so that each layer, with
    the statistics it really sees, gives the same outputs: training then starts where prediction is.

    Args:
        extractor: As `build_extractor` makes it.
        batches: Views (b, side, side, 3) uint8, some hundred in all.
    """
    layers = [layer for layer in network_of(extractor).layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    probe = _probe(extractor, layers)
    seen = np.concatenate([predict(probe, views) for views in batches]).astype(float)  # (photos, 2, all channels)
    # The variance over all photos is the mean of that within photos plus that of the photos' means, since each photo
    # has as many places in a feature map as the others.
    means, variances = seen[:, 0].mean(axis=0), seen[:, 1].mean(axis=0) + seen[:, 0].var(axis=0)
    ends = np.cumsum([layer.input.shape[-1] for layer in layers])[:-1]
    for layer, mean, variance in zip(layers, np.split(means, ends), np.split(variances, ends), strict=True):
        _restate(layer, mean, variance)


def _probe(extractor: keras.Model, layers: list[keras.layers.BatchNormalization]) -> keras.Model:
    """Views to the mean and variance over each photo's places of what each layer sees, (b, 2, channels of all layers).

    One compiled program: layer by layer, JAX compiles hundreds of small ones, which takes minutes on a GPU. Moments
    are those of single photos, so that devices may share a batch.
    """
    network = network_of(extractor)
    moments = [keras.ops.stack(_moments(layer.input), axis=1) for layer in layers]
    inner = keras.Model(network.input, keras.ops.concatenate(moments, axis=-1))
    pixels = extractor.input
    for layer in extractor.layers[1 : extractor.layers.index(network)]:  # scale pixels; the first one is the input
        pixels = layer(pixels)
    probe = keras.Model(extractor.input, inner(pixels))
    probe.compile(jit_compile=jit_for_device())
    return probe


def _moments(features):
    """Mean and variance (b, channels) float32 of each photo's feature map (b, ..., channels)."""
    places = tuple(range(1, len(features.shape) - 1))
    return keras.ops.moments(keras.ops.cast(features, "float32"), axes=places)


def _restate(layer: keras.layers.BatchNormalization, mean: np.ndarray, variance: np.ndarray) -> None:
    """Give a layer other statistics, and the scale and offset with which it computes the same."""
    if not (layer.scale and layer.center):
        return
    gamma, beta, old_mean, old_variance = (keras.ops.convert_to_numpy(weight).astype(float) for weight in layer.weights)
    slope = gamma / np.sqrt(old_variance + layer.epsilon)
    layer.gamma.assign(slope * np.sqrt(variance + layer.epsilon))
    layer.beta.assign(beta + slope * (mean - old_mean))
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
