"""Training and prediction on a GPU: lmk's networks under Keras beside timm's same architectures in PyTorch.

Each network is trained on random photos at its recipe's size in mixed bfloat16, all layers: lmk as its trainer does
(`fit` over batches in host memory, its loss and GAP), timm in channels-last memory under torch.compile with a fused
Adam. Every network of either side has a process of its own. All of them build and compile first: timm's beside each
other, lmk's one after another, since XLA times its algorithms on the card. Then they are timed in turns, one at a time,
while the others wait. The share of the card's matrix peak takes a training step's operations as three times those of a
pass, and the peak as that of a large bfloat16 matrix product measured in the same call. With --out the figures are
written after each network, so that a run that is cut short leaves what it has measured.

    python -m benchmarks.gpu --backend jax --out gpu.json
    python -m benchmarks.gpu --device cpu --batch 2 --steps 1 --rounds 1 --side 96        (tries it without a GPU)
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.output import parser, show
from lmk.util.errors import LmkError
from lmk.util.files import write_json

NETWORKS = {
    "vgg16-bottleneck": "vgg16",
    "xception-gem": "legacy_xception",
    "efficientnet-gem": "efficientnet_b0",
}
"""timm's name of each recipe's architecture."""
CLASSES, BATCH, STEPS, ROUNDS = 1000, 128, 40, 3
FIGURES = ("training", "prediction")
PATIENCE = 150.0
"""Seconds until a worker that does not answer is given up."""


@dataclass(eq=False)
class Worker:
    """A process that holds one network of one side, compiled, and times it when it is asked.

    Attributes:
        patience: Seconds that it may take to answer.
        ready: What it said when it had compiled; None before, or where it failed.
        failed: Why it gave up, in its own words.
        rates: Images a second by figure, one a round.
    """

    side: str
    recipe: str
    words: Sequence[str]
    patience: float = PATIENCE
    ready: dict | None = None
    failed: str = ""
    rates: dict[str, list[float]] = field(default_factory=lambda: {figure: [] for figure in FIGURES})
    last: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.gpu", "--worker", self.side, "--network", self.recipe]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  - as long-lived as the process
        self._process = subprocess.Popen(
            [*command, *self.words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self) -> None:
        """Until it has compiled, or failed."""
        if self.ready is None and not self.failed:
            self.ready = self._answer()

    def time(self, figure: str) -> None:
        """Have it time training or prediction once."""
        self.wait()
        if self.failed:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(figure + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        if answer is not None:
            self.rates[figure].append(answer["images_a_second"])
            self.last = answer

    def end(self) -> None:
        """Let it leave the card."""
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._lines.put(line)
        self._lines.put("")

    def _answer(self) -> dict | None:
        try:
            line = self._lines.get(timeout=self.patience)
        except queue.Empty:
            self.failed = f"no answer in {self.patience:g} s"
            self._process.kill()
            return None
        if line:
            return json.loads(line)
        self._errors.seek(0)
        self.failed = self._errors.read().strip()[-400:] or "it ended without a word"
        return None


def run(
    words: Sequence[str], rounds: int, recipes: Sequence[str], out: Path | None = None, patience: float = PATIENCE
) -> dict[str, object]:
    """Images a second of training and prediction of each network on both sides, and shares of the matrix peak.

    Args:
        words: Options of the workers, as `main` reads them.
        rounds: Turns whose median counts.
        recipes: Keys of `NETWORKS`.
        out: File that is written anew after each network.
        patience: Seconds that a worker may take to compile or to time.

    Raises:
        LmkError: The matrix product could not be timed.
    """
    command = [sys.executable, "-m", "benchmarks.gpu", "--worker", "peak", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LmkError(f"The matrix product could not be timed: {done.stderr.strip()[-400:]}")
    peak = json.loads(done.stdout.splitlines()[-1])
    workers: dict[tuple[str, str], Worker] = {}
    found: dict[str, object] = {"card": peak["card"], "matrix_tflops": peak["tflops"], "options": list(words)}
    try:
        for recipe in recipes:
            workers["timm", recipe] = Worker("timm", recipe, words, patience)
        for recipe in recipes:
            workers["lmk", recipe] = Worker("lmk", recipe, words, patience)
            workers["lmk", recipe].wait()
        for worker in workers.values():
            worker.wait()
        rows = []
        for recipe in recipes:
            pair = [workers["lmk", recipe], workers["timm", recipe]]
            for _ in range(rounds):
                for worker in pair:
                    for figure in FIGURES:
                        worker.time(figure)
            for worker in pair:
                worker.end()
            rows.append(_row(recipe, *pair, peak["tflops"]))
            found["rows"] = rows
            if out is not None:
                write_json(out, found)
    finally:
        for worker in workers.values():
            worker.end()
    return found


def _row(recipe: str, ours: Worker, theirs: Worker, tflops: float) -> dict[str, object]:
    """Figures of one network."""
    row: dict[str, object] = {"recipe": recipe}
    for worker in (ours, theirs):
        for figure, operations in zip(FIGURES, (6e9, 2e9), strict=True):
            rates = worker.rates[figure]
            if rates and worker.ready:
                row[f"{worker.side} {figure}"] = median(rates)
                macs = worker.ready["giga_macs"]
                row[f"{worker.side} {figure} share of peak"] = operations * macs * median(rates) / (tflops * 1e12)
        row[f"{worker.side} peak GB"] = worker.last.get("gigabytes", 0.0)
        row[f"{worker.side} compiled in s"] = worker.ready["seconds"] if worker.ready else 0.0
        if worker.failed:
            row[f"{worker.side} failed"] = worker.failed
    for figure in FIGURES:
        if ours.rates[figure] and theirs.rates[figure]:
            row[f"{figure} ratio"] = median(ours.rates[figure]) / median(theirs.rates[figure])
    return row


Ways = dict[str, Callable[[int], None]]
"""Training and prediction, each of so many batches."""


def _giga_macs(recipe_name: str, side: int | None) -> float:
    """Billions of multiply-adds of a network's pass over one view."""
    from lmk.models.backbones.catalogue import backbone_named
    from lmk.models.recipe_files import find_recipe

    recipe = find_recipe(recipe_name)
    backbone = backbone_named(recipe.backbone)
    return backbone.giga_macs * ((side or recipe.image_size) / backbone.image_size) ** 2


