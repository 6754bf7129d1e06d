"""What a network that matches adds where the first evidence leaves a query undecided: dev GAP over seeds, and seconds.

Runs `lmk make-submission` in every setting with every seed and each choice of local features. A query is undecided
where the cross-fitted fusion gives its best answer a probability between two bounds. It is matched by LighterGlue on
XFeat's features, or by LightGlue on ALIKED's, with three photos at the most: of the gallery photos of the first answer
the two with the best evidence, of those of the second the one. The inliers are further features of the learned fusion,
which is fitted and cross-fitted anew; or a second regression, cross-fitted on the undecided queries alone, sees them
beside the probability that fusion gave. A control matches the same photos by the distances of the same features. So are
test photos matched and fused, over which answers are spread (with --fused dev alone is). A lead is over the run without
either, with the 95 % interval of a bootstrap over seeds and queries; no solution is read.

    python -m research.undecided COMPETITION --weights DIR --folder DIR [--setting NAME] [--local-features KINDS] \
        [--glue xfeat-lighterglue | aliked-lightglue] [--bounds 0.1 0.9] [--fused] [--seeds 5] [--json | --markdown]

DIR of --weights holds `xfeat-lighterglue.pt` or `aliked_lightglue.pth`, or the package that has it is installed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.output import show
from lmk.data.competitions import read_competition
from lmk.ensemble.tune import cross_fit, cross_fit_parts
from lmk.local.compare import compare, comparison_settings
from lmk.local.evidence import NOT_COMPARED, Evidence
from lmk.local.features import LocalFeatures
from lmk.local.kinds import LOCAL_FEATURES
from lmk.pipeline.build import build, targets_of
from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.proposals import head_steps, proposals_of
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.config import Execution
from lmk.pipeline.dataset import open_dataset
from lmk.pipeline.key import Key
from lmk.pipeline.recorded import config_of_run
from lmk.pipeline.results import Fitted, SpreadAnswers, Verified
from lmk.pipeline.steps import FUSED, SPREAD_FUSED, VERIFICATION, execute
from lmk.predictions import NO_LANDMARK, Predictions, best_of, photo_of_query
from lmk.report.record import FinishedRun
from lmk.util.store import ArrayStore
from lmk.util.workspace import Workspace
from research.harder import harder_parser, made_harder
from research.stages import run

KINDS = ("rootsift,delf",)
"""Choices of local features whose evidence comes first."""
GLUES = {kind.name: kind for kind in LOCAL_FEATURES.values() if kind.matching is not None}
"""Kinds of local features that a network matches."""
SECOND = "second regression"
PHOTOS = (2, 1)
"""Gallery photos of the first and of the second answer that an undecided query is matched with, at the most."""
BOUNDS = (0.1, 0.9)
"""Probabilities of the best answer between which a query is undecided."""
SHARD = 64
"""Pairs that a kill loses at the most."""

Bounds = tuple[float, float]
Row = dict[str, Any]
Places = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows of queries, places among their proposals, and columns of these landmarks' galleries, (m,) int each."""


@dataclass(frozen=True, eq=False)
class Glued:
    """Evidence of the photos that are matched, as fusion reads that of one more kind of local features.

    Attributes:
        inliers: (n, k) int, the most that a gallery photo has; 0 where none was matched.
        compared: (n, k) int, photos matched.
    """

    inliers: np.ndarray
    compared: np.ndarray

    def proposals(self) -> dict[str, np.ndarray]:
        """As `Evidence.proposals`."""
        return {"inliers": self.inliers, "compared": self.compared}

    def take(self, rows: np.ndarray) -> Glued:
        """The evidence of the queries of `rows`."""
        return Glued(self.inliers[rows], self.compared[rows])

    def of(self, proposed: Predictions, fused: Predictions) -> Glued:
        """The same in the order of fused lists of the same landmarks."""
        place = (proposed.landmarks[:, :, None] == fused.landmarks[:, None, :]).argmax(axis=1)
        return Glued(*(np.take_along_axis(values, place, 1) for values in (self.inliers, self.compared)))


