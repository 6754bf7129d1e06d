"""Device-dependent choices: number format, compilation, batch size, and how several devices share a batch."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import keras
import numpy as np

from lmk.util.workers import default_workers

POLICIES = {"auto": None, "float32": "float32", "bf16": "mixed_bfloat16"}
"""Keras' dtype policy by the name of a precision; None where the device decides."""
GPU_PLATFORMS = ("gpu", "cuda", "rocm")
"""Names of GPUs in the backends; JAX has used all three names."""
BFLOAT16_SINCE = (8, 0)
"""Compute capability from which NVIDIA's GPUs multiply matrices of bfloat16 in hardware."""
BYTES_A_PIXEL = 512
"""Device memory for a pixel of input in a prediction pass: VGG16's first two maps of 64 channels in half precision take
256 bytes, the most of all backbones; as much again is left for the workspace of a convolution."""
MEMORY_SHARE = 0.5
"""Share of the device's memory that a pass may take: weights, the next batch and fragmentation need the rest."""


class Predictor(Protocol):
    """Whatever computes features of a batch of views, as a Keras model does."""

    def predict_on_batch(self, views: np.ndarray) -> np.ndarray:
        """Features (b, ...) float of views (b, side, side, 3) uint8."""
        ...


def gpus() -> list[str]:
    """Names of the GPUs that the backend sees, such as `gpu:0`."""
    if keras.backend.backend() == "torch":  # Keras' distribution API does not support this backend
        device = str(keras.ops.zeros(1).device)
        return [device] if "cuda" in device else []
    return [device for device in keras.distribution.list_devices() if device.partition(":")[0] in GPU_PLATFORMS]


def has_gpu() -> bool:
    """Whether the backend sees a GPU."""
    return bool(gpus())


@contextmanager
def on_all_devices(policy: str | None = None, alone: bool = True) -> Iterator[None]:
    """Models built inside compute on every GPU at once, each with a part of a batch.

    JAX goes through Keras' distribution API, TensorFlow through its own strategies, as Keras recommends.

    Args:
        policy: Keras' dtype policy in which they compute; that of the device if None.
        alone: Whether no other process uses the devices; where several share them, only training runs on all.
    """
    with computing_in(policy):
        if not alone or len(gpus()) < 2 or keras.backend.backend() == "torch":
            yield
        elif keras.backend.backend() == "jax":
            with keras.distribution.DataParallel().scope():
                yield
        else:
            with importlib.import_module("lmk.models.device_tensorflow").mirrored_scope():
                yield


@contextmanager
def computing_in(policy: str | None = None) -> Iterator[None]:
    """Models built inside compute in a dtype policy of Keras; None: `policy_for_device()`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or policy_for_device())
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def replicas(model: object) -> int:
    """Number of devices that share each batch of a model; 1 for a predictor that is no Keras model."""
    if not isinstance(model, keras.Model):
        return 1
    if keras.backend.backend() == "tensorflow":
        return model.distribute_strategy.num_replicas_in_sync
    distribution = keras.distribution.distribution() if keras.backend.backend() == "jax" else None
    return 1 if distribution is None else int(np.prod(distribution.device_mesh.shape))


def passes_at_once(predictor: Predictor, jobs: int | None = None) -> int:
    """Passes of a predictor side by side, each in a thread.

    `jobs` on TensorFlow and a CPU, one a core if None: it shares a small pass among cores badly. Else one: JAX, torch
    and OpenVINO take all cores for it, and one fills a GPU.
    """
    several = isinstance(predictor, keras.Model) and keras.backend.backend() == "tensorflow" and not has_gpu()
    return (jobs or default_workers()) if several else 1


def predict(predictor: Predictor, views: np.ndarray) -> np.ndarray:
    """Features (b, ...) of views (b, side, side, 3), whatever number of devices shares the batch.

    `predict_on_batch` alone does not do: under a strategy of TensorFlow every replica gets the whole batch and the
    result has each row several times, and JAX refuses a batch that its devices cannot share evenly.
    """
    devices = replicas(predictor)
    if devices == 1:
        return keras.ops.convert_to_numpy(predictor.predict_on_batch(views))
    assert isinstance(predictor, keras.Model)
    if keras.backend.backend() == "tensorflow":
        return predictor.predict(views, batch_size=len(views), verbose=0)
    padded = np.pad(views, [(0, -len(views) % devices)] + [(0, 0)] * (views.ndim - 1))
    return keras.ops.convert_to_numpy(predictor.predict_on_batch(padded))[: len(views)]


def from_all_replicas(*values):
    """Tensors (b, ...) of one replica's part of a batch to those of the whole batch, the same on every replica.

    JAX traces a step over the whole batch, whichever devices share it; TensorFlow traces it once a replica.
    """
    if keras.backend.backend() != "tensorflow":
        return values
    return importlib.import_module("lmk.models.device_tensorflow").from_all_replicas(*values)


def jit_for_device() -> bool:
    """Value for `compile(jit_compile=...)`.

    XLA makes depthwise convolutions several times slower on a CPU, so TensorFlow uses it on a GPU alone; and on one
    only, since it cannot compile the exchange of gradients between the replicas of a strategy. JAX has no other way to
    run a model at speed; torch's compiler needs a C compiler on the machine.
    """
    backend = keras.backend.backend()
    return backend == "jax" or (backend == "tensorflow" and len(gpus()) == 1)


def policy_for_device() -> str:
    """The dtype policy that trains fastest without harm: `float32` on a CPU, mixed precision on a GPU.

    bfloat16 keeps float32's range, so it comes first; GPUs before compute capability 8.0 only have float16.
    """
    if not has_gpu():
        return "float32"
    return "mixed_bfloat16" if _of_backend("compute_capability", BFLOAT16_SINCE) >= BFLOAT16_SINCE else "mixed_float16"


def full_precision() -> str:
    """The dtype for layers that mixed precision would harm: float32 under every mixed policy."""
    return keras.config.dtype_policy().variable_dtype


def pixels_at_once(otherwise: int) -> int:
    """Pixels of input that fit in a prediction pass of all GPUs, at least `otherwise`, which a CPU gets."""
    if not has_gpu():
        return otherwise
    return max(otherwise, int(MEMORY_SHARE * gpu_memory() / BYTES_A_PIXEL) * len(gpus()))


def gpu_memory() -> int:
    """Bytes of the smallest GPU that the backend may take, 0 where there is none or it is unknown."""
    return _of_backend("device_memory", 0)


def _of_backend(name: str, otherwise):
    """Facts of the backend's own module about the GPUs; `otherwise` where there is none."""
    modules = {"tensorflow": "device_tensorflow", "jax": "device_jax", "torch": "device_torch"}
    module = modules.get(keras.backend.backend())
    if module is None:
        return otherwise
    return getattr(importlib.import_module(f"lmk.models.{module}"), name)()
