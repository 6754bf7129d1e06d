"""Cost of a whole run at any size: seconds, GPU hours, disk and memory by stage, before anything is there.

A step's cost is a sum of products of counts (photos, views, landmarks, pairs) and rates. Where a workspace holds runs,
the steps of a stage are scaled by what the stage took there beside what this arithmetic says of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil

from lmk.data.sizes import Size
from lmk.local.delf import SCALES
from lmk.local.kinds import DELF, LOCAL_FEATURES, kinds_of
from lmk.local.rootsift import RootSift
from lmk.models.backbones.catalogue import BACKBONES, backbone_named
from lmk.models.delf.recipe import DelfTraining
from lmk.models.recipe import HEAD_ONLY, Recipe
from lmk.pipeline.amounts import (
    compared_photos,
    descriptor_width,
    dev_queries,
    feature_width,
    local_bytes,
    stored_bytes,
)
from lmk.pipeline.config import CONTEXT_CANDIDATES, Config
from lmk.pipeline.costs import PROCESS, Cost, Work, work_of_passes, work_of_views
from lmk.pipeline.delf import PCA_PHOTOS, pca_zoom
from lmk.pipeline.described import BUDGET, NEIGHBOURS
from lmk.pipeline.rates import Gpu, Rates
from lmk.pipeline.recorded import config_of_run
from lmk.pipeline.steps import (
    DELF_NETWORK,
    ENSEMBLE,
    FUSED,
    RETRIEVAL,
    SPREAD,
    SPREAD_FUSED,
    VERIFICATION,
    context_of,
    features_of,
    local_of,
    networks_of,
)
from lmk.retrieval.neighbours import HALF_FROM
from lmk.retrieval.whitening import DIMENSIONS
from lmk.runs import all_records
from lmk.util.errors import LmkError
from lmk.util.store import IN_MEMORY
from lmk.util.workspace import Workspace

log = logging.getLogger(__name__)

TRAINING_PASSES = 3.0
"""Passes' worth of a training step on a photo: forward and backward."""
STATES = 4
"""Arrays as large as the weights that training holds: weights, gradients and two moments."""
DELF_PASSES = 45.0
"""Cost of DELF's seven scales of a photo of 480 x 360 pixels, in passes of its backbone at 224 x 224."""
DELF_LEAST = 0.02
"""Share of it that does not depend on a photo's size: of photos of 96 pixels sixteen go together, each in a
17th of the time of one of 480 pixels."""
SIFT_LEAST = 0.3
"""Share of RootSIFT's time that does not depend on the pixels it searches: half the side takes half the time."""
FULL_OF_FEATURES = 0.25
"""Pixels searched, as a share of those of a photo of `RootSift.side`, from which on a photo has nearly all features
that are kept: 690 of 800 at 240 pixels."""
NEIGHBOURS_APART = 0.4
"""Training photos in the graphs, as a share of the verified pairs: popular ones are in several."""
BLOCKS = 1.0e9
"""Bytes of blocks of cosines and of descriptors that retrieval works on."""
ROW = 430.0
"""Bytes of a row of the tables in memory, as they are read: measured by `python -m benchmarks.scale`."""
PAIR_LEAST = 0.2
"""Share of a pair's time that does not depend on how many features its photos have."""
FETCH, PHOTOS, SUBMISSION = "fetch", "photos", "submission"


Factors = Mapping[str, tuple[float, str]]
"""Times by stage, as a run counts them: those taken beside those of the rates, and the name of the run."""


def forecast(
    size: Size, config: Config, rates: Rates, gpu: Gpu, jobs: int, fetched: bool = True, factors: Factors | None = None
) -> list[Cost]:
    """The steps in order.

    Args:
        size: Counts of the competition.
        config: The run.
        rates: Rates of two cores.
        gpu: What networks would run on beside.
        jobs: Processes for photos and pairs.
        fetched: Whether the photos are there.
        factors: As `measured_factors` finds them.
    """
    costs = []
    for cost in _costs(size, config, rates, gpu, jobs, fetched):
        factor, run = (factors or {}).get(cost.stage, (1.0, ""))
        costs.append(replace(cost, seconds=factor * cost.seconds, scaled_by=run))
    return costs