@dataclass(frozen=True, eq=False)
class Second:
    """P(this landmark is right) from fusion's own probability and inliers, learned from the proposals matched."""

    model: Pipeline

    @classmethod
    def fit(cls, fused: Predictions, matched: Glued, right: np.ndarray) -> Second | None:
        """Learn from fused lists (n, k) and whether each landmark is right (n, k); None if all or none are."""
        seen = matched.compared > 0
        if right[seen].all() or not right[seen].any():
            return None
        model = make_pipeline(StandardScaler(), LogisticRegression())
        return cls(model.fit(cls.features(fused, matched)[seen], right[seen]))

    @staticmethod
    def features(fused: Predictions, matched: Glued) -> np.ndarray:
        """(n, k, 2): logit of the probability, logarithm of the inliers."""
        probability = np.clip(fused.scores, 1e-6, 1 - 1e-6)
        return np.stack([np.log(probability / (1 - probability)), np.log1p(matched.inliers)], axis=2)


def again(second: Second | None, fused: Predictions, matched: Glued) -> Predictions:
    """Fused lists with a second regression's probabilities of the proposals matched."""
    seen = matched.compared > 0
    if second is None or not seen.any():
        return fused
    scores = fused.scores.copy()
    scores[seen] = second.model.predict_proba(Second.features(fused, matched)[seen])[:, 1]
    return best_of(fused.ids, fused.landmarks, scores, fused.landmarks.shape[1])


@dataclass(frozen=True, eq=False)
class Found:
    """What one seed gives.

    Attributes:
        before: Dev answers by stage, as the run has them.
        after: The same by the kind that the further inliers are of: the one that a network matches or, as a control,
            the one of the same features that their distances match.
        truth: (n,) int64, of the dev queries.
        undecided: (n,) bool, which of them are matched.
        areas: ROC area for right against wrong first answers of undecided queries, of the probability before, and of
            inliers and probability after by what the inliers are of.
        pairs: (p,) str, pairs of photos matched for `dev`, and for `test`, as each part of dev and all of it answers.
        seconds: Processor seconds of each pair, by its name.
        compared: Pairs that one kind of the first evidence compares for dev and test.
    """

    before: Mapping[str, Predictions]
    after: Mapping[str, Mapping[str, Predictions]]
    truth: np.ndarray
    undecided: np.ndarray
    areas: Mapping[str, float]
    pairs: Mapping[str, np.ndarray]
    seconds: Mapping[str, float]
    compared: int


def undecided(fused: Predictions, bounds: Bounds) -> np.ndarray:
    """(n,) bool, whether the probability of a query's best answer lies between two bounds."""
    return (fused.best != NO_LANDMARK) & (fused.confidence > bounds[0]) & (fused.confidence < bounds[1])


def photos_to_match(
    proposed: Predictions, fused: Predictions, evidence: Mapping[str, Evidence], asked: np.ndarray
) -> Places:
    """The gallery photos with the best evidence of the first and the second answer of each query that is asked.

    Args:
        proposed: The landmarks that were verified.
        fused: The same in the order of fusion.
        evidence: First evidence by kind; photos rank by the sum of the logarithms of their inliers.
        asked: (n,) bool.
    """
    counts = np.stack([one.counts for one in evidence.values()])
    support = np.where((counts == NOT_COMPARED).any(axis=0), -1.0, np.log1p(np.maximum(counts, 0)).sum(axis=0))
    order = np.argsort(-support, axis=2, kind="stable")
    found = [
        (row, place, column)
        for row in np.flatnonzero(asked).tolist()
        for landmark, most in zip(fused.landmarks[row].tolist(), PHOTOS, strict=False)
        if landmark != NO_LANDMARK
        for place in np.flatnonzero(proposed.landmarks[row] == landmark)[:1].tolist()
        for column in order[row, place, :most].tolist()
        if support[row, place, column] >= 0
    ]
    rows, places, columns = np.array(found, int).reshape(-1, 3).T
    return rows, places, columns


