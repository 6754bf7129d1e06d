"""TensorFlow's checkpoints, read as plain arrays."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from lmk.util.errors import LmkError


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint by its name.

    Args:
        prefix: Without what each of its files ends in, such as `model/variables/variables`.

    Raises:
        LmkError: There is no whole checkpoint.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise LmkError(f"{prefix}.* is no whole checkpoint ({reason}). Unpack the archive again.") from error
