"""Weights of backbones: where their files are looked for, and how they come into a network.

Reads Keras' `.weights.h5` and `.keras`, of which only the arrays are read, never the code, and older `.h5`
files, Keras' published ones and those of the `efficientnet` package among them.
"""

import socket
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import keras
import numpy as np

from lmk.util.errors import LmkError, is_of_the_machine, quoted

StoredLayers = list[tuple[str, list[np.ndarray]]]
"""Names of layers that have weights, in a file's order, with their arrays (of a file that is open: h5py's)."""
_SPARE_BYTES = 64 << 20
"""Bytes that a file may make us hold beyond what the network needs."""
_MOST_ENTRIES = 200_000
"""Groups and arrays of a file at the most; the largest backbones have some thousands."""


def load_weights(network: keras.Model, path: Path, backbone: str, file_name: str) -> None:
    """Read `path` into `network`, every layer of which must find its weights there.

    backbone and file_name: the network's name and a file's that would do, for the error.

    Raises:
        LmkError: The file is damaged or holds another network.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("not a regular file")
        if path.suffix != ".keras" and _assign_legacy(network, path):
            pass
        elif path.name.endswith((".keras", ".weights.h5")):
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # of another network: raised below
                network.load_weights(path)
        else:
            raise LmkError(f"{path} holds weights of Keras 3: rename it so that it ends in .weights.h5.")
        if not all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in network.weights):
            raise LmkError(f"{path} holds weights that are not finite numbers. Fetch or copy it again.")
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError, MemoryError, zipfile.BadZipFile) as error:
        if is_of_the_machine(error):
            raise
        raise LmkError(f"{path} cannot be read as weights ({_first_line(error)}). Fetch or copy it again.") from error
    except ValueError as error:
        raise LmkError(
            f"{path} holds the weights of another network than {backbone}. Give a file of that network without its "
            f"classifier, such as {file_name}."
        ) from error


def load_published(build: Callable[[], keras.Model], backbone: str, file_names: Sequence[str]) -> keras.Model:
    """Result of `build`, a constructor that downloads its weights; nothing is printed on the way.

    Raises:
        LmkError: The download fails.
    """
    try:
        with _quiet_download():
            return build()
    except Exception as error:
        # Keras raises a bare Exception where a download fails, and a ValueError where a file is not what it should be.
        if type(error) is not Exception and not isinstance(error, (OSError, ValueError)):
            raise
        raise LmkError(
            f"The ImageNet weights of {backbone} cannot be downloaded ({_first_line(error)}). Put one of "
            f"{', '.join(file_names)} into a folder and give that as the weights, or give `none`."
        ) from error


def assign_layers(network: keras.Model, stored: StoredLayers) -> None:
    """Give each layer of `network` its arrays: by name if all names are there, else in order; shapes must agree.

    The pixels' `Normalization` is no part of it. What is stored besides, such as a classifier, is left out.

    Raises:
        ValueError: The stored layers are of another network.
    """
    layers = [layer for layer in network.layers if layer.weights and not is_normalization(layer)]
    stored = [(name, arrays) for name, arrays in stored if arrays and not name.startswith("normalization")]
    by_name = dict(stored)
    chosen = [by_name.get(layer.name, []) for layer in layers]
    if not _fit(layers, chosen):
        chosen = [arrays for _, arrays in stored[: len(layers)]]
    if not _fit(layers, chosen):
        raise ValueError(f"{len(layers)} layers have weights, {len(stored)} are stored, and their shapes differ")
    for layer, arrays in zip(layers, chosen, strict=True):
        for variable, array in zip(_variables(layer), arrays, strict=True):
            variable.assign(np.asarray(array))


def layers_of(network: keras.Model) -> StoredLayers:
    """The layers of `network` as `assign_layers` takes them."""
    return [
        (layer.name, [keras.ops.convert_to_numpy(variable) for variable in _variables(layer)])
        for layer in network.layers
    ]


def is_normalization(layer: keras.layers.Layer) -> bool:
    """Whether the layer standardises pixels by weights of its own."""
    return isinstance(layer, keras.layers.Normalization)


def _variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """A layer's weights in the order of older files."""
    return layer.trainable_weights + layer.non_trainable_weights