def measured_factors(workspace: Workspace, rates: Rates, gpu: Gpu, jobs: int) -> Factors:
    """Times of the stages of a workspace's runs, beside what the rates say of them.

    A stage whose features an earlier run had stored took less than it costs, so the longest run of each counts.
    """
    found: dict[str, tuple[float, str]] = {}
    for record in all_records(workspace.runs):
        try:
            costs = forecast(Size.of_dict(record.size), config_of_run(record), rates, gpu, jobs)
        except (ValueError, KeyError, TypeError, AttributeError, LmkError) as error:
            log.info("%s gives no rates: %r.", record.run, error)  # of another version of lmk, say
            continue
        said: dict[str, float] = {}
        for cost in costs:
            said[cost.stage] = said.get(cost.stage, 0.0) + cost.seconds
        for stage, seconds in record.spent.items():
            if said.get(stage):
                found[stage] = max(found.get(stage, (0.0, "")), (seconds / said[stage], record.run))
    return found


def _trainings(config: Config, size: Size) -> int:
    """Networks trained of each recipe."""
    return 1 + config.refit if config.holds_out(size.train) else config.folds + 1


def _costs(size: Size, config: Config, rates: Rates, gpu: Gpu, jobs: int, fetched: bool) -> Iterator[Cost]:
    tables = PROCESS + ROW * size.photos
    bytes_of_photos = 1e3 * size.kilobytes * size.photos
    if not fetched:
        by_address = size.photos / rates["addresses"].value
        by_folder = bytes_of_photos / 1e6 / rates["line"].value
        yield Cost(FETCH, FETCH, by_address if size.by_address else by_folder, disk=bytes_of_photos, memory=tables)
    yield Cost(PHOTOS, PHOTOS, bytes_of_photos / 1e6 / rates["reading"].value / jobs, memory=tables)
    for recipe in config.recipes:
        yield from _recipe_costs(size, config, rates, gpu, recipe, tables)
    if config.ensemble:
        yield from _ensemble_costs(size, config, rates, gpu, jobs, tables)
    yield Cost(SUBMISSION, SUBMISSION, size.test * rates["writing"].value, memory=tables)


def _ensemble_costs(size: Size, config: Config, rates: Rates, gpu: Gpu, jobs: int, tables: float) -> Iterator[Cost]:
    asked = dev_queries(config, size)
    if config.spreads:
        for recipe in config.recipes:
            yield _context(size, config, rates, gpu, recipe, tables)
    if config.like is None:
        yield _retrieval(size, config, rates, gpu, tables)
    fitting = rates["stage"].value + asked * rates["fitting"].value
    yield Cost(ENSEMBLE, ENSEMBLE, fitting, memory=tables)
    kinds = kinds_of(config.local_features)
    for kind in kinds:
        yield from _local_features(size, config, rates, gpu, jobs, kind, tables)
    if config.spreads:
        yield _spread(size, config, rates, gpu, jobs, tables)
    proposals = (asked + size.test) * config.candidates
    if config.spreads:  # at the most: the folds agree about many
        proposals += _contexts(config, size) * size.test * min(CONTEXT_CANDIDATES, config.candidates)
    pairs = proposals * size.compared(config.gallery)
    seconds, on_gpu = _comparing(size, rates, gpu, jobs, kinds, pairs)
    yield Cost(VERIFICATION, VERIFICATION, seconds, on_gpu, 5e2 * pairs * len(kinds), memory=tables)
    yield Cost(FUSED, FUSED, fitting, memory=tables)
    if config.spreads_fused:
        yield Cost(SPREAD_FUSED, SPREAD_FUSED, fitting, memory=tables)


