"""Keras, started without the notices that its backend's native code prints on stderr."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def start_keras() -> None:
    """Import Keras and let its backend look for devices; what they print is dropped, unless it fails.

    TensorFlow's notices of its CPU and of absent GPUs have no switch that leaves its speed alone. Its hints on
    functions compiled again are dropped, too: a network for each fold is meant.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors are still shown
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _held_back_stderr():
        from lmk.models.device import has_gpu

        has_gpu()


@contextmanager
def _held_back_stderr() -> Iterator[None]:
    """What any code, native or not, writes to stderr in the block is shown only if the block raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(kept, held_back.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
