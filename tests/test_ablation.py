"""The ablation: leads by hand, harder settings, costs, and tables made of what was measured."""

import re
from dataclasses import replace

import numpy as np
import pytest
import tiny

from lmk.predictions import NO_LANDMARK, Predictions
from research import ideas
from research.ablation import GROUPS, SETTINGS, costs, markdown, run
from research.lab import Answer, Lab, Setting, paired


def answers(*confidence: float) -> Predictions:
    """Landmark 1 for every query."""
    ids = np.array([f"q{place}" for place in range(len(confidence))])
    return Predictions(ids, np.ones((len(ids), 1), np.int64), np.array(confidence)[:, None])


def test_a_lead_is_the_mean_difference_of_gap_over_seeds():
    truth = np.array([1, NO_LANDMARK, 1])
    # Ranked right, wrong, right: (1 + 2/3) / 2; wrong first: (1/2 + 2/3) / 2; wrong last: 1.
    middle, worst, best = answers(0.9, 0.5, 0.1), answers(0.5, 0.9, 0.1), answers(0.9, 0.1, 0.5)
    found = paired([middle, middle], [worst, best], [truth, truth])
    assert found["gap"] == pytest.approx((7 / 12 + 1) / 2)
    assert found["lead"] == pytest.approx((7 / 12 + 1) / 2 - 5 / 6)
    assert found["low"] < found["lead"] < found["high"]


def test_an_idea_leads_itself_by_nothing():
    truth = np.array([1, NO_LANDMARK, 1])
    found = paired([answers(0.9, 0.5, 0.1)], [answers(0.9, 0.5, 0.1)], [truth])
    assert (found["lead"], found["low"], found["high"]) == (0, 0, 0)


def row(group: str, idea: str, setting: str, gap: float, lead: float) -> dict:
    cost = {"train_seconds": 1.25, "passes": 22, "photo_ms": 300.4}
    told = {"gap": gap, "lead": lead, "low": lead - 0.01, "high": lead + 0.01}
    return {"setting": setting, "group": group, "idea": idea, **told, **cost}


def test_tables_have_a_row_an_idea_and_a_column_a_setting():
    rows = [
        row("loss", "plain", "all photos", 0.85, 0.0), row("loss", "new", "all photos", 0.86, 0.01),
        row("rank", "bce", "all photos", 0.8, 0.0),
        row("loss", "plain", "four photos", 0.75, 0.0), row("loss", "new", "four photos", 0.74, -0.01),
    ]  # fmt: skip
    told = markdown(rows).splitlines()
    assert told[0] == f"**{GROUPS['loss']}**"
    assert told[2] == "| idea | all photos | four photos | training, s | passes | a photo, ms |"
    assert told[4] == "| plain | 0.8500 | 0.7500 | 1.2 | 22 | 300 |"
    assert told[5].startswith("| new | 0.8600: +0.0100 (+0.0000 to +0.0200) | 0.7400: -0.0100 (-0.0200 to +0.0000) |")
    assert told[9] == "| idea | all photos | training, s | passes | a photo, ms |"


def test_every_setting_and_group_is_one_that_there_is():
    assert set(ideas.GROUPS) == set(GROUPS)
    for fields, groups in SETTINGS.values():
        Setting(**fields)
        assert set(groups) <= set(GROUPS)


@pytest.fixture(scope="module")
def lab(tiny_recipes, tmp_path_factory) -> Lab:
    folder = tmp_path_factory.mktemp("ablation")
    place = tiny.draw_competition(folder / "tiny")
    setting = Setting(photos=3, distractors=5)
    return Lab(str(place), "none", folder / "workspace", ("tiny-frozen",), seeds=1, folds=3, setting=setting)


def test_a_harder_setting_keeps_so_many_photos_and_distractors(lab):
    split = lab.trials[0].dataset.split
    assert max(np.unique(split.train_landmarks, return_counts=True)[1]) == 3
    assert len(split.train_ids) == 4 * 3 + 2 + 1  # of 7, 6, 5, 4, 2 and 1
    assert len(split.distractor_ids) == 5


def test_heads_and_backbones_that_learn_are_answered_and_stored(lab):
    trial = lab.trials[0]
    for name, passes in (("tiny-frozen", 2), ("tiny-tuned", 1)):
        recipe = lab.recipe(name)
        quick = tuple(replace(stage, epochs=1, patience=None) for stage in recipe.stages)
        recipe = replace(recipe, stages=quick)
        found = lab.answer(trial, recipe)
        assert len(found.dev) == len(trial.truth)
        assert found.train > 0
        spent = costs(lab, [found])
        assert spent["passes"] == passes and spent["photo_ms"] > 0
        trial.made.clear()
        again = lab.answer(trial, recipe)  # from the workspace
        np.testing.assert_array_equal(again.dev.scores, found.dev.scores)
        assert again.train == found.train


def test_what_is_made_of_answers_costs_what_they_cost(lab):
    trial, recipes = lab.trials[0], [lab.recipe("tiny-frozen"), lab.recipe("tiny-tuned")]
    dev = lab.answer(trial, recipes[0]).dev
    parts = [Answer(dev, 2.0, 1.0, frozenset([recipe])) for recipe in recipes]
    made = trial.cross_fitted(parts, lambda rows: None, lambda fitted, rows: dev.take(rows))
    assert made.train >= 4 and made.predict >= 2
    assert made.recipes == frozenset(recipes)
    assert costs(lab, [made])["passes"] == 3
    np.testing.assert_array_equal(made.dev.ids, dev.ids)


def test_a_group_gives_a_row_an_idea_against_its_first(lab, monkeypatch, capsys):
    monkeypatch.setattr(ideas, "PLAIN", "tiny-frozen")
    rows = run(lab, "all photos", ["answers"])
    assert [found["idea"] for found in rows][:2] == ["head (plain)", "neighbours"]
    assert rows[0]["lead"] == 0
    assert "answers: neighbours" in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert markdown(rows).count("\n| ") == len(rows) + 2