def _contexts(config: Config, size: Size) -> int:
    """Times that the test photos are answered besides for the submission: by the networks of folds or of a holdout."""
    return _trainings(config, size) - 1


def _context(size: Size, config: Config, rates: Rates, gpu: Gpu, recipe: Recipe, tables: float) -> Cost:
    """The test photos as the networks of each fold answer them."""
    asked = float(_contexts(config, size) * size.test)
    weights = head_weights(recipe, size.landmarks)
    start = _contexts(config, size) * rates["network start"].value
    work = Work(product=asked * recipe.views * weights, scores=asked * size.landmarks, fixed=start)
    if not recipe.frozen:
        work += work_of_views(recipe, asked)
    on_gpu = work.gpu_seconds(rates, gpu, size.kilobytes)
    disk = 0.0 if recipe.frozen else asked * descriptor_width(config, recipe) * 2.0
    return Cost(context_of(recipe.name), SPREAD, work.seconds(rates), on_gpu, disk, memory=tables + BLOCKS)


def _spread(size: Size, config: Config, rates: Rates, gpu: Gpu, jobs: int, tables: float) -> Cost:
    """Pairs of photos within the budget, and local features of those that are in no gallery."""
    nodes = dev_queries(config, size) + size.test * (1 + _contexts(config, size))
    pairs = min(BUDGET, nodes * NEIGHBOURS)
    further = min(NEIGHBOURS_APART * pairs, size.photos - compared_photos(config, size))
    kinds = kinds_of(config.local_features)
    comparing, with_gpu = _comparing(size, rates, gpu, jobs, kinds, pairs)
    seconds, on_gpu = rates["stage"].value + comparing, rates["stage"].value + (with_gpu or comparing)
    disk = 1e2 * pairs * len(kinds)
    for kind in kinds:
        extraction, with_gpu = _extraction(size, config, rates, gpu, jobs, kind, further)
        seconds, on_gpu = seconds + extraction, on_gpu + (with_gpu or extraction)
        disk += local_bytes(config, size, kind) * further / max(1, compared_photos(config, size))
    return Cost(SPREAD, SPREAD, seconds, on_gpu if on_gpu < seconds else 0.0, disk, memory=tables)


def _comparing(
    size: Size, rates: Rates, gpu: Gpu, jobs: int, kinds: Sequence[str], pairs: float
) -> tuple[float, float]:
    """Seconds to compare pairs of photos by each kind, and with the GPU; 0 where no network matches, as in `Cost`."""
    fitted = len(kinds) * pairs * pair_cost(size) / rates["pairs"].value / jobs
    matchers = [LOCAL_FEATURES[kind].matching for kind in kinds]
    work = work_of_passes("", sum(1e9 * matching.giga_macs * pairs for matching in matchers if matching))
    if not work.network:
        return fitted, 0.0
    return fitted + work.seconds(rates), fitted + work.gpu_seconds(rates, gpu, size.kilobytes)


def pixels_searched(size: Size) -> float:
    """Pixels in which RootSIFT searches a photo, as a share of those of a photo of `RootSift.side`."""
    extractor = RootSift()
    return min(1.0, extractor.enlarge * size.side / extractor.side) ** 2


def pair_cost(size: Size) -> float:
    """Time of a pair of photos as a share of that of photos of `RootSift.side`: tiny ones have fewer features."""
    return PAIR_LEAST + (1 - PAIR_LEAST) * min(1.0, pixels_searched(size) / FULL_OF_FEATURES)


def _delf_backbone(config: Config) -> str:
    """The backbone that DELF's network has, or one like that of a published one."""
    return config.delf if config.delf in BACKBONES else "mobilenetv2"


def _delf_passes(size: Size, backbone: str, photos: float) -> Work:
    """DELF's features of so many photos, each in its own size, which nothing enlarges."""
    pixels = min(1.0, size.side / RootSift().side) ** 2
    macs = backbone_named(backbone).giga_macs * 1e9 * DELF_PASSES * (DELF_LEAST + (1 - DELF_LEAST) * pixels)
    return work_of_passes(backbone, photos * macs, photos)


