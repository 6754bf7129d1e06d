"""Photos a second that DELF is extracted from, by photos that go through the network at once, and by threads.

Photos of 1024 x 768 pixels, all seven scales, 1000 features each. Random weights take the time that learned ones take.
The photos are drawn and kept in memory: reading files is no part of it. On a GPU, where there is one, else on the CPU.

    lmk bench extraction [--backbone resnet50] [--side 1024] [--photos 32] [--at-once 1] [--threads 2] --json
"""

import time
from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np

from benchmarks.output import parser, show
from lmk.cli.console import note
from lmk.local.delf import Delf, DelfOptions
from lmk.local.pca import Pca
from lmk.models.delf.recipe import CUTS
from lmk.models.start import start_keras

DIMENSIONS = 40


def run(backbone: str, side: int, count: int, at_once: Sequence[int], threads: Sequence[int]) -> dict[str, object]:
    """Time extraction.

    Returns:
        device: The devices that Keras sees.
        rows: `at_once`, `threads`, `photos_per_second`, and `milliseconds` a photo; the first batch, which compiles, is
            not timed.
    """
    start_keras()
    from lmk.models.delf.network import build_delf
    from lmk.models.device import gpus, on_all_devices

    photos = [_drawn(seed, side) for seed in range(count)]
    with on_all_devices():
        network = build_delf(backbone, "none")
        options = DelfOptions(side=side)
        dense, channels = network.dense(options.max_features), network.backbone.output_shape[-1]
        rng = np.random.default_rng(0)
        pca = Pca(np.zeros(channels, np.float32), rng.normal(size=(channels, DIMENSIONS)).astype(np.float32))
        rows = []
        for batch, passes in product(at_once, threads):
            extractor = Delf(dense, network.fields, pca, options, batch, passes)
            extractor(photos[:batch])
            start = time.perf_counter()
            extractor(photos)
            seconds = time.perf_counter() - start
            speed = {"photos_per_second": count / seconds, "milliseconds": 1000 * seconds / count}
            rows.append({"at_once": batch, "threads": passes} | speed)
            note(f"{batch} at once, {passes} threads: {count / seconds:.2f} photos/s")
    return {"backbone": backbone, "side": side, "photos": count, "device": gpus() or ["CPU"], "rows": rows}


def _drawn(seed: int, side: int) -> np.ndarray:
    """Coloured noise of several sizes, RGB (3/4 side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    height = side * 3 // 4
    layers = [rng.random((height // cell, side // cell, 3)).astype(np.float32) for cell in (4, 16, 64)]
    return np.uint8(255 * np.mean([cv2.resize(layer, (side, height)) for layer in layers], axis=0))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `lmk bench extraction`."""
    options = parser("extraction", __doc__)
    options.add_argument("--backbone", choices=tuple(CUTS), default="resnet50")
    options.add_argument("--side", type=int, default=1024)
    options.add_argument("--photos", type=int, default=32)
    options.add_argument("--at-once", type=int, action="append", help="repeat it; default: 1, 4, 8 and 16")
    options.add_argument("--threads", type=int, action="append", help="repeat it; default: 1 and 2")
    words = options.parse_args(arguments)
    at_once, threads = words.at_once or [1, 4, 8, 16], words.threads or [1, 2]
    show(run(words.backbone, words.side, words.photos, at_once, threads), words.json)


if __name__ == "__main__":
    main()