def _fit(layers: Sequence[keras.layers.Layer], arrays: Sequence[Sequence[np.ndarray]]) -> bool:
    return len(layers) == len(arrays) and all(
        [tuple(variable.shape) for variable in _variables(layer)] == [array.shape for array in stored]
        for layer, stored in zip(layers, arrays, strict=True)
    )


def _assign_legacy(network: keras.Model, path: Path) -> bool:
    """Read a file older than Keras 3 into `network`, False if it is one of Keras 3, which is checked alone.

    Layers are chosen by the shapes that the file declares; only then are values read, so that nothing is made room for
    that the network does not have.
    """
    with h5py.File(path) as file:
        check_tree(file)
        group = file.get("model_weights", file)
        if "layer_names" not in group.attrs and "layer_names0" not in group.attrs:
            declared = sum(entry.nbytes for entry in _datasets(file))
            needed = sum(int(np.prod(weight.shape)) * 8 for weight in network.weights)
            if declared > 4 * needed + _SPARE_BYTES:  # an optimizer's state and a classifier may lie beside
                raise OSError(f"it declares {declared:,} bytes")
            return False
        stored = [
            (name, [_dataset(group[name], weight) for weight in _names(group[name], "weight_names")])
            for name in _names(group, "layer_names")
        ]
        assign_layers(network, stored)
    return True


def check_tree(file: h5py.File) -> None:
    """Refuse what a file of weights never has and what reaches beyond it, before any value is read.

    Raises:
        OSError: Links to other files or names, values kept in other files, virtual ones, other kinds of values than
            numbers, pieces larger than what they are of, or too many entries.
    """
    waiting, seen = [file["/"]], set()
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise OSError(f"{quoted(name)} is a link")
            entry = group[name]
            place = h5py.h5o.get_info(entry.id).addr
            if place in seen:
                continue
            seen.add(place)
            if len(seen) > _MOST_ENTRIES:
                raise OSError(f"it has more than {_MOST_ENTRIES:,} entries")
            if isinstance(entry, h5py.Group):
                waiting.append(entry)
            elif isinstance(entry, h5py.Dataset):
                _check_dataset(name, entry)
            else:
                raise OSError(f"{quoted(name)} is neither a group nor an array")


def _check_dataset(name: str, entry: h5py.Dataset) -> None:
    if entry.external or entry.is_virtual:
        raise OSError(f"the values of {quoted(name)} lie in another file")
    if entry.shape is None:
        raise OSError(f"{quoted(name)} has no values")
    piece = int(np.prod(entry.chunks)) * entry.dtype.itemsize if entry.chunks else 0
    if piece > max(entry.nbytes, _SPARE_BYTES):  # one piece is unpacked whole
        raise OSError(f"{quoted(name)} is packed in pieces of {piece:,} bytes")


def _datasets(file: h5py.File) -> Iterator[h5py.Dataset]:
    """All arrays of a file whose links were checked."""
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, entry: found.append(entry) if isinstance(entry, h5py.Dataset) else None)
    return iter(found)


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """An array of numbers."""
    entry = group[name]
    if not isinstance(entry, h5py.Dataset) or entry.dtype.kind not in "fiu":
        raise OSError(f"{quoted(name)} is no array of numbers")
    return entry


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names; a long one lies in several attributes, numbered from 0."""
    chunks = [attribute] if attribute in group.attrs else []
    while not chunks or f"{attribute}{len(chunks)}" in group.attrs:
        chunks.append(f"{attribute}{len(chunks)}")
    for chunk in chunks:
        told = group.attrs.get_id(chunk)
        if int(np.prod(told.shape or (1,))) * told.dtype.itemsize > _SPARE_BYTES:
            raise OSError(f"the list {quoted(chunk)} is too long")
    names = np.concatenate([np.atleast_1d(group.attrs[chunk]) for chunk in chunks])
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


@contextmanager
def _quiet_download() -> Iterator[None]:
    """Nothing on stdout, and an error after 30 seconds of silence, while Keras downloads."""
    talks, timeout = keras.config.is_interactive_logging_enabled(), socket.getdefaulttimeout()
    keras.config.disable_interactive_logging()
    socket.setdefaulttimeout(30)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)
        if talks:
            keras.config.enable_interactive_logging()


def _first_line(error: Exception) -> str:
    text = str(error.args[0] if error.args else error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