def gathered(inliers: np.ndarray, at: Places, shape: tuple[int, ...]) -> Glued:
    """Evidence of proposals (n, k) from the inliers (m,) of single photos."""
    most, compared = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    np.maximum.at(most, at[:2], inliers)
    np.add.at(compared, at[:2], 1)
    return Glued(most, compared)


class Rerun:
    """The stored steps of a run, and its fusion with further evidence."""

    def __init__(self, finished: FinishedRun, workspace: Workspace, glue: str):
        record = finished.run
        self.glue = glue
        network = GLUES[glue].network
        self.features = next(one.name for one in LOCAL_FEATURES.values() if one.network == network and not one.matching)
        self.config, self.execution = config_of_run(record), Execution(workspace, jobs=1)
        if self.config.nearest:
            raise ValueError("The columns of evidence are galleries in their own order.")
        competition = read_competition(record.competition, Path(record.root))
        self.dataset = open_dataset(self.config, competition, self.execution)
        steps = build(self.config, self.dataset, self.execution)
        self.steps = {step.name: step for step in steps}
        targets = [*head_steps(self.config), *targets_of(self.config)]
        self.results = execute(steps, targets, self.execution).results
        self.shared = Shared(self.config, self.dataset, self.execution)
        # The features that are matched, whichever kinds the run verified by.
        self.local = LocalSteps(
            Shared(replace(self.config, local_features=self.features), self.dataset, self.execution)
        )
        self.local.local_features()

    def found(self, bounds: Bounds, spread: bool) -> Found:
        """The run's answers on dev, before and after undecided queries are matched; of dev alone without `spread`."""
        verified, fused = self.results[VERIFICATION], self.results[FUSED]
        spread &= self.config.spreads_fused
        proposed = proposals_of(self.config, self.results)
        asked = [
            (proposed.dev, fused.dev, verified.dev),
            (proposed.test, fused.test, verified.test),
            *zip(proposed.context, fused.context, verified.context, strict=True),
        ]
        rows = [undecided(one[1], bounds) for one in asked]
        if not spread:
            rows[1:] = [np.zeros_like(one) for one in rows[1:]]
        chosen = [photos_to_match(*one, which) for one, which in zip(asked, rows, strict=True)]
        pairs = [self._pairs(one[0], at) for one, at in zip(asked, chosen, strict=True)]
        every = np.unique(np.concatenate(pairs))
        matched = {kind: self._matched(every, kind) for kind in (self.glue, self.features)}
        inliers = {
            kind: [of["inliers"][np.searchsorted(every, names)] for names in pairs] for kind, of in matched.items()
        }
        after: dict[str, dict[str, Predictions]] = {}
        areas = {"probability before": self._area(fused.dev, fused.dev.confidence, rows[0])}
        for name, found in inliers.items():
            more = [gathered(of, at, one[0].landmarks.shape) for of, at, one in zip(found, chosen, asked, strict=True)]
            further = [{**one[2], name: each} for one, each in zip(asked, more, strict=True)]
            anew = self._fused(Verified(further[0], further[1], tuple(further[2:])))
            lists = [(one[1], each.of(one[0], one[1])) for one, each in zip(asked, more, strict=True)]
            for how, answers in ((name, anew), (f"{name}, {SECOND}", self._fused_again(lists))):
                after[how] = {FUSED: answers.dev} | ({SPREAD_FUSED: self._spread(answers)} if spread else {})
                areas[f"probability, {how}"] = self._area(fused.dev, _score_of(answers.dev, fused.dev.best), rows[0])
            counted = replace(proposed.dev, scores=more[0].inliers)
            areas[f"inliers, {name}"] = self._area(fused.dev, _score_of(counted, fused.dev.best), rows[0])
        return Found(
            {stage: self.results[stage].dev for stage in (FUSED, *([SPREAD_FUSED] * spread))},
            after,
            self.dataset.dev.truth,
            rows[0],
            areas,
            {"dev": np.unique(pairs[0]), "test": np.unique(np.concatenate(pairs[1:]))},
            dict(zip(every.tolist(), matched[self.glue]["seconds"].tolist(), strict=True)),
            sum(int(next(iter(one.values())).compared.sum()) for one in (verified.dev, verified.test)),
        )

    def _pairs(self, proposed: Predictions, at: Places) -> np.ndarray:
        """(m,) str, a query's photo and a gallery photo each."""
        rows, places, columns = at
        landmarks = proposed.landmarks[rows, places].tolist()
        photos = [self.local.galleries[name][column] for name, column in zip(landmarks, columns.tolist(), strict=True)]
        queries = map(photo_of_query, proposed.ids[rows].tolist())
        return np.array([f"{query} {photo}" for query, photo in zip(queries, photos, strict=True)], dtype=str)

    def _matched(self, names: np.ndarray, kind: str) -> Mapping[str, np.ndarray]:
        """Inliers and processor seconds of pairs of photos by a kind, stored for all seeds."""
        settings, glue = comparison_settings(kind, seed=0), LOCAL_FEATURES[kind].glue(self.config.weights)
        facts = {"comparison": settings.key(), "matcher": glue and glue.key()}
        key = Key.of("undecided", facts, [self.local.shared.keys[f"local/{self.features}"]], ())
        store = ArrayStore(self.execution.workspace.stores, key.name, key.to_dict())
        photos = np.unique([photo for name in names.tolist() for photo in name.split()])
        table = self.local.sources[self.features].table(photos)

        def inliers(query: LocalFeatures, photo: LocalFeatures) -> int:
            matches = () if glue is None else (glue([(query, photo)])[0],)
            return len(compare(query, photo, settings, *matches).inliers)

        warm: list[int] = []

        def compute(wanted: np.ndarray) -> dict[str, np.ndarray]:
            counts, seconds = [], []
            for name in wanted.tolist():
                query, photo = (table[one] for one in name.split())
                if not warm:
                    warm.append(inliers(query, photo))  # built and compiled, which is no pair's time
                start = time.process_time()
                counts.append(inliers(query, photo))
                seconds.append(time.process_time() - start)
            return {"inliers": np.array(counts, np.int16), "seconds": np.array(seconds, np.float32)}

        with self.execution.workspace.alone() if len(store.missing(names)) else nullcontext():
            return store.collect(names, compute, SHARD)

    def _fused(self, verified: Verified) -> Fitted:
        """As the run fuses, with this evidence."""
        found: Fitted = self.steps[FUSED].compute({**self.results, VERIFICATION: verified})
        return found

    def _fused_again(self, asked: Sequence[tuple[Predictions, Glued]]) -> Fitted:
        """Fused lists of dev, of test and of each context, with the probabilities of a second regression where photos
        were matched; evidence in line with the lists. No optimism is measured."""
        dev, truth, parts = self.dataset.dev, self.dataset.dev.truth, self.shared.parts
        (lists, matched), *others = asked
        right = lists.landmarks == truth[:, None]

        def fit(rows: np.ndarray) -> Second | None:
            return Second.fit(lists.take(rows), matched.take(rows), right[rows])

        def apply(fitted: Second | None, rows: np.ndarray) -> Predictions:
            return again(fitted, lists.take(rows), matched.take(rows))

        def apply_context(fitted: Second | None, part: int) -> Predictions:
            return again(fitted, *others[1 + part])

        if self.config.spreads:
            crossed, context = cross_fit_parts(parts.of_query, dev.photos, fit, apply, apply_context)
        else:
            crossed, context = cross_fit(dev.photos, fit, apply, self.config.seed), ()
        return Fitted(crossed, again(fit(np.arange(len(truth))), *others[0]), context=context)

    def _spread(self, fused: Fitted) -> Predictions:
        """Fused dev lists, spread as the run spreads them."""
        found: SpreadAnswers = self.steps[SPREAD_FUSED].compute({**self.results, FUSED: fused})
        return found.dev

    def _area(self, answers: Predictions, scores: np.ndarray, rows: np.ndarray) -> float:
        """ROC area of scores (n,) for right against wrong answers of the queries in `rows`; NaN of one sort alone."""
        from sklearn.metrics import roc_auc_score

        right = (answers.best == self.dataset.dev.truth)[rows]
        return float("nan") if right.all() or not right.any() else float(roc_auc_score(right, scores[rows]))


