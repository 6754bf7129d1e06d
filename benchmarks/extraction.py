"""Photos a second that DELF is extracted from, by photos that go through the network at once, and by threads.

Drawn photos of 1024 x 768 pixels, or those of a folder, all seven scales, 1000 features each. Random weights take the
time that learned ones take. Photos are in memory before the clock starts. On a GPU where there is one, else on the CPU.
With canvases, photos of many sizes share a few compiled ones; the first pass over all photos compiles and is listed by
itself.

    python -m benchmarks.extraction [--backbone resnet50] [--side 1024] [--photos 32] [--at-once 1] [--threads 2] --json
    python -m benchmarks.extraction --folder PHOTOS --photos 256 --canvases --threads 8 --json
"""

import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from benchmarks.output import parser, show
from lmk.data.images import read_photo
from lmk.local.delf import Canvases, Delf, DelfOptions
from lmk.local.pca import Pca
from lmk.models.delf.recipe import CUTS
from lmk.models.start import start_keras

DIMENSIONS = 40


def run(
    backbone: str, photos: Sequence[np.ndarray], side: int, at_once: Sequence[int], threads: Sequence[int]
) -> dict[str, object]:
    """Time extraction of photos; `at_once` 0 stands for canvases.

    Returns:
        device: The devices that Keras sees.
        rows: `at_once`, `threads`, `photos_per_second`, `milliseconds` a photo, and the seconds of the `first_pass`,
            which compiles and is not part of the rates: over all photos with canvases, else over one batch.
    """
    start_keras()
    from lmk.models.delf.network import build_delf
    from lmk.models.device import gpus

    network = build_delf(backbone, "none")
    options = DelfOptions(side=side)
    dense, channels = network.dense(options.max_features), network.backbone.output_shape[-1]
    rng = np.random.default_rng(0)
    pca = Pca(np.zeros(channels, np.float32), rng.normal(size=(channels, DIMENSIONS)).astype(np.float32))
    rows = []
    for batch, passes in product(at_once, threads):
        canvases = Canvases() if batch == 0 else None
        together = batch * max(photo.shape[0] * photo.shape[1] for photo in photos)
        extractor = Delf(dense, network.fields, pca, options, together, passes, canvases)
        start = time.perf_counter()
        extractor(photos if canvases else photos[:batch])
        first = time.perf_counter() - start
        start = time.perf_counter()
        extractor(photos)
        seconds = time.perf_counter() - start
        speed = {"photos_per_second": len(photos) / seconds, "milliseconds": 1000 * seconds / len(photos)}
        rows.append({"at_once": batch or "canvases", "threads": passes, "first_pass": first} | speed)
        told = f"{batch or 'canvases'} at once, {passes} threads: {len(photos) / seconds:.2f} photos/s"
        print(told, file=sys.stderr, flush=True)
    return {"backbone": backbone, "side": side, "photos": len(photos), "device": gpus() or ["CPU"], "rows": rows}


def _drawn(seed: int, side: int) -> np.ndarray:
    """Coloured noise of several sizes, RGB (3/4 side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    height = side * 3 // 4
    layers = [rng.random((height // cell, side // cell, 3)).astype(np.float32) for cell in (4, 16, 64)]
    return np.uint8(255 * np.mean([cv2.resize(layer, (side, height)) for layer in layers], axis=0))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.extraction`."""
    options = parser("extraction", __doc__)
    options.add_argument("--backbone", choices=tuple(CUTS), default="resnet50")
    options.add_argument("--side", type=int, default=1024)
    options.add_argument("--photos", type=int, default=32)
    options.add_argument("--folder", type=Path, help="of JPEGs, in place of drawn photos")
    options.add_argument("--canvases", action="store_true", help="in place of --at-once")
    options.add_argument("--at-once", type=int, action="append", help="repeat it; default: 1, 4, 8 and 16")
    options.add_argument("--threads", type=int, action="append", help="repeat it; default: 1 and 2")
    words = options.parse_args(arguments)
    at_once = [0] if words.canvases else words.at_once or [1, 4, 8, 16]
    if words.folder:
        photos = [read_photo(path, words.side) for path in sorted(words.folder.rglob("*.jpg"))[: words.photos]]
    else:
        photos = [_drawn(seed, words.side) for seed in range(words.photos)]
    show(run(words.backbone, photos, words.side, at_once, words.threads or [1, 2]), words.json)


if __name__ == "__main__":
    main()
