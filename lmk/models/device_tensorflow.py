"""Devices of TensorFlow, and its communication between them."""

from contextlib import AbstractContextManager
from functools import cache

import tensorflow as tf
from tensorflow.python.client import device_lib  # the public API has no total memory of a device


def compute_capability() -> tuple[int, int]:
    """The lowest compute capability among the GPUs, (0, 0) where it is unknown or there is none."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return min((detail.get("compute_capability", (0, 0)) for detail in details), default=(0, 0))


def device_memory() -> int:
    """Bytes of the smallest GPU that TensorFlow may take, 0 where there is none."""
    found = device_lib.list_local_devices()
    return min((device.memory_limit for device in found if device.device_type == "GPU"), default=0)


def from_all_replicas(*values: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Tensors (b, ...) of this replica's part of a batch to those of the whole batch, the same on every replica."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return values
    return tuple(replica.all_gather(value, axis=0) for value in values)


def mirrored_scope(devices: list[str] | None = None) -> AbstractContextManager:
    """Models built inside keep equal weights on every device, all GPUs by default, and share each batch."""
    return _strategy(None if devices is None else tuple(devices)).scope()


@cache
def _strategy(devices: tuple[str, ...] | None) -> tf.distribute.Strategy:
    """One strategy for the whole process: the collective operations of a second one on the same devices fail."""
    return tf.distribute.MirroredStrategy(devices if devices is None else list(devices))
