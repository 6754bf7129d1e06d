"""Training and prediction on a GPU: lmk's networks under Keras beside timm's same architectures in PyTorch.

Each network is trained on random photos at its recipe's size with mixed bfloat16: lmk compiles a step by the
backend of --backend, timm runs in channels-last memory under torch.compile. Each side works in a process of its own,
in turns. The share of the card's matrix peak takes a step's operations as three times those of
a pass, and the peak as that of a large bfloat16 matrix product measured in the same call.

    lmk bench gpu --backend jax --json
    lmk bench gpu --device cpu --batch 2 --steps 1 --rounds 1 --side 96        (tries the script without a GPU)
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from benchmarks.output import parser, show
from lmk.util.errors import LmkError

NETWORKS = {
    "vgg16-bottleneck": "vgg16",
    "xception-gem": "legacy_xception",
    "efficientnet-gem": "efficientnet_b0",
}
"""timm's name of each recipe's architecture."""
CLASSES, BATCH, STEPS, ROUNDS = 1000, 128, 20, 3


def run(words: Sequence[str], rounds: int) -> dict[str, object]:
    """Images a second of training and prediction of each network, in turns, and the share of the matrix peak.

    Args:
        words: Options of the workers, as `main` reads them.
        rounds: Turns whose median counts.

    Raises:
        LmkError: A worker failed.
    """
    peak = _worker("peak", "", words)
    rows = []
    for recipe in NETWORKS:
        found: dict[str, list[dict[str, float]]] = {"lmk": [], "timm": []}
        for _ in range(rounds):
            for side, results in found.items():
                results.append(_worker(side, recipe, words))
        row: dict[str, object] = {"recipe": recipe}
        for side, results in found.items():
            for figure in ("training", "prediction"):
                row[f"{side} {figure}"] = median(result[figure] for result in results)
            row[f"{side} memory GB"] = max(result["gigabytes"] for result in results)
        flops = 6e9 * found["lmk"][0]["giga_macs"] * float(row["lmk training"])  # type: ignore[arg-type]
        row["training ratio"] = row["lmk training"] / row["timm training"]  # type: ignore[operator]
        row["prediction ratio"] = row["lmk prediction"] / row["timm prediction"]  # type: ignore[operator]
        row["share of peak"] = flops / (peak["tflops"] * 1e12)
        rows.append(row)
    return {"card": peak["card"], "matrix_tflops": peak["tflops"], "rows": rows}


def _worker(kind: str, recipe: str, words: Sequence[str]) -> dict:
    command = [sys.executable, "-m", "benchmarks.gpu", "--worker", kind, "--network", recipe, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LmkError(f"The worker `{kind} {recipe}` failed: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _lmk(recipe_name: str, side: int | None, batch: int, steps: int) -> dict[str, float]:
    import keras
    import numpy as np

    from lmk.models.backbones.catalogue import backbone_named
    from lmk.models.device import jit_for_device, on_all_devices
    from lmk.models.losses import make_loss
    from lmk.models.network import build_extractor, build_network
    from lmk.models.recipes import find_recipe
    from lmk.models.schedules import make_optimizer

    recipe = find_recipe(recipe_name)
    size = side or recipe.image_size
    recipe = replace(recipe, image_size=size)
    with on_all_devices():
        network = build_network(recipe, build_extractor(recipe, "none"), CLASSES)
        whole = network.whole()
    counts = np.ones(CLASSES, int)
    loss = make_loss(recipe.loss, network.head, counts, recipe.background, recipe.label_smoothing, recipe.weigh_classes)
    optimizer = make_optimizer(recipe.optimizer, 1e-4, {}, recipe.weight_decay)
    whole.compile(optimizer=optimizer, loss=loss, jit_compile=jit_for_device())
    rng = np.random.default_rng(0)
    views = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    classes = rng.integers(0, CLASSES, batch).astype(np.int32)
    training = _rate(lambda: float(np.asarray(whole.train_on_batch(views, classes)).ravel()[0]), batch, steps)
    prediction = _rate(lambda: np.asarray(whole.predict_on_batch(views)), batch, steps)
    backbone = backbone_named(recipe.backbone)
    macs = backbone.giga_macs * (size / backbone.image_size) ** 2
    return {
        "training": training,
        "prediction": prediction,
        "giga_macs": macs,
        "gigabytes": _card_gigabytes(),
        "backend": keras.backend.backend(),
    }


def _timm(recipe_name: str, side: int | None, batch: int, steps: int, device: str) -> dict[str, float]:
    import numpy as np
    import timm
    import torch

    from lmk.models.recipes import find_recipe

    size = side or find_recipe(recipe_name).image_size
    model = timm.create_model(NETWORKS[recipe_name], num_classes=CLASSES)
    model = model.to(device, memory_format=torch.channels_last)
    compiled = torch.compile(model) if device == "cuda" else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    rng = np.random.default_rng(0)
    views = torch.from_numpy(rng.integers(0, 256, (batch, size, size, 3), np.uint8))
    classes = torch.from_numpy(rng.integers(0, CLASSES, batch))

    def given() -> object:  # from the processor's memory each time, as Keras gets them
        photos = views.to(device, non_blocking=True).permute(0, 3, 1, 2)
        return photos.to(torch.float32).div(255).contiguous(memory_format=torch.channels_last)

    def step() -> float:
        model.train()
        with torch.autocast(device, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(compiled(given()), classes.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    def predict() -> object:
        model.eval()
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            return compiled(given()).float().cpu().numpy()

    return {
        "training": _rate(step, batch, steps),
        "prediction": _rate(predict, batch, steps),
        "gigabytes": _card_gigabytes(),
    }


def _peak(device: str) -> dict[str, object]:
    import torch

    size, count = (8192, 20) if device == "cuda" else (1024, 2)
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(count):
        a @ b
    wait()
    seconds = (time.perf_counter() - start) / count
    card = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return {"card": card, "tflops": 2 * size**3 / seconds / 1e12}


def _rate(work: Callable[[], object], batch: int, steps: int) -> float:
    """Images a second; the first calls compile and do not count. `work` returns only when its result is there."""
    for _ in range(2):
        work()
    start = time.perf_counter()
    for _ in range(steps):
        work()
    return batch * steps / (time.perf_counter() - start)


def _card_gigabytes() -> float:
    """Memory of the card in use by this process' side of the comparison, as the driver tells; 0 without a card."""
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0.0
    return float(done.stdout.split()[0]) / 1024


def main(words: Sequence[str] | None = None) -> None:
    """The command `lmk bench gpu`."""
    options = parser("gpu", __doc__)
    options.add_argument("--backend", default="jax", choices=("jax", "torch", "tensorflow"))
    options.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options.add_argument("--side", type=int, help="of the images; default: the recipe's")
    options.add_argument("--batch", type=int, default=BATCH)
    options.add_argument("--steps", type=int, default=STEPS)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--worker", choices=("lmk", "timm", "peak"), help="what a process of the benchmark does")
    options.add_argument("--network", default="", help="of a worker")
    given = options.parse_args(words)
    if given.worker is None:
        shared = ["--backend", given.backend, "--device", given.device]
        shared += ["--batch", str(given.batch), "--steps", str(given.steps)]
        shared += ["--side", str(given.side)] if given.side else []
        show(run(shared, given.rounds), given.json)
        return
    if given.worker == "lmk":
        os.environ["KERAS_BACKEND"] = given.backend
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # so that memory in use can be read off
        found = _lmk(given.network, given.side, given.batch, given.steps)
    elif given.worker == "timm":
        found = _timm(given.network, given.side, given.batch, given.steps, given.device)
    else:
        found = _peak(given.device)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
