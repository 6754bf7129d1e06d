"""Features of photos' views, by a frozen extractor: computed once, stored, never once an epoch."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from lmk.data.images import resize
from lmk.data.views import make_views
from lmk.models.recipes import Recipe
from lmk.models.runtimes import Predictor
from lmk.util.progress import Progress, silent
from lmk.util.store import ArrayStore

SHARD = 256
"""Photos a shard of the store: what a kill loses at the most."""

PASS_PIXELS = 64 * 224 * 224
"""Pixels that the extractor is given at once, at the most: 64 views of 224 x 224."""
PASS_VIEWS = 256
"""Views that it is given at once, at the most."""

Read = Callable[[str], np.ndarray]


def view_features(
    extractor: Callable[[], Predictor],
    recipe: Recipe,
    read: Read,
    ids: np.ndarray,
    store: ArrayStore,
    progress: Progress = silent,
) -> np.ndarray:
    """Features (n, views, ...) float16 of the photos' views; what the store has is not computed again.

    Args:
        extractor: Gives what predicts; called only if something is to be computed.
        recipe: Gives the views.
        read: A photo's id to RGB (h, w, 3) uint8.
        ids: (n,) str, in any order, also twice.
        store: Its key holds recipe views and size, the extractor's weights, and what names the photos.
    """

    def compute(names: np.ndarray) -> dict[str, np.ndarray]:
        return {"features": forward(extractor(), recipe, read, names)}

    return store.collect(ids, compute, SHARD, f"{recipe.name}: features", progress)["features"]


def forward(extractor: Predictor, recipe: Recipe, read: Read, ids: np.ndarray) -> np.ndarray:
    """Features (n, views, ...) float16, n > 0; photos are read beside the network's work.

    The network always gets as many photos, the last time some of them blank: another number would be compiled anew,
    and might round differently, so that a photo's features would depend on how many were asked with it.
    """
    passes, size = recipe.passes, photos_at_once(recipe)
    parts = []
    for views in _ahead(_batches(recipe, read, ids, passes, size)):
        features = keras.ops.convert_to_numpy(extractor.predict_on_batch(views.reshape(-1, *views.shape[2:])))
        features = features.reshape(*views.shape[:2], *features.shape[1:])
        if recipe.dense:  # (b, mirrored or not, windows, d): each window, then its mirror
            features = features.transpose(0, 2, 1, 3).reshape(len(features), -1, features.shape[3])
        parts.append(features.astype(np.float16))
    return np.concatenate(parts)[: len(ids)]


def photos_at_once(recipe: Recipe) -> int:
    """Photos whose views the network gets at once."""
    return max(1, min(PASS_PIXELS // recipe.image_size**2, PASS_VIEWS) // recipe.passes)


def _batches(recipe: Recipe, read: Read, ids: np.ndarray, passes: int, size: int) -> Iterator[np.ndarray]:
    """(size, passes, side, side, 3) uint8: the views of crops, or the photo and its mirror for dense ones."""
    side = recipe.image_size
    for start in range(0, len(ids), size):
        batch = np.zeros((size, passes, side, side, 3), np.uint8)
        for name, out in zip(ids[start : start + size].tolist(), batch, strict=False):
            if recipe.dense:
                out[0] = resize(read(name), side, side)
                out[1] = out[0, :, ::-1]
            else:
                make_views(read(name), side, passes, out=out)
        yield batch


def _ahead(batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same batches, each made by a thread while the one before is in use."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        upcoming = reader.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = reader.submit(next, batches, None)
            yield batch
