"""Benchmarks are found and run by name; their figures are one JSON object or a table."""

import json

import pytest

from benchmarks.output import parser, show
from lmk.cli.bench import benchmarks
from lmk.cli.main import main
from lmk.errors import LmkError


def test_every_benchmark_tells_in_one_line_what_it_measures():
    assert {"verification", "evidence"} <= benchmarks().keys()
    assert all(line.endswith(".") or line.endswith(":") or len(line) > 20 for line in benchmarks().values())


def test_a_name_that_is_not_there_is_answered_by_the_nearest_one(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lmk", "bench", "verificaton"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert "did you mean verification" in capsys.readouterr().err


def test_help_after_a_name_is_the_benchmarks_own(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lmk", "bench", "evidence", "--help"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert "--keep-captions" in capsys.readouterr().out


def test_figures_are_one_json_object_where_a_script_asks_for_it(capsys):
    options = parser("some", "What it measures.").parse_args(["--json"])
    show({"ratio": 2.5, "rows": [{"idea": "plain", "gap": 0.5}]}, options.json)
    assert json.loads(capsys.readouterr().out) == {"ratio": 2.5, "rows": [{"idea": "plain", "gap": 0.5}]}


def test_figures_are_a_table_for_a_person(capsys):
    show({"ratio": 2.5, "rows": [{"idea": "plain", "gap": 0.5}]}, False)
    told = capsys.readouterr().out
    assert "ratio" in told and "2.5" in told and "plain" in told and "0.5" in told


def test_an_installed_package_says_that_benchmarks_come_with_the_source(monkeypatch, tmp_path):
    monkeypatch.setattr("lmk.cli.bench.ROOT", tmp_path)
    with pytest.raises(LmkError, match="checkout"):
        benchmarks()
