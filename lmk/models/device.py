"""What the device at hand decides: compilation, number format."""

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import keras

POLICIES = {"auto": None, "float32": "float32", "bf16": "mixed_bfloat16"}
"""Keras' dtype policy by the name of a precision; None where the device decides."""


def gpus() -> list[str]:
    """The GPUs that the backend sees."""
    if keras.backend.backend() == "torch":  # Keras' distribution API does not know this backend
        device = str(keras.ops.zeros(1).device)
        return [device] if "cuda" in device else []
    return [device for device in keras.distribution.list_devices() if device.startswith("gpu")]


def has_gpu() -> bool:
    """Whether the backend sees a GPU."""
    return bool(gpus())


@contextmanager
def on_all_devices(policy: str | None = None, alone: bool = True) -> Iterator[None]:
    """Models built inside compute on every GPU at once, each with a part of a batch.

    JAX goes through Keras' distribution API; Keras leaves TensorFlow's to TensorFlow.

    policy: Keras' dtype policy in which they compute; that of the device if None.
    alone: Whether the devices are all this process' own; where several share them, training alone is on all.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or policy_for_device())
    try:
        if not alone or len(gpus()) < 2 or keras.backend.backend() == "torch":
            yield
        elif keras.backend.backend() == "jax":
            with keras.distribution.DataParallel().scope():
                yield
        else:
            with importlib.import_module("lmk.models.device_tensorflow").mirrored_scope():
                yield
    finally:
        keras.config.set_dtype_policy(before)


def jit_for_device() -> bool:
    """What `compile(jit_compile=...)` gets: XLA makes depthwise convolutions several times slower on a CPU.

    JAX has no other way to run a model at speed; torch's compiler needs a C compiler on the machine.
    """
    backend = keras.backend.backend()
    return backend == "jax" or (backend == "tensorflow" and has_gpu())


def policy_for_device() -> str:
    """The dtype policy that trains fastest without harm: `float32` on a CPU, mixed precision on a GPU.

    bfloat16 keeps float32's range, so it comes first; GPUs before compute capability 8.0 only have float16.
    """
    if not has_gpu():
        return "float32"
    return "mixed_bfloat16" if _has_bfloat16() else "mixed_float16"


def full_precision() -> str:
    """The dtype for layers that mixed precision would harm: float32 under every mixed policy."""
    return keras.config.dtype_policy().variable_dtype


def _has_bfloat16() -> bool:
    """Whether the GPUs compute in bfloat16; a backend that cannot be asked is taken to run on recent ones."""
    module = f"lmk.models.device_{keras.backend.backend()}"
    if importlib.util.find_spec(module) is None:
        return True
    return importlib.import_module(module).compute_capability() >= (8, 0)
