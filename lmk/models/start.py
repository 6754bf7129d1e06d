"""Keras, started without the notices that its backend's native code prints."""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmk.util.backend import CHANNELS, EPSILON, FLOATS, backend_here
from lmk.util.errors import LmkError
from lmk.util.team import ALONE, Team
from lmk.util.workers import available_cores

DRIVER_NODES = ("/dev/nvidiactl", "/dev/kfd")
"""Device files of NVIDIA's and AMD's drivers; containers may have them without their tools."""

PRIMITIVES = 16_384
"""Computations that oneDNN keeps, each compiled for one layer and one size of its input. Its own 1,024 are those of a
MobileNet at 25 sizes, and DELF sees photos of many sizes at seven scales each (docs/journal/speed.md)."""


def start_keras(team: Team = ALONE) -> None:
    """Import Keras and let its backend look for devices; what they print is dropped, unless it fails.

    With a team it waits until all processes are there.

    TensorFlow's notices of its CPU and of absent GPUs have no switch that leaves its speed alone; what fails raises an
    exception besides the line that it logs (TF_CPP_MIN_LOG_LEVEL=2 shows these lines). Its hints on
    functions compiled again are dropped, too: a network for each fold is meant.

    Whatever Keras' file says, images have their channels last and numbers are float32: results depend on both.

    Raises:
        LmkError: Keras' backend is absent or unknown, or cannot train over several processes.
        RemoteError: They did not meet.
    """
    backend_here()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _held_back() as leave:
        from lmk.models.device import has_gpu
        from lmk.models.distributed import meet

        settle_keras()
        meet(team, leave)
        has_gpu()


def one_core_a_pass() -> None:
    """Let a pass of a network keep to one core of a CPU, for a process that makes several side by side; to be called
    before Keras starts.

    TensorFlow shares a pass over one photo among cores with a loss: two threads with a pass each took 253 ms a photo of
    DELF on a core each, 281 ms where each used both cores (docs/journal/speed.md). Training a backbone wants all cores:
    its steps take 1.3 times as long on one. Variables that are set already stay; other backends do not read these.
    """
    if not machine_has_gpu():
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
        # TensorFlow's own threads between operations must not be fewer than the threads that call it.
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", str(2 * available_cores()))


def settle_keras() -> None:
    """Put what `keras.json` may change back to what lmk computes with."""
    import keras  # takes seconds: not before it is needed

    keras.config.set_image_data_format(CHANNELS)
    keras.config.set_floatx(FLOATS)
    keras.config.set_epsilon(EPSILON)


def sees_gpu() -> bool:
    """Whether Keras' backend sees a GPU; Keras is loaded to ask it only where the machine has one.

    A driver alone is not enough: TensorFlow from its plain package and JAX without its CUDA plugin see no GPU.
    """
    if not machine_has_gpu():
        return False
    start_keras()
    from lmk.models.device import has_gpu

    return has_gpu()


def machine_has_gpu() -> bool:
    """Whether a driver of NVIDIA or AMD is on this machine."""
    return shutil.which("nvidia-smi") is not None or any(Path(node).exists() for node in DRIVER_NODES)


@contextmanager
def _held_back() -> Iterator[Callable[[LmkError], None]]:
    """Show the output of any code in the block, native or not, on stderr, only if the block raises.

    Gives what ends the process at once with an error's line and exit code, from any thread.
    """
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as held_back:
        for number in (1, 2):
            os.dup2(held_back.fileno(), number)

        def leave(error: LmkError) -> None:
            os.write(kept[1], f"error: {error}\n".encode())
            os._exit(error.exit_code)

        try:
            yield leave
        except LmkError:  # says all itself
            raise
        except BaseException:
            held_back.seek(0)
            os.write(kept[1], held_back.read())
            raise
        finally:
            for stream, number, own in zip(streams, (1, 2), kept, strict=True):
                stream.flush()
                os.dup2(own, number)
                os.close(own)
