"""Metrics besides GAP, and GAP behind the class that they share: values, intervals, blends, training and texts."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lmk.cli.app import app
from lmk.ensemble.blend import fit_blend
from lmk.ensemble.blend_rules import learned_rules
from lmk.ensemble.candidates import gather
from lmk.ensemble.climb import Climb
from lmk.ensemble.trials import MetricClimb
from lmk.evaluation import evaluate
from lmk.metrics import gap, gap_interval, ranked_hits
from lmk.metrics.gains import TOP1, MeanAveragePrecision
from lmk.metrics.metric import Metric
from lmk.metrics.ranking import GAP, top1_accuracy
from lmk.metrics.registry import METRICS, find_metric
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.report.costs import mistake_costs
from lmk.util.errors import LmkError

RNG = np.random.default_rng(0)
EVERY = [*METRICS.values(), find_metric("map@1"), find_metric("map@5")]
SEARCHES = {name: rule.search for name, rule in learned_rules().items() if rule.search is not None}


def drawn(queries: int, k: int, seed: int) -> tuple[Predictions, np.ndarray]:
    """Answers of distinct landmarks, some absent, and truth of which a third shows no landmark."""
    rng = np.random.default_rng(seed)
    landmarks = np.stack([rng.permutation(12)[:k] for _ in range(queries)])
    scores = -np.sort(-rng.random((queries, k)), axis=1)
    landmarks[:, -1] = np.where(rng.random(queries) < 0.3, NO_LANDMARK, landmarks[:, -1])
    scores[landmarks == NO_LANDMARK] = -np.inf
    truth = np.where(rng.random(queries) < 0.33, NO_LANDMARK, rng.integers(0, 12, queries))
    return Predictions(np.array([f"q{row:03d}" for row in range(queries)]), landmarks, scores), truth


def test_map_of_a_worked_example():
    ids = np.array(["a", "b", "c", "d"])
    landmarks = np.array([[7, 8, 9], [8, 7, 9], [8, 9, 7], [7, 8, 9]])
    answers = Predictions(ids, landmarks, np.tile([0.9, 0.5, 0.1], (4, 1)))
    truth = np.array([7, 7, 7, NO_LANDMARK])
    assert find_metric("map@3").score(answers, truth) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert find_metric("map@2").score(answers, truth) == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert TOP1.score(answers, truth) == pytest.approx(1 / 3)
    # Two landmarks in one photo: precisions 1/1 and 2/3 at the right places, divided by both.
    both = np.array([[7, 9], [NO_LANDMARK, NO_LANDMARK], [5, NO_LANDMARK], [NO_LANDMARK, NO_LANDMARK]])
    assert find_metric("map@3").score(answers, both) == pytest.approx(((1 / 1 + 2 / 3) / 2 + 0) / 2)


@given(st.integers(0, 10_000))
def test_map_at_1_is_top_1_and_gap_is_gap(seed):
    answers, truth = drawn(12, 3, seed)
    assert find_metric("map@1").score(answers, truth) == pytest.approx(TOP1.score(answers, truth))
    if (truth != NO_LANDMARK).any():
        assert TOP1.score(answers, truth) == top1_accuracy(truth, answers.best)
        assert GAP.score(answers, truth) == gap(answers.ids, truth, answers.best, answers.confidence)


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_the_laws_of_a_metric(metric: Metric):
    answers, truth = drawn(40, 5, 1)
    value = metric.score(answers, truth)
    low, high = metric.interval(answers, truth, draws=200)
    assert 0 <= low < value < high <= 1
    assert metric.score(answers, np.full(40, NO_LANDMARK)) == 0
    assert metric.interval(answers, np.full(40, NO_LANDMARK)) == (0, 0)
    assert sorted(metric.rank(answers)) == list(range(40))
    assert metric.paired_interval(answers, answers, truth, draws=20) == (0, 0)
    assert metric.weighted(answers, truth, np.full(40, 2.0)) == pytest.approx(value)
    # The rows' order is no part of a metric.
    order = RNG.permutation(40)
    assert metric.score(answers.take(order), truth[order]) == pytest.approx(value)
    # What a mistake costs is what the best answer would gain.
    costs = mistake_costs(answers, truth, metric)
    row = int(costs.argmax())
    landmarks = answers.landmarks.copy()
    landmarks[row] = [truth[row], *[NO_LANDMARK] * 4]
    scores = np.where(landmarks == NO_LANDMARK, -np.inf, answers.scores)
    assert metric.score(Predictions(answers.ids, landmarks, scores), truth) == pytest.approx(value + costs[row])


def test_the_interval_of_gap_is_that_of_its_ranking():
    answers, truth = drawn(60, 1, 2)
    correct, _ = ranked_hits(answers.ids, truth, answers.best, answers.confidence)
    silent = np.flatnonzero(answers.best == NO_LANDMARK)
    order = GAP.rank(answers)
    assert order[len(correct) :].tolist() == silent.tolist()
    correct = np.concatenate([correct, np.zeros(len(silent), bool)])
    assert GAP.interval(answers, truth, 50, 3) == gap_interval(correct, (truth != NO_LANDMARK)[order], 50, 3)


def test_names_are_checked_and_the_nearest_is_told():
    assert find_metric("gap") is GAP and find_metric("map@7").depth == 7
    for wrong in ("gaap", "map@0", "map@21", "map@x", "map", "map@²", ""):
        with pytest.raises(LmkError, match=r"No metric is named .*there are gap, top-1, map@k \(k from 1 to 20\)"):
            find_metric(wrong)


def test_trials_by_gap_find_what_its_fast_search_finds():
    sources = [drawn(80, 3, seed)[0].top(2) for seed in (3, 4, 5)]
    truth = drawn(80, 3, 3)[1]
    found = gather(sources, [lambda scores: np.where(np.isneginf(scores), 0, scores)] * 3)
    fast, slow = Climb(found, truth), MetricClimb(found, truth, GAP)
    for climb in (fast, slow):
        climb.reset(np.array([0.5, 0.3, 0.0]))
    assert slow.gap() == pytest.approx(fast.gap(), abs=1e-6)
    lines = [climb.line(1, 0.3) for climb in (fast, slow)]
    assert lines[1].gap(0.7) == pytest.approx(lines[0].gap(0.7), abs=1e-6)
    for line in lines:
        line.settle(0.2)
    assert slow.gap() == pytest.approx(fast.gap(), abs=1e-6)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_by_another_metric_tells_the_value_of_its_weights_and_beats_every_source(search):
    metric = MeanAveragePrecision(3)
    sources = [drawn(60, 3, seed)[0] for seed in (6, 7)]
    truth = drawn(60, 3, 6)[1]
    found = gather(sources, [lambda scores: np.where(np.isneginf(scores), 0, scores)] * 2)
    done = SEARCHES[search](found, truth, metric=metric)
    assert metric.score(found.best(done.weights, 3), truth) == pytest.approx(done.gap)
    assert done.gap >= max(metric.score(found.best(np.eye(2)[place], 3), truth) for place in range(2)) - 1e-12


def test_a_blend_is_fitted_for_the_metric_that_is_asked():
    # The first is right at once or not at all; the second has the right landmark second, always.
    rng = np.random.default_rng(8)
    truth = rng.integers(0, 9, 60)
    ids = np.array([f"q{row}" for row in range(60)])
    other = 10 + rng.integers(0, 9, 60)
    first = Predictions(ids, np.where(rng.random(60) < 0.5, truth, 30)[:, None], rng.uniform(0.6, 1, (60, 1)))
    second = Predictions(ids, np.column_stack([other, truth]), np.tile([0.6, 0.5], (60, 1)))
    for metric in (find_metric("map@2"), TOP1):
        blend = fit_blend([first, second], truth, 0, metric=metric)
        value = metric.score(blend([first, second], 2), truth)
        assert value >= max(metric.score(one, truth) for one in (first, second))


def test_evaluation_and_blends_say_the_metrics_name(tmp_path):
    for name, rows in (("a", "q1,7 0.9\nq2,8 0.5\n"), ("b", "q1,7 0.2\nq2,9 0.4\n")):
        (tmp_path / f"{name}.csv").write_text(f"id,landmarks\n{rows}")
    (tmp_path / "solution.csv").write_text("id,landmarks,Usage\nq1,7,Public\nq2,9,Private\n")
    words = ["evaluate", str(tmp_path / "b.csv"), "--solution", str(tmp_path / "solution.csv")]
    said = CliRunner().invoke(app, [*words, "--metric", "map@5"]).stdout
    assert said.startswith("MAP@5              1.00000")
    told = json.loads(CliRunner().invoke(app, [*words, "--metric", "map@5", "--json"]).stdout)
    assert told["map@5"] == told["map@5_public"] == 1 and told["metric"] == "map@5" and "gap" not in told
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["gap"] == 1
    files = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    words = ["blend", *files, "--out", str(tmp_path / "out.csv"), "--solution", str(tmp_path / "solution.csv")]
    assert "top-1 accuracy on the solution" in CliRunner().invoke(app, [*words, "--metric", "top-1"]).stdout
    assert isinstance(CliRunner().invoke(app, [*words, "--metric", "top1"]).exception, LmkError)


def test_evaluation_by_gap_is_as_before():
    from lmk.data.tables import Solution

    answers, truth = drawn(30, 1, 9)
    solution = Solution(answers.ids, truth[:, None], np.repeat(["Public", "Private"], 15))
    found = evaluate(answers, solution, draws=50)
    assert found.gap == gap(answers.ids, truth, answers.best, answers.confidence)
    first = answers.take(np.arange(15))
    assert found.gap_public == gap(first.ids, truth[:15], first.best, first.confidence)


def test_training_watches_the_mean_gain_of_photos_that_show_a_landmark():
    from lmk.models.batch_metrics import TrainingMetric
    from lmk.models.heads import HEADS

    head, metric = HEADS["sigmoid"], find_metric("map@3")
    watched = TrainingMetric(head, "zero", capacity=64, gains=metric.gains)
    outputs, truth = RNG.normal(size=(20, 6)).astype("float32"), RNG.integers(NO_LANDMARK, 6, 20)
    for rows in (slice(0, 8), slice(8, 20)):
        watched.update_state(truth[rows], outputs[rows])
    order = np.argsort(-outputs, axis=1)
    scores = np.take_along_axis(outputs, order, 1).astype(float)
    answers = Predictions(np.array([f"p{row}" for row in range(20)]), order, scores)
    assert float(watched.result()) == pytest.approx(metric.score(answers, truth), abs=1e-6)


def test_steps_that_choose_by_the_metric_have_it_in_their_keys_and_others_do_not(tmp_path, tiny_recipes):
    from dataclasses import replace

    import tiny

    from lmk.data.competitions import read_competition
    from lmk.pipeline.build import build
    from lmk.pipeline.config import Execution, config_of
    from lmk.pipeline.dataset import open_dataset
    from lmk.util.workspace import Workspace

    folder = tiny.draw_competition(tmp_path / "walls")
    config = config_of(tiny.RECIPE_NAMES, weights="none", folds=3)
    execution = Execution(Workspace.open(tmp_path / "workspace"), jobs=1)
    dataset = open_dataset(config, read_competition(folder.name, folder), execution)
    by_gap, by_map = (
        {step.name: step.key.digest for step in build(replace(config, metric=name), dataset, execution)}
        for name in ("gap", "map@5")
    )
    same = {name for name, digest in by_gap.items() if by_map[name] == digest}
    assert {"tiny-frozen/features", "local/rootsift"} <= same
    assert not same & {"tiny-frozen/networks", "ensemble", "spread", "fused", "spread-fused"}
