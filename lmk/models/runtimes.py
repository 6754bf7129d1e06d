"""Runtimes that compute a network's predictions: Keras itself, or OpenVINO from the same weights."""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from lmk.models.device import Predictor, has_gpu, jit_for_device
from lmk.models.folded import folded
from lmk.util.errors import LmkError


def predictor(extractor: keras.Model, runtime: str, bf16: bool) -> Predictor:
    """The extractor, on a CPU with its normalizations folded, or the same network under OpenVINO.

    Args:
        extractor: As `build_extractor` makes it; its weights of now are taken.
        runtime: `keras` or `openvino`.
        bf16: Whether OpenVINO computes in bfloat16; Keras computes as the extractor was built.

    Raises:
        LmkError: OpenVINO is not installed, or Keras runs on a backend that cannot hand a network on.
    """
    if runtime == "keras":
        return extractor if has_gpu() else _folded(extractor)
    if find_spec("openvino") is None:
        raise LmkError("`--runtime openvino` needs a package that is not installed: pip install openvino")
    if keras.backend.backend() != "tensorflow":
        raise LmkError("`--runtime openvino` takes networks from Keras on TensorFlow: unset KERAS_BACKEND.")
    return OpenVino(extractor, bf16)


def _folded(extractor: keras.Model) -> keras.Model:
    """The extractor folded: XLA on a GPU joins what stands in line by itself."""
    model = folded(extractor)
    model.compile(jit_compile=jit_for_device())
    return model


class OpenVino:
    """A network compiled by OpenVINO for the CPU. https://docs.openvino.ai"""

    def __init__(self, extractor: keras.Model, bf16: bool):
        import openvino

        if bf16:  # which OpenVINO brings about itself, from weights in full
            extractor = _in_float32(extractor)
        extractor(np.zeros((1, *extractor.input_shape[1:]), np.float32))  # Keras exports what was called once
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.xml"
            extractor.export(str(path), format="openvino", verbose=False)
            core = openvino.Core()
            network = core.read_model(path)
            steps = openvino.preprocess.PrePostProcessor(network)
            steps.input().tensor().set_element_type(openvino.Type.u8)  # no copy of the views as floats
            hints = {"INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32", "PERFORMANCE_HINT": "LATENCY"}
            self._network = core.compile_model(steps.build(), "CPU", hints)

    def predict_on_batch(self, views: np.ndarray) -> np.ndarray:
        """Features (b, ...) float32 of views (b, side, side, 3) uint8."""
        return self._network(np.ascontiguousarray(views))[0]


def _in_float32(model: keras.Model) -> keras.Model:
    """The same network with the same weights, all of whose layers compute in float32."""

    def whole(layer: keras.layers.Layer) -> keras.layers.Layer:
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=whole, recursive=True)
    copy.set_weights(model.get_weights())
    return copy
