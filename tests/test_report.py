"""The report of a run: what is on the page, what is refused, and what the command says."""

import json
import re
import shutil
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lmk.cli.app import app
from lmk.data.competitions import Competition, read_competition
from lmk.ensemble.spreading import Reason
from lmk.evaluation import gap_and_interval
from lmk.local import compare
from lmk.pipeline.config import Execution
from lmk.pipeline.run import write_page
from lmk.report.page import MOST_BYTES, photo_counts, reader, write_report
from lmk.report.pictures import Album, Features
from lmk.report.record import load_run
from lmk.report.statistics import landmark_rows
from lmk.report.versus import BROKEN, CORRECTED, changed_queries, common_queries, write_comparison
from lmk.runs import CHANGES, LIKENESS
from lmk.util.errors import LmkError
from lmk.util.files import write_json
from lmk.util.workspace import Workspace
from tests.reported import make_run

FIRST, SECOND = "crops-000000000001", "crops-000000000002"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return make_run(tmp_path_factory.mktemp("reported"))


@pytest.fixture(scope="module")
def competition(workspace) -> Competition:
    return read_competition("crops", workspace.root.parent / "crops")


@pytest.fixture(scope="module")
def page(workspace, competition, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    size = write_report(load_run(workspace, FIRST), competition, path)
    assert size == path.stat().st_size < MOST_BYTES
    return path.read_text(encoding="utf-8")


def lmk(*words: str):
    return CliRunner().invoke(app, [str(word) for word in words])


class Sources(HTMLParser):
    """Every address that a page names, and its ids."""

    def __init__(self, page: str):
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href", "action", "data", "srcset", "poster"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)


def test_landmarks_stand_with_their_names_and_those_without_one_by_their_id(page):
    assert "3 (Tour de l&#39;Horloge)" in page and "2653 (Elms &lt;Upper&gt;)" in page
    assert ">323846<" in page and "323846 (" not in page


def test_a_record_holds_what_the_run_left(workspace):
    record = load_run(workspace, FIRST)
    assert list(record.dev) == ["mobilenetv2-gem", "retrieval", "ensemble", "fused"]
    assert record.final_stage == "fused"
    assert len(record.ids) == len(record.photos) == len(record.truth) == len(record.final)
    assert (record.evidence.ids == record.ids).all()
    assert (record.evidence.landmarks == record.dev["ensemble"].landmarks).all()


def test_the_page_names_nothing_outside_itself_and_no_id_twice(page):
    found = Sources(page)
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in found.addresses)
    assert {address[1:] for address in found.addresses if address.startswith("#")} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert "@import" not in page and "url(" not in page


def test_the_page_tells_gap_with_its_interval_and_all_that_made_the_run(workspace, page):
    record = load_run(workspace, FIRST)
    gap, low, high = gap_and_interval(record.final, record.truth)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert f"GAP {gap:.5f} on dev, 95&nbsp;% interval {low:.3f} to {high:.3f}" in words
    for told in (FIRST, "version of keras", "seed", "truncated JPEG", "mobilenetv2-gem", "verification"):
        assert told in words


def test_a_mistake_shows_the_query_the_photos_of_both_landmarks_and_the_evidence(page):
    card = next(part for part in page.split("<article")[1:] if "wrong landmark" in part and "right: " in part)
    assert card.count("<img") >= 4
    assert "Inliers, best photo" in card
    assert re.search(r"−0\.\d{5} GAP", card)


def test_every_verified_pair_has_as_many_inliers_in_its_picture_as_verification_counted(workspace, page):
    record = load_run(workspace, FIRST)
    pairs = re.findall(r"(\d+) inliers: query (\w+) and photo (\w+) of landmark (\d+)", page)
    assert len(pairs) >= 6
    for inliers, query, photo, landmark in pairs:
        row = np.flatnonzero((record.photos == query) & (record.evidence.landmarks == int(landmark)).any(axis=1))[0]
        column = np.flatnonzero(record.evidence.landmarks[row] == int(landmark))[0]
        assert record.evidence.best_photo[row, column] == photo
        assert record.evidence.inliers[row, column] == int(inliers)


def test_a_changed_answer_stands_with_the_neighbours_that_changed_it(workspace, competition, tmp_path):
    copy = Workspace.open(tmp_path / "w")
    shutil.copytree(workspace.root, copy.root, dirs_exist_ok=True)
    query, photo, other = competition.test_ids[0], competition.train_ids[3], competition.distractor_ids[0]
    reason = Reason(str(query), 14, 159, (str(photo), str(other)), (0.25, 0.125))
    write_json(copy.runs / FIRST / CHANGES, {"spread": [asdict(reason)], "spread-fused": []})
    path = copy.runs / FIRST / "run.json"
    likeness = {"roc_area": 0.84, "dev_weighted": {"fused": 0.4321}, "queries_effective": 9.0, "warning": "Beware."}
    write_json(path, json.loads(path.read_text()) | {"facts": {LIKENESS: likeness}})
    record = load_run(copy, FIRST)
    assert record.changes["spread"] == [reason]
    write_report(record, competition, tmp_path / "report.html")
    text = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    shown = int(competition.train_landmarks[3])
    assert f'{query} <span class="tag">spread</span>' in text and "14 (Old Market) became 159" in text
    assert (
        re.search(rf"0\.250: training photo of {shown}.* {photo}", text)
        and f"0.125: photo of no landmark {other}" in text
    )
    assert "ROC area of 0.84" in text and "0.43210" in text and "Beware." in text
    (copy.runs / FIRST / CHANGES).write_text("[]")
    with pytest.raises(LmkError, match="not whole"):
        load_run(copy, FIRST)


