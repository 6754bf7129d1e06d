"""make_submission: from a competition's files to a checked submission, stage by stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np

from lmk import __version__
from lmk.data.competitions import Competition
from lmk.data.photos import find_unreadable
from lmk.ensemble.blend import fit_blend
from lmk.ensemble.rules import LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD
from lmk.ensemble.tune import cross_fit
from lmk.errors import LmkError
from lmk.evaluation import check_submission, gap_and_interval, gap_of
from lmk.files import atomic_path, write_json
from lmk.local.evidence import Evidence
from lmk.local_features import features_key, kinds_of
from lmk.models.catalogue import weights_digest
from lmk.models.recipes import Recipe
from lmk.models.retrieval import Options
from lmk.predictions import NO_LANDMARK, Predictions, positions, read_submission, write_submission
from lmk.progress import Progress, silent
from lmk.stages import READ_SIDE, Made, Run, Settings, Source, lists_of
from lmk.verification import Verified, comparison_settings, evidence_key, verify_proposals
from lmk.workspace import Maker, Workspace

if TYPE_CHECKING:
    from lmk.ensemble.fuse import LearnedFusion

VERSIONS = ("keras", "tensorflow", "numpy", "opencv-python-headless", "scikit-learn")
"""Packages whose versions a run records."""
RETRIEVAL, ENSEMBLE, FUSED = "retrieval", "ensemble", "fused"


@dataclass(frozen=True, eq=False)
class Result:
    """What a run made.

    Attributes:
        name: Of the run, and of its folder.
        submission: The checked submission.
        gap: Dev GAP by stage: each recipe's name, `retrieval`, `ensemble`, `fused`; None where it was not run.
        low, high: 95 % intervals of these, by stage.
        weights: Of the blend, by source.
        optimism: Dev GAP by stage fitted on all of dev, less the cross-fitted one.
        unreadable: Photos that cannot be read, with the reason.
        seconds, reused: As `Run` counts them.
        queries, landmark_queries: Of dev.
    """

    name: str
    submission: Path
    gap: dict[str, float | None]
    low: dict[str, float | None]
    high: dict[str, float | None]
    weights: dict[str, float]
    optimism: dict[str, float]
    unreadable: dict[str, str]
    seconds: dict[str, float]
    reused: list[str]
    queries: int
    landmark_queries: int

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        dev = {"gap": self.gap, "low": self.low, "high": self.high, "optimism": self.optimism}
        return {
            "run": self.name,
            "submission": str(self.submission),
            "dev": dev | {"queries": self.queries, "landmark_queries": self.landmark_queries},
            "weights": self.weights,
            "seconds": self.seconds,
            "reused": self.reused,
            "unreadable": self.unreadable,
        }


def open_run(
    settings: Settings,
    competition: Competition,
    workspace: Workspace,
    progress: Progress = silent,
    note: Callable[[str], None] = lambda text: None,
) -> Run:
    """A run that knows which photos cannot be read; they are looked for once."""
    run = Run(settings, competition, workspace, progress=progress, note=note)
    with run.timed("photos"):
        run.unreadable = _unreadable(run)
    if run.unreadable:
        first, reason = next(iter(run.unreadable.items()))
        note(f"{len(run.unreadable)} photos cannot be read and are left out; first: {first}, {reason}.")
    return run


def make_submission(run: Run, out: Path | None = None) -> Result:
    """Run all stages that are not stored yet, write the submission and check it.

    Args:
        run: As `open_run` makes it.
        out: The submission's file; one in the workspace if None.

    Raises:
        LmkError: A mistake or a bad file; nothing that was computed is lost.
    """
    sources, verified = _all_stages(run)
    final = sources[FUSED if run.settings.ensemble else run.settings.recipes[0]]
    name = f"{run.competition.name}-{final.key}"
    with run.timed("submission"):
        path = write_checked(run, final.test, out or run.workspace.submissions / f"{name}.csv")
    result = _record(run, name, path, sources, verified)
    if result.landmark_queries:
        _report(run, name)
    return result


def _all_stages(run: Run) -> tuple[dict[str, Source], Verified | None]:
    """Each stage's predictions by name, and what verification found where the run verifies."""
    recipes = [run.recipe(name) for name in run.settings.recipes]
    sources: dict[str, Source] = {}
    with run.progress("All stages", len(recipes) + 4 * run.settings.ensemble, "stages") as advance:
        for recipe in recipes:
            sources[recipe.name] = recognize(run, recipe)
            advance(1)
        if not run.settings.ensemble:
            return sources, None
        if not (run.dev.truth != NO_LANDMARK).any():
            raise LmkError(
                "No landmark has two photos, so no query can be held out and dev cannot teach how to blend. "
                "Run without --ensemble."
            )
        sources[RETRIEVAL] = retrieve(run, recipes)
        advance(1)
        blended = ensemble(run, list(sources.values()))
        advance(1)
        verified = verify(run, blended)
        advance(1)
        sources |= {FUSED: fuse(run, list(sources.values()), blended, verified), ENSEMBLE: blended}
        advance(1)
    return sources, verified


