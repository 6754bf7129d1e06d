"""Steps as data: keys that follow the code that computes, results that are checked, and what is accepted as stale."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny

from lmk.data.competitions import read_competition
from lmk.local.kinds import LOCAL_FEATURES
from lmk.models.backbones.catalogue import PROVIDERS
from lmk.pipeline import code_of_steps
from lmk.pipeline.build import build
from lmk.pipeline.cache import Cache, DamagedResult
from lmk.pipeline.code import code_digests, source_digest
from lmk.pipeline.config import Config, Execution, config_of
from lmk.pipeline.dataset import Dataset, open_dataset
from lmk.pipeline.key import Key
from lmk.pipeline.results import Answers, Blended
from lmk.pipeline.run import make_submission
from lmk.pipeline.steps import Step, execute, stale_steps
from lmk.predictions import Predictions
from lmk.runs import find_record
from lmk.util.checked import is_sealed, seal_of
from lmk.util.errors import UsageError
from lmk.util.files import digest_of_file
from lmk.util.workspace import Workspace
from tests.structure import imports

pytestmark = pytest.mark.usefixtures("tiny_recipes")

INERT = {
    "lmk.pipeline.backend", "lmk.pipeline.build", "lmk.pipeline.cache",
    "lmk.pipeline.code_of_steps", "lmk.pipeline.config", "lmk.pipeline.dataset", "lmk.pipeline.key",
    "lmk.pipeline.local_features", "lmk.pipeline.places", "lmk.pipeline.results",
    "lmk.pipeline.steps", "lmk.data.competitions", "lmk.data.findings", "lmk.data.tables", "lmk.models.start",
    "lmk.models.saved", "lmk.models.checkpoints", "lmk.pipeline.histories", "lmk.models.distributed",
    "lmk.models.recipe", "lmk.models.recipes", "lmk.models.recipe_files",
    "lmk.models.delf.recipe",
    "lmk.pipeline.likes", "lmk.local.kinds", "lmk.local.settings", "lmk.data.reading",
    "lmk.local.draw", "lmk.metrics", "lmk.retrieval.scores", "lmk.pipeline.systems",
}  # fmt: skip
"""Modules that carry numbers, or whose values stand in keys by themselves, and that make none."""
READ = {"lmk.data.headers", "lmk.data.images", "lmk.data.views", "lmk.data.splits", "lmk.predictions"}
"""Modules in the keys of photos and of the split, which every key holds."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.draw_competition(tmp_path_factory.mktemp("competitions") / "walls")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("workspace")


def opened(folder: Path, workspace: Path, **changes) -> tuple[Config, Dataset, Execution]:
    settings = {"recipes": tiny.RECIPE_NAMES, "weights": "none", "folds": 3} | changes
    config, execution = config_of(**settings), Execution(Workspace.open(workspace), jobs=1)
    return config, open_dataset(config, read_competition(folder.name, folder), execution), execution


@pytest.fixture(scope="module")
def computed(folder, workspace, known_results) -> dict[str, Step]:
    """The steps of a run that was executed."""
    known_results.copy_to(workspace)
    config, dataset, execution = opened(folder, workspace)
    steps = build(config, dataset, execution)
    execute(steps, [step.name for step in steps], execution)
    return {step.name: step for step in steps}


IMPORTED: dict[str, set[str]] = {}
for one in imports():
    if not one.typing:
        IMPORTED.setdefault(one.source, set()).add(one.target)