def _lmk(recipe_name: str, side: int | None, batch: int, device: str) -> tuple[Ways, Callable[[], float]]:
    """Both ways, and the card's peak memory in GB."""
    import keras
    import numpy as np

    from lmk.models.batch_metrics import TrainingMetric
    from lmk.models.device import computing_in, jit_for_device, predict
    from lmk.models.losses import make_loss
    from lmk.models.network import build_extractor, build_network
    from lmk.models.recipe_files import find_recipe
    from lmk.models.schedules import make_optimizer

    recipe = find_recipe(recipe_name)
    size = side or recipe.image_size
    recipe = replace(recipe, image_size=size)
    with computing_in("mixed_bfloat16"):
        network = build_network(recipe, build_extractor(recipe, "none"), CLASSES)
        whole = network.whole()
    counts = np.ones(CLASSES, int)
    loss = make_loss(recipe.loss, network.head, counts, recipe.background, recipe.label_smoothing, recipe.weigh_classes)
    optimizer = make_optimizer(recipe.optimizer, 1e-4, {}, recipe.weight_decay)
    metric = TrainingMetric(network.head, recipe.background)
    whole.compile(optimizer=optimizer, loss=loss, metrics=[metric], jit_compile=jit_for_device())
    views, classes = _photos(batch, size)

    class Batches(keras.utils.PyDataset):
        """The same photos again and again."""

        def __init__(self, count: int):
            super().__init__()
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray]:
            return views, classes

    def train(count: int) -> None:
        whole.fit(Batches(count), epochs=1, verbose=0, shuffle=False)

    def answer(count: int) -> None:
        for _ in range(count):
            predict(network.extractor, views)

    def gigabytes() -> float:
        if keras.backend.backend() == "jax":
            import jax

            return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 1e9
        return _card_gigabytes() if device == "cuda" else 0.0

    return {"training": train, "prediction": answer}, gigabytes


