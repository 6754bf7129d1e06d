"""What a whole run would cost at any size: seconds, GPU hours, disk and memory by stage, before anything is there.

Every stage's cost is a sum of products of counts (photos, views, landmarks, pairs) and rates. Where a workspace holds
runs, a stage's cost is scaled by what they took beside what this arithmetic says of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any

from lmk.data.sizes import Size
from lmk.local.delf import DelfOptions
from lmk.local.kinds import KINDS, ROOTSIFT
from lmk.local.rootsift import RootSift
from lmk.models.backbones.catalogue import BACKBONES, backbone_named
from lmk.models.recipes import Recipe
from lmk.pipeline.rates import GPU_CORES, GPU_SHARE, Gpu, Rates
from lmk.pipeline.steps import ENSEMBLE, FUSED, RETRIEVAL, Settings, recipe_of
from lmk.retrieval.neighbours import HALF_FROM
from lmk.retrieval.whitening import DIMENSIONS
from lmk.util.errors import LmkError
from lmk.util.store import IN_MEMORY
from lmk.util.workspace import Workspace

log = logging.getLogger(__name__)

TRAINING_PASSES = 3.0
"""Passes' worth of a training step on a photo: forward and backward."""
STATES = 4
"""Arrays as large as the weights that training holds: weights, gradients and two moments."""
DELF_PASSES = 27.0
"""What DELF's seven scales of a photo of 480 x 360 pixels cost, in passes of its backbone at 224 x 224."""
DELF_DIMENSIONS, SIFT_DIMENSIONS = 40, 128
PROCESS = 0.8e9
"""Bytes of a process with its libraries."""
BLOCKS = 1.0e9
"""Bytes of blocks of cosines and of descriptors that retrieval works on."""
ROW = 430.0
"""Bytes of a row of the tables in memory, as they are read: measured by `lmk bench scale`."""
FETCH, PHOTOS, LOCAL, PAIRS = "fetch", "photos", "local features", "pairs"
SUBMISSION = "submission"


Factors = Mapping[str, tuple[float, str]]
"""By stage, as a run counts its seconds: what it took beside what the rates say, and the name of the run."""


@dataclass(frozen=True)
class Cost:
    """What a stage costs.

    Attributes:
        stage: Its name.
        seconds: On this machine, without a GPU.
        gpu_seconds: With the GPU; 0 of what no GPU helps.
        disk: Bytes that stay.
        scratch: Bytes on the disk beside them while it runs: arrays that are too large for memory.
        memory: Bytes at the same time, at the most.
        scaled_by: The run by which `seconds` is scaled, empty where it is the rates' alone.
    """

    stage: str
    seconds: float
    gpu_seconds: float = 0.0
    disk: float = 0.0
    scratch: float = 0.0
    memory: float = PROCESS
    scaled_by: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Work:
    """What networks have to do: multiply-adds of backbones and of matrices, bytes updated, scores, photos read, and
    seconds that no GPU makes fewer."""

    network: float = 0.0
    product: float = 0.0
    scores: float = 0.0
    updated: float = 0.0
    read: float = 0.0
    fixed: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            *(mine + theirs for mine, theirs in zip(asdict(self).values(), asdict(other).values(), strict=True))
        )

    def seconds(self, rates: Rates) -> float:
        """On two cores; photos are read beside the work of networks."""
        network = self.network / rates["network"].value / 1e9
        products = self.product / rates["product"].value + self.scores / rates["choice"].value
        return self.fixed + network + (products + self.updated / rates["update"].value) / 1e9

    def gpu_seconds(self, rates: Rates, gpu: Gpu, kilobytes: float) -> float:
        """On a GPU, or as long as the cores beside it need to read the photos."""
        computing = (self.network + self.product) / (gpu.peak * 1e12 / 2 * GPU_SHARE)
        computing += self.updated / gpu.bandwidth / 1e9 + self.scores / rates["choice"].value / 1e9
        reading = self.read * kilobytes / 1e3 / rates["reading"].value / GPU_CORES
        return self.fixed + max(computing, reading)


def forecast(
    size: Size, settings: Settings, rates: Rates, gpu: Gpu, fetched: bool = True, factors: Factors | None = None
) -> list[Cost]:
    """The stages in order.

    Args:
        size: Of the competition.
        settings: Of the run.
        rates: Of two cores.
        gpu: What networks would run on beside.
        fetched: Whether the photos are there.
        factors: As `measured_factors` finds them.
    """
    costs = []
    for cost in _costs(size, settings, rates, gpu, fetched):
        factor, run = (factors or {}).get(timed_as(cost.stage), (1.0, ""))
        costs.append(replace(cost, seconds=factor * cost.seconds, scaled_by=run))
    return costs