def stage_keys(run: Run) -> dict[str, Mapping[str, object]]:
    """The stages of a run in order, each with all that its predictions depend on."""
    settings = run.settings
    recipes = {name: recipe_key(run, run.recipe(name)) for name in settings.recipes}
    keys: dict[str, Mapping[str, object]] = dict(recipes)
    if settings.ensemble:
        keys[RETRIEVAL] = {
            "recipes": list(recipes.values()),
            "options": asdict(Options()),
            "alone": settings.each_network,
        }
        parts = [run.digest(stage, key) for stage, key in keys.items()]
        keys[ENSEMBLE] = {"parts": parts, "k": settings.candidates, "seed": settings.seed}
        blend = run.digest(ENSEMBLE, keys[ENSEMBLE])
        keys[FUSED] = {"ensemble": blend, "evidence": evidence_key(run), "rule": settings.fusion}
    return keys


def recipe_key(run: Run, recipe: Recipe) -> dict[str, object]:
    """All that a recipe's networks depend on: the key of its stage, too."""
    weights = weights_digest(recipe.backbone, run.settings.weights)

    def by(maker: Maker) -> dict[str, object]:
        return {
            "recipe": recipe.key(),
            "weights": weights,
            "keras": maker[0],
            "backend": maker[1],
            "arithmetic": [run.settings.precision, run.settings.runtime],
            **run.data_key,
        }

    return by(run.maker_of(recipe.name, lambda maker: run.is_stored(recipe.name, by(maker))))


def recognize(run: Run, recipe: Recipe) -> Source:
    """A recipe's predictions; its networks are trained where they are not stored."""

    def compute() -> Made:
        with _networks(run) as networks:
            return *networks.Recognizer(run, recipe, recipe_key(run, recipe)).predictions(), {}

    return run.stored(recipe.name, recipe_key(run, recipe), compute)


def train(run: Run, recipe: Recipe) -> dict[int | None, list[dict[str, float]]]:
    """Train a recipe's networks where they are not stored: history by fold, None for that of all photos."""
    with run.timed(recipe.name), _networks(run) as networks:
        return networks.Recognizer(run, recipe, recipe_key(run, recipe)).train()


def retrieve(run: Run, recipes: list[Recipe]) -> Source:
    """kNN by the descriptors of all recipes."""

    def compute() -> Made:
        with _networks(run) as networks:
            sources = [networks.Recognizer(run, recipe, recipe_key(run, recipe)) for recipe in recipes]
            return networks.retrieve(run, sources, Options(), run.settings.each_network)

    return run.stored(RETRIEVAL, stage_keys(run)[RETRIEVAL], compute)


def ensemble(run: Run, parts: list[Source]) -> Source:
    """The blend of recipes and retrieval; extras: the `weights` of the parts and the `optimism` of dev.

    By setting retrieval takes part by each network's descriptors alone, too; its weight is the sum.
    """
    truth, seed, k = run.dev.truth, run.settings.seed, run.settings.candidates

    def compute() -> Made:
        asked, tested = _lists(parts, "dev"), _lists(parts, "test")
        dev = cross_fit(
            run.dev.photos,
            lambda rows: fit_blend([found.take(rows) for found in asked], truth[rows], seed),
            lambda blend, rows: blend([found.take(rows) for found in asked], k),
            seed,
        )
        blend = fit_blend(asked, truth, seed)
        optimism = gap_of(blend(asked, k), truth) - gap_of(dev, truth)
        shares = iter(blend.weights)
        weights = [sum(next(shares) for _ in lists_of(part, "dev")) for part in parts]
        return dev, blend(tested, k), {"weights": np.array(weights), "optimism": np.array(optimism)}

    return run.stored(ENSEMBLE, stage_keys(run)[ENSEMBLE], compute)