def _timm(recipe_name: str, side: int | None, batch: int, device: str) -> tuple[Ways, Callable[[], float]]:
    """Both ways, and the card's peak memory in GB."""
    import timm
    import torch

    from lmk.models.recipe_files import find_recipe

    size = side or find_recipe(recipe_name).image_size
    model = timm.create_model(NETWORKS[recipe_name], num_classes=CLASSES)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    compiled = torch.compile(model) if device == "cuda" else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=device == "cuda")
    views, classes = map(torch.from_numpy, _photos(batch, size))
    classes = classes.long()
    if device == "cuda":
        views, classes = views.pin_memory(), classes.pin_memory()

    def given() -> torch.Tensor:  # from the host's memory each time, as Keras gets them
        photos = views.to(device, non_blocking=True).permute(0, 3, 1, 2)
        return photos.to(torch.float32).div(255).contiguous(memory_format=torch.channels_last)

    def train(count: int) -> None:
        model.train()
        for _ in range(count):
            with torch.autocast(device, torch.bfloat16):
                output = compiled(given())
                loss = torch.nn.functional.cross_entropy(output, classes.to(device, non_blocking=True))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        loss.item()  # waits for all steps

    def answer(count: int) -> None:
        model.eval()
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            for _ in range(count):
                compiled(given()).float().cpu().numpy()

    def gigabytes() -> float:
        return torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0

    return {"training": train, "prediction": answer}, gigabytes


def _photos(batch: int, side: int):
    """Random views (b, side, side, 3) uint8 and classes (b,) int32."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (batch, side, side, 3), np.uint8), rng.integers(0, CLASSES, batch).astype(np.int32)


def _work(ways: Ways, gigabytes: Callable[[], float], macs: float, batch: int, steps: int) -> None:
    """What a worker does: compile, say so, then time what each line of stdin names."""
    start = time.perf_counter()
    for way in ways.values():
        way(3)
    _say({"seconds": time.perf_counter() - start, "giga_macs": macs})
    for line in sys.stdin:
        way = ways[line.strip()]
        way(2)  # the card may have slept while others were timed
        start = time.perf_counter()
        way(steps)
        seconds = time.perf_counter() - start
        _say({"images_a_second": batch * steps / seconds, "gigabytes": gigabytes()})


def _say(found: dict[str, object]) -> None:
    print(json.dumps(found), flush=True)


def _peak(device: str) -> dict[str, object]:
    """The card's name, and 10^12 operations a second of a large bfloat16 matrix product on random numbers."""
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


def _card_gigabytes() -> float:
    """Memory of the card in use by all processes, as the driver reports it; 0 without a card."""
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0.0
    return float(done.stdout.split()[0]) / 1024


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.gpu`."""
    options = parser("gpu", __doc__)
    options.add_argument("--backend", default="jax", choices=("jax", "torch", "tensorflow"))
    options.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options.add_argument("--side", type=int, help="of the images; default: the recipe's")
    options.add_argument("--batch", type=int, default=BATCH)
    options.add_argument("--steps", type=int, default=STEPS)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--recipe", action="append", choices=tuple(NETWORKS), help="repeat it; default: all")
    options.add_argument("--patience", type=float, default=PATIENCE, help="seconds until a worker is given up")
    options.add_argument("--out", type=Path, help="JSON file that is written after each network")
    options.add_argument("--worker", choices=("lmk", "timm", "peak"), help="what a process of the benchmark does")
    options.add_argument("--network", default="", help="of a worker")
    given = options.parse_args(words)
    if given.worker is None:
        shared = ["--backend", given.backend, "--device", given.device]
        shared += ["--batch", str(given.batch), "--steps", str(given.steps)]
        shared += ["--side", str(given.side)] if given.side else []
        show(run(shared, given.rounds, given.recipe or tuple(NETWORKS), given.out, given.patience), given.json)
    elif given.worker == "peak":
        _say(_peak(given.device))
    else:
        if given.worker == "lmk":
            os.environ["KERAS_BACKEND"] = given.backend
            os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the other processes need memory, too
        build = _lmk if given.worker == "lmk" else _timm
        ways, gigabytes = build(given.network, given.side, given.batch, given.device)
        _work(ways, gigabytes, _giga_macs(given.network, given.side), given.batch, given.steps)


if __name__ == "__main__":
    main()
