"""Batches for training: stored features of views, or photos read and augmented."""

import math
from collections.abc import Callable

import keras
import numpy as np

from lmk.data.augment import augment

Seed = tuple[int, ...]
"""Of one epoch: the run's seed, the stage and the epoch."""


def epoch_order(classes: np.ndarray, balance: bool, rng: np.random.Generator) -> np.ndarray:
    """Rows in the order in which an epoch shows them; with `balance` every class is drawn equally often."""
    if not balance:
        return rng.permutation(len(classes))
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    share = 1 / counts[inverse]
    return rng.choice(len(classes), size=len(classes), p=share / share.sum())


class FeatureBatches(keras.utils.PyDataset):
    """One epoch over every stored view: features (b, ...) float32 and class indices (b,) int32."""

    def __init__(self, features: np.ndarray, classes: np.ndarray, batch_size: int, balance: bool, seed: Seed):
        """features: (n, views, ...) float16; classes: (n,) int, `NO_LANDMARK` for none."""
        super().__init__()
        views = features.shape[1]
        self.features, self.classes, self.batch_size = features.reshape(-1, *features.shape[2:]), classes, batch_size
        self.views = views
        self.order = epoch_order(np.repeat(classes, views), balance, np.random.default_rng(seed))

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return self.features[rows].astype(np.float32), self.classes[rows // self.views].astype(np.int32)


class PhotoBatches(keras.utils.PyDataset):
    """One epoch over photos: augmented views (b, side, side, 3) uint8 and class indices (b,) int32."""

    def __init__(
        self,
        read: Callable[[str], np.ndarray],
        ids: np.ndarray,
        classes: np.ndarray,
        side: int,
        batch_size: int,
        balance: bool,
        seed: Seed,
        workers: int = 2,
    ):
        """read: a photo's id to RGB (h, w, 3) uint8; the augmentation of each photo follows from `seed` alone."""
        super().__init__(workers=workers, use_multiprocessing=False)  # OpenCV works outside the interpreter's lock
        self.read, self.ids, self.classes, self.side, self.batch_size = read, ids, classes, side, batch_size
        self.seed = seed
        self.order = epoch_order(classes, balance, np.random.default_rng(seed))

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        places = range(batch * self.batch_size, min((batch + 1) * self.batch_size, len(self.order)))
        rows = self.order[places.start : places.stop]
        views = np.empty((len(rows), self.side, self.side, 3), np.uint8)
        for out, row, place in zip(views, rows, places, strict=True):
            augment(self.read(self.ids[row]), self.side, np.random.default_rng((*self.seed, place)), out=out)
        return views, self.classes[rows].astype(np.int32)
