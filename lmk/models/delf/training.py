"""DELF's training: attention learns from landmark labels alone which cells of a photo distinguish landmarks.

The photo's vector is the sum of its cells' directions, each weighted by its attention, and a classifier has to name the
landmark from it: to do so, attention must look away from sky, people and trees. Noh et al., ICCV 2017, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from lmk.data.augment import augment
from lmk.data.batches import FeatureBatches, PhotoBatches
from lmk.data.reading import AHEAD, batches_ahead
from lmk.models.delf.network import DelfNetwork
from lmk.models.delf.recipe import DelfTraining
from lmk.models.device import full_precision, jit_for_device, passes_at_once
from lmk.models.extract import Read
from lmk.models.schedules import warmup_cosine
from lmk.util.progress import Advance, Progress, silent
from lmk.util.workers import in_order

Record = dict[str, float]
PASS = 16
"""Views that the frozen backbone gets at once."""


@keras.saving.register_keras_serializable("lmk")
class AttentionPooling(keras.layers.Layer):
    """A feature map (b, h, w, c) and the attention (b, h, w, 1) of its cells to the cells' directions, each weighted by
    its attention: their sum at the length of the root of c, so that a classifier sees numbers near 1; or as published,
    without `normalize`, their mean as it is. Both (b, c)."""

    def __init__(self, normalize: bool = True, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)
        self.normalize = normalize

    def call(self, inputs):
        features, attention = inputs
        weighted = _unit(features) * attention
        if not self.normalize:
            return ops.mean(weighted, axis=(1, 2))
        return _unit(ops.sum(weighted, axis=(1, 2))) * features.shape[-1] ** 0.5

    def get_config(self):
        return super().get_config() | {"normalize": self.normalize}


def _unit(vectors):
    """Vectors (..., c) divided by their lengths; a vector of zeros stays.

    The gradient of `ops.normalize` at zeros is not a number, and a map that a ReLU left dead is pooled to zeros.
    """
    return vectors * ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), 1e-12))


def train_delf(
    network: DelfNetwork,
    ids: np.ndarray,
    landmarks: np.ndarray,
    read: Read,
    training: DelfTraining,
    progress: Progress = silent,
    jobs: int | None = None,
) -> list[Record]:
    """Train attention, and before it the backbone where that is asked, in place.

    Args:
        network: As `build_delf` makes it.
        ids: (n,) str, training photos.
        landmarks: (n,) int.
        read: A photo's id to RGB (h, w, 3) uint8.
        training: How.
        progress: Reports each view and each step.
        jobs: Threads that read photos; as many as there are cores if None.

    Returns:
        A record an epoch: `stage` (0: the backbone, 1: attention), `epoch`, `loss`, `accuracy` on the views.
    """
    rows = chosen_photos(landmarks, training)
    names, classes = ids[rows], np.unique(landmarks[rows], return_inverse=True)[1]
    keras.utils.set_random_seed(training.seed)
    history = _tuned(network, names, classes, read, training, progress, jobs) if training.tune_epochs else []
    maps = _maps(network.backbone, names, read, training, progress, jobs)
    return history + _attended(network, maps, classes, training, progress)


def chosen_photos(landmarks: np.ndarray, training: DelfTraining) -> np.ndarray:
    """(m,) int, rows of the photos to learn from: of landmarks (n,) with two photos at least, the largest first."""
    order = np.random.default_rng(training.seed).permutation(len(landmarks))
    known, counts = np.unique(landmarks, return_counts=True)
    chosen: list[np.ndarray] = []
    for landmark in known[np.argsort(-counts, kind="stable")].tolist():
        own = order[landmarks[order] == landmark][: training.photos_a_landmark]
        if len(own) < 2 or sum(map(len, chosen)) + len(own) > training.photos:
            break
        chosen.append(own)
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, int)


def _maps(
    backbone: keras.Model, ids: np.ndarray, read: Read, training: DelfTraining, progress: Progress, jobs: int | None
) -> np.ndarray:
    """Feature maps (n, views, h, w, c) float16 of augmented views, which are made while the backbone computes."""
    backbone.compile(jit_compile=jit_for_device())
    side, views = training.side, training.views

    def look(number: str, out: np.ndarray) -> None:
        row, view = divmod(int(number), views)
        augment(read(ids[row]), side, np.random.default_rng((training.seed, row, view)), out=out)

    def mapped(images: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(backbone.predict_on_batch(images)).astype(np.float16)

    maps: list[np.ndarray] = []
    count, streams = len(ids) * views, passes_at_once(backbone, jobs)
    with progress("DELF: feature maps", count, "views") as advance:
        # The last batch is filled up with blanks: every one has the same size, so that one is compiled.
        batches = batches_ahead(look, np.arange(count).astype(str), (side, side, 3), PASS, jobs, AHEAD + streams - 1)
        for found in in_order(mapped, batches, streams):
            maps.append(found[: count - PASS * len(maps)])
            advance(len(maps[-1]))
    every = np.concatenate(maps)
    return every.reshape(len(ids), views, *every.shape[1:])


def _attended(
    network: DelfNetwork, maps: np.ndarray, classes: np.ndarray, training: DelfTraining, progress: Progress
) -> list[Record]:
    """Train attention on feature maps, with a classifier that is forgotten."""
    features = keras.Input(maps.shape[2:], name="maps")
    pooled = AttentionPooling(training.normalize, name="pooled")([features, network.attention(features)])
    model = keras.Model(features, _classifier(classes)(pooled))

    def batches(epoch: int) -> keras.utils.PyDataset:
        return FeatureBatches(maps, classes, training.batch_size, True, (training.seed, 1, epoch))

    return _fit(model, 1, batches, training.epochs, training.learning_rate, "DELF: attention", progress)


def _tuned(
    network: DelfNetwork,
    ids: np.ndarray,
    classes: np.ndarray,
    read: Read,
    training: DelfTraining,
    progress: Progress,
    jobs: int | None,
) -> list[Record]:
    """Train the backbone's layers, batch normalization apart: batches are too small for its statistics."""
    inner = next(layer for layer in network.backbone.layers if isinstance(layer, keras.Model))
    for layer in inner.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    pooled = keras.layers.GlobalAveragePooling2D(dtype=full_precision())(network.backbone.outputs[0])
    model = keras.Model(network.backbone.inputs, _classifier(classes)(pooled))

    def batches(epoch: int) -> keras.utils.PyDataset:
        seed = (training.seed, 0, epoch)
        return PhotoBatches(read, ids, classes, training.side, training.batch_size, True, seed, jobs)

    records = _fit(model, 0, batches, training.tune_epochs, training.tune_rate, "DELF: backbone", progress)
    inner.trainable = False
    return records


def _classifier(classes: np.ndarray) -> keras.layers.Layer:
    return keras.layers.Dense(int(classes.max()) + 1, dtype=full_precision(), name="classifier")


def _fit(
    model: keras.Model,
    stage: int,
    batches: Callable[[int], keras.utils.PyDataset],
    epochs: int,
    rate: float,
    label: str,
    progress: Progress,
) -> list[Record]:
    steps = len(batches(0))
    model.compile(
        optimizer=keras.optimizers.AdamW(warmup_cosine(rate, epochs * steps), weight_decay=1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=jit_for_device(),
    )
    history = []
    with progress(label, epochs * steps, "steps") as advance:
        for epoch in range(epochs):
            logs = model.fit(batches(epoch), epochs=1, verbose=0, shuffle=False, callbacks=[_told(advance)]).history
            record = {"stage": stage, "epoch": epoch, "loss": logs["loss"][-1], "accuracy": logs["accuracy"][-1]}
            history.append(record)
    return history


def _told(advance: Advance) -> keras.callbacks.Callback:
    return keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: advance(1))
