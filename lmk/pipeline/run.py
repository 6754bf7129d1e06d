"""make_submission: from a competition's files to a checked submission, stage by stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np

from lmk.data.competitions import Competition
from lmk.data.photos import find_unreadable
from lmk.ensemble.blend import fit_blend
from lmk.ensemble.tune import cross_fit
from lmk.evaluation import check_submission, gap_of
from lmk.models.backbones.catalogue import weights_digest
from lmk.models.recipes import Recipe
from lmk.pipeline.fuse import FUSIONS
from lmk.pipeline.outcome import Result, write_page, write_record
from lmk.pipeline.steps import ENSEMBLE, FUSED, RETRIEVAL, Made, Run, Settings, Source, all_lists, lists_of
from lmk.pipeline.verify import Verified, evidence_key, verify_proposals
from lmk.predictions import NO_LANDMARK, Predictions, read_submission, write_submission
from lmk.retrieval.neighbours import Options
from lmk.util.arrays import positions
from lmk.util.errors import LmkError
from lmk.util.files import write_json
from lmk.util.progress import Progress, silent
from lmk.util.team import ALONE, Team
from lmk.util.workspace import Maker, Workspace


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
    result = write_record(run, name, path, sources, verified)
    if result.landmark_queries:
        write_page(run, name, anew=final.name not in run.reused)
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


def train(run: Run, recipe: Recipe, team: Team = ALONE) -> dict[int | None, list[dict[str, float]]]:
    """Train a recipe's networks where they are not stored: history by fold, None for that of all photos.

    team: The processes that train them together, each of which calls this.

    Raises:
        LmkError: Keras' backend cannot do that, or the processes were not given the same.
        RemoteError: The processes did not meet.
    """
    with run.timed(recipe.name), _networks(run, team) as networks:
        return networks.Recognizer(run, recipe, recipe_key(run, recipe), team).train()


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
        asked, tested = all_lists(parts, "dev"), all_lists(parts, "test")
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


def verify(run: Run, source: Source) -> Verified:
    """Evidence for the landmarks that the ensemble proposes."""
    with run.timed("verification"):
        return verify_proposals(run, source)


def fuse(run: Run, parts: list[Source], blended: Source, verified: Verified) -> Source:
    """One confidence of recognition and evidence, by the rule of the settings."""
    rule = FUSIONS[run.settings.fusion]
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
def _networks(run: Run, team: Team = ALONE) -> Iterator[ModuleType]:
    """`lmk.pipeline.recognize` with the run's devices and precision; loaded here, for Keras takes seconds to load."""
    from lmk.models.start import start_keras

    if team.processes > 1:
        run.note(f"Waiting at {team.coordinator} until all {team.processes} processes are there.")
    start_keras(team)
    from lmk.models.device import POLICIES, on_all_devices
    from lmk.models.distributed import in_step
    from lmk.pipeline import recognize as recognition

    with in_step(team), on_all_devices(POLICIES[run.settings.precision], alone=team.processes == 1):
        yield recognition


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
