"""The whole way on a tiny competition: what it writes, what it reuses, what it says, and that kills do not matter."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from forks import Forks

from lmk.data.competitions import read_competition
from lmk.data.tables import read_solution, read_train
from lmk.ensemble.combine import combination
from lmk.evaluation import check_submission, evaluate, gap_of
from lmk.pipeline.build import build
from lmk.pipeline.building.networks import NetworkSteps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.config import Config, Execution, config_of
from lmk.pipeline.dataset import Dataset, open_dataset
from lmk.pipeline.figures import submitted_stage
from lmk.pipeline.plan import StepPlan, plan_steps
from lmk.pipeline.results import Answers
from lmk.pipeline.run import Result, make_submission
from lmk.pipeline.steps import RETRIEVAL, context_of, execute
from lmk.predictions import NO_LANDMARK, Predictions, read_submission
from lmk.retrieval.published import RETRIEVALS, Described
from lmk.runs import DevFigures
from lmk.util.store import ArrayStore
from lmk.util.workspace import Workspace
from research.shift import rows

pytestmark = pytest.mark.usefixtures("tiny_recipes")

SETTINGS = {"recipes": tiny.RECIPE_NAMES, "weights": "none", "folds": 3}
STAGES = [*tiny.RECIPE_NAMES, "retrieval", "ensemble", "spread", "fused", "spread-fused"]
WITHOUT_SPREADING = [*tiny.RECIPE_NAMES, "retrieval", "ensemble", "fused"]
ARGUMENTS = ["--weights", "none", "--folds", "3", "--jobs", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.draw_competition(tmp_path_factory.mktemp("competitions") / "walls")


def opened(folder: Path, workspace: Path, **changes) -> tuple[Config, Dataset, Execution]:
    config, execution = config_of(**SETTINGS | changes), Execution(Workspace.open(workspace), jobs=1)
    return config, open_dataset(config, read_competition(folder.name, folder), execution), execution


def planned(folder: Path, workspace: Path, **changes) -> list[StepPlan]:
    run = opened(folder, workspace, **changes)
    return plan_steps(*run, build(*run))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def first(folder, workspace, known_results) -> Result:
    made = make_submission(*opened(folder, workspace))
    known_results.keep(workspace)
    return made


def test_every_id_of_the_sample_is_answered_once_in_its_order(first, folder):
    sample = [line.partition(",")[0] for line in (folder / "sample_submission.csv").read_text().split()[1:]]
    submission = read_submission(first.submission)
    assert submission.ids.tolist() == sample
    check_submission(submission, np.array(sample))
    assert set(submission.best.tolist()) <= tiny.LANDMARKS.keys()


def test_landmarks_are_found_again(first, folder):
    # Chance is 1 in 6; verification alone tells scenes apart.
    found = evaluate(read_submission(first.submission), read_solution(folder / "solution.csv"), draws=20)
    assert found.top1 >= 4 / 7
    assert found.gap > 0.4


def test_what_cannot_be_read_is_listed_and_answered_last(first):
    assert set(first.record.unreadable) == {tiny.UNREADABLE}
    assert "truncated" in first.record.unreadable[tiny.UNREADABLE]
    submission = read_submission(first.submission)
    last = {tiny.UNREADABLE, tiny.WITHOUT_PHOTO}
    order = np.argsort(-submission.confidence, kind="stable")
    assert set(submission.ids[order[-2:]].tolist()) == last
    assert set(submission.best[np.isin(submission.ids, list(last))].tolist()) == {40}  # the most frequent landmark


def test_by_option_what_cannot_be_read_is_not_answered(first, folder, workspace, tmp_path):
    run = opened(folder, workspace, unreadable="empty")
    found = make_submission(*run, tmp_path / "empty.csv")
    submission = read_submission(found.submission)
    silent = submission.ids[submission.best == NO_LANDMARK]
    assert set(silent.tolist()) == {tiny.UNREADABLE, tiny.WITHOUT_PHOTO}
    assert set(STAGES) <= set(found.record.reused)


def test_a_result_tells_dev_of_every_stage(first):
    assert list(first.record.dev.gap) == STAGES
    for stage, gap in first.record.dev.gap.items():
        assert 0 <= first.record.dev.low[stage] <= gap <= first.record.dev.high[stage] <= 1
    assert first.record.dev.gap["fused"] > 0.5
    assert sum(first.record.weights.values()) == pytest.approx(1)
    assert list(first.record.weights) == [*tiny.RECIPE_NAMES, "retrieval"]
    assert 0 < first.record.dev.landmark_queries < first.record.dev.queries
    assert not set(STAGES) & set(first.record.reused)


def test_without_spreading_each_photo_is_answered_alone_and_recipes_are_reused(first, folder, workspace, tmp_path):
    run = opened(folder, workspace, spread=False)
    alone = make_submission(*run, tmp_path / "alone.csv")
    assert list(alone.record.dev.gap) == WITHOUT_SPREADING
    assert alone.record.submitted == "fused"
    assert set(tiny.RECIPE_NAMES) <= set(alone.record.reused)
    assert not {"spread", "spread-fused"} & {step.stage for step in alone.record.steps}
    assert not any(step.name.endswith("/context") for step in alone.record.steps)
    assert alone.record.facts.keys() <= {"commit"}
    for name in tiny.RECIPE_NAMES:
        assert alone.record.dev.gap[name] == first.record.dev.gap[name]


def test_a_ridge_head_is_the_same_whether_answers_are_spread_or_not_and_can_be_left_out(first, folder, workspace):
    found = {}
    for spread in (True, False):
        for ridge in (True, False):
            run = opened(folder, workspace, spread=spread, ridge=ridge)
            found[spread, ridge] = execute(build(*run), [RETRIEVAL], run[2]).results[RETRIEVAL]
    for spread in (True, False):
        with_it, without = found[spread, True], found[spread, False]
        assert [len(one.alone) for one in (with_it, without)] == [1, 0]
        np.testing.assert_array_equal(with_it.dev.landmarks, without.dev.landmarks)
        head = with_it.alone[0]
        assert not np.array_equal(head.dev.scores[:, :1], with_it.dev.scores[:, :1])
    for of in ("dev", "test"):
        spread, plain = (getattr(found[one, True].alone[0], of) for one in (True, False))
        np.testing.assert_array_equal(spread.ids, plain.ids)
        np.testing.assert_allclose(spread.scores, plain.scores, rtol=1e-4, atol=1e-4)


def drawn(rng: np.random.Generator, truth: np.ndarray, noise: float) -> Answers:
    """Answers to queries, all of which show landmark 1: right ones above wrong ones, but for noise."""
    ids = np.array([f"q{row:03}" for row in range(len(truth))])
    landmarks = np.where(rng.random(len(truth)) < 0.8, 1, 2)
    scores = 1.0 * (landmarks == 1) + noise * rng.normal(size=len(truth))
    lists = Predictions(ids, landmarks[:, None], scores[:, None])
    return Answers(lists, lists.take(np.arange(0)))


def test_the_last_stage_is_submitted_unless_another_leads_by_more_than_an_error(folder, tmp_path):
    config, _dataset, _ = opened(folder, tmp_path)
    truth, rng = np.ones(200, np.int64), np.random.default_rng(0)
    stages = {name: drawn(rng, truth, 3.0) for name in STAGES}
    lists = stages["fused"].dev
    # One of 200 answers better and a less sure one worse: within the error of so few. All of them: far beyond it.
    order = np.argsort(-lists.confidence)
    better_row, worse_row = order[lists.best[order] == 2][0], order[lists.best[order] == 1][30]
    changed = lists.best.copy()
    changed[[better_row, worse_row]] = 1, 2
    mostly = Predictions(lists.ids, changed[:, None], lists.scores)
    perfect = Predictions(lists.ids, np.ones((200, 1), np.int64), lists.scores)
    for better, submitted in ((mostly, "spread-fused"), (perfect, "fused")):
        found = stages | {"fused": replace(stages["fused"], dev=better), "spread-fused": stages["fused"]}
        gap: dict[str, float | None] = dict.fromkeys(STAGES, 0.0) | {
            name: gap_of(found[name].dev, truth) for name in ("fused", "spread-fused")
        }
        figures = DevFigures(gap, {}, {}, {}, 200, 200)
        stage, why = submitted_stage(config, figures, found, truth)
        assert stage == submitted
        assert "fused is better than spread-fused" in why
        assert submitted_stage(config, figures, found, truth, best=True) == ("fused", None)


def test_a_run_that_spreads_records_what_it_did_and_shows_whom_it_followed(first):
    assert first.record.submitted in ("fused", "spread-fused")
    changed = json.loads((first.submission.parent.parent / "runs" / first.name / "changes.json").read_text())
    assert {stage: len(reasons) for stage, reasons in changed.items()} == {
        name: first.record.facts[name]["answers_changed"] for name in ("spread", "spread-fused")
    }
    for name in ("spread", "spread-fused"):
        facts = first.record.facts[name]
        assert facts["dev_gap_by_share"].keys() == {"0", "0.3", "0.6", "0.9"}
        # The share that is meant is left for one that is better only, or for none where it changes nothing.
        gaps = facts["dev_gap_by_share"]
        assert facts["share"] == 0.6 or gaps[f"{facts['share']:g}"] >= gaps["0.6"]
    likeness = first.record.likeness
    assert 0 <= likeness["roc_area"] <= 1
    assert list(likeness["dev_weighted"]) == STAGES


def test_a_holdout_spreads_its_parts_along_one_graph(folder, workspace, tmp_path):
    run = opened(folder, workspace, dev="holdout", dev_queries=16)
    found = make_submission(*run, tmp_path / "holdout.csv")
    assert list(found.record.dev.gap) == STAGES
    check_submission(read_submission(found.submission), run[1].competition.test_ids)


def test_dev_asks_nobody_what_taught_it(first, folder, workspace):
    _, dataset, _ = opened(folder, workspace)
    assert [part.fold for part in dataset.parts] == [0, 1, 2, None]
    for part in dataset.parts:
        assert not set(part.queries.photos.tolist()) & {*part.photos.tolist(), *part.distractors.tolist()}


def test_a_second_run_reuses_every_stage_and_writes_the_same_bytes(first, folder, workspace, tmp_path):
    run = opened(folder, workspace)
    second = make_submission(*run, tmp_path / "again.csv")
    assert set(STAGES) <= set(second.record.reused)
    assert second.submission.read_bytes() == first.submission.read_bytes()
    assert second.record.dev.gap == first.record.dev.gap


def test_a_page_is_drawn_again_only_where_it_is_gone_or_something_was_computed(first, folder, workspace, tmp_path):
    page = Workspace.open(workspace).runs / first.name / "report.html"
    make_submission(*opened(folder, workspace), tmp_path / "again.csv")
    assert "again.csv" in page.read_text(encoding="utf-8")
    drawn = page.stat()
    make_submission(*opened(folder, workspace), tmp_path / "again.csv")
    assert page.stat().st_mtime_ns == drawn.st_mtime_ns
    page.unlink()
    make_submission(*opened(folder, workspace), tmp_path / "again.csv")
    assert page.exists()
    for path in (Workspace.open(workspace).predictions).glob("spread-fused-*"):
        path.unlink()
    drawn = page.stat()
    make_submission(*opened(folder, workspace), tmp_path / "again.csv")
    assert page.stat().st_mtime_ns > drawn.st_mtime_ns


def test_another_seed_is_another_run(first, folder, workspace):
    plans = planned(folder, workspace, seed=1)
    assert [plan.name for plan in plans if plan.stored] == ["local/rootsift"]  # which knows no seed
    assert all(plan.stored for plan in planned(folder, workspace))


def test_a_recipe_by_itself_is_reused_and_the_rest_is_null(first, folder, workspace, tmp_path):
    run = opened(folder, workspace, recipes=("tiny-tuned",), ensemble=False)
    alone = make_submission(*run, tmp_path / "alone.csv")
    assert "tiny-tuned" in alone.record.reused
    assert alone.record.dev.gap == {
        "tiny-tuned": first.record.dev.gap["tiny-tuned"],
        "retrieval": None,
        "ensemble": None,
        "fused": None,
    }


def test_the_head_of_a_tuned_network_answers_queries_and_no_photo_of_the_gallery(first, folder, workspace):
    def stored(what: str) -> dict[str, set[str]]:
        stores = map(ArrayStore.at, Workspace.open(workspace).stores.glob(f"tiny-tuned*{what}-*"))
        return {store.key["facts"]["part"]: set(store.ids()) for store in stores}

    answered, described = stored("answers"), stored("descriptors")
    gallery = set(read_train(folder / "train.csv")[0])
    assert answered.keys() == described.keys() and len(answered) > 1
    for part, photos in answered.items():
        assert photos and described[part] & gallery and not photos & described[part]


def test_the_published_sum_reuses_all_but_fusion(first, folder, workspace, tmp_path):
    run = opened(folder, workspace, fusion="seed-0.85-0.15")
    found = make_submission(*run, tmp_path / "rule.csv")
    assert set(STAGES) - set(found.record.reused) == {"fused", "spread-fused"}
    assert found.record.dev.gap["ensemble"] == first.record.dev.gap["ensemble"]


def test_under_the_published_threshold_nothing_is_answered_that_was_not_verified(first, folder, workspace, tmp_path):
    run = opened(folder, workspace, fusion="seed-35-inliers", unreadable="empty")
    found = make_submission(*run, tmp_path / "rule.csv")
    assert found.record.submitted == "fused" and list(found.record.dev.gap) == STAGES[:-1]
    assert set(STAGES[:-1]) - set(found.record.reused) == {"fused"}
    submission = read_submission(found.submission)
    evidence = execute(build(*run), ["verification"], run[2]).results["verification"].test["rootsift"]
    borne_out = dict(zip(evidence.ids.tolist(), (evidence.counts[:, 0, :20] > 35).any(axis=1).tolist(), strict=True))
    answered = dict(zip(submission.ids.tolist(), (submission.best != NO_LANDMARK).tolist(), strict=True))
    assert answered == {name: borne_out.get(name, False) for name in answered}


def test_as_published_what_cannot_be_read_is_answered_with_confidence_0(first, folder, workspace, tmp_path):
    found = make_submission(*opened(folder, workspace, unreadable="zero"), tmp_path / "zero.csv")
    submission = read_submission(found.submission)
    unread = np.isin(submission.ids, [tiny.UNREADABLE, tiny.WITHOUT_PHOTO])
    assert submission.confidence[unread].tolist() == [0.0, 0.0] and set(submission.best[unread].tolist()) == {40}
    assert set(STAGES) <= set(found.record.reused)


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("name", ["a-b-c", "cosine-times-logit"])
def test_a_published_retrieval_takes_the_place_of_nearest_neighbours(name, spread, first, folder, workspace):
    """By its twin on arrays, of every part; everything else of the step stays."""
    config, dataset, execution = opened(folder, workspace, retrieval=name, spread=spread)
    builder = NetworkSteps(Shared(config, dataset, execution))
    steps = build(config, dataset, execution)
    heads = [context_of(recipe) if spread else recipe for recipe in tiny.RECIPE_NAMES]
    results = execute(steps, ["retrieval", *heads], execution).results
    plain = opened(folder, workspace, spread=spread)
    knn = execute(build(*plain), ["retrieval"], execution).results["retrieval"]
    found = results["retrieval"]
    for recipe in config.recipes:
        builder.recipe(recipe)
    for part in dataset.parts:
        of, ids, asked = ("test", dataset.test_ids, dataset.test_ids)
        if len(part.queries):
            of, ids, asked = "dev", part.queries.ids, part.queries.photos
        photos = (part.photos, part.distractors, asked)
        describe = [builder.of_recipe[recipe.name]().descriptors for recipe in config.recipes]
        models = [Described(*(one(part, names) for names in photos)) for one in describe]
        lists = [getattr(results[head], of) for head in heads]
        logits = combination("mean", lists)(lists, 20)
        expected = RETRIEVALS[name](ids, models, part.landmarks, logits, 20)
        answered = getattr(found, of).align(ids)
        np.testing.assert_array_equal(answered.landmarks[:, :3], expected.landmarks[:, :3])
    assert len(found.context) == len(knn.context) == (3 if spread else 0)
    assert found.dev.ids.tolist() == knn.dev.ids.tolist()
    np.testing.assert_array_equal(found.likeness_dev, knn.likeness_dev)


def test_json_is_one_object_on_stdout(first, folder, workspace, lmk):
    arguments = ["make-submission", "--ensemble", "-c", str(folder), "-w", str(workspace), *ARGUMENTS, "--json"]
    chosen = [option for name in tiny.RECIPE_NAMES for option in ("--recipe", name)]
    code, out, _ = lmk(*arguments, *chosen)
    told = json.loads(out)
    assert code == 0
    assert told["submission"] == str(first.submission)
    assert told["dev"]["gap"] == first.record.dev.gap
    assert set(STAGES) <= told["seconds"].keys()
    assert set(STAGES) <= set(told["reused"])


def test_the_table_names_every_stage_and_the_submission(first, folder, workspace, lmk):
    chosen = [option for name in tiny.RECIPE_NAMES for option in ("--recipe", name)]
    arguments = ["make-submission", "--ensemble", "-c", str(folder), "-w", str(workspace), *ARGUMENTS, *chosen]
    code, out, _ = lmk(*arguments)
    assert code == 0
    for stage, gap in first.record.dev.gap.items():
        assert any(line.startswith(stage) and f"{gap:.5f}" in line for line in out.splitlines())
    assert out.splitlines()[-1] == f"Submission: {first.submission}"


def test_a_dry_run_computes_nothing(folder, tmp_path, lmk):
    arguments = ["make-submission", "--ensemble", "-c", str(folder), "-w", str(tmp_path / "w"), *ARGUMENTS]
    options = ["--recipe", "tiny-tuned", "--dry-run", "--json"]
    code, out, _ = lmk(*arguments, *options)
    steps = json.loads(out)["steps"]
    assert code == 0
    assert [step["name"] for step in steps] == [
        *("tiny-tuned/networks", "tiny-tuned", "tiny-tuned/context", "retrieval", "ensemble", "local/rootsift"),
        *("spread", "verification", "fused", "spread-fused"),
    ]
    assert not any(step["stored"] for step in steps)
    assert all(step["seconds"] > 0 for step in steps)
    written = {path.name for path in (tmp_path / "w").iterdir()} - {"photos"}  # which photos can be read
    assert not written


def test_a_stage_by_itself_is_that_of_the_run(first, folder, workspace, lmk):
    arguments = ["-c", str(folder), "-w", str(workspace), *ARGUMENTS, "--json"]
    code, out, _ = lmk("predict", "tiny-tuned", *arguments)
    told = json.loads(out)
    assert code == 0
    assert told["gap"] == first.record.dev.gap["tiny-tuned"]
    assert told["reused"] == ["photos", "tiny-tuned"]


@pytest.mark.parametrize(
    ("arguments", "message", "expected"),
    [
        (["--recipe", "tiny-frosen"], "No recipe is named 'tiny-frosen'. Did you mean 'tiny-frozen'?", 2),
        (
            ["--recipe", "mobilenet-gem", "--weights", "no-such.h5"],
            "There are no weights of mobilenet at 'no-such.h5'",
            1,
        ),
        (["--competition", "landmark-recognition-2017"], "Did you mean `landmark-recognition-20", 1),
        (["--competition", "."], "has no train.csv", 1),
        (["--competition", "own"], "own has no train.csv. `lmk data new own` makes a competition of folders of", 1),
        (["--workspace", "file/inside"], "The workspace file/inside cannot be made", 1),
        (
            ["--fusion", "seed-35"],
            "No fusion is named 'seed-35'; there are learned, seed-0.85-0.15, seed-35-inliers. Did",
            2,
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1_or_2_for_usage(
    arguments, message, expected, folder, tmp_path, lmk, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "own" / "a place").mkdir(parents=True)
    (tmp_path / "own" / "a place" / "x.jpg").write_bytes(b"")
    common = [] if "--competition" in arguments else ["-c", str(folder)]
    code, out, err = lmk("make-submission", "--ensemble", *common, *arguments)
    errors = [line for line in err.splitlines() if not line.startswith("1 photo cannot be read and is left out: ")]
    assert (code, out, len(errors)) == (expected, "", 1)
    assert errors[0].startswith("error: ")
    assert message in errors[0]


def test_one_landmark_alone_is_refused(tmp_path, lmk):
    folder = tiny.draw_competition(tmp_path / "one")
    (folder / "train.csv").write_text("id,landmark_id\nl40n0,40\nl40n1,40\n")
    arguments = ["make-submission", "-c", str(folder), "-w", str(tmp_path / "w"), "-r", "tiny-tuned", *ARGUMENTS]
    code, _, err = lmk(*arguments)
    assert code == 1
    assert "It needs two at least" in err.splitlines()[-1]


def test_adversarial_validation_is_shown_beside_shifts_made_on_purpose(first, folder, workspace):
    found = rows(str(folder), tiny.RECIPE_NAMES, workspace, weights="none", folds=3)
    plain, _, known = found
    assert plain["dev"] == pytest.approx(first.record.dev.gap["ensemble"])
    assert known["dev"] > plain["dev"]  # without strangers
    assert all(0 < row[figure] <= 1 for row in found for figure in ("roc_area", "dev_weighted", "test"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(first, folder, tmp_path):
    arguments = ["make-submission", "--ensemble", "-c", str(folder), "-w", str(tmp_path / "w"), *ARGUMENTS, "--json"]
    arguments += [option for name in tiny.RECIPE_NAMES for option in ("--recipe", name)]
    arguments += ["--out", str(tmp_path / "out.csv")]
    # Between a network's weights and its history, after the training of the second tuned network, between the
    # predictions of dev and of test, and while pairs are compared; each run begins where the one before was killed.
    with Forks(tmp_path, tiny=True) as forks:
        for kill_at in (12, 34, 34, 53):
            killed = forks.lmk(*arguments, environment=os.environ | {"KILL_AT": str(kill_at)})
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            assert not (tmp_path / "out.csv").exists()
            assert list((tmp_path / "w").rglob(".*.tmp.*"))
        done = forks.lmk(*arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.csv").read_bytes() == first.submission.read_bytes()
    assert json.loads(done.stdout)["dev"]["gap"] == first.record.dev.gap
    assert not list(tmp_path.rglob(".*.tmp.*"))
    assert not list(tmp_path.rglob("*.checkpoint.npz"))
    ends = (".", " s", "/s", " s each", *tiny.RECIPE_NAMES)
    told = [line for line in done.stderr.splitlines() if not (line.endswith(ends) or " ... step " in line)]
    assert not told, done.stderr  # no notices of the backend