def _score_of(lists: Predictions, landmarks: np.ndarray) -> np.ndarray:
    """(n,) the score that each query's list gives one of its landmarks (n,)."""
    return lists.scores[np.arange(len(lists)), (lists.landmarks == landmarks[:, None]).argmax(axis=1)]


def rows_of(found: Sequence[Found], setting: str, kinds: str, bounds: Bounds) -> list[Row]:
    """A row a sort of further inliers and a stage: GAP before and after, the share of undecided queries, pairs and
    seconds a seed."""
    from research.lab import paired

    seconds: dict[str, float] = {}
    for one in found:
        seconds |= one.seconds
    areas = {name: np.array([one.areas[name] for one in found]) for name in found[0].areas}
    common = {
        "undecided": float(np.mean([one.undecided.mean() for one in found])),
        "pairs_dev": float(np.mean([len(one.pairs["dev"]) for one in found])),
        "pairs_test": float(np.mean([len(one.pairs["test"]) for one in found])),
        "pairs_compared": float(np.mean([one.compared for one in found])),
        "pair_seconds": float(np.mean(list(seconds.values()))) if seconds else 0.0,
        "run_seconds": float(np.mean([sum(one.seconds.values()) for one in found])),
        "areas": {name: float(np.nanmean(of)) for name, of in areas.items() if np.isfinite(of).any()},
    }
    rows: list[Row] = []
    truths = [one.truth for one in found]
    for further, stages in found[0].after.items():
        for stage in stages:
            told = paired([one.before[stage] for one in found], [one.after[further][stage] for one in found], truths)
            made = {"setting": setting, "kinds": kinds, "bounds": list(bounds), "further": further, "stage": stage}
            rows.append({**made, "before": told["gap"] - told["lead"], **told, **common})
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """A table with a row a setting, choice, bounds, sort of further inliers and stage."""
    head = ["setting", "evidence", "bounds", "further", "stage", "before", "after", "undecided", "pairs of dev, test",
            "s a pair", "s a run"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = [
            row["setting"], row["kinds"], " to ".join(f"{bound:g}" for bound in row["bounds"]), row["further"],
            row["stage"],
            f"{row['before']:.4f}", f"{row['gap']:.4f}: {row['lead']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})",
            f"{row['undecided']:.3f}", f"{row['pairs_dev']:.0f}, {row['pairs_test']:.0f}",
            f"{row['pair_seconds']:.2f}", f"{row['run_seconds']:.0f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m research.undecided`."""
    options = harder_parser("undecided", __doc__)
    options.add_argument(
        "--local-features", action="append", help=f"first evidence; --no-spread may follow; {KINDS[0]} without"
    )
    options.add_argument("--glue", choices=GLUES, default="xfeat-lighterglue", help="which network matches")
    options.add_argument("--bounds", type=float, nargs=2, action="append", help="repeat it; 0.1 0.9 without")
    options.add_argument("--fused", action="store_true", help="match dev alone and spread nothing once more")
    words = options.parse_args(arguments)

    from lmk.models.start import start_keras

    start_keras()
    rows: list[Row] = []
    workspace = Workspace.open(words.folder / "workspace")
    for setting, competition in made_harder(words):
        for kinds in words.local_features or KINDS:
            runs = [
                Rerun(run(competition, words.weights, workspace.root, kinds, seed, words.folds), workspace, words.glue)
                for seed in range(words.seeds)
            ]
            for low, high in words.bounds or (BOUNDS,):
                rows += rows_of([one.found((low, high), not words.fused) for one in runs], setting, kinds, (low, high))
    if words.markdown:
        sys.stdout.write(markdown(rows))
    else:
        show({"seeds": words.seeds, "folds": words.folds, "rows": rows}, words.json)


if __name__ == "__main__":
    main()
