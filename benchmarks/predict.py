"""Images a second of a recipe's network on a CPU: lmk beside plain Keras and the runtimes that a user would pick.

Every way gets the same weights and the same views. Runtimes are compared where they are installed: openvino,
onnxruntime (with onnx and tf2onnx), ai_edge_litert.

    python -m benchmarks.predict --recipe xception-gem --json
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from benchmarks.output import parser, show
from benchmarks.timing import in_turns
from lmk.models.device import POLICIES, on_all_devices
from lmk.models.network import build_extractor
from lmk.models.recipe_files import find_recipe
from lmk.models.runtimes import OpenVino

RECIPE, BATCH, ROUNDS = "mobilenetv2-gem", 16, 5


def run(recipe_name: str, weights: str = "none", rounds: int = ROUNDS, batch: int = BATCH) -> dict[str, object]:
    """Median rates of all ways, in turns, and how far their features are from those of Keras in float32.

    Args:
        recipe_name: Whose network predicts, at the recipe's size.
        weights: As for `make-submission`.
        rounds: Turns whose median counts.
        batch: Images at once.

    Returns:
        rows: Of each way: images a second, the ratio to plain `model.predict` in float32, the least cosine between
        its features and those.
    """
    recipe = find_recipe(recipe_name)
    side = recipe.image_size
    views = np.random.default_rng(0).integers(0, 256, (batch, side // 16, side // 16, 3), np.uint8)
    views = np.ascontiguousarray(views.repeat(16, axis=1).repeat(16, axis=2))[:, :side, :side]
    views = np.pad(views, ((0, 0), (0, side - views.shape[1]), (0, side - views.shape[2]), (0, 0)), mode="edge")
    keras.utils.set_random_seed(0)
    plain = build_extractor(recipe, weights)
    with tempfile.TemporaryDirectory() as folder:
        ways = _ways(plain, recipe_name, weights, views, Path(folder))
        reference = np.asarray(ways["keras predict, float32"]())
        found = {name: _least_cosine(np.asarray(way()), reference) for name, way in ways.items()}
        seconds = in_turns(ways, rounds)
    baseline = seconds["keras predict, float32"]
    rows = [
        {
            "way": name,
            "images_per_second": batch / seconds[name],
            "ratio": baseline / seconds[name],
            "least_cosine": found[name],
        }
        for name in ways
    ]
    return {"recipe": recipe_name, "side": side, "batch": batch, "rows": rows}


def _ways(
    plain: keras.Model, recipe_name: str, weights: str, views: np.ndarray, folder: Path
) -> dict[str, Callable[[], object]]:
    with on_all_devices(POLICIES["bf16"]):
        keras.utils.set_random_seed(0)
        half = build_extractor(find_recipe(recipe_name), weights)
    half.set_weights(plain.get_weights())
    ways: dict[str, Callable[[], object]] = {
        "keras predict, float32": partial(plain.predict, views, batch_size=len(views), verbose=0),
        "lmk float32": partial(plain.predict_on_batch, views),
        "lmk --precision bf16": partial(half.predict_on_batch, views),
    }
    if find_spec("openvino") is not None:
        for name, bf16 in (("lmk --runtime openvino", False), ("lmk --runtime openvino --precision bf16", True)):
            ways[name] = partial(OpenVino(plain, bf16).predict_on_batch, views)
    floats = views.astype(np.float32)
    if find_spec("onnxruntime") is not None and find_spec("tf2onnx") is not None:
        ways["onnxruntime, float32"] = _onnx(plain, floats, folder / "network.onnx")
    if find_spec("ai_edge_litert") is not None:
        ways["litert, float32"] = _litert(plain, floats, folder / "network.tflite")
    return ways


def _onnx(network: keras.Model, views: np.ndarray, path: Path) -> Callable[[], object]:
    import onnxruntime

    network.export(str(path), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: views})[0]


def _litert(network: keras.Model, views: np.ndarray, path: Path) -> Callable[[], object]:
    import os

    from ai_edge_litert.interpreter import Interpreter

    network.export(str(path), format="litert", verbose=False)
    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(given, views.shape)
    interpreter.allocate_tensors()

    def predict() -> object:
        interpreter.set_tensor(given, views)
        interpreter.invoke()
        return interpreter.get_tensor(made)

    return predict


def _least_cosine(found: np.ndarray, reference: np.ndarray) -> float:
    a, b = (values.reshape(-1, values.shape[-1]).astype(np.float64) for values in (found, reference))
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.predict`."""
    options = parser("predict", __doc__)
    options.add_argument("--recipe", default=RECIPE)
    options.add_argument("--weights", default="none")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--batch", type=int, default=BATCH)
    given = options.parse_args(words)
    from lmk.models.start import start_keras

    start_keras()
    show(run(given.recipe, given.weights, given.rounds, given.batch), given.json)


if __name__ == "__main__":
    main()
