"""Batches for training: stored features of views, or photos read and augmented."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from lmk.data.augment import augment
from lmk.util.workers import default_workers

Seed = tuple[int, ...]
"""Seed of one epoch: the run's seed, the stage and the epoch."""


@dataclass(frozen=True)
class Share:
    """One process's share of an epoch: its part of every batch; all of them together read the whole epoch.

    Attributes:
        process, processes: Which of how many this is.
        devices: Number of devices of each process; each gets as many rows of a batch.
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


def first_rows(order: np.ndarray, batch_size: int, most: int | None, share: Share = WHOLE) -> np.ndarray:
    """The rows of an epoch's order that its first `most` batches show; all of them if None."""
    return order if most is None else order[: most * _even(batch_size, share)]


def part_of_batch(rows: int, batch_size: int, batch: int, share: Share = WHOLE) -> np.ndarray:
    """(b,) int, the places in a dealt order of so many rows that a process gets of a batch."""
    size = _even(batch_size, share)
    return np.arange(batch * size + share.process, min(rows, (batch + 1) * size), share.processes)


def _even(batch_size: int, share: Share) -> int:
    """The size of batches that all parts get as many rows of."""
    return max(share.parts, batch_size - batch_size % share.parts)


class Batches(keras.utils.PyDataset):
    """Batches of one epoch, from the one numbered `first` on: an epoch that was interrupted goes on there."""

    first = 0

    def __len__(self) -> int:
        return self.whole_length() - self.first

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        return self.batch(batch + self.first)

    def whole_length(self) -> int:
        """Batches of the whole epoch."""
        raise NotImplementedError

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of that number in the whole epoch."""
        raise NotImplementedError


class FeatureBatches(Batches):
    """One epoch over stored views: features (b, ...) float32 and class indices (b,) int32."""

    def __init__(
        self,
        features: np.ndarray,
        classes: np.ndarray,
        batch_size: int,
        balance: bool,
        seed: Seed,
        share: Share = WHOLE,
        most: int | None = None,
    ):
        """
        Args:
            features: (n, views, ...) float16.
            classes: (n,) int, `NO_LANDMARK` for none.
            batch_size: Views a batch of all processes.
            balance: Draw landmarks evenly, not photos.
            seed: Random seed of the order.
            share: What this process reads.
            most: Batches of the epoch at the most, of views drawn anew for each epoch; None for every view.
        """
        super().__init__()
        self.share = share
        views = features.shape[1]
        self.features, self.classes, self.batch_size = features.reshape(-1, *features.shape[2:]), classes, batch_size
        self.views = views
        order = dealt(epoch_order(np.repeat(classes, views), balance, np.random.default_rng(seed)), share)
        self.order = first_rows(order, batch_size, most, share)

    def whole_length(self) -> int:
        return count_batches(len(self.order), self.batch_size, self.share)

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[part_of_batch(len(self.order), self.batch_size, number, self.share)]
        return self.features[rows].astype(np.float32), self.classes[rows // self.views].astype(np.int32)


class PhotoBatches(Batches):
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
        most: int | None = None,
    ):
        """
        Args:
            read: A photo's id to RGB (h, w, 3) uint8.
            ids: (n,) str.
            classes: (n,) int, `NO_LANDMARK` for none.
            side: Side of a view, in pixels.
            batch_size: Photos a batch of all processes.
            balance: Draw landmarks evenly, not photos.
            seed: Random seed of order and augmentation; a photo's view follows from it alone, whichever process gets
                it.
            workers: Threads, each of which makes whole batches; `default_workers()` of them if None.
            share: What this process reads.
            most: Batches of the epoch at the most; None for every photo.
        """
        workers = workers or default_workers()
        # OpenCV and decoders work outside the interpreter's lock, so threads do. Each makes one batch, and one waits.
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=workers + 1)
        self.read, self.ids, self.classes, self.side, self.batch_size = read, ids, classes, side, batch_size
        self.seed, self.share = seed, share
        order = dealt(epoch_order(classes, balance, np.random.default_rng(seed)), share)
        self.order = first_rows(order, batch_size, most, share)

    def whole_length(self) -> int:
        return count_batches(len(self.order), self.batch_size, self.share)

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        places = part_of_batch(len(self.order), self.batch_size, number, self.share)
        rows = self.order[places]
        views = np.empty((len(rows), self.side, self.side, 3), np.uint8)
        for out, row, place in zip(views, rows, places.tolist(), strict=True):
            augment(self.read(self.ids[row]), self.side, np.random.default_rng((*self.seed, place)), out=out)
        return views, self.classes[rows].astype(np.int32)


class WithClasses(Batches):
    """Batches for a head of sampled classes: ((x, classes (b, 1) int32), targets (b,) int32).

    The target is 0, the photo's own class among the sampled ones, or `NO_LANDMARK`.
    """

    def __init__(self, batches: Batches):
        super().__init__(workers=batches.workers, max_queue_size=batches.max_queue_size)
        self.batches = batches

    def whole_length(self) -> int:
        return self.batches.whole_length()

    def batch(self, number: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:  # type: ignore[override]
        x, classes = self.batches.batch(number)
        return (x, classes[:, None]), np.minimum(classes, 0)
