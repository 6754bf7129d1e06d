"""Photos decoded, resized and batched a second: lmk beside simplejpeg, torchvision, a PyTorch DataLoader and tf.data.

Two tables of the same photos. `views`: the whole and five windows of two larger sizes, each mirrored, by one thread;
seconds are the processor's, of all threads, so that they speak of one core. `plain`: the whole photo alone, in batches
made ahead of their use on all cores: what a network that predicts from one view is fed with. Its rates are by the
clock, and by the processor's seconds of all threads and processes (`..._core`: photos a second of one core), which
other work on the machine disturbs less. There `decoder` is lmk's decoding alone on as many threads, without resizing
and batching. Each way uses its own library's decoder and resizing; those that can decode a JPEG at half or a quarter of
its size do. All smooth what they shrink but `tf_data`, which `tf_data_antialiased` is beside. Libraries that are not
installed are left out; a DataLoader's processor seconds need psutil.

    python -m benchmarks.input FOLDER_OF_PHOTOS --json
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from multiprocessing import active_children
from pathlib import Path
from threading import Thread

import cv2
import numpy as np

from benchmarks.output import parser, show
from benchmarks.timing import by_clocks, in_turns
from lmk.data.images import read_photo, resize
from lmk.data.reading import batches_ahead
from lmk.data.views import larger_side, make_views
from lmk.pipeline.config import READ_SIDE
from lmk.util.errors import LmkError
from lmk.util.workers import available_cores

PHOTOS, ROUNDS, SIDE, VIEWS = 96, 5, 224, 22
BATCH = 8
PLAIN_BATCH, REPEATS = 32, 4
"""Views a batch of plain ones, and how often the photos are read in a turn, so that it takes a second or so."""
_OF_LMK = ("lmk", "decoder")
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
    paths = _photos_in(folder)
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


def plain(folder: Path, side: int = SIDE, rounds: int = ROUNDS, jobs: int | None = None) -> dict[str, float]:
    """Photos a second, each as one view of `side` pixels in batches of `PLAIN_BATCH`, by each way.

    Args:
        folder: JPEGs, in folders or not; the first `PHOTOS` in order of name are taken, `REPEATS` times.
        side: Of a view, in pixels.
        rounds: Turns whose median counts.
        jobs: Threads or processes of each way; as many as there are cores if None.

    Returns:
        Photos a second by way, `NAME_ratio`: lmk's over that way's, and `decoder_share`: lmk's over its decoder's; the
        same of a core's second as `NAME_core`, `NAME_core_ratio` and `decoder_core_share`.
    """
    paths = _photos_in(folder) * REPEATS
    jobs = jobs or available_cores()
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[], object]] = {
        "lmk": partial(_drain, partial(_lmk_plain, paths, side, jobs)),
        "decoder": lambda: _in_threads(partial(_decoded, side), paths, jobs),
    }
    if find_spec("simplejpeg") is not None:
        ways["simplejpeg"] = lambda: _in_threads(partial(_simplejpeg, side), paths, jobs)
    if find_spec("torch") is not None:
        ways["dataloader"] = partial(_drain, _torch_plain(paths, side, jobs))
    if find_spec("torchvision") is not None:  # which cannot be loaded after TensorFlow
        ways["torchvision"] = partial(_in_threads, _torchvision(side), paths, jobs)
    for name, antialias in (("tf_data", False), ("tf_data_antialiased", True)):
        ways[name] = partial(_drain, _tf_data_plain(paths, side, jobs, antialias))
    found: dict[str, float] = {"jobs": jobs}
    both = by_clocks(ways, rounds, (time.perf_counter, _processor_seconds))
    for suffix, seconds in zip(("", "_core"), both, strict=True):
        rates = {name: len(paths) / value for name, value in seconds.items()}
        found |= {f"{name}{suffix}": rate for name, rate in rates.items()}
        found |= {f"{name}{suffix}_ratio": rates["lmk"] / rates[name] for name in rates if name not in _OF_LMK}
        found[f"decoder{suffix}_share"] = rates["lmk"] / rates["decoder"]
    return found


def _processor_seconds() -> float:
    """Seconds of all threads of this process and of the processes that it started and that still run."""
    children = 0.0
    if active_children():
        import psutil

        times = [psutil.Process(child.pid).cpu_times() for child in active_children()]
        children = sum(part.user + part.system for part in times)
    return time.process_time() + children


def _photos_in(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:PHOTOS]
    if not paths:
        raise LmkError(f"{folder} holds no JPEGs to measure with.")
    return paths


def _view(side: int) -> tuple[int, int, int]:
    return side, side, 3


def _decoded(side: int, path: Path) -> np.ndarray:
    """A photo as runs read it for views of `side` pixels: a JPEG at the smallest scale that has them."""
    return read_photo(path, max(READ_SIDE, side), side)


def _plain_view(side: int, paths: Mapping[str, Path], name: str, out: np.ndarray) -> None:
    resize(_decoded(side, paths[name]), side, side, out)


def _lmk_plain(paths: Sequence[Path], side: int, jobs: int) -> Iterator[object]:
    """lmk's batches, made as runs make them: ahead of their use, of photos that have names."""
    by_name = {str(path): path for path in paths}
    names = [str(path) for path in paths]
    return batches_ahead(partial(_plain_view, side, by_name), names, _view(side), PLAIN_BATCH, jobs)


