"""Settings of a run: `Config` determines its results, `Execution` how they are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Literal, NamedTuple

from lmk.ensemble.fusion_rules import FUSIONS
from lmk.models.recipe import Recipe
from lmk.models.recipe_files import find_recipe
from lmk.retrieval.scores import KNN
from lmk.util import backend
from lmk.util.errors import LmkError
from lmk.util.progress import Progress, silent
from lmk.util.stopping import Stop
from lmk.util.workers import default_workers
from lmk.util.workspace import Workspace

TOP_K = 20
"""Landmarks that each source keeps a query; the right one is among the first 20 or not at all (docs/journal)."""
CANDIDATES = 5
"""Landmarks verified a query; a metric that looks at more of them needs more."""
CONTEXT_CANDIDATES = 3
"""Landmarks verified of a test photo as each fold answers it: the neighbours of dev queries need no more."""
STAGES = ("photos", "retrieval", "ensemble", "spread", "verification", "fused", "spread-fused", "delf", "submission")
"""Stages of a run besides its recipes, which cannot be named so."""
READ_SIDE = 1024
"""Longest side that photos are read at, in pixels; larger ones are scaled down while they are decoded."""
HOLDOUT_FROM = 20_000
"""Training photos above which dev is one held-out part by default: folds would train every network six times."""
HOLDOUT_QUERIES = 10_000
"""Dev queries of a held-out part: the 95 % interval of GAP is then about 0.01 wide."""
PAIRS = 1_000_000
"""Pairs of photos compared for the queries of dev and test: some ten minutes of two cores."""


Unreadable = Literal["last", "zero", "empty"]
"""Answer of a query without a readable photo: the most frequent landmark below all other answers, which cannot lower
GAP; that landmark with confidence 0, as the 19th place of 2018 published it; or none."""


class Backend(NamedTuple):
    """Library that computes networks: the version of Keras, and the name of its backend."""

    keras: str
    name: str

    def __str__(self) -> str:
        return f"{self.keras} {self.name}"


def backend_here() -> Backend:
    """Library that computes networks in this process.

    Raises:
        LmkError: As `lmk.util.backend.backend_here`.
    """
    return Backend(version("keras"), backend.backend_here().name)


@dataclass(frozen=True)
class Config:
    """All that determines the results of a run, given its competition.

    Attributes:
        recipes: Networks to train, in order.
        weights: Weights of the backbones: `imagenet`, `none`, `tiny`, or a file or folder.
        seed: Random seed for splits, training and verification.
        metric: The competition's metric, a name of `lmk.metrics.registry`.
        dev: `folds` holds out every part in turn, `holdout` one part; `auto` takes what suits the number of photos.
        folds: Parts of the split.
        dev_queries: Dev queries of a holdout, about.
        refit: Whether a holdout's networks are trained once more on all photos, to answer the test photos.
        share_without_landmark: Share of the dev queries that show no landmark, in (0, 1).
        ensemble: Whether the recipes and retrieval are blended, verified and fused.
        spread: Whether the answers of an ensemble are spread over photos that show the same place.
        each_network: Whether retrieval by each network's descriptors alone is blended, too.
        ridge: Whether a ridge head over the descriptors of all networks is blended, too.
        descriptor_width: Numbers to which a network's descriptors are projected for retrieval; None keeps all.
        retrieval: How landmarks are ranked by nearest photos, one of `lmk.retrieval.scores.SCORES`.
        fusion: Fusion rule, one of `lmk.ensemble.fusion_rules.FUSIONS`.
        local_features: Kinds of local features that verify, as `lmk.local.kinds.kinds_of` reads them.
        delf: Backbone that DELF trains on, or the folder of a published one; None takes what suits the weights.
        delf_tune: Epochs in which DELF's backbone learns before its attention does; 0 leaves it frozen.
        delf_attention: How DELF's attention learns: from vectors of a fixed length, or as published from their mean.
        like: Published system that the run follows, a name of `lmk.pipeline.likes.LIKES`; None for lmk's own way.
        comparison: How photos are compared, one of `lmk.local.compare.COMPARISONS`.
        passes: Passes of random galleries of a published system that has them.
        divisor: What the published sum divides inliers by, one of `lmk.ensemble.fusion_rules.DIVISORS`.
        candidates: Landmarks verified a query.
        gallery: Photos compared a landmark, at most.
        nearest: Whether these are the ones most like the query, in place of a seeded choice.
        pairs: Pairs of photos compared for queries at the most: see `lmk.pipeline.budget`.
        most_features: Local features kept of a photo at the most; None keeps as many as their kind does.
        enough: Inliers of one photo after which no more of its landmark are compared with a query; None compares all.
        precision: Number format of networks: `auto` (the device's fastest harmless one), `float32` or `bf16`.
        runtime: Inference engine on a CPU: `keras` or `openvino`.
        unreadable: Answer of a query without a readable photo.
        accepted: Steps whose stale result is accepted although their code has changed (`--keep-stale`).
    """

    recipes: tuple[Recipe, ...]
    weights: str = "imagenet"
    seed: int = 0
    metric: str = "gap"
    dev: Literal["auto", "folds", "holdout"] = "auto"
    folds: int = 5
    dev_queries: int = HOLDOUT_QUERIES
    refit: bool = False
    share_without_landmark: float = 0.6
    ensemble: bool = True
    spread: bool = True
    each_network: bool = False
    ridge: bool = True
    descriptor_width: int | None = None
    retrieval: str = KNN
    fusion: str = "learned"
    local_features: str = "rootsift"
    delf: str | None = None
    delf_tune: int = 0
    delf_attention: Literal["normalized", "published"] = "normalized"
    like: str | None = None
    comparison: Literal["default", "published"] = "default"
    passes: int = 1
    divisor: Literal["dev", "batch"] = "dev"
    candidates: int = CANDIDATES
    gallery: int = 32
    pairs: int = PAIRS
    most_features: int | None = None
    nearest: bool = False
    enough: int | None = None
    precision: str = "auto"
    runtime: str = "keras"
    unreadable: Unreadable = "last"
    accepted: tuple[str, ...] = ()

    @property
    def spreads(self) -> bool:
        """Whether the run has the steps that spread: an ensemble of lmk's own unless the options say otherwise."""
        return self.spread and self.ensemble and self.like is None

    @property
    def spreads_fused(self) -> bool:
        """Whether the fused lists are spread, too: not by a rule that answers only what the query's own comparisons
        confirm."""
        return self.spreads and FUSIONS[self.fusion].answers_unverified

    def holds_out(self, train_photos: int) -> bool:
        """Whether dev is one held-out part of a competition with so many training photos."""
        return self.dev == "holdout" or (self.dev == "auto" and train_photos > HOLDOUT_FROM)

    def to_dict(self) -> dict[str, object]:
        """JSON values for the record of a run: recipes by name, with what differs from the shipped ones in full."""
        return asdict(self) | {
            "recipes": [recipe.name for recipe in self.recipes],
            "recipe_fields": {recipe.name: recipe.key() for recipe in self.recipes},
            "accepted": list(self.accepted),
        }


def adapted_recipe(
    recipe: Recipe, image_size: int | None = None, views: int | None = None, epochs: int | None = None
) -> Recipe:
    """A recipe with another image size, number of views, or fewer epochs a stage; None keeps the recipe's own.

    Raises:
        LmkError: The recipe has no views of that number.
    """
    if image_size is not None:
        recipe = replace(recipe, image_size=image_size)
    if views is not None:
        recipe = recipe.with_views(views)
    if epochs is not None:
        recipe = replace(recipe, stages=tuple(replace(s, epochs=min(s.epochs, epochs)) for s in recipe.stages))
    return recipe


def config_of(
    recipes: Sequence[str],
    image_size: int | None = None,
    views: int | None = None,
    epochs: int | None = None,
    **settings: object,
) -> Config:
    """A configuration of recipes by name or file; further arguments are fields of `Config`.

    Raises:
        LmkError: A recipe is unknown, takes no such views, or has the name of a step or of another recipe.
    """
    found: dict[str, Recipe] = {}
    for word in recipes:
        recipe = adapted_recipe(find_recipe(word), image_size, views, epochs)
        if recipe.name in STAGES:
            raise LmkError(f"{word}: a stage of every run is named {recipe.name}. Give the recipe another `name`.")
        if found.setdefault(recipe.name, recipe).key() != recipe.key():
            raise LmkError(
                f"{word}: another recipe of this run is named {recipe.name}. Give one of them another `name`."
            )
    return Config(tuple(found.values()), **settings)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Execution:
    """How a run is computed; nothing here changes a result.

    Attributes:
        workspace: Where results are kept.
        jobs: Threads and processes for photos and pairs; one a core unless it is said.
        progress: Reports the progress of long steps.
        note: Takes one line for the user.
        stop: Whether the run should end early; training writes a checkpoint first.
        checkpoint_minutes: Minutes between checkpoints within an epoch.
    """

    workspace: Workspace
    jobs: int = field(default_factory=default_workers)
    progress: Progress = silent
    note: Callable[[str], None] = lambda text: None
    stop: Stop = field(default_factory=Stop)
    checkpoint_minutes: float = 10.0
