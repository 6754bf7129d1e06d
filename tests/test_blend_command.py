"""`lmk blend` on files that people made."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lmk.cli.app import app
from lmk.cli.blend import after_blend
from lmk.predictions import read_submission
from lmk.util.errors import LmkError


def run(*words: object) -> str:
    done = CliRunner().invoke(app, ["blend", *map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def table(path: Path, rows: dict[str, str], header: str = "id,landmarks") -> Path:
    path.write_text(header + "\n" + "".join(f"{name},{cell}\n" for name, cell in rows.items()))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [
        table(tmp_path / "a.csv", {"q1": "7 10", "q2": "7 2", "q3": "", "q4": "5 0"}),
        table(tmp_path / "b.csv", {"q4": "9 0.1", "q1": "7 0.5", "q3": "8 0.4", "q2": "3 0.9"}),
    ]


def test_the_blend_has_the_first_files_rows_in_its_order(files, tmp_path):
    run(*files, "--out", tmp_path / "out.csv")
    found = read_submission(tmp_path / "out.csv")
    assert found.ids.tolist() == ["q1", "q2", "q3", "q4"]
    # Stretched: a has 1, 0.2, 0; b has 0.5, 1, 0.375, 0. Both say 7 for q1, which adds half of a half.
    assert found.best.tolist() == [7, 3, 8, 5]
    assert found.confidence.tolist() == pytest.approx([0.75 + 0.25, 0.5, 0.1875, 0.0])


@pytest.mark.parametrize("rule", ["vote", "mean", "min-max", "rank-mean", "log-product"])
def test_every_rule_blends_plain_files(files, tmp_path, rule):
    run(*files, "--out", tmp_path / "out.csv", "--rule", rule)
    assert read_submission(tmp_path / "out.csv").best[0] == 7


def known_lists(folder: Path, queries: int = 200) -> tuple[Path, Path, Path, Path, Path]:
    """Two models' test files and dev files, and dev's truth: the first model is right, the second guesses."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, queries)
    paths = []
    for name, right in (("good", 0.8), ("noise", 0.0)):
        for part in ("test", "dev"):
            hit = rng.random(queries) < right
            label = np.where(hit, truth, rng.integers(5, 9, queries))
            score = np.where(hit, 0.6, 0.4) + rng.normal(0, 0.1, queries)
            rows = {f"{part}{row}": f"{label[row]} {score[row]:.6f}" for row in range(queries)}
            paths.append(table(folder / f"{name}.{part}.csv", rows))
    shown = {f"dev{row}": str(truth[row]) for row in range(queries)}
    return *paths, table(folder / "truth.csv", shown)


@pytest.mark.parametrize("rule", ["greedy", "hill-climb", "coordinate"])
def test_dev_teaches_the_weights_and_tells_the_optimism(tmp_path, rule):
    good, good_dev, noise, noise_dev, truth = known_lists(tmp_path)
    lists = ["--dev", truth, "--dev-list", good_dev, "--dev-list", noise_dev]
    told = json.loads(run(good, noise, "--out", tmp_path / "out.csv", "--rule", rule, *lists, "--json"))
    assert told["weights"][str(good)] > 0.8
    assert told["dev_queries"] == 200
    assert 0 < told["dev_gap"] <= 1
    assert told["optimism"] >= -0.05
    assert len(read_submission(tmp_path / "out.csv")) == 200


def test_the_solution_scores_every_file_and_teaches_nothing(files, tmp_path):
    solution = table(tmp_path / "s.csv", {"q1": "7,Public", "q2": "3,Private", "q3": ",Private", "q4": ",Public"},
                     "id,landmarks,Usage")  # fmt: skip
    plain, scored = tmp_path / "plain.csv", tmp_path / "scored.csv"
    run(*files, "--out", plain)
    told = json.loads(run(*files, "--out", scored, "--solution", solution, "--json"))
    assert plain.read_bytes() == scored.read_bytes()
    assert [Path(score["file"]).name for score in told["scores"]] == ["a.csv", "b.csv", "scored.csv"]
    assert told["scores"][0]["gap"] == pytest.approx(0.5)
    assert told["scores"][2]["gap"] == pytest.approx(1.0)


def test_mistakes_are_told_in_one_line(files, tmp_path):
    first, second = files
    out = tmp_path / "out.csv"
    truth = table(tmp_path / "t.csv", {"q1": "7", "q9": "3"})
    mistakes = [
        ([first], "no blend"),
        ([first, second, "--rule", "best"], "No blend rule"),
        ([first, second, "--rule", "greedy"], "--dev"),
        ([first, second, "--dev", truth], "learns nothing"),
        ([first, second, "--weight", "1"], "one for each"),
        ([first, second, "--rule", "greedy", "--dev", truth], "lacks 1 ids"),
        ([first, second, "--rule", "greedy", "--dev", truth, "--solution", truth], "both fit"),
        ([first, second, "--rule", "greedy", "--dev", truth, "--dev-list", first], "one for each"),
        ([first, table(tmp_path / "c.csv", {"q1": "7 1"})], "lacks 3 ids"),
        ([first, table(tmp_path / "d.csv", {"q1": "7"})], "line 2"),
    ]
    for words, text in mistakes:
        with pytest.raises(LmkError, match=text) as caught:
            run(*words, "--out", out)
        assert "\n" not in str(caught.value)
    with pytest.raises(LmkError, match="one of the submissions"):
        run(first, second, "--out", first)
    assert not out.exists()


def test_the_commands_that_follow_name_the_file_and_ask_for_a_competition_that_nothing_says(
    files, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert after_blend(files, Path("a blend.csv")) == [
        "lmk check 'a blend.csv' -c COMPETITION",
        "lmk submit 'a blend.csv' -c COMPETITION --wait",
    ]