def measured_factors(workspace: Workspace, rates: Rates, gpu: Gpu) -> Factors:
    """What the stages of a workspace's runs took, beside what the rates say of them.

    A stage whose features an earlier run had stored took less than it costs, so the dearest run of each counts.
    """
    found: dict[str, tuple[float, str]] = {}
    for path in sorted(workspace.runs.glob("*/run.json")):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            costs = forecast(Size.of_dict(facts["size"]), _settings(facts), rates, gpu)
            spent = {stage: float(seconds) for stage, seconds in facts["spent"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, LmkError) as error:
            log.info("%s teaches nothing: %r.", path, error)  # an earlier version's, damaged, or of a lost recipe
            continue
        said: dict[str, float] = {}
        for cost in costs:
            said[timed_as(cost.stage)] = said.get(timed_as(cost.stage), 0.0) + cost.seconds
        for stage, seconds in spent.items():
            if said.get(stage):
                found[stage] = max(found.get(stage, (0.0, "")), (seconds / said[stage], path.parent.name))
    return found


def _settings(facts: Mapping[str, Any]) -> Settings:
    known = {part.name for part in fields(Settings)}
    told = {name: value for name, value in facts["settings"].items() if name in known}
    return Settings(**told | {"recipes": tuple(told["recipes"])})


def timed_as(stage: str) -> str:
    """Under which name a run counts the seconds of a stage."""
    return "verification" if stage == PAIRS or stage.startswith(LOCAL) else stage


def _costs(size: Size, settings: Settings, rates: Rates, gpu: Gpu, fetched: bool) -> Iterator[Cost]:
    recipes = {name: recipe_of(settings, name) for name in settings.recipes}
    tables = PROCESS + ROW * size.photos
    bytes_of_photos = 1e3 * size.kilobytes * size.photos
    if not fetched:
        by_address = size.photos / rates["addresses"].value
        by_folder = bytes_of_photos / 1e6 / rates["line"].value
        yield Cost(FETCH, by_address if size.by_address else by_folder, disk=bytes_of_photos, memory=tables)
    yield Cost(PHOTOS, bytes_of_photos / 1e6 / rates["reading"].value / settings.jobs, memory=tables)
    for name, recipe in recipes.items():
        work, disk, memory = _recipe(size, settings, rates, recipe)
        seconds, on_gpu = work.seconds(rates), work.gpu_seconds(rates, gpu, size.kilobytes)
        yield Cost(name, seconds, on_gpu, disk, _mapped(disk), tables + memory)
    if not settings.ensemble:
        yield Cost(SUBMISSION, size.test * rates["writing"].value, memory=tables)
        return
    asked = size.queries(settings.share_without_landmark)
    yield _retrieval(size, settings, rates, gpu, recipes, tables)
    fitting = rates["stage"].value + asked * rates["fitting"].value
    yield Cost(ENSEMBLE, fitting, memory=tables)
    for kind in KINDS[settings.local_features]:
        yield _local_features(size, settings, rates, gpu, kind, tables)
    pairs = (asked + size.test) * settings.candidates * size.compared(settings.gallery)
    kinds = len(KINDS[settings.local_features])
    yield Cost(PAIRS, kinds * pairs / rates["pairs"].value / settings.jobs, disk=kinds * 5e2 * pairs, memory=tables)
    yield Cost(FUSED, fitting, memory=tables)
    yield Cost(SUBMISSION, size.test * rates["writing"].value, memory=tables)


def _recipe(size: Size, settings: Settings, rates: Rates, recipe: Recipe) -> tuple[Work, float, float]:
    """A recipe's work, the bytes it stores, and the bytes it holds."""
    networks = settings.folds + 1
    photos = size.train + size.distractors
    asked = size.queries(settings.share_without_landmark) + size.test
    width = feature_width(recipe)
    weights = head_weights(recipe, size.landmarks)
    one_pass = recipe.giga_macs * 1e9 / (2 if recipe.dense else recipe.views)
    work = Work(fixed=rates["start"].value + networks * rates["network start"].value)
    disk = 0.0
    if recipe.stages[0].train_from is None:
        seen = photos + (size.test if recipe.frozen else 0)
        work += Work(network=seen * recipe.giga_macs * 1e9, read=seen)
        disk += seen * recipe.views * width * 2
    for stage in recipe.stages:
        frozen = stage.train_from is None
        views = networks * stage.epochs * photos * (recipe.views if frozen else 1)
        steps = views / stage.batch_size
        work += Work(
            network=0.0 if frozen else views * one_pass * TRAINING_PASSES,
            product=views * weights * TRAINING_PASSES,
            updated=steps * weights * 4 * (STATES + 2),
            read=0.0 if frozen else views,
            fixed=steps * rates["step"].value,
        )
    if not recipe.frozen:
        work += Work(network=asked * recipe.giga_macs * 1e9, read=asked)
        disk += asked * width * 2
    work += Work(product=asked * recipe.views * weights, scores=asked * size.landmarks)
    stored = disk + networks * 4 * weights
    return work, stored, min(disk, IN_MEMORY) + 4 * STATES * weights + BLOCKS


def feature_width(recipe: Recipe) -> int:
    """Numbers of a view that the head gets."""
    backbone = backbone_named(recipe.backbone)
    cells = (recipe.image_size // backbone.stride) ** 2 if recipe.pooling == "flatten" else 1
    return backbone.channels * cells


def head_weights(recipe: Recipe, landmarks: int) -> float:
    """Weights between a view's features and the scores of so many landmarks."""
    widths = [feature_width(recipe), *recipe.hidden, *([recipe.descriptor] if recipe.descriptor else []), landmarks]
    return float(sum(left * right for left, right in pairwise(widths)))


def _retrieval(
    size: Size, settings: Settings, rates: Rates, gpu: Gpu, recipes: Mapping[str, Recipe], tables: float
) -> Cost:
    """Descriptors by networks of every fold where those differ, whitening, and kNN."""
    networks = settings.folds + 1
    gallery = size.train + size.distractors
    asked = size.queries(settings.share_without_landmark) + size.test
    width = sum(backbone_named(recipe.backbone).channels for recipe in recipes.values())
    whitening = float(networks) * gallery * width * (width + DIMENSIONS)
    compared = float(asked) * gallery
    alone = Work(product=whitening + compared * min(width, DIMENSIONS), scores=compared).seconds(rates)
    work = Work(fixed=rates["stage"].value + alone)  # on the processor in any case
    for recipe in recipes.values():
        if not recipe.frozen:
            work += Work(network=networks * gallery * recipe.giga_macs * 1e9, read=networks * gallery)
    scratch = _mapped(2 * 4.0 * (gallery + asked) * width)  # of each network, and side by side
    whitened = gallery * DIMENSIONS * 4.0
    memory = tables + whitened * (1.5 if whitened > HALF_FROM else 1.0) + BLOCKS + min(scratch, IN_MEMORY)
    on_gpu = work.gpu_seconds(rates, gpu, size.kilobytes) if work.network else 0.0
    return Cost(RETRIEVAL, work.seconds(rates), on_gpu, 0, scratch, memory)


def _mapped(size: float) -> float:
    """Of an array, the bytes that go to a file and not to memory."""
    return size if size > IN_MEMORY else 0.0


def _local_features(size: Size, settings: Settings, rates: Rates, gpu: Gpu, kind: str, tables: float) -> Cost:
    gallery = size.gallery(settings.gallery)
    asked = size.queries(settings.share_without_landmark)
    photos = gallery + asked * (1 - gallery / max(1, size.train)) + size.test
    if kind == ROOTSIFT:
        disk = photos * RootSift().max_features * (20 + SIFT_DIMENSIONS)
        seconds = photos * rates["rootsift"].value / settings.jobs
        return Cost(f"{LOCAL}: {kind}", seconds, 0, disk, _mapped(disk), tables + min(disk, IN_MEMORY))
    named = settings.delf if settings.delf in BACKBONES else "mobilenetv2"
    macs = backbone_named(named).giga_macs
    work = Work(network=photos * macs * 1e9 * DELF_PASSES, read=photos, fixed=rates["start"].value)
    disk = photos * DelfOptions().max_features * (20 + 2 * DELF_DIMENSIONS)
    on_gpu = work.gpu_seconds(rates, gpu, size.kilobytes)
    return Cost(f"{LOCAL}: {kind}", work.seconds(rates), on_gpu, disk, _mapped(disk), tables + min(disk, IN_MEMORY))