def _pca_pixels(photos: float) -> float:
    """Share of DELF's pixels that the PCA's features of so many photos are taken from."""
    zoom = pca_zoom(int(photos))
    return sum(scale**2 for scale in SCALES if scale <= zoom) / sum(scale**2 for scale in SCALES)


def _recipe_costs(size: Size, config: Config, rates: Rates, gpu: Gpu, recipe: Recipe, tables: float) -> Iterator[Cost]:
    """Features, networks and answers of a recipe."""
    for step, (work, disk, memory) in _recipe(size, config, rates, recipe).items():
        seconds, on_gpu = work.seconds(rates), work.gpu_seconds(rates, gpu, size.kilobytes)
        yield Cost(step, recipe.name, seconds, on_gpu, disk, _mapped(disk), tables + memory)


def _recipe(size: Size, config: Config, rates: Rates, recipe: Recipe) -> dict[str, tuple[Work, float, float]]:
    """Work, bytes stored and bytes held of each step of a recipe."""
    trainings = _trainings(config, size)
    photos = size.train + size.distractors
    asked = dev_queries(config, size) + size.test
    width = feature_width(recipe)
    weights = head_weights(recipe, size.landmarks)
    found: dict[str, tuple[Work, float, float]] = {}
    if recipe.stages[0].train_from is None:
        seen = photos + (size.test if recipe.frozen else 0)
        disk = seen * recipe.views * width * 2.0
        work = work_of_views(recipe, seen) + Work(fixed=rates["start"].value)
        found[features_of(recipe.name)] = (work, disk, BLOCKS)
    work = Work(fixed=trainings * rates["network start"].value)
    for stage in recipe.stages:
        frozen = stage.train_from is None
        passes = 1.0 if stage.train_from == HEAD_ONLY else TRAINING_PASSES
        steps = photos * (recipe.views if frozen else 1) / stage.batch_size  # of an epoch
        steps = trainings * stage.epochs * (steps if stage.steps is None else min(steps, stage.steps))
        views = steps * stage.batch_size
        one_pass = recipe.giga_macs * 1e9 / (2 if recipe.dense else recipe.views)
        if not frozen:
            work += work_of_passes(recipe.backbone, views * one_pass * passes, views)
        work += Work(
            product=views * weights * TRAINING_PASSES,
            updated=steps * weights * 4 * (STATES + 2),
            fixed=steps * rates["step"].value,
        )
    features = found[features_of(recipe.name)][1] if found else 0.0
    held = min(features, IN_MEMORY) + 4 * STATES * weights + BLOCKS
    found[networks_of(recipe.name)] = (work, trainings * 4 * weights, held)
    work = Work(product=asked * recipe.views * weights, scores=asked * size.landmarks)
    if not recipe.frozen:
        work += work_of_views(recipe, asked)
    stored = 0.0 if recipe.frozen else asked * descriptor_width(config, recipe) * 2.0
    found[recipe.name] = (work, stored, held)
    return found


def head_weights(recipe: Recipe, landmarks: int) -> float:
    """Weights between a view's features and the scores of so many landmarks."""
    widths = [feature_width(recipe), *recipe.hidden, *([recipe.descriptor] if recipe.descriptor else []), landmarks]
    return float(sum(left * right for left, right in pairwise(widths)))


