"""Photos decoded, resized and cut into views, a second and core: lmk beside tf.data and a PyTorch DataLoader.

All three make the same views of the same photos: the whole and five windows of two larger sizes, each mirrored.
Seconds are the processor's, of all threads, so that they speak of one core. PyTorch is compared where it is installed.

    python -m benchmarks.input FOLDER_OF_PHOTOS --json
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from benchmarks.output import parser, show
from benchmarks.timing import in_turns
from lmk.data.images import read_photo
from lmk.data.views import larger_side, make_views
from lmk.util.errors import LmkError

PHOTOS, ROUNDS, SIDE, VIEWS = 96, 5, 224, 22
BATCH = 8
PERCENT = (5, 15)
"""By how much the larger sizes of 22 views are larger."""


def run(folder: Path, side: int = SIDE, rounds: int = ROUNDS) -> dict[str, float]:
    """Views a second and core by each way, and lmk's over the others'.

    Args:
        folder: JPEGs, in folders or not; the first `PHOTOS` in order of name are taken.
        side: Of a view, in pixels.
        rounds: Turns whose median counts.

    Returns:
        lmk, tf_data, torch, decoder: Views a second and core; `decoder` is lmk's decoding alone, the limit of any
        way that decodes each photo once. tf_data_ratio, torch_ratio: lmk's over theirs. decoder_share: Of lmk's time.

    Raises:
        LmkError: The folder holds no JPEG.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:PHOTOS]
    if not paths:
        raise LmkError(f"{folder} holds no JPEGs to measure with.")
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[], object]] = {
        "lmk": partial(_lmk, paths, side),
        "tf_data": partial(_drain, _tf_data(paths, side)),
        "decoder": partial(_decode, paths),
    }
    if find_spec("torch") is not None:
        ways["torch"] = partial(_drain, _torch(paths, side))
    seconds = in_turns(ways, rounds, time.process_time)
    rates = {name: len(paths) * VIEWS / value for name, value in seconds.items()}
    ratios = {f"{name}_ratio": rates["lmk"] / rates[name] for name in rates if name in ("tf_data", "torch")}
    return rates | ratios | {"decoder_share": seconds["decoder"] / seconds["lmk"]}


def _lmk(paths: Sequence[Path], side: int) -> None:
    batch = np.empty((BATCH, VIEWS, side, side, 3), np.uint8)
    for number, path in enumerate(paths):
        make_views(read_photo(path), side, VIEWS, out=batch[number % BATCH])


def _decode(paths: Sequence[Path]) -> None:
    for path in paths:
        read_photo(path)


def _drain(make: Callable[[], Iterator[object]]) -> None:
    for _ in make():
        pass


def _corners(side: int, size: int) -> list[tuple[int, int]]:
    end, middle = size - side, (size - side) // 2
    return [(0, 0), (end, 0), (0, end), (end, end), (middle, middle)]


def _tf_data(paths: Sequence[Path], side: int) -> Callable[[], Iterator[object]]:
    """TensorFlow's decoder and resizing inside tf.data; resized values are floats there, then bytes again."""
    import tensorflow as tf

    def views(path):
        photo = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        windows = [tf.image.resize(photo, (side, side))]
        for percent in PERCENT:
            size = larger_side(side, percent)
            larger = tf.image.resize(photo, (size, size))
            windows += [larger[top : top + side, left : left + side] for top, left in _corners(side, size)]
        stacked = tf.cast(tf.stack(windows), tf.uint8)
        return tf.concat([stacked, stacked[:, :, ::-1]], axis=0)

    names = [str(path) for path in paths]
    data = tf.data.Dataset.from_tensor_slices(names).map(views, num_parallel_calls=1).batch(BATCH)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    data = data.with_options(options).prefetch(1)
    return data.as_numpy_iterator


def _torch(paths: Sequence[Path], side: int) -> Callable[[], Iterator[object]]:
    """Pillow's decoder and resizing inside a Dataset, batched by a DataLoader in this process."""
    import torch
    from PIL import Image

    torch.set_num_threads(1)

    class Photos(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, row: int) -> object:
            with Image.open(paths[row]) as image:
                photo = image.convert("RGB")
            windows = [np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR))]
            for percent in PERCENT:
                size = larger_side(side, percent)
                larger = np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR))
                windows += [larger[top : top + side, left : left + side] for top, left in _corners(side, size)]
            stacked = torch.from_numpy(np.stack(windows))
            return torch.cat([stacked, stacked.flip(2)])

    loader = torch.utils.data.DataLoader(Photos(), batch_size=BATCH, num_workers=0)
    return lambda: iter(loader)


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.input`."""
    options = parser("input", __doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--side", type=int, default=SIDE)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    given = options.parse_args(words)
    show(run(given.folder, given.side, given.rounds), given.json)


if __name__ == "__main__":
    main()
