"""Memory that training takes, and the batch that fits into what the device has."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from lmk.models.device import gpu_memory, has_gpu
from lmk.util.errors import LmkError

USABLE = 0.8
"""Share of the device's memory that is planned with; allocators fragment, and convolutions want workspaces."""
KEPT = 2.0
"""Bytes held a byte of activations: the forward pass keeps them all, the backward pass adds gradients of the same
size, few layers at a time, and copies in other layouts."""
COPIES = 5
"""Arrays of a trainable variable's size: itself, its gradient, both moments of Adam, and a temporary of the update."""
_EXHAUSTED = re.compile("RESOURCE_EXHAUSTED|ResourceExhausted|out of memory|OOM when allocating", re.IGNORECASE)


def device_bytes() -> int:
    """Memory of the smallest GPU that the backend uses, or of the machine where there is none; 0 if unknown.

    All memory and not what is free now: the batch must be the same when a run goes on, and so its result.
    """
    return gpu_memory() if has_gpu() else _machine_bytes()


def training_bytes(model: keras.Model) -> tuple[int, int]:
    """An estimate of what training a model takes: bytes whatever the batch, and bytes a photo."""
    trained = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    kept = sum(math.prod(variable.shape) for variable in model.non_trainable_variables)
    outputs = sum(_output_bytes(layer) for layer in _layers(model))
    return 4 * (COPIES * trained + kept), int(KEPT * outputs)


def accumulation(model: keras.Model, batch_size: int, device: int, name: str) -> int:
    """Parts in which a batch has to be computed, its gradients summed, for training to fit; 1 if it fits whole.

    Args:
        model: What is trained.
        batch_size: Photos a device computes a step.
        device: Bytes of its memory; 0 if unknown, which is taken to be enough.
        name: Name of the recipe, for the message.

    Raises:
        LmkError: Not even one photo fits.
    """
    fixed, each = training_bytes(model)
    left = USABLE * device - fixed
    if device == 0 or batch_size * each <= left:
        return 1
    photos = int(left // each) if each else 0
    if photos < 1:
        need = (fixed + each) / USABLE / 1e9
        raise LmkError(
            f"Training {name} needs {need:.1f} GB with one photo at a time, and the device has {device / 1e9:.1f} GB. "
            "Lower the recipe's image_size, choose a smaller backbone, or train fewer of its layers (train_from)."
        )
    return next(parts for parts in range(2, batch_size + 1) if -(-batch_size // parts) <= photos)


@contextmanager
def memory_errors(name: str, batch_size: int) -> Iterator[None]:
    """Turn the backend's error for too little device memory into one line.

    Raises:
        LmkError: It did not.
    """
    try:
        yield
    except Exception as error:  # each backend has a class of its own for it; others go on as they are
        if isinstance(error, MemoryError) or _EXHAUSTED.search(f"{type(error).__name__}: {error}"):
            raise LmkError(
                f"The device's memory does not hold a batch of {batch_size} in training {name}. Lower the "
                "batch_size of its stages or its image_size, or close what else uses the device."
            ) from error
        raise


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _output_bytes(layer: keras.layers.Layer) -> int:
    """Bytes of a layer's outputs for one photo, in the number format it computes in."""
    size = 2 if "16" in str(layer.compute_dtype) else 4
    try:
        outputs = keras.tree.flatten(layer.output)
    except (AttributeError, ValueError):  # never called, or by several: its outputs are those of another
        return 0
    return sum(size * math.prod(extent or 1 for extent in output.shape[1:]) for output in outputs)


def _machine_bytes() -> int:
    """Memory of the machine, or of the container where that has a limit."""
    limits = []
    for path in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if path.exists() and (text := path.read_text().strip()).isdecimal():
            limits.append(int(text))
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        limits.append(int(meminfo.read_text().split()[1]) << 10)  # MemTotal, in KiB
    return min(limits, default=0)