def _in_threads(work: Callable[[Path], object], paths: Sequence[Path], jobs: int) -> None:
    """Each thread takes photo after photo, as lmk's do: a pool's future for every photo takes a tenth of the time."""
    left = iter(paths)

    def some() -> None:
        for path in left:
            work(path)

    threads = [Thread(target=some) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _simplejpeg(side: int, path: Path) -> np.ndarray:
    """simplejpeg's decoder at the smallest scale of at least the view's size, and OpenCV's resizing."""
    import simplejpeg

    photo = simplejpeg.decode_jpeg(path.read_bytes(), min_height=side, min_width=side)
    return cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)


def _torchvision(side: int) -> Callable[[Path], object]:
    """torchvision's decoder, which has no scales, and its antialiased resizing."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.v2.functional import resize as resized

    torch.set_num_threads(1)
    return lambda path: resized(decode_jpeg(read_file(str(path)), ImageReadMode.RGB), [side, side], antialias=True)


def _tf_data_plain(paths: Sequence[Path], side: int, jobs: int, antialias: bool) -> Callable[[], Iterator[object]]:
    """TensorFlow's decoder and resizing inside tf.data, on as many threads; without `antialias` nothing is smoothed."""
    import tensorflow as tf

    def view(path):
        photo = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.cast(tf.image.resize(photo, (side, side), antialias=antialias), tf.uint8)

    names = [str(path) for path in paths]
    data = tf.data.Dataset.from_tensor_slices(names).map(view, num_parallel_calls=jobs).batch(PLAIN_BATCH)
    options = tf.data.Options()
    options.threading.private_threadpool_size = jobs
    return data.with_options(options).prefetch(2).as_numpy_iterator


def _torch_plain(paths: Sequence[Path], side: int, jobs: int) -> Callable[[], Iterator[object]]:
    """Pillow's decoder, at a scale of the JPEG by its draft mode, and resizing, in a DataLoader's processes."""
    import torch
    from PIL import Image

    class Photos(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, row: int) -> object:
            with Image.open(paths[row]) as image:
                image.draft("RGB", (side, side))
                view = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.asarray(view).copy())

    # Its processes stay between epochs, as in training: their start is not measured.
    loader = torch.utils.data.DataLoader(Photos(), PLAIN_BATCH, num_workers=jobs, persistent_workers=True)
    return lambda: iter(loader)


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
    found = {"plain": plain(given.folder, given.side, given.rounds)}  # first: torchvision is loaded there
    found["views"] = run(given.folder, given.side, given.rounds)
    show({f"{table}: {name}": value for table, rates in found.items() for name, value in rates.items()}, given.json)


if __name__ == "__main__":
    main()
