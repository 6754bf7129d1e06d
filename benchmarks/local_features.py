"""What each kind of local features adds to the ensemble, and how well its evidence parts right from wrong.

For each seed: dev GAP of the ensemble alone, and fused with the evidence of RootSIFT, of DELF, of both, cross-fitted.
Recognition, features and comparisons are kept in the workspace, so that a second run computes what is new. With
--solution the test photos are verified, too, and their GAP is told; nothing is tuned on it.

    lmk bench local_features COMPETITION --weights WEIGHTS [--solution CSV] --json
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.output import parser, show
from lmk.cli.console import note, progress
from lmk.cli.running import CPU_RECIPES
from lmk.data.competitions import open_competition
from lmk.data.splits import photo_of
from lmk.data.tables import Solution, read_solution
from lmk.ensemble.fuse import LearnedFusion, proposal_features
from lmk.ensemble.tune import cross_fit
from lmk.evaluation import evaluate, gap_and_interval, paired_interval
from lmk.local.compare import Settings as Comparing
from lmk.local.evidence import Evidence
from lmk.local.kinds import KINDS
from lmk.local.verify import verify
from lmk.pipeline.local_features import local_features
from lmk.pipeline.run import ensemble, open_run, recognize, retrieve
from lmk.pipeline.steps import RETRIEVAL, Run, Settings, Source
from lmk.pipeline.verify import comparison_settings, galleries, pairs_key
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.store import ArrayStore
from lmk.util.workspace import Workspace
from research.lab import paired

BASE = "rootsift"
"""What the others are compared with."""


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Dev or test: the blend, its parts, each query's similarity to distractors, and evidence by kind."""

    blended: Predictions
    sources: list[Predictions]
    similar: np.ndarray
    evidence: Mapping[str, Evidence]

    def features(self, run: Run, kinds: Sequence[str]) -> np.ndarray:
        """What the fusion sees, with the evidence of some kinds."""
        landmarks, counts = np.unique(run.competition.train_landmarks, return_counts=True)
        photos = dict(zip(landmarks.tolist(), counts.tolist(), strict=True))
        told = {f"{kind}:{name}": values for kind in kinds for name, values in self.evidence[kind].proposals().items()}
        return proposal_features(self.blended, self.sources, photos, self.similar, told)


def run(opened: Run, kinds: Mapping[str, Comparing], solution: Solution | None) -> dict[str, Any]:
    """Rows of one seed: `fused` a stage, `roc` a kind and column of evidence; `comparisons` made; answers to `dev` by
    stage, and their `truth`.

    Args:
        opened: The run; its recipes make the ensemble.
        kinds: Of local features, and how they compare two photos: `KINDS` that they make up are fused.
        solution: Of the test photos, None to leave them out.
    """
    recipes = [opened.recipe(name) for name in opened.settings.recipes]
    parts = [*(recognize(opened, recipe) for recipe in recipes), retrieve(opened, recipes)]
    blended = ensemble(opened, parts)
    dev = _part(opened, parts, blended, "dev", kinds)
    test = _part(opened, parts, blended, "test", kinds) if solution is not None else None
    stages = {"ensemble": (dev.blended, test.blended if test else None)}
    for name, used in KINDS.items():
        if set(used) <= set(kinds):
            stages[name] = _fused(opened, dev, test, used)
    truth = opened.dev.truth
    base = stages.get(BASE, stages["ensemble"])[0]
    return {
        "fused": [_row(opened, name, *found, base, solution) for name, found in stages.items()],
        "roc": [
            {"seed": opened.settings.seed, "kind": kind} | _areas(dev.blended, dev.evidence[kind], truth)
            for kind in kinds
        ],
        "comparisons": {kind: int(evidence.compared.sum()) for kind, evidence in dev.evidence.items()},
        "dev": {name: found[0] for name, found in stages.items()},
        "truth": truth,
    }


def _part(opened: Run, parts: list[Source], blended: Source, which: str, kinds: Mapping[str, Comparing]) -> Part:
    found, gallery = getattr(blended, which), galleries(opened)
    ids = np.unique(np.concatenate([*gallery.values(), photo_of(found.ids)]))
    evidence = {}
    for kind, settings in kinds.items():
        features = local_features(opened, kind, ids)
        key = pairs_key(opened, kind) | {"comparison": settings.key()}
        store = ArrayStore(opened.workspace.stores, "verification", key)
        jobs = opened.settings.jobs
        evidence[kind] = verify(found, gallery, features, features, store, settings, jobs=jobs, progress=progress)
    similar = next(part.extras[which] for part in parts if part.name == RETRIEVAL)
    return Part(found, [getattr(part, which) for part in parts], similar, evidence)


