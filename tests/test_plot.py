"""`lmk plot`: charts as files."""

import json

import cv2
import pytest
from typer.testing import CliRunner

from lmk.cli.app import app
from lmk.report.figures import gap_figure, save_figure, scores_figure
from lmk.report.record import load_run
from lmk.util.errors import LmkError
from lmk.util.files import write_json
from lmk.util.workspace import Workspace
from tests.reported import make_run


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return make_run(tmp_path_factory.mktemp("plotted"))


def plot(*words: object):
    return CliRunner().invoke(app, ["plot", *map(str, words)])


@pytest.mark.parametrize("kind", ["gap", "calibration", "scores", "matches"])
def test_every_kind_is_written_as_a_picture_that_shows_something(workspace, tmp_path, kind):
    out = tmp_path / f"{kind}.png"
    result = plot(kind, "--out", out, "--workspace", workspace.root)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    picture = cv2.imread(str(out))
    assert min(picture.shape[:2]) > 200
    assert picture.std() > 5


def test_the_suffix_names_the_format(workspace, tmp_path):
    figure = gap_figure(load_run(workspace))
    save_figure(figure, tmp_path / "gap.svg")
    save_figure(figure, tmp_path / "gap.pdf")
    assert "<svg" in (tmp_path / "gap.svg").read_text()
    assert (tmp_path / "gap.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(LmkError, match=r"not as '\.doc'"):
        save_figure(figure, tmp_path / "gap.doc")


def test_the_figure_of_gap_draws_each_stage_at_its_gap(workspace):
    record = load_run(workspace)
    axes = gap_figure(record).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(record.dev)
    drawn = axes.containers[0].lines[0].get_xdata()
    assert drawn == pytest.approx([record.run.dev.gap[stage] for stage in record.dev])


def test_the_histograms_hold_every_answer(workspace):
    record = load_run(workspace)
    titles = [axes.get_title(loc="left") for axes in scores_figure(record).axes]
    counts = [int(title.split(": ")[1].split(" ")[0]) for title in titles]
    assert sum(counts) == len(record.ids)


def test_matches_of_an_unknown_query_name_the_nearest(workspace, tmp_path):
    photo = str(load_run(workspace).photos[0])
    result = plot("matches", "--query", photo[:-1] + "-", "--out", tmp_path / "m.png", "--workspace", workspace.root)
    assert isinstance(result.exception, LmkError)
    assert f"Did you mean '{photo}'" in str(result.exception)


def test_matches_without_verification_say_what_to_run(workspace, tmp_path):
    record = load_run(workspace)
    path = record.folder / "run.json"
    kept = path.read_text()
    try:
        write_json(path, json.loads(kept) | {"local_features": []})
        result = plot("matches", "--out", tmp_path / "m.png", "--workspace", workspace.root)
    finally:
        path.write_text(kept)
    assert isinstance(result.exception, LmkError) and "--ensemble" in str(result.exception)
