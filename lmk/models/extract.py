"""Features of photos' views by a frozen extractor, computed once and stored, not once an epoch."""

from collections.abc import Callable

import numpy as np

from lmk.data.images import resize
from lmk.data.reading import AHEAD, batches_ahead
from lmk.data.views import make_views
from lmk.models.device import Predictor, gpus, has_gpu, passes_at_once, pixels_at_once, predict
from lmk.models.recipe import Recipe
from lmk.util.progress import Progress, advance_within, silent
from lmk.util.store import ArrayStore
from lmk.util.workers import in_order

SHARD = 256
"""Photos a shard of the store: what a kill loses at the most."""

PASS_PIXELS = 16 * 224 * 224
"""The most pixels in a pass of the extractor on a CPU: 16 views of 224 x 224. More are no faster, and each core has a
pass in memory. A GPU gets what its memory holds."""
PASS_VIEWS = 64
"""The most views in a pass on a CPU."""
GPU_VIEWS = 1024
"""The most views in a pass of each GPU: more are no faster, and the next batch waits in host memory meanwhile."""

Read = Callable[[str], np.ndarray]


def view_features(
    extractor: Callable[[], Predictor],
    recipe: Recipe,
    read: Read,
    ids: np.ndarray,
    store: ArrayStore,
    progress: Progress = silent,
    jobs: int | None = None,
) -> np.ndarray:
    """Features (n, views, ...) float16 of the photos' views; what the store has is not computed again.

    Args:
        extractor: Gives what predicts; called only if something is to be computed.
        recipe: Gives the views.
        read: A photo's id to RGB (h, w, 3) uint8.
        ids: (n,) str, in any order, also twice.
        store: Its key holds recipe views and size, the extractor's weights, and what names the photos.
        progress: Reports each finished shard.
        jobs: Threads that read; as many as there are cores if None.
    """

    def compute(names: np.ndarray) -> dict[str, np.ndarray]:
        return {"features": forward(extractor(), recipe, read, names, jobs)}

    return store.collect(ids, compute, SHARD, f"{recipe.name}: features", progress)["features"]


def forward(extractor: Predictor, recipe: Recipe, read: Read, ids: np.ndarray, jobs: int | None = None) -> np.ndarray:
    """Features (n, views, ...) float16 of photos, n > 0, which are read while the network computes.

    Every pass has the same number of photos, the last one filled up with blank ones: another number would be compiled
    anew, and might round differently, so that a photo's features would depend on how many were asked for with it.
    `jobs` threads read, and on a CPU as many passes may be made side by side; as many as there are cores if None.
    """
    size, side = photos_at_once(recipe), recipe.image_size
    streams = passes_at_once(extractor, jobs)
    batches = batches_ahead(
        _filler(recipe, read), ids, (recipe.passes, side, side, 3), size, jobs, ahead=AHEAD + streams - 1
    )

    def features_of(views: np.ndarray) -> np.ndarray:
        features = predict(extractor, views.reshape(-1, *views.shape[2:]))
        features = features.reshape(*views.shape[:2], *features.shape[1:])
        if recipe.dense:  # (b, mirrored or not, windows, d): each window, then its mirror
            features = features.transpose(0, 2, 1, 3).reshape(len(features), -1, features.shape[3])
        return features.astype(np.float16)

    parts = []
    for features in in_order(features_of, batches, streams):
        parts.append(features)
        advance_within(len(features))
    return np.concatenate(parts)[: len(ids)]


def photos_at_once(recipe: Recipe) -> int:
    """Number of photos whose views make one pass of the network: as many as the devices' memory holds."""
    most = GPU_VIEWS * len(gpus()) if has_gpu() else PASS_VIEWS
    return max(1, min(pixels_at_once(PASS_PIXELS) // recipe.image_size**2, most) // recipe.passes)


def _filler(recipe: Recipe, read: Read) -> Callable[[str, np.ndarray], None]:
    """Function from a photo's id and (passes, side, side, 3) uint8 to the views in it: of crops, or the photo and its
    mirror for dense ones."""
    side, passes = recipe.image_size, recipe.passes

    def fill(name: str, out: np.ndarray) -> None:
        if recipe.dense:
            resize(read(name), side, side, out[0])
            out[1] = out[0, :, ::-1]
        else:
            make_views(read(name), side, passes, out=out)

    return fill