def test_pictures_end_where_their_budget_does(workspace, competition):
    record = load_run(workspace, FIRST)
    read = reader(record, competition)
    photo = record.photos[0]
    features = Features.of(record)
    whole = Album(read, compare.Settings(), features, 10**6).thumbnail(photo, "a photo")
    album = Album(read, compare.Settings(), features, len(whole.uri) * 2)
    assert [album.thumbnail(photo, "a photo") is None for _ in range(3)] == [False, False, True]
    assert album.refused == 1


def test_long_names_shorten_the_tables_and_not_the_run(workspace, competition, tmp_path, monkeypatch):
    """1,500 rows with names that take 1,000 bytes each in HTML are several times the limit of a page."""
    record = load_run(workspace, FIRST)
    names = dict.fromkeys(competition.train_landmarks.tolist(), "&" * 200)
    monkeypatch.setattr("lmk.report.page.read_names", lambda root: names)
    row = landmark_rows(record.final, record.truth, photo_counts(record, competition))[0]
    monkeypatch.setattr("lmk.report.page.landmark_rows", lambda *_: [row] * 6000)
    monkeypatch.setattr("lmk.report.page.MOST_ROWS", (6000, 100, 25))
    size = write_report(record, competition, tmp_path / "report.html")
    assert size < MOST_BYTES
    assert "5,900 more are left out" in (tmp_path / "report.html").read_text()


def test_a_page_that_cannot_fit_is_one_line(workspace, competition, tmp_path, monkeypatch):
    monkeypatch.setattr("lmk.report.page.MOST_BYTES", 1000)
    with pytest.raises(LmkError, match="more than 1,000"):
        write_report(load_run(workspace, FIRST), competition, tmp_path / "report.html")


def test_a_photo_that_is_gone_is_named_on_the_page(workspace, competition, tmp_path):
    record = load_run(workspace, FIRST)
    moved = tmp_path / "crops"
    shutil.copytree(competition.root, moved)
    there = read_competition("crops", moved)
    from lmk.report.costs import mistake_costs

    costliest = str(record.photos[mistake_costs(record.final, record.truth).argmax()])
    there.photo(costliest).unlink()
    write_report(record, there, tmp_path / "report.html")
    assert f"1 photos are no longer there, the first: {costliest}" in (tmp_path / "report.html").read_text()


def test_a_changed_competition_is_refused(workspace, competition, tmp_path):
    moved = tmp_path / "crops"
    shutil.copytree(competition.root, moved)
    table = (moved / "train.csv").read_text().splitlines()
    (moved / "train.csv").write_text("\n".join(table[:-1]) + "\n")
    with pytest.raises(LmkError, match="has changed since"):
        write_report(load_run(workspace, FIRST), read_competition("crops", moved), tmp_path / "report.html")


def test_an_unknown_run_is_answered_by_the_nearest_name(workspace, tmp_path):
    with pytest.raises(LmkError, match=f"Did you mean '{FIRST}'"):
        load_run(workspace, "crops-00000000001")
    with pytest.raises(LmkError, match="holds no run"):
        load_run(Workspace.open(tmp_path))


def test_a_damaged_record_says_so(workspace, tmp_path):
    house = Workspace.open(tmp_path / "w")
    shutil.copytree(workspace.root, house.root, dirs_exist_ok=True)
    (house.runs / FIRST / "dev.npz").write_bytes(b"no")
    with pytest.raises(LmkError, match="not whole"):
        load_run(house, FIRST)
    (house.runs / SECOND / "evidence-rootsift.npz").write_bytes(b"no")
    with pytest.raises(LmkError, match="holds no evidence"):
        load_run(house, SECOND)