ROOTS = {
    "NETWORK_CODE": "lmk.pipeline.features",
    "TRAINING_CODE": "lmk.pipeline.networks",
    "RETRIEVAL_CODE": "lmk.pipeline.retrieve",
    "PUBLISHED_RETRIEVAL_CODE": "lmk.pipeline.published",
    "SPREAD_CODE": "lmk.pipeline.spread",
    "BLEND_CODE": "lmk.pipeline.blend",
    "DELF_CODE": "lmk.pipeline.delf",
    "COMPARISON_CODE": "lmk.local.verify",
    "EVIDENCE_CODE": "lmk.pipeline.verify",
    "FUSION_CODE": "lmk.pipeline.fuse",
}
"""The module that each step calls first."""
KINDS, PROVIDERS_OF_BACKBONES = "kinds of local features", "providers of backbones"
UPSTREAM = {
    "TRAINING_CODE": ("NETWORK_CODE",),
    "COMPARISON_CODE": ("DELF_FEATURES_CODE", KINDS),
    "PAIRS_CODE": ("COMPARISON_CODE", "DELF_FEATURES_CODE", KINDS),
    "PUBLISHED_RETRIEVAL_CODE": ("RETRIEVAL_CODE",),
    "SPREAD_CODE": ("PAIRS_CODE", "RETRIEVAL_CODE", "BLEND_CODE"),
    "EVIDENCE_CODE": ("COMPARISON_CODE", "DELF_FEATURES_CODE", KINDS),
    "DELF_CODE": ("DELF_FEATURES_CODE", KINDS),
    "FUSION_CODE": ("BLEND_CODE", "EVIDENCE_CODE"),
}
"""Modules whose digests a key holds besides: those of the steps before it, and of what it reads."""


def declared_by(name: str) -> set[str]:
    if name == KINDS:
        return {module for kind in LOCAL_FEATURES.values() for module in (*kind.code, *kind.matching_code)}
    if name == PROVIDERS_OF_BACKBONES:
        return {module for provider in PROVIDERS for module in code_of_steps.provider_code(provider)}
    return set(getattr(code_of_steps, name))


@pytest.mark.parametrize("name", [KINDS, PROVIDERS_OF_BACKBONES])
def test_every_module_that_an_entry_of_a_registry_computes_with_is_declared(name):
    own = declared_by(name)
    known = own | READ | declared_by("NETWORK_CODE")
    for module in sorted(own):
        used = {target for target in IMPORTED.get(module, ()) if not target.startswith("lmk.util")} - INERT
        assert used <= known, f"{module} uses {sorted(used - known)}"


@pytest.mark.parametrize("name", sorted(ROOTS))
def test_every_module_that_computes_for_a_step_is_declared_by_it(name):
    """What a declared module imports is declared, too, or makes no numbers."""
    own = declared_by(name)
    assert ROOTS[name] in own
    known = own | READ.union(*(declared_by(one) for one in UPSTREAM.get(name, ())))
    for module in sorted(own):
        used = {target for target in IMPORTED.get(module, ()) if not target.startswith("lmk.util")} - INERT
        assert used <= known, f"{module}, which {name} declares, uses {sorted(used - known)}, which it does not"


def test_every_step_of_a_run_declares_code(computed):
    assert all(step.key.code for step in computed.values())


def test_no_inert_module_is_declared_and_every_declared_one_exists():
    declared = set().union(*(declared_by(name) for name in vars(code_of_steps) if name.endswith("_CODE")))
    declared |= declared_by(KINDS) | declared_by(PROVIDERS_OF_BACKBONES)
    assert len(declared) > 30 and not declared & INERT
    assert code_digests(declared).keys() == declared


