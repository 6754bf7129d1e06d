"""Submissions, runs and boards as tables of pandas, and as the CSV files that commands write of them."""

import io
import json
from dataclasses import fields
from pathlib import Path

import pandas as pd
from rich.console import Console

from lmk.cli.runs import _table
from lmk.kaggle.frames import leaderboard_frame, runs_frame, submissions_frame, write_csv
from lmk.kaggle.leaderboard import Team
from lmk.kaggle.records import FOLDER, Record, Records, records_folder
from lmk.runs import DevFigures, RunRecord, all_records, write_record


def records(root: Path) -> Records:
    kept = Records(root)
    common = {"competition": "landmark-recognition-2020", "message": 'both, "at last"', "size": 9, "status": "complete"}
    for number, dev in ((1, {}), (2, {"gap": 0.5, "low": 0.4, "high": 0.6})):
        own = {"digest": f"{number:064d}", "file": f"run{number}.csv", "sent": f"2026-11-2{number}T01:02:03Z"}
        models = ["mobilenet-gem", "mobilenetv2-gem"]
        kept.save(Record(**common, **own, public=0.25 * number, models=models, dev=dev, run=f"run{number}"))
    return kept


def run(workspace: Path, name: str, gap: float | None) -> None:
    stage = "tinymobilenet-gem"
    figures = {stage: gap}
    values = {field.name: {} for field in fields(RunRecord)} | {
        "run": name, "competition": "demo", "submission": "a.csv", "submitted": stage, "made": "", "command": "lmk",
        "dev": DevFigures(figures, figures, figures, {}, 1, 1), "stages": [stage], "steps": [], "reused": [],
        "root": "", "digest": "", "settings": {"recipes": [stage]}, "read_side": 1024, "predictions": {stage: "a"},
    }  # fmt: skip
    write_record(RunRecord(**values), workspace / "runs" / name)


def test_submissions_are_a_table_that_a_csv_keeps(tmp_path):
    frame = submissions_frame(records(tmp_path / "records").all())
    assert frame["file"].tolist() == ["run1.csv", "run2.csv"]
    assert frame["public"].tolist() == [0.25, 0.5] and frame["gap"].isna().tolist() == [True, False]
    assert frame["models"][0] == "mobilenet-gem mobilenetv2-gem" and str(frame["sent"].dt.tz) == "UTC"
    write_csv(frame, tmp_path / "table.csv")
    read = pd.read_csv(tmp_path / "table.csv", dtype={"digest": str}, parse_dates=["sent"])
    assert read["message"][1] == 'both, "at last"' and read["digest"][1] == frame["digest"][1]
    pd.testing.assert_frame_equal(read[["gap", "public", "private"]], frame[["gap", "public", "private"]])
    assert (read["sent"] == frame["sent"]).all()


def test_without_any_submission_run_or_team_the_columns_are_there(tmp_path):
    (tmp_path / "runs").mkdir()
    empty = submissions_frame([]), runs_frame(tmp_path / "runs"), leaderboard_frame([])
    assert all(len(frame) == 0 for frame in empty)
    assert [frame.columns[0] for frame in empty] == ["sent", "run", "rank"]
    assert empty[0]["public"].dtype == empty[1]["gap"].dtype == float


def test_runs_are_a_table_with_their_gap(tmp_path):
    run(tmp_path, "one", 0.75)
    run(tmp_path, "two", None)
    frame = runs_frame(tmp_path / "runs").set_index("run")
    assert frame.loc["one", "gap"] == 0.75 and pd.isna(frame.loc["two", "gap"])
    assert frame.loc["two", "stage"] == "tinymobilenet-gem"
    (tmp_path / "runs" / "one" / "run.json").write_text("{")
    assert runs_frame(tmp_path / "runs")["run"].tolist() == ["two"]  # a damaged record spoils no table


def test_a_board_is_a_table_whose_new_teams_moved_by_nothing_known():
    board = [Team(1, "a", 0.5, 3, "2026-11-01"), Team(2, "b", 0.4, 1, "2026-11-02", ours=True, moved=None)]
    frame = leaderboard_frame(board)
    assert frame["rank"].tolist() == [1, 2] and frame["ours"].tolist() == [False, True]
    assert frame["moved"][0] == 0 and frame["moved"].isna().tolist() == [False, True]


def test_commands_write_the_tables(tmp_path, monkeypatch, lmk):
    records(tmp_path / "submissions")
    run(tmp_path / "workspace", "one", 0.75)
    monkeypatch.chdir(tmp_path)
    assert lmk("submissions", "--csv", "sent.csv")[0] == 0
    assert pd.read_csv("sent.csv")["file"].tolist() == ["run1.csv", "run2.csv"]
    shown = lmk("runs", "--csv", "runs.csv")[1]
    assert "0.75000" in shown and pd.read_csv("runs.csv")["gap"].tolist() == [0.75]
    assert json.loads(lmk("runs", "--json")[1])[0]["run"] == "one"


def test_records_lie_at_the_top_of_a_checkout_wherever_in_it_one_stands(tmp_path, monkeypatch):
    inside = tmp_path / "checkout" / "lmk" / "kaggle"
    inside.mkdir(parents=True)
    assert records_folder(inside) == inside / FOLDER
    (tmp_path / "checkout" / FOLDER).mkdir()
    (tmp_path / "checkout" / FOLDER / "README.md").touch()
    assert records_folder(inside) == tmp_path / "checkout" / FOLDER
    monkeypatch.chdir(inside)
    assert Records().root == tmp_path / "checkout" / FOLDER
    assert Records(tmp_path / "elsewhere").root == tmp_path / "elsewhere"
    monkeypatch.chdir(tmp_path)
    assert Records().root == FOLDER
    assert (Path(__file__).parents[1] / FOLDER / "README.md").is_file()  # lmk's own checkout has one


def test_on_a_narrow_terminal_what_belongs_to_a_run_stands_unbroken_below_its_name(tmp_path):
    run(tmp_path, "one", 0.75)
    console = Console(width=46, file=io.StringIO())
    console.print(_table(all_records(tmp_path / "runs"), {}, is_narrow=True))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines[1].split() == ["one", "0.75000"]
    assert lines[2:4] == ["demo", "tinymobilenet-gem"]