def test_a_run_without_verification_has_a_report_without_pairs(workspace, competition, tmp_path):
    house = Workspace.open(tmp_path / "w")
    shutil.copytree(workspace.root, house.root, dirs_exist_ok=True)
    (house.runs / FIRST / "evidence-rootsift.npz").unlink()
    path = house.runs / FIRST / "run.json"
    write_json(path, json.loads(path.read_text()) | {"local_features": []})
    write_report(load_run(house, FIRST), competition, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Verified pairs" not in text and "The costliest mistakes" in text


def test_two_runs_differ_by_the_difference_of_their_gap_and_change_what_they_answer_otherwise(
    workspace, competition, tmp_path
):
    first, second = load_run(workspace, FIRST), load_run(workspace, SECOND)
    write_comparison(first, second, competition, tmp_path / "versus.html")
    ids, truth = common_queries(first, second)
    assert (ids == first.ids).all()
    gaps = [gap_and_interval(record.final, record.truth)[0] for record in (first, second)]
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (tmp_path / "versus.html").read_text()))
    assert f"GAP {gaps[1] - gaps[0]:+.5f} ,".replace("-", "−") in words
    changes, rows = changed_queries(ids, truth, first.final, second.final, {})
    other = set(np.flatnonzero(first.final.best != second.final.best).tolist())
    assert other <= set(rows)
    for change, row in zip(changes, rows, strict=True):
        right = [record.final.best[row] == truth[row] for record in (first, second)]
        assert (change.change == CORRECTED) == (right == [False, True])
        assert (change.change == BROKEN) == (right == [True, False])


def test_the_run_that_was_named_first_stands_first(workspace, competition, tmp_path):
    first, second = load_run(workspace, FIRST), load_run(workspace, SECOND)
    write_comparison(first, second, competition, tmp_path / "versus.html")
    text = (tmp_path / "versus.html").read_text()
    head = text[text.index("GAP of both runs by stage") :]
    assert 0 < head.index(second.name) < head.index(first.name)  # `report SECOND --against FIRST`
    shown = re.search(r'<th scope="row">fused</th><td class="n">([0-9.]+)</td><td class="n">([0-9.]+)</td>', text)
    gaps = [gap_and_interval(record.final, record.truth)[0] for record in (second, first)]
    assert [float(value) for value in shown.groups()] == pytest.approx(gaps, abs=1e-5)


def test_the_page_says_what_is_lost_how_it_was_made_and_what_the_test_photos_are_answered(
    workspace, competition, tmp_path
):
    record = load_run(workspace, FIRST)
    write_report(record, competition, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    gap = gap_and_interval(record.final, record.truth)[0]
    assert f"{1 - gap:.3f} of GAP is lost: " in text
    made = text[text.index('<p class="hint made">') :].split("</p>")[0]
    assert f"<code>{record.run.command}</code> by lmk {record.run.versions['lmk']}" in made
    assert ("commit" in made) == ("commit" in record.run.facts)  # an installed lmk knows none
    answers = text[text.index('id="tested"') :]
    assert answers.count('data-item="tested"') == 2
    assert 0 < text.index('<th scope="row">verification</th>') < text.rindex('<th scope="row">fused</th>')


def test_a_run_against_itself_has_no_changes(workspace, competition, tmp_path):
    record = load_run(workspace, FIRST)
    write_comparison(record, record, competition, tmp_path / "same.html")
    assert "both runs answer and rank every query alike" in (tmp_path / "same.html").read_text()


def test_runs_on_other_photos_do_not_compare(workspace, competition, tmp_path):
    house = Workspace.open(tmp_path / "w")
    shutil.copytree(workspace.root, house.root, dirs_exist_ok=True)
    path = house.runs / SECOND / "run.json"
    write_json(path, json.loads(path.read_text()) | {"digest": "another"})
    with pytest.raises(LmkError, match="different photos"):
        write_comparison(load_run(house, FIRST), load_run(house, SECOND), competition, tmp_path / "versus.html")


def test_the_command_writes_the_newest_run_and_prints_where(workspace):
    result = lmk("report", "--workspace", workspace.root)
    assert result.exit_code == 0, result.output
    path = Path(result.stdout.strip())
    assert path == workspace.runs / SECOND / "report.html" and path.is_file()


def test_a_run_ends_with_its_page_and_says_where(workspace, competition):
    notes: list[str] = []
    write_page(FIRST, competition, Execution(workspace, note=notes.append))
    path = workspace.runs / FIRST / "report.html"
    assert FIRST in path.read_text(encoding="utf-8")
    assert notes == [f"The run's report is in {path}."]


def test_the_command_tells_json_of_two_runs(workspace, tmp_path):
    out = tmp_path / "versus.html"
    result = lmk("report", SECOND, "--against", FIRST, "--out", out, "--json", "--workspace", workspace.root)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "run": SECOND,
        "against": FIRST,
        "report": str(out),
        "bytes": out.stat().st_size,
    }


def test_photos_that_moved_are_named_by_an_option(workspace, competition, tmp_path):
    house = Workspace.open(tmp_path / "w")
    shutil.copytree(workspace.root, house.root, dirs_exist_ok=True)
    path = house.runs / FIRST / "run.json"
    write_json(path, json.loads(path.read_text()) | {"root": str(tmp_path / "gone")})
    result = lmk("report", FIRST, "--workspace", house.root)
    assert isinstance(result.exception, LmkError) and "--competition" in str(result.exception)
    assert lmk("report", FIRST, "--workspace", house.root, "-c", competition.root).exit_code == 0