def _lists(parts: list[Source], part: Literal["dev", "test"]) -> list[Predictions]:
    """All that is blended: the predictions of the parts, and the further lists that they packed."""
    return [found for source in parts for found in lists_of(source, part)]


def verify(run: Run, source: Source) -> Verified:
    """Evidence for the landmarks that the ensemble proposes."""
    with run.timed("verification"):
        return verify_proposals(run, source)


def fuse(run: Run, parts: list[Source], blended: Source, verified: Verified) -> Source:
    """One confidence of recognition and evidence, by the rule of the settings."""
    rules = {LEARNED: _learned, PUBLISHED_SUM: _published_sum, PUBLISHED_THRESHOLD: _published_threshold}
    rule = rules[run.settings.fusion]
    return run.stored(FUSED, stage_keys(run)[FUSED], lambda: rule(run, parts, blended, verified))


def write_checked(run: Run, predictions: Predictions, path: Path) -> Path:
    """Write the submission in the sample's order, every id once; check what was written.

    A query without a readable photo gets the most frequent landmark below all other answers, which cannot lower
    GAP, or no answer by setting.
    """
    answers = predictions.top(1).align(run.competition.test_ids)
    if run.settings.answer_unreadable:
        asked = positions(predictions.ids, run.competition.test_ids) >= 0
        landmarks, counts = np.unique(run.competition.train_landmarks, return_counts=True)
        answered = answers.best != NO_LANDMARK
        last = min(answers.confidence[answered].min(initial=0.0), 0.0) - 1.0
        best = np.where(asked, answers.best, landmarks[counts.argmax()])
        confidence = np.where(asked, answers.confidence, last)
        answers = Predictions(answers.ids, best[:, None], confidence[:, None])
    write_submission(answers, path)
    check_submission(read_submission(path), run.competition.test_ids)
    return path


@contextmanager
def _networks(run: Run) -> Iterator[ModuleType]:
    """`lmk.recognition` with the run's devices and precision; loaded here, for Keras takes seconds to load."""
    from lmk.models.start import start_keras

    start_keras()
    from lmk import recognition
    from lmk.models.device import POLICIES, on_all_devices

    with on_all_devices(POLICIES[run.settings.precision]):
        yield recognition


def _learned(run: Run, parts: list[Source], blended: Source, verified: Verified) -> Made:
    """The rule that dev teaches, cross-fitted there."""
    from lmk.ensemble.fuse import LearnedFusion, proposal_features  # loads scikit-learn

    truth, seed = run.dev.truth, run.settings.seed
    landmarks, counts = np.unique(run.competition.train_landmarks, return_counts=True)
    photo_counts = dict(zip(landmarks.tolist(), counts.tolist(), strict=True))
    similar = next(part.extras for part in parts if part.name == RETRIEVAL)
    dev_features = proposal_features(
        blended.dev, _lists(parts, "dev"), photo_counts, similar["dev"], _proposals(verified.dev)
    )
    test_features = proposal_features(
        blended.test, _lists(parts, "test"), photo_counts, similar["test"], _proposals(verified.test)
    )
    right = (blended.dev.landmarks == truth[:, None]) & (blended.dev.landmarks != NO_LANDMARK)

    def fit(rows: np.ndarray) -> LearnedFusion:
        return LearnedFusion.fit(dev_features[rows], right[rows])

    dev = cross_fit(run.dev.photos, fit, lambda fusion, rows: fusion(blended.dev.take(rows), dev_features[rows]), seed)
    fusion = fit(np.arange(len(truth)))
    optimism = gap_of(fusion(blended.dev, dev_features), truth) - gap_of(dev, truth)
    return dev, fusion(blended.test, test_features), {"optimism": np.array(optimism)}


def _proposals(evidence: Mapping[str, Evidence]) -> dict[str, np.ndarray]:
    """The evidence of all kinds, by kind and name."""
    return {f"{kind}:{name}": values for kind, one in evidence.items() for name, values in one.proposals().items()}


def _first(evidence: Mapping[str, Evidence]) -> Evidence:
    """What the published rules look at: they knew one kind."""
    return next(iter(evidence.values()))


def _published_sum(run: Run, parts: list[Source], blended: Source, verified: Verified) -> Made:
    from lmk.ensemble.fuse import published_sum

    largest = float(_first(verified.dev).inliers[:, 0].max(initial=1))
    dev, test = (
        published_sum(predictions, _first(evidence).inliers, largest)
        for predictions, evidence in ((blended.dev, verified.dev), (blended.test, verified.test))
    )
    return dev, test, {}


