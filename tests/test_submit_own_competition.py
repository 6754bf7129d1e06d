"""`lmk submit` finds out by itself which competition a run or a kernel is for."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import kaggle_server
import pytest

from lmk.kaggle.kernels import Version, new_kernel
from lmk.runs import DevFigures, RunRecord, write_record


def write_run(name: str, root: Path, csv: Path, gap: float = 0.5) -> None:
    """The record of a run of one recipe on the competition in `root`."""
    record = RunRecord(
        run=name,
        competition=root.name,
        root=str(root),
        digest="",
        size={},
        submission=str(csv.resolve()),
        submitted="r",
        settings={"recipes": ["r"]},
        made="2026-11-26T10:00:00+00:00",
        command="",
        dev=DevFigures({"r": gap}, {"r": gap - 0.1}, {"r": gap + 0.1}, {}, 2, 2),
        weights={},
        stages=["r"],
        predictions={"r": "r-0"},
        steps=[],
        seconds={},
        spent={},
        reused=[],
        unreadable={},
        versions={},
        backends={},
        read_side=640,
        comparison={},
        local_features={},
    )
    write_record(record, Path("workspace", "runs", name))


@pytest.fixture
def kaggle(tmp_path, monkeypatch) -> Iterator[kaggle_server.Kaggle]:
    """Two competitions with other photos, and a run on the second."""
    served = []
    for name, ids in (("first-one", "ab"), ("second-one", "cd")):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        (folder / "train.csv").write_text("id,landmark_id\nt1,7\n")
        (folder / "sample_submission.csv").write_text("id,landmarks\n" + "".join(f"{word},7 0.1\n" for word in ids))
        (folder / "solution.csv").write_text(f"id,landmarks,Usage\n{ids[0]},7,Public\n{ids[1]},7,Private\n")
        served.append(kaggle_server.Competition(name, folder))
    monkeypatch.chdir(tmp_path)
    for name in ("LMK_COMPETITION", "LMK_WORKSPACE", "LMK_SUBMISSIONS", "LMK_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    Path("mine.csv").write_text("id,landmarks\nc,7 0.9\nd,7 0.8\n")
    write_run("calm-otter", tmp_path / "data" / "second-one", Path("mine.csv"))
    with kaggle_server.running(kaggle_server.Kaggle(served), home=tmp_path) as stand_in:
        yield stand_in


def sent(kaggle) -> dict[str, int]:
    return {slug: len(competition.submissions) for slug, competition in kaggle.competitions.items()}


@pytest.mark.parametrize("what", ["calm-otter", "mine.csv"])
@pytest.mark.parametrize("remembered", [False, True])
def test_a_run_and_the_csv_of_a_run_go_to_the_runs_competition(kaggle, lmk, what, remembered):
    if remembered:
        Path("lmk.toml").write_text('competition = "first-one"\n')
    code, out, err = lmk("submit", what, "-m", "x")
    assert code == 0, err
    assert "to second-one" in out and sent(kaggle) == {"first-one": 0, "second-one": 1}


def test_a_run_finds_its_files_when_its_workspace_was_moved(tmp_path, kaggle, lmk):
    write_run("far-otter", Path("gone/competitions/second-one"), Path("gone/submissions/far.csv"))
    shutil.copytree(tmp_path / "data" / "second-one", "workspace/competitions/second-one")
    Path("workspace/submissions").mkdir(parents=True)
    shutil.copy("mine.csv", "workspace/submissions/far.csv")
    code, out, err = lmk("submit", "far-otter", "-m", "x")
    assert code == 0, err
    assert "to second-one" in out and sent(kaggle) == {"first-one": 0, "second-one": 1}


def test_a_competition_on_the_command_line_goes_before_the_runs(kaggle, lmk):
    code, _, err = lmk("submit", "calm-otter", "-c", str(Path("data", "first-one")))
    assert code == 1 and "is not sent" in err
    assert sent(kaggle) == {"first-one": 0, "second-one": 0}


def test_a_csv_of_no_run_goes_to_the_remembered_competition(kaggle, lmk):
    Path("other.csv").write_text("id,landmarks\na,7 0.9\nb,7 0.8\n")
    code, _, err = lmk("submit", "other.csv")
    assert code == 1 and "lmk config set competition" in err
    Path("workspace", "competitions").mkdir()
    Path("workspace", "competitions", "first-one").symlink_to(Path("data", "first-one").resolve())
    assert lmk("config", "set", "competition", "first-one")[0] == 0
    assert lmk("submit", "other.csv")[0] == 0
    assert sent(kaggle) == {"first-one": 1, "second-one": 0}


def test_a_kernel_goes_to_the_competition_that_it_attaches(kaggle, lmk):
    script = "from pathlib import Path\nPath('submission.csv').write_text('id,landmarks\\nc,7 0.9\\nd,\\n')\n"
    kernel = new_kernel(Path("kernels"), "rows", script, "second-one", enable_gpu=False)
    assert lmk("kernel", "push", "rows", "--wait", "--every", "0.2")[0] == 0
    assert isinstance(kernel.pushed(), Version)
    code, out, err = lmk("submit", "--kernel", "rows")
    assert code == 0, err
    assert "to second-one" in out


def test_runs_are_listed_newest_first_with_what_became_of_them(kaggle, lmk, tmp_path):
    write_run("brave-heron", tmp_path / "data" / "first-one", Path("none.csv"), gap=0.25)
    os.utime(Path("workspace", "runs", "calm-otter", "run.json"), (1, 1))
    code, out, _ = lmk("submit", "calm-otter", "--wait")
    assert code == 0
    assert re.fullmatch(r"submission \d+ to \S+: complete\n  public \d\.\d{5}  private \d\.\d{5}\n", out)
    rows = json.loads(lmk("runs", "--json")[1])
    assert [row["run"] for row in rows] == ["brave-heron", "calm-otter"]
    assert rows[0]["submission"] is None and rows[0]["dev"]["gap"] == 0.25
    assert rows[1]["submission"]["public"] == 1.0  # the one public query is answered rightly
    assert rows[1]["competition"] == "second-one" and rows[1]["recipes"] == ["r"]
    out = lmk("runs", "-c", "second-one")[1]
    assert "calm-otter" in out and "0.50000" in out and "1.00000" in out and "brave-heron" not in out
    assert [row["run"] for row in json.loads(lmk("runs", "-n", "1", "--json")[1])] == ["brave-heron"]
    code, out, err = lmk("runs", "--workspace", "elsewhere")
    assert (code, out) == (0, "") and "holds no run" in err


def test_a_run_is_checked_and_scored_on_its_own_competition_whatever_is_remembered(kaggle, lmk):
    Path("lmk.toml").write_text('competition = "first-one"\n')
    for folder, name in (("first-one", "t1"), ("first-one", "a"), ("second-one", "t1"), ("second-one", "c")):
        Path("data", folder, f"{name}.jpg").touch()
    for what in ([], ["calm-otter"], ["mine.csv"]):
        code, out, err = lmk("check", *what)
        assert code == 0 and "2 rows, 2 of them answered" in out, err
        code, out, err = lmk("evaluate", *what)
        assert code == 0 and "second-one" in err and "GAP" in out, err
    code, _, err = lmk("check", "calm-otter", "-c", str(Path("data", "first-one")))
    assert code == 1 and "missing" in err


def test_runs_that_a_remembered_competition_leaves_out_are_counted(kaggle, lmk):
    assert "Not listed" not in lmk("runs")[2]
    Path("lmk.toml").write_text('competition = "first-one"\n')
    code, out, err = lmk("runs")
    assert (code, out) == (0, "") and "Not listed: 1 run on other competitions (second-one)" in err
    assert "Not listed" not in lmk("runs", "-c", "first-one")[2]
    assert "calm-otter" in lmk("runs", "-c", "second-one")[1]


def test_a_damaged_record_is_passed_over_by_the_list_of_runs(kaggle, lmk):
    Path("workspace", "runs", "bad").mkdir()
    Path("workspace", "runs", "bad", "run.json").write_text("{")
    assert [row["run"] for row in json.loads(lmk("runs", "--json")[1])] == ["calm-otter"]