def _fused(opened: Run, dev: Part, test: Part | None, kinds: Sequence[str]) -> tuple[Predictions, Predictions | None]:
    """Dev, cross-fitted, and test by what all of dev teaches."""
    features, truth = dev.features(opened, kinds), opened.dev.truth
    right = (dev.blended.landmarks == truth[:, None]) & (dev.blended.landmarks != NO_LANDMARK)

    def fit(rows: np.ndarray) -> LearnedFusion:
        return LearnedFusion.fit(features[rows], right[rows])

    def ask(fusion: LearnedFusion, rows: np.ndarray) -> Predictions:
        return fusion(dev.blended.take(rows), features[rows])

    answers = cross_fit(opened.dev.photos, fit, ask, opened.settings.seed)
    if test is None:
        return answers, None
    return answers, fit(np.arange(len(truth)))(test.blended, test.features(opened, kinds))


def _row(
    opened: Run, name: str, dev: Predictions, test: Predictions | None, base: Predictions, solution: Solution | None
) -> dict[str, object]:
    truth = opened.dev.truth
    gap, low, high = gap_and_interval(dev, truth)
    less, more = paired_interval(base, dev, truth)
    row: dict[str, object] = {"seed": opened.settings.seed, "evidence": name}
    row |= {"dev": gap, "low": low, "high": high, "less": less, "more": more}
    if test is not None and solution is not None:
        row["test"] = evaluate(test, solution).gap
    return row


def _areas(blended: Predictions, evidence: Evidence, truth: np.ndarray) -> dict[str, float]:
    """ROC area of each column for right against wrong first proposals."""
    right = blended.best == truth
    return {name: float(roc_auc_score(right, values[:, 0])) for name, values in evidence.proposals().items()}


def means(rows: Sequence[Mapping[str, object]], by: str) -> list[dict[str, object]]:
    """The mean over the seeds of each number, a row for each value of `by`."""
    found = []
    for value in dict.fromkeys(row[by] for row in rows):
        same = [row for row in rows if row[by] == value]
        numbers = {name: [row[name] for row in same] for name in same[0] if name not in (by, "seed")}
        found.append({by: value} | {name: float(np.mean(values)) for name, values in numbers.items()})  # type: ignore[arg-type]
    return found


def leads(found: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """How far each stage's dev GAP is above RootSIFT's, paired over the seeds and their queries, with 95 % interval."""
    stages, truths = list(found[0]["dev"]), [one["truth"] for one in found]
    base = [one["dev"][BASE if BASE in stages else stages[0]] for one in found]
    return [{"evidence": stage} | paired(base, [one["dev"][stage] for one in found], truths) for stage in stages]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `lmk bench local_features`."""
    options = parser("local_features", __doc__)
    options.add_argument("competition")
    options.add_argument("--weights", required=True)
    options.add_argument("--recipe", action="append", help="default: the recipes for a CPU")
    options.add_argument("--workspace", type=Path, default=Path("workspace"))
    options.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    options.add_argument("--kind", action="append", choices=("rootsift", "delf"), help="default: both")
    options.add_argument("--delf", help="backbone that DELF trains on, or folder of a published one")
    options.add_argument("--solution", type=Path)
    options.add_argument("--gallery", type=int, default=Settings(recipes=()).gallery, help="photos a landmark")
    options.add_argument("--keep-captions", action="store_true")
    options.add_argument("--jobs", type=int, default=2)
    words = options.parse_args(arguments)
    workspace = Workspace.open(words.workspace)
    competition = open_competition(words.competition, workspace.competitions, progress)
    solution = read_solution(words.solution) if words.solution else None
    found = []
    for seed in range(words.seeds):
        settings = Settings(
            recipes=tuple(words.recipe or CPU_RECIPES),
            weights=words.weights,
            seed=seed,
            gallery=words.gallery,
            jobs=words.jobs,
            delf=words.delf,
        )
        opened = open_run(settings, competition, workspace, progress, note)
        kinds = {
            kind: dataclasses.replace(comparison_settings(opened, kind), captions=not words.keep_captions)
            for kind in words.kind or ("rootsift", "delf")
        }
        found.append(run(opened, kinds, solution))
    fused, roc = ([row for one in found for row in one[name]] for name in ("fused", "roc"))
    told = {"mean": means(fused, "evidence"), "leads": leads(found), "roc": means(roc, "kind"), "seeds": fused}
    show(told | {"comparisons": [one["comparisons"] for one in found]}, words.json)


if __name__ == "__main__":
    main()
