"""What each kind of local features adds to the ensemble, and how well its evidence parts right from wrong.

For each seed: dev GAP of the ensemble alone, and fused with the evidence of RootSIFT, of DELF, of both, cross-fitted.
Recognition, features and comparisons are kept in the workspace, so that a second run computes what is new. With
--solution the test photos are verified, too, and their GAP is told; nothing is tuned on it.

    python -m benchmarks.local_features COMPETITION --weights WEIGHTS [--solution CSV] --json
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.output import parser, show
from lmk.cli.console import note, progress
from lmk.cli.run_config import CPU_RECIPES
from lmk.data.splits import photo_of
from lmk.data.tables import Solution, read_solution
from lmk.ensemble.fuse import LearnedFusion, proposal_features
from lmk.ensemble.tune import cross_fit
from lmk.evaluation import evaluate, gap_and_interval, paired_interval
from lmk.local.compare import Settings as Comparing
from lmk.local.evidence import Evidence
from lmk.local.kinds import choices, kinds_of
from lmk.local.verify import verify
from lmk.pipeline.build import build
from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.proposals import comparison_settings
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.config import Config, Execution, config_of
from lmk.pipeline.dataset import Dataset, open_competition, open_dataset
from lmk.pipeline.fuse import photo_counts
from lmk.pipeline.results import Answers, Neighbours
from lmk.pipeline.steps import ENSEMBLE, RETRIEVAL, execute
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.store import ArrayStore
from lmk.util.workspace import Workspace
from research.lab import paired

BASE = "rootsift"
"""What the others are compared with."""


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Dev or test: the blend, each query's similarity to distractors, and evidence by kind."""

    blended: Predictions
    similar: np.ndarray
    evidence: Mapping[str, Evidence]

    def features(self, dataset: Dataset, kinds: Sequence[str]) -> np.ndarray:
        """What the fusion sees, with the evidence of some kinds."""
        photos = photo_counts(dataset.competition.train_landmarks)
        told = {f"{kind}:{name}": values for kind in kinds for name, values in self.evidence[kind].proposals().items()}
        return proposal_features(self.blended, photos, self.similar, told)


def run(
    config: Config, dataset: Dataset, execution: Execution, kinds: Mapping[str, Comparing], solution: Solution | None
) -> dict[str, Any]:
    """Rows of one seed: `fused` a stage, `roc` a kind and column of evidence; `comparisons` made; answers to `dev` by
    stage, and their `truth`.

    Args:
        config, dataset, execution: The run; its recipes make the ensemble.
        kinds: Kinds of local features, and how they compare two photos: the `choices` that they make up are fused.
        solution: Truth of the test photos, None to leave them out.
    """
    names = [*(recipe.name for recipe in config.recipes), RETRIEVAL]
    results = execute(build(config, dataset, execution), [*names, ENSEMBLE], execution).results
    parts = {name: results[name] for name in names}
    local = LocalSteps(Shared(config, dataset, execution))
    local.local_features()
    dev = _part(local, parts, results[ENSEMBLE], "dev", kinds)
    test = _part(local, parts, results[ENSEMBLE], "test", kinds) if solution is not None else None
    stages = {"ensemble": (dev.blended, test.blended if test else None)}
    for name, used in ((one, kinds_of(one)) for one in choices()):
        if set(used) <= set(kinds):
            stages[name] = _fused(config, dataset, dev, test, used)
    truth = dataset.dev.truth
    base = stages.get(BASE, stages["ensemble"])[0]
    return {
        "fused": [_row(config.seed, truth, name, *found, base, solution) for name, found in stages.items()],
        "roc": [{"seed": config.seed, "kind": kind} | _areas(dev.blended, dev.evidence[kind], truth) for kind in kinds],
        "comparisons": {kind: int(evidence.compared.sum()) for kind, evidence in dev.evidence.items()},
        "dev": {name: found[0] for name, found in stages.items()},
        "truth": truth,
    }