PLAIN = '''
"""A module."""
from lmk.util.files import write_json
X = 3
"""A constant."""
def f(a: int, b: list[int] = None) -> int:
    """Adds."""
    if a < 0:
        raise ValueError(f"{a} is negative.")
    return a + X  # why
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Adds.", "Adds three."),
        ("# why", "# another reason"),
        ("a: int", "a: float"),
        (" -> int", ""),
        ("{a} is negative.", "{a} is below zero."),
        ("A constant.", "Another text."),
        ("write_json", "atomic_path"),
        ("\nX", "\n\n\nX"),
    ],
)
def test_words_annotations_errors_and_file_helpers_change_no_digest(old, new):
    assert old in PLAIN
    assert source_digest(PLAIN.replace(old, new)) == source_digest(PLAIN)


@pytest.mark.parametrize(
    ("old", "new"),
    [("X = 3", "X = 4"), ("a + X", "a - X"), ("a < 0", "a <= 0"), ("ValueError", "KeyError"), ("= None", "= ()")],
)
def test_what_can_change_a_number_changes_the_digest(old, new):
    assert old in PLAIN
    assert source_digest(PLAIN.replace(old, new)) != source_digest(PLAIN)


def edit(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let a module have another digest."""
    known = code_digests

    def digests(modules):
        return {name: "edited" if name == module else digest for name, digest in known(modules).items()}

    monkeypatch.setattr("lmk.pipeline.key.code_digests", digests)


def names_missing(steps: list[Step]) -> list[str]:
    return [step.name for step in steps if step.slot.missing()]


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        ("lmk.ensemble.fuse", ["fused", "spread-fused"]),
        ("lmk.local.verify", ["spread", "verification", "fused", "spread-fused"]),
        ("lmk.ensemble.edges", ["spread", "verification", "fused", "spread-fused"]),
        ("lmk.local.ransac", ["spread", "verification", "fused", "spread-fused"]),
        ("lmk.retrieval.neighbours", ["retrieval", "ensemble", "spread", "verification", "fused", "spread-fused"]),
    ],
)
def test_an_edit_makes_stale_what_the_module_computes_and_all_after_it(
    computed, folder, workspace, monkeypatch, module, stale
):
    run = opened(folder, workspace)
    assert names_missing(build(*run)) == []
    edit(monkeypatch, module)
    steps = build(*run)
    assert names_missing(steps) == stale
    found = stale_steps(steps, Cache(run[2].workspace))
    assert [one.step for one in found] == stale
    assert module in found[0].modules or stale[0] == "spread"  # which reads pairs that are keyed by it


def test_an_accepted_stale_result_is_taken_and_recorded(computed, folder, workspace, monkeypatch, tmp_path):
    first = make_submission(*opened(folder, workspace), tmp_path / "first.csv")
    edit(monkeypatch, "lmk.ensemble.fuse")
    run = opened(folder, workspace, accepted=("fused",))
    assert names_missing(build(*run)) == []
    second = make_submission(*run, tmp_path / "second.csv")
    assert second.submission.read_bytes() == first.submission.read_bytes()
    assert find_record(run[2].workspace.runs, second.name).settings["accepted"] == ["fused"]


def test_a_step_that_the_run_has_not_is_not_accepted(computed, folder, workspace):
    with pytest.raises(UsageError, match=r"'fusde' names no step of this run\. Did you mean 'fused'"):
        build(*opened(folder, workspace, accepted=("fusde",)))


def answers() -> Answers:
    lists = Predictions(np.array(["a", "b"]), np.array([[1, 2], [3, 4]]), np.array([[0.5, 0.25], [0.125, 0.0625]]))
    return Answers(lists, lists)


@pytest.mark.parametrize("end", ["dev.parquet", "test.parquet", "npz"])
def test_a_flipped_bit_in_a_stored_result_is_found_and_named(tmp_path, end):
    slot = Cache(Workspace.open(tmp_path)).answers(Key.of("retrieval", {}), Answers)
    rng = np.random.default_rng(0)
    for _ in range(40):
        slot.save(answers())
        path = slot.files.path(end)
        data = bytearray(path.read_bytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        with pytest.raises(DamagedResult, match=path.name):
            slot.load()
        assert slot.missing() == 1


@pytest.mark.parametrize("damage", [lambda text: text[:-40], lambda text: "[]", lambda text: "{}", lambda text: ""])
def test_a_damaged_record_of_a_result_is_found(tmp_path, damage: Callable[[str], str]):
    slot = Cache(Workspace.open(tmp_path)).answers(Key.of("retrieval", {}), Answers)
    slot.save(answers())
    slot.files.record.write_text(damage(slot.files.record.read_text()))
    with pytest.raises(DamagedResult):
        slot.load()


def with_sums_in_its_record(slot) -> None:
    """Make a stored result one of earlier versions: digests in the record, no seals."""
    record = json.loads(slot.files.record.read_text())
    record["files"] = {end: digest_of_file(slot.files.path(end)) for end in record["files"]}
    for end in record["files"]:
        seal_of(slot.files.path(end)).unlink()
    slot.files.record.write_text(json.dumps(record))


def test_a_result_of_earlier_versions_is_read_and_sealed(tmp_path):
    slot = Cache(Workspace.open(tmp_path)).answers(Key.of("retrieval", {}), Answers)
    slot.save(answers())
    with_sums_in_its_record(slot)
    for _ in range(2):
        assert (slot.load().dev.landmarks == answers().dev.landmarks).all()
    assert is_sealed(slot.files.path("npz"))


def test_a_changed_result_of_earlier_versions_is_not_sealed(tmp_path):
    slot = Cache(Workspace.open(tmp_path)).answers(Key.of("retrieval", {}), Answers)
    slot.save(answers())
    with_sums_in_its_record(slot)
    path = slot.files.path("dev.parquet")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedResult, match=r"dev\.parquet"):
        slot.load()
    assert slot.missing() == 1


def test_results_come_back_as_they_were_kept(tmp_path):
    given = answers()
    blended = Blended(given.dev, given.test, 0.25, {"one": 0.75, "two": 0.25})
    slot = Cache(Workspace.open(tmp_path)).answers(Key.of("ensemble", {}), Blended)
    slot.save(blended)
    found = slot.load()
    assert (found.optimism, dict(found.weights)) == (0.25, {"one": 0.75, "two": 0.25})
    assert (found.dev.landmarks == given.dev.landmarks).all() and (found.dev.scores == given.dev.scores).all()


def test_a_damaged_result_is_computed_anew_by_a_run(computed, folder, workspace, tmp_path):
    run = opened(folder, workspace)
    first = make_submission(*run, tmp_path / "first.csv")
    path = next(run[2].workspace.predictions.glob("ensemble-*.npz"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    second = make_submission(*run, tmp_path / "second.csv")
    assert "ensemble" not in second.record.reused and "fused" in second.record.reused
    assert second.submission.read_bytes() == first.submission.read_bytes()


def test_a_key_is_the_same_after_a_journey_through_json():
    key = Key.of("fused", {"rule": "learned"}, [Key.of("ensemble", {"k": 5})], ["lmk.metrics"])
    again = Key.of_dict(json.loads(json.dumps(key.to_dict())))
    assert again.digest == key.digest
    assert key.digest != Key.of("fused", {"rule": "learned"}, [Key.of("ensemble", {"k": 6})], ["lmk.metrics"]).digest


def test_a_published_system_has_one_network_and_nothing_else_in_its_blend(folder, tmp_path, known_results):
    known_results.copy_to(tmp_path)
    changes = {"recipes": tiny.RECIPE_NAMES[:1], "like": "xception-delf32", "local_features": "rootsift", "passes": 2}
    changes |= {"fusion": "seed-0.85-0.15", "candidates": 1, "unreadable": "zero"}
    config, dataset, execution = opened(folder, tmp_path, **changes)
    steps = build(config, dataset, execution)
    assert not any("retrieval" in step.name for step in steps)
    results = execute(steps, ["ensemble", "verification", "fused"], execution).results
    network = results["ensemble"]
    assert network.weights == {tiny.RECIPE_NAMES[0]: 1.0} and network.dev.landmarks.shape[1] == 1
    evidence = results["verification"].dev["rootsift"]
    assert evidence.counts.shape[2] == 64  # two passes of up to 32 photos
    assert (evidence.inliers[:, 0] == np.maximum(evidence.counts, 0)[:, 0].max(axis=1)).all()
    fused = results["fused"].dev
    largest = max(1, evidence.inliers.max())
    expected = 0.85 * evidence.inliers[:, 0] / largest + 0.15 * network.dev.confidence
    np.testing.assert_allclose(fused.confidence, expected)
    assert (fused.best == network.dev.best).all()
    assert make_submission(config, dataset, execution).submission.is_file()
