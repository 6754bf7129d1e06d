"""Devices of JAX, and its communication between processes."""

import jax
import numpy as np
from jax.experimental import multihost_utils

from lmk.models.device import GPU_PLATFORMS

PIECE = 1 << 28
"""Bytes sent at once; each takes device memory as often as there are processes."""


def compute_capability() -> tuple[int, int]:
    """The lowest compute capability among this process' GPUs; (0, 0) where there is none or it is unknown."""
    found = [str(getattr(device, "compute_capability", "")) for device in jax.local_devices() if _is_gpu(device)]
    return min((tuple(map(int, version.split("."))) for version in found if version), default=(0, 0))  # type: ignore[return-value]


def device_memory() -> int:
    """Bytes of the smallest of this process' GPUs that JAX may take, 0 where there is none or it is unknown."""
    stats = [device.memory_stats() or {} for device in jax.local_devices() if _is_gpu(device)]
    return min((int(stat.get("bytes_limit", 0)) for stat in stats), default=0)


def _is_gpu(device: jax.Device) -> bool:
    return device.platform in GPU_PLATFORMS


def from_first(told: bytes) -> bytes:
    """The first process's bytes, in all of them."""
    length = int.from_bytes(_sent(len(told).to_bytes(8, "big")), "big")
    told = told.ljust(length, b"\0")  # the others say nothing, as many bytes of it
    return b"".join(_sent(told[start : start + PIECE]) for start in range(0, length, PIECE))


def from_all(told: bytes) -> list[bytes]:
    """The bytes of each process, in all of them; each sends as many."""
    return [row.tobytes() for row in multihost_utils.process_allgather(np.frombuffer(told, np.uint8)[None], tiled=True)]


def _sent(told: bytes) -> bytes:
    return np.asarray(multihost_utils.broadcast_one_to_all(np.frombuffer(told, np.uint8))).astype(np.uint8).tobytes()
