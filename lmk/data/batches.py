"""Batches for training: stored features of views, or photos read and augmented."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from joblib import cpu_count

from lmk.data.augment import augment

READERS = 16
"""The most threads that read photos for training."""

Seed = tuple[int, ...]
"""Of one epoch: the run's seed, the stage and the epoch."""


@dataclass(frozen=True)
class Share:
    """What one process reads of an epoch: its part of every batch; all of them together read the whole epoch.

    Attributes:
        process, processes: Which of how many this is.
        devices: Of each process; each gets as many rows of a batch.
    """

    process: int = 0
    processes: int = 1
    devices: int = 1

    @property
    def parts(self) -> int:
        """Into how many equal parts a batch is cut."""
        return self.processes * self.devices


WHOLE = Share()


def epoch_order(classes: np.ndarray, balance: bool, rng: np.random.Generator) -> np.ndarray:
    """Rows in the order in which an epoch shows them; with `balance` every class is drawn equally often."""
    if not balance:
        return rng.permutation(len(classes))
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    share = 1 / counts[inverse]
    return rng.choice(len(classes), size=len(classes), p=share / share.sum())


def dealt(order: np.ndarray, share: Share) -> np.ndarray:
    """An epoch's order, of which all parts get as many rows: the first rows come once more where some are wanting."""
    return np.resize(order, len(order) + -len(order) % share.parts)


def count_batches(rows: int, batch_size: int, share: Share = WHOLE) -> int:
    """Batches of an epoch of so many rows, as many for every process."""
    return -(-(rows + -rows % share.parts) // _even(batch_size, share))


def part_of_batch(rows: int, batch_size: int, batch: int, share: Share = WHOLE) -> np.ndarray:
    """(b,) int, the places in a dealt order of so many rows that a process gets of a batch."""
    size = _even(batch_size, share)
    return np.arange(batch * size + share.process, min(rows, (batch + 1) * size), share.processes)


def _even(batch_size: int, share: Share) -> int:
    """The size of batches that all parts get as many rows of."""
    return max(share.parts, batch_size - batch_size % share.parts)


class FeatureBatches(keras.utils.PyDataset):
    """One epoch over every stored view: features (b, ...) float32 and class indices (b,) int32."""

    def __init__(
        self,
        features: np.ndarray,
        classes: np.ndarray,
        batch_size: int,
        balance: bool,
        seed: Seed,
        share: Share = WHOLE,
    ):
        """features: (n, views, ...) float16; classes: (n,) int, `NO_LANDMARK` for none; batch_size: of all
        processes."""
        super().__init__()
        self.share = share
        views = features.shape[1]
        self.features, self.classes, self.batch_size = features.reshape(-1, *features.shape[2:]), classes, batch_size
        self.views = views
        self.order = dealt(epoch_order(np.repeat(classes, views), balance, np.random.default_rng(seed)), share)

    def __len__(self) -> int:
        return count_batches(len(self.order), self.batch_size, self.share)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[part_of_batch(len(self.order), self.batch_size, batch, self.share)]
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
        workers: int | None = None,
        share: Share = WHOLE,
    ):
        """read: a photo's id to RGB (h, w, 3) uint8; batch_size: of all processes; the augmentation of each photo
        follows from `seed` alone, whichever process gets it."""
        # threads, since OpenCV works outside the interpreter's lock; two could not read fast enough for a GPU
        super().__init__(workers=workers or min(cpu_count(), READERS), use_multiprocessing=False)
        self.read, self.ids, self.classes, self.side, self.batch_size = read, ids, classes, side, batch_size
        self.seed, self.share = seed, share
        self.order = dealt(epoch_order(classes, balance, np.random.default_rng(seed)), share)

    def __len__(self) -> int:
        return count_batches(len(self.order), self.batch_size, self.share)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        places = part_of_batch(len(self.order), self.batch_size, batch, self.share)
        rows = self.order[places]
        views = np.empty((len(rows), self.side, self.side, 3), np.uint8)
        for out, row, place in zip(views, rows, places.tolist(), strict=True):
            augment(self.read(self.ids[row]), self.side, np.random.default_rng((*self.seed, place)), out=out)
        return views, self.classes[rows].astype(np.int32)