def _published_threshold(run: Run, parts: list[Source], blended: Source, verified: Verified) -> Made:
    from lmk.ensemble.fuse import published_threshold

    dev, test = (
        published_threshold(predictions, _first(evidence).counts)
        for predictions, evidence in ((blended.dev, verified.dev), (blended.test, verified.test))
    )
    return dev, test, {}


def _unreadable(run: Run) -> dict[str, str]:
    """Photos that cannot be read, with the reason; kept in the workspace."""
    competition = run.competition
    record = run.workspace.root / "photos" / f"{competition.digest}.json"
    if record.exists():
        run.reused.append("photos")
        return json.loads(record.read_text())
    ids = np.concatenate([competition.train_ids, competition.distractor_ids, competition.test_ids])
    paths = {path: name for name in ids.tolist() if (path := competition.photo(name)) is not None}
    found = find_unreadable(paths, len(paths), run.settings.jobs, run.progress)
    unreadable = {paths[error.path]: error.reason for error in found}
    write_json(record, unreadable)
    return unreadable


def _record(run: Run, name: str, path: Path, sources: Mapping[str, Source], verified: Verified | None) -> Result:
    """The run's record, kept as JSON in its folder; beside it what dev asked, and the evidence for its proposals."""
    truth = run.dev.truth
    stages = [*run.settings.recipes, RETRIEVAL, ENSEMBLE, FUSED]
    scored = {stage: gap_and_interval(sources[stage].dev, truth) if stage in sources else None for stage in stages}
    blended = sources.get(ENSEMBLE)
    named = [*run.settings.recipes, RETRIEVAL]
    result = Result(
        name=name,
        submission=path,
        gap={stage: found and found[0] for stage, found in scored.items()},
        low={stage: found and found[1] for stage, found in scored.items()},
        high={stage: found and found[2] for stage, found in scored.items()},
        weights=dict(zip(named, blended.extras["weights"].tolist(), strict=True)) if blended else {},
        optimism={
            stage: float(source.extras["optimism"]) for stage, source in sources.items() if "optimism" in source.extras
        },
        unreadable=dict(run.unreadable),
        seconds=run.seconds,
        reused=run.reused,
        queries=len(truth),
        landmark_queries=int((truth != NO_LANDMARK).sum()),
    )
    told = {
        "competition": run.competition.name,
        "settings": asdict(run.settings),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"lmk": __version__} | {package: version(package) for package in VERSIONS},
        "made_by": {recipe: " ".join(maker) for recipe, maker in run.made_by.items()},
        "predictions": {stage: f"{stage}-{source.key}" for stage, source in sources.items()},
        "stages": [stage for stage in stages if stage in sources],
        "root": str(run.competition.root),
        "digest": run.competition.digest,
        "read_side": READ_SIDE,
        "comparison": comparison_settings(run, kinds_of(run)[0]).key(),
        "local_features": {kind: features_key(run, kind) for kind in kinds_of(run)} if verified else {},
    }
    folder = run.workspace.runs / name
    with atomic_path(folder / "dev.npz") as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, ids=run.dev.ids, photos=run.dev.photos, truth=truth)
    if verified is not None:
        for place, (kind, evidence) in enumerate(verified.dev.items()):
            evidence.save(folder / (f"evidence-{kind}.npz" if place else "evidence.npz"))
    told["spent"] = _spent(run, folder / "run.json")
    write_json(folder / "run.json", result.to_dict() | told)
    return result


def _report(run: Run, name: str) -> None:
    """The run's page, beside its record."""
    from lmk.report.page import write_report  # loads the templates' engine
    from lmk.report.record import load_run

    path = run.workspace.runs / name / "report.html"
    write_report(load_run(run.workspace, name), run.competition, path, run.progress)
    run.note(f"The run's report is in {path}.")


def _spent(run: Run, record: Path) -> dict[str, float]:
    """Seconds of each stage when it was computed: of a stage that is stored now, what the earlier record says."""
    earlier = json.loads(record.read_text(encoding="utf-8")).get("spent", {}) if record.exists() else {}
    now = {stage: seconds for stage, seconds in run.seconds.items() if stage not in run.reused}
    return earlier | {stage: max(seconds, earlier.get(stage, 0.0)) for stage, seconds in now.items()}
