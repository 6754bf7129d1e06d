"""What only TensorFlow can tell about its devices."""

from contextlib import AbstractContextManager

import tensorflow as tf


def compute_capability() -> tuple[int, int]:
    """The lowest compute capability among the GPUs, (0, 0) where it is unknown or there is none."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return min((detail.get("compute_capability", (0, 0)) for detail in details), default=(0, 0))


def mirrored_scope(devices: list[str] | None = None) -> AbstractContextManager:
    """Models built inside keep equal weights on every device, all GPUs by default, and share each batch."""
    return tf.distribute.MirroredStrategy(devices).scope()
