"""What a run would do: its stages, which of them are stored, and what the others will cost about."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from lmk.delf import DelfOf
from lmk.local.kinds import DELF, ROOTSIFT
from lmk.local_features import kinds_of
from lmk.models.catalogue import backbone_named
from lmk.pipeline import stage_keys
from lmk.stages import FUSED, Run

CPU_RATE = 45.0
"""Billions of multiply-adds a second that two cores do of a backbone's pass; a GPU does hundreds of times as many."""
HEAD_SECONDS = 4.0
"""Training of a head on stored features, a fold."""
TRAINING_PASSES = 3.0
"""Passes' worth of a training step on a photo: forward and backward."""
SIFT_SECONDS, PAIRS_A_SECOND, SMALL_SECONDS = 0.07, 1000.0, 5.0
"""RootSIFT of a photo, pairs verified, on one core; and what takes no time worth telling."""
DELF_PASSES = 27.0
"""What DELF's seven scales of a photo of 480 x 360 pixels cost, in passes of its backbone at 224 x 224."""


@dataclass(frozen=True)
class StagePlan:
    """A stage: its name, whether its result is stored, and about how many seconds it takes otherwise."""

    name: str
    stored: bool
    seconds: float

    @property
    def cost(self) -> str:
        """For people."""
        return "" if self.stored else f"about {self.seconds:,.0f} s on two cores"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def plan_stages(run: Run) -> list[StagePlan]:
    """The stages in order. Costs are for two CPU cores; features stored by an earlier run make them less."""
    plans = []
    for stage, key in stage_keys(run).items():
        seconds = SMALL_SECONDS
        if stage in run.settings.recipes:
            seconds = _recipe_seconds(run, stage)
        elif stage == FUSED:
            seconds = _verification_seconds(run)
        plans.append(StagePlan(stage, run.is_stored(stage, key), round(seconds)))
    return plans


def _recipe_seconds(run: Run, name: str) -> float:
    recipe = run.recipe(name)
    train = len(run.split.train_ids) + len(run.split.distractor_ids)
    networks = run.split.folds + 1
    heads = HEAD_SECONDS * networks
    if recipe.frozen:
        return (train + len(run.test_ids)) * recipe.giga_macs / CPU_RATE + heads
    one_pass = recipe.giga_macs / recipe.views / CPU_RATE
    epochs = sum(stage.epochs for stage in recipe.stages if stage.train_from is not None)
    training = networks * epochs * train * one_pass * TRAINING_PASSES
    return heads + training + (len(run.dev) + len(run.test_ids)) * recipe.giga_macs / CPU_RATE


def _verification_seconds(run: Run) -> float:
    photos = len(run.split.train_ids) + len(run.split.distractor_ids) + len(run.test_ids)
    counts = np.unique(run.split.train_landmarks, return_counts=True)[1]
    compared = np.minimum(counts, run.settings.gallery).mean()
    kinds = kinds_of(run)
    extraction = SIFT_SECONDS if ROOTSIFT in kinds else 0.0
    if DELF in kinds:
        network = DelfOf.of(run)
        macs = 0.0 if network.published else backbone_named(network.recipe.backbone).giga_macs
        extraction += (macs or backbone_named("resnet50").giga_macs) * DELF_PASSES / CPU_RATE
    pairs = len(kinds) * (len(run.dev) + len(run.test_ids)) * run.settings.candidates * compared
    return (photos * extraction + pairs / PAIRS_A_SECOND) / run.settings.jobs