def _part(
    local: LocalSteps, parts: Mapping[str, Answers], blended: Answers, which: str, kinds: Mapping[str, Comparing]
) -> Part:
    found, gallery = getattr(blended, which), local.galleries
    ids = np.unique(np.concatenate([*gallery.values(), photo_of(found.ids)]))
    evidence, jobs = {}, local.shared.execution.jobs
    for kind, settings in kinds.items():
        table = local.sources[kind].table(ids)
        key = local.pairs_key(kind).to_dict() | {"comparison": settings.key()}
        store = ArrayStore(local.shared.execution.workspace.stores, "verification-pairs", key)
        evidence[kind] = verify(found, gallery, table, table, store, settings, jobs=jobs, progress=progress)
    neighbours = parts[RETRIEVAL]
    assert isinstance(neighbours, Neighbours)
    similar = neighbours.likeness_dev if which == "dev" else neighbours.likeness_test
    return Part(found, similar, evidence)


def _fused(
    config: Config, dataset: Dataset, dev: Part, test: Part | None, kinds: Sequence[str]
) -> tuple[Predictions, Predictions | None]:
    """Dev, cross-fitted, and test by what is fitted on all of dev."""
    features, truth = dev.features(dataset, kinds), dataset.dev.truth
    right = (dev.blended.landmarks == truth[:, None]) & (dev.blended.landmarks != NO_LANDMARK)

    def fit(rows: np.ndarray) -> LearnedFusion:
        return LearnedFusion.fit(features[rows], right[rows])

    def ask(fusion: LearnedFusion, rows: np.ndarray) -> Predictions:
        return fusion(dev.blended.take(rows), features[rows])

    answers = cross_fit(dataset.dev.photos, fit, ask, config.seed)
    if test is None:
        return answers, None
    return answers, fit(np.arange(len(truth)))(test.blended, test.features(dataset, kinds))


def _row(
    seed: int,
    truth: np.ndarray,
    name: str,
    dev: Predictions,
    test: Predictions | None,
    base: Predictions,
    solution: Solution | None,
) -> dict[str, object]:
    gap, low, high = gap_and_interval(dev, truth)
    less, more = paired_interval(base, dev, truth)
    row: dict[str, object] = {"seed": seed, "evidence": name}
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
    """The command `python -m benchmarks.local_features`."""
    options = parser("local_features", __doc__)
    options.add_argument("competition")
    options.add_argument("--weights", required=True)
    options.add_argument("--recipe", action="append", help="default: the recipes for a CPU")
    options.add_argument("--workspace", type=Path, default=Path("workspace"))
    options.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    options.add_argument("--kind", action="append", choices=("rootsift", "delf"), help="default: both")
    options.add_argument("--delf", help="backbone that DELF trains on, or folder of a published one")
    options.add_argument("--solution", type=Path)
    options.add_argument("--gallery", type=int, default=Config(()).gallery, help="photos a landmark")
    options.add_argument("--keep-captions", action="store_true")
    options.add_argument("--jobs", type=int, default=2)
    words = options.parse_args(arguments)
    workspace = Workspace.open(words.workspace)
    competition = open_competition(words.competition, workspace.competitions, progress)
    solution = read_solution(words.solution) if words.solution else None
    found = []
    for seed in range(words.seeds):
        config = config_of(
            words.recipe or CPU_RECIPES,
            weights=words.weights,
            seed=seed,
            gallery=words.gallery,
            delf=words.delf,
            local_features="both",
            spread=False,
        )
        execution = Execution(workspace, words.jobs, progress, note)
        dataset = open_dataset(config, competition, execution)
        kinds = {
            kind: dataclasses.replace(comparison_settings(kind, config), captions=not words.keep_captions)
            for kind in words.kind or ("rootsift", "delf")
        }
        found.append(run(config, dataset, execution, kinds, solution))
    fused, roc = ([row for one in found for row in one[name]] for name in ("fused", "roc"))
    told = {"mean": means(fused, "evidence"), "leads": leads(found), "roc": means(roc, "kind"), "seeds": fused}
    show(told | {"comparisons": [one["comparisons"] for one in found]}, words.json)


if __name__ == "__main__":
    main()