def _retrieval(size: Size, config: Config, rates: Rates, gpu: Gpu, tables: float) -> Cost:
    """Descriptors by networks of every part where those differ, whitening, and kNN."""
    networks = _trainings(config, size)
    gallery = size.train + size.distractors
    asked = dev_queries(config, size) + size.test
    widths = [descriptor_width(config, recipe) for recipe in config.recipes]
    width = sum(widths)
    whitening = float(networks) * gallery * width * (width + DIMENSIONS)
    if config.spreads:  # each fold answers the test photos, too, and their graph is searched beside
        asked += _contexts(config, size) * size.test
    compared = float(asked) * gallery * (2 if config.spreads else 1)
    alone = Work(product=whitening + compared * min(width, DIMENSIONS), scores=compared).seconds(rates)
    work = Work(fixed=rates["stage"].value + alone)  # on the processor in any case
    for recipe in config.recipes:
        if not recipe.frozen:
            work += work_of_views(recipe, networks * gallery)
    # Descriptors of each network and side by side, beside the features that one of them is made of.
    stored = [stored_bytes(recipe, size.photos) for recipe in config.recipes if recipe.frozen]
    scratch = _mapped(2 * 4.0 * (gallery + asked) * width) + _mapped(max(stored, default=0.0))
    disk = sum(
        2.0 * networks * gallery * width
        for recipe, width in zip(config.recipes, widths, strict=True)
        if not recipe.frozen
    )
    whitened = gallery * DIMENSIONS * 4.0
    memory = tables + whitened * (1.5 if whitened > HALF_FROM else 1.0) + BLOCKS + min(scratch, IN_MEMORY)
    on_gpu = work.gpu_seconds(rates, gpu, size.kilobytes) if work.network else 0.0
    return Cost(RETRIEVAL, RETRIEVAL, work.seconds(rates), on_gpu, disk, scratch, memory)


def _mapped(size: float) -> float:
    """Bytes of an array that go to a file and not to memory."""
    return size if size > IN_MEMORY else 0.0


def _local_features(
    size: Size, config: Config, rates: Rates, gpu: Gpu, jobs: int, kind: str, tables: float
) -> Iterator[Cost]:
    """Local features of the queries, and of the galleries that are compared with them."""
    photos = compared_photos(config, size)
    if kind == DELF:
        yield _delf_network(size, rates, gpu, _delf_backbone(config), tables)
    seconds, on_gpu = _extraction(size, config, rates, gpu, jobs, kind, photos)
    disk = local_bytes(config, size, kind)
    yield Cost(local_of(kind), VERIFICATION, seconds, on_gpu, disk, _mapped(disk), tables + min(disk, IN_MEMORY))


def _extraction(
    size: Size, config: Config, rates: Rates, gpu: Gpu, jobs: int, kind: str, photos: float
) -> tuple[float, float]:
    """Seconds of the local features of so many photos, without and with the GPU; 0 where it does not help."""
    found = LOCAL_FEATURES[kind]
    if found.factory is not None:  # no network, so that a GPU does not help
        seconds = rates[kind].value if kind in rates else found.seconds
        return photos * (SIFT_LEAST + (1 - SIFT_LEAST) * pixels_searched(size)) * seconds / jobs, 0.0
    if kind == DELF:
        work = _delf_passes(size, _delf_backbone(config), photos)
    else:
        work = work_of_passes("", photos * found.giga_macs * 1e9, photos)
    return work.seconds(rates), work.gpu_seconds(rates, gpu, size.kilobytes)


def _delf_network(size: Size, rates: Rates, gpu: Gpu, backbone: str, tables: float) -> Cost:
    """Attention trained on feature maps that are computed once, and the PCA of features."""
    training = DelfTraining()
    views = min(size.train, training.photos) * training.views
    side = (training.side / backbone_named(backbone).image_size) ** 2
    steps = training.epochs * ceil(views / training.batch_size)
    work = work_of_passes(backbone, views * side * backbone_named(backbone).giga_macs * 1e9, views)
    work += _delf_passes(size, backbone, min(size.train, PCA_PHOTOS) * _pca_pixels(size.train))
    work += Work(fixed=rates["start"].value + steps * rates["attention"].value)
    return Cost(
        DELF_NETWORK, VERIFICATION, work.seconds(rates), work.gpu_seconds(rates, gpu, size.kilobytes), memory=tables
    )
