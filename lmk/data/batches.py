"""Batches for training: stored features of views, or photos read and augmented."""

from collections.abc import Callable

import keras
import numpy as np

from lmk.data.augment import augment

Seed = tuple[int, ...]
"""Of one epoch: the run's seed, the stage and the epoch."""
Share = tuple[int, int]
"""Which process of how many this is: each gets its part of every batch, and all of them together the whole epoch."""
ALONE: Share = (0, 1)


def epoch_order(classes: np.ndarray, balance: bool, rng: np.random.Generator) -> np.ndarray:
    """Rows in the order in which an epoch shows them; with `balance` every class is drawn equally often."""
    if not balance:
        return rng.permutation(len(classes))
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    share = 1 / counts[inverse]
    return rng.choice(len(classes), size=len(classes), p=share / share.sum())


def count_batches(rows: int, batch_size: int, processes: int = 1) -> int:
    """Batches of an epoch, as many for every process; what is left over is a batch if each process gets a row of it."""
    whole, rest = divmod(rows, batch_size)
    return max(1, whole + (rest >= processes))


def part_of_batch(rows: int, batch_size: int, batch: int, share: Share = ALONE) -> np.ndarray:
    """(b,) int, the places in an epoch's order that a process gets of a batch."""
    process, processes = share
    last = batch == count_batches(rows, batch_size, processes) - 1
    return np.arange(batch * batch_size + process, rows if last else (batch + 1) * batch_size, processes)


class FeatureBatches(keras.utils.PyDataset):
    """One epoch over every stored view: features (b, ...) float32 and class indices (b,) int32."""

    def __init__(
        self,
        features: np.ndarray,
        classes: np.ndarray,
        batch_size: int,
        balance: bool,
        seed: Seed,
        share: Share = ALONE,
    ):
        """features: (n, views, ...) float16; classes: (n,) int, `NO_LANDMARK` for none; batch_size: of all
        processes."""
        super().__init__()
        self.share = share
        views = features.shape[1]
        self.features, self.classes, self.batch_size = features.reshape(-1, *features.shape[2:]), classes, batch_size
        self.views = views
        self.order = epoch_order(np.repeat(classes, views), balance, np.random.default_rng(seed))

    def __len__(self) -> int:
        return count_batches(len(self.order), self.batch_size, self.share[1])

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
        workers: int = 2,
        share: Share = ALONE,
    ):
        """read: a photo's id to RGB (h, w, 3) uint8; batch_size: of all processes; the augmentation of each photo
        follows from `seed` alone, whichever process gets it."""
        super().__init__(workers=workers, use_multiprocessing=False)  # OpenCV works outside the interpreter's lock
        self.read, self.ids, self.classes, self.side, self.batch_size = read, ids, classes, side, batch_size
        self.seed, self.share = seed, share
        self.order = epoch_order(classes, balance, np.random.default_rng(seed))

    def __len__(self) -> int:
        return count_batches(len(self.order), self.batch_size, self.share[1])

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        places = part_of_batch(len(self.order), self.batch_size, batch, self.share)
        rows = self.order[places]
        views = np.empty((len(rows), self.side, self.side, 3), np.uint8)
        for out, row, place in zip(views, rows, places.tolist(), strict=True):
            augment(self.read(self.ids[row]), self.side, np.random.default_rng((*self.seed, place)), out=out)
        return views, self.classes[rows].astype(np.int32)
