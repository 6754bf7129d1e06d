"""What a run would cost: counts by hand, laws of scale, published editions without a file, what runs taught."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmk.cli.main import main
from lmk.data.sizes import Size, size_of, size_of_edition, size_of_tables
from lmk.data.splits import make_split
from lmk.models.recipes import RECIPES
from lmk.pipeline.amounts import compared_photos
from lmk.pipeline.config import config_of
from lmk.pipeline.costs import Cost
from lmk.pipeline.forecast import FETCH, PHOTOS, SUBMISSION, forecast, head_weights, measured_factors
from lmk.pipeline.rates import GPU_SHARES, GPUS, MEASURED, Rate, gpu_share
from lmk.pipeline.steps import FUSED, RETRIEVAL, VERIFICATION
from lmk.runs import DevFigures, RunRecord, write_record
from lmk.util.workspace import Workspace

FROZEN, TUNED = "mobilenetv2-gem", "xception-gem"
SMALL = Size("small", np.array([30, 10, 5, 2, 1]), distractors=12, test=40, kilobytes=100.0, source="by hand")


def times(size: Size, factor: int) -> Size:
    """As many times the photos, of as many landmarks."""
    return replace(size, counts=size.counts * factor, distractors=size.distractors * factor, test=size.test * factor)


def seconds(size: Size, rates=MEASURED, jobs: int = 2, **changes) -> dict[str, float]:
    config = config_of((FROZEN,), **changes)
    return by_stage(forecast(size, config, rates, GPUS["t4"], jobs, fetched=False))


def by_stage(costs: list[Cost]) -> dict[str, float]:
    """Seconds by stage, and of each step by itself where it is named otherwise."""
    found: dict[str, float] = {}
    for cost in costs:
        for name in {cost.stage, cost.step}:
            found[name] = found.get(name, 0.0) + cost.seconds
    return found


def pairs_alone(size: Size, jobs: int = 2, **changes) -> float:
    costs = forecast(size, config_of((FROZEN,), **changes), MEASURED, GPUS["t4"], jobs)
    return next(cost.seconds for cost in costs if cost.step == VERIFICATION)


def test_queries_are_as_many_as_the_split_asks():
    landmarks = np.repeat(np.arange(5), SMALL.counts)
    ids = np.array([f"t{row:03d}" for row in range(len(landmarks))])
    distractors = np.array([f"d{row:03d}" for row in range(SMALL.distractors)])
    split = make_split(ids, landmarks, distractors, 4, 0.6, 0)
    assert SMALL.queries(0.6) == sum(len(split.queries(fold)) for fold in range(4))


def test_galleries_are_cut_landmark_by_landmark():
    assert SMALL.gallery(4) == 4 + 4 + 4 + 2 + 1
    assert SMALL.compared(4) == 3


def test_photos_landmarks_and_sizes_survive_a_record():
    again = Size.of_dict(json.loads(json.dumps(SMALL.to_dict())))
    assert sorted(again.counts) == sorted(SMALL.counts)
    assert (again.photos, again.test, again.kilobytes, again.name) == (100, 40, 100.0, "small")


@pytest.mark.parametrize(
    ("slug", "train", "landmarks", "test"),
    [
        ("landmark-recognition-challenge", 1_225_029, 14_951, 117_703),
        ("landmark-recognition-2019", 4_132_914, 203_094, 117_577),
        ("landmark-recognition-2021", 1_580_470, 81_313, 10_345),
    ],
)
def test_an_edition_has_its_published_counts(slug, train, landmarks, test):
    size = size_of_edition(slug)
    assert (size.train, size.landmarks, size.test) == (train, landmarks, test)
    assert size.counts.min() >= 1
    assert size.queries(0.6) == pytest.approx(100_000, abs=2)


def test_what_is_a_count_of_photos_grows_with_them_and_what_is_a_product_with_its_square():
    cold = {
        name: replace(rate, value=0.0 if name in ("start", "network start", "stage") else rate.value)
        for name, rate in MEASURED.items()
    }
    small, large = seconds(SMALL, cold), seconds(times(SMALL, 10), cold)
    assert large[FETCH] == pytest.approx(10 * small[FETCH])
    assert large[PHOTOS] == pytest.approx(10 * small[PHOTOS])
    assert large[SUBMISSION] == pytest.approx(10 * small[SUBMISSION])
    assert large[FROZEN] == pytest.approx(10 * small[FROZEN], rel=0.02)  # as many landmarks, so the head is as large
    assert 10 * small[RETRIEVAL] < large[RETRIEVAL] < 100 * small[RETRIEVAL]


def test_pairs_are_queries_by_proposals_by_gallery_photos():
    asked = SMALL.queries(0.6) + SMALL.test
    expected = asked * 3 * SMALL.compared(4) / MEASURED["pairs"].value / 2
    assert pairs_alone(SMALL, gallery=4, candidates=3, spread=False) == pytest.approx(expected)
    # Spreading: each of five folds proposes three landmarks of each test photo, at the most.
    expected += 5 * 3 * SMALL.test * SMALL.compared(4) / MEASURED["pairs"].value / 2
    assert pairs_alone(SMALL, gallery=4, candidates=3) == pytest.approx(expected)
    assert pairs_alone(SMALL, gallery=4, candidates=3, jobs=8) == pytest.approx(expected / 4)


def test_a_network_that_matches_costs_more_than_distances_and_a_gpu_takes_most_of_it_off():
    stages = {}
    for kind in ("xfeat", "xfeat-lighterglue"):
        costs = forecast(SMALL, config_of((FROZEN,), local_features=kind), MEASURED, GPUS["a100"], 2)
        stages[kind] = next(cost for cost in costs if cost.step == "verification")
    near, glued = stages["xfeat"], stages["xfeat-lighterglue"]
    assert near.gpu_seconds == 0
    assert glued.seconds > 20 * near.seconds
    assert near.seconds < glued.gpu_seconds < glued.seconds / 10


def test_a_head_has_its_weights():
    assert head_weights(RECIPES["mobilenetv2-softmax"], 1000) == 1280 * 1000
    assert head_weights(RECIPES[FROZEN], 1000) == 1280 * 256 + 256 * 1000
    assert head_weights(RECIPES["vgg16-bottleneck"], 1000) == 4 * 4 * 512 * 256 + 256 * 1000


def test_a_tuned_network_costs_more_than_a_frozen_one_and_a_gpu_takes_it_off():
    costs = forecast(SMALL, config_of((FROZEN, TUNED)), MEASURED, GPUS["a100"], 2)
    gpu = {name: sum(cost.gpu_seconds for cost in costs if cost.stage == name) for name in (FROZEN, TUNED)}
    here = by_stage(costs)
    assert here[TUNED] > 5 * here[FROZEN]
    assert 0 < gpu[TUNED] < here[TUNED] / 20
    assert not any(cost.gpu_seconds for cost in costs if cost.step in (VERIFICATION, FUSED))


def test_a_gpu_reaches_less_of_its_peak_in_thin_convolutions():
    assert gpu_share("vgg16") > gpu_share("xception") > gpu_share("efficientnetb0") == gpu_share("mobilenetv2")
    assert gpu_share("resnet50") == gpu_share("") == GPU_SHARES[""].value
    thin = replace(RECIPES[TUNED], backbone="efficientnetb0", image_size=299)
    costs = forecast(SMALL, config_of((TUNED,)), MEASURED, GPUS["t4"], 2)
    learned = next(cost for cost in costs if cost.step == f"{TUNED}/networks")
    thin_costs = forecast(SMALL, replace(config_of((TUNED,)), recipes=(thin,)), MEASURED, GPUS["t4"], 2)
    thin_learned = next(cost for cost in thin_costs if cost.step == f"{TUNED}/networks")
    # a twelfth of the multiply-adds, and a GPU's gain is the smaller by the shares
    assert thin_learned.seconds < learned.seconds / 5
    assert thin_learned.gpu_seconds > learned.gpu_seconds / 3


def test_photos_that_are_queries_and_gallery_photos_are_described_once():
    config = config_of((FROZEN,))
    assert compared_photos(config, SMALL) == SMALL.photos  # folds ask most training photos
    many = replace(SMALL, test=10 * SMALL.photos)
    assert compared_photos(config, many) > many.test


def test_delf_of_small_photos_costs_more_than_their_pixels():
    spent = {}
    for side in (96, 480):
        config = config_of((FROZEN,), local_features="delf")
        costs = forecast(replace(SMALL, side=side), config, MEASURED, GPUS["t4"], 2)
        spent[side] = next(cost.seconds for cost in costs if cost.step == "local/delf")
    assert 1 / 24 < spent[96] / spent[480] < 1 / 12  # 0.013 and 0.255 s a photo were measured


def test_rootsift_and_pairs_of_small_photos_cost_more_than_their_pixels():
    spent = {}
    for side in (96, 480):
        config = config_of((FROZEN,), local_features="rootsift")
        costs = forecast(replace(SMALL, side=side), config, MEASURED, GPUS["t4"], 2)
        spent[side] = {cost.step: cost.seconds for cost in costs}
    # They are enlarged to half the side: half the time of extraction, and nearly as many features to compare.
    assert 0.4 < spent[96]["local/rootsift"] / spent[480]["local/rootsift"] < 0.6
    assert spent[96]["verification"] == spent[480]["verification"]


def test_a_faster_machine_takes_less():
    faster = MEASURED | {"network": Rate(450.0, "", "")}
    assert seconds(SMALL, faster)[FROZEN] < seconds(SMALL)[FROZEN]


def record_of(name: str, spent: dict[str, float], **settings) -> RunRecord:
    """The record of a run of that name on `SMALL`."""
    return RunRecord(
        run=name, competition="small", root="", digest="", size=SMALL.to_dict(), submission="", submitted=FUSED,
        settings=config_of((FROZEN,)).to_dict() | settings, made="", command="",
        dev=DevFigures({}, {}, {}, {}, 0, 0), weights={}, stages=[], predictions={}, steps=[], seconds={}, spent=spent,
        reused=[], unreadable={}, versions={}, backends={}, read_side=1, comparison={}, local_features={},
    )  # fmt: skip


def test_a_run_gives_the_rates_of_its_stages(tmp_path):
    config = config_of((FROZEN,))
    said = seconds(SMALL)
    spent = {FROZEN: 3 * said[FROZEN], "verification": 1e3, "submission": 2 * said[SUBMISSION]}
    runs = tmp_path / "runs"
    write_record(record_of("small-1", spent, **{"of a later version": 1}), runs / "small-1")
    write_record(record_of("lost-1", spent, recipes=["a recipe of another version"]), runs / "lost-1")
    for name, text in (("damaged-1", "{"), ("older-1", json.dumps({"spent": spent, "size": SMALL.to_dict()}))):
        record = runs / name / "run.json"
        record.parent.mkdir()
        record.write_text(text)
    factors = measured_factors(Workspace(tmp_path), MEASURED, GPUS["t4"], 2)
    assert factors[FROZEN] == (pytest.approx(3), "small-1")
    size = times(SMALL, 5)
    costs = forecast(size, config, MEASURED, GPUS["t4"], 2, factors=factors)
    assert by_stage(costs)[FROZEN] == pytest.approx(3 * seconds(size)[FROZEN])
    assert {cost.scaled_by for cost in costs if cost.stage == FROZEN} == {"small-1"}
    assert {cost.scaled_by for cost in costs if cost.stage == RETRIEVAL} == {""}
    again = forecast(SMALL, config, MEASURED, GPUS["t4"], 2, factors=factors)
    assert sum(
        cost.seconds for cost in again if cost.scaled_by and cost.stage not in (FROZEN, SUBMISSION)
    ) == pytest.approx(1e3)


def test_a_runs_own_image_size_counts_in_its_rates(tmp_path):
    config = config_of((FROZEN,), image_size=96)
    said = by_stage(forecast(SMALL, config, MEASURED, GPUS["t4"], 2))[FROZEN]
    record = record_of("small-1", {FROZEN: 3 * said}, **config.to_dict())
    write_record(record, tmp_path / "runs" / "small-1")
    factors = measured_factors(Workspace(tmp_path), MEASURED, GPUS["t4"], 2)
    assert factors[FROZEN] == (pytest.approx(3), "small-1")


def lmk(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["lmk", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0), *capsys.readouterr()


def test_an_edition_is_planned_without_a_file_and_nothing_is_written(monkeypatch, capsys, tmp_path):
    words = ("plan", "-c", "landmark-recognition-2019", "-r", TUNED, "--gpu", "p100", "-w", str(tmp_path / "w"))
    code, out, _ = lmk(monkeypatch, capsys, *words)
    assert code == 0 and "measured: python -m benchmarks" not in out
    code, out, _ = lmk(monkeypatch, capsys, *words, "-v")
    assert code == 0
    assert "4,132,914 training photos of 203,094 landmarks" in out
    for word in (
        "two cores",
        "with p100",
        "total",
        "On Kaggle:",
        "Memory:",
        "Disk:",
        "assumed",
        "measured: python -m benchmarks",
    ):
        assert word in out
    code, out, _ = lmk(monkeypatch, capsys, *words, "--json")
    told = json.loads(out)
    assert told["competition"]["train"] == 4_132_914
    assert told["total"]["seconds"] == pytest.approx(sum(stage["seconds"] for stage in told["steps"]), rel=1e-6)
    assert told["total"]["memory"] == max(stage["memory"] for stage in told["steps"])
    assert not (tmp_path / "w").exists()


def test_rates_are_listed_with_verbose_alone_and_each_names_its_source(monkeypatch, capsys, tmp_path):
    words = ("plan", "-c", "landmark-recognition-2021", "-r", TUNED, "-w", str(tmp_path))
    code, out, told = lmk(monkeypatch, capsys, *words)
    assert code == 0 and "Times follow from" in told
    assert not any(rate.unit in out or rate.source in out for rate in (*MEASURED.values(), *GPU_SHARES.values()))
    code, out, _ = lmk(monkeypatch, capsys, *words, "-v")
    assert code == 0
    rows = out.split("Rates\n")[1].splitlines()[1:]
    assert len(rows) == len(MEASURED) + len(GPU_SHARES) + 1 == int(told.split("Times follow from ")[1].split()[0])
    for row, rate in zip(rows, MEASURED.values(), strict=False):
        assert row.startswith(rate.unit) and row.endswith(rate.source)
    sources = [row.split("  ")[-1].strip() for row in rows]
    assert all(source.startswith(("measured", "assumed")) for source in sources[:-1])
    assert sources[-1] == "published"  # the GPU's peak
    # A measured rate names the command that measures it, or the runs.
    assert all(any(word in source for word in ("python -m ", "runs of")) for source in sources if "measured" in source)


def test_a_folder_is_planned_by_its_tables_without_photos(monkeypatch, capsys, tmp_path):
    (tmp_path / "train.csv").write_text("id,landmark_id\n" + "".join(f"a{row},{row % 7}\n" for row in range(70)))
    (tmp_path / "test.csv").write_text("id\nq1\nq2\n")
    code, out, _ = lmk(monkeypatch, capsys, "plan", "-c", str(tmp_path), "-r", FROZEN, "-w", str(tmp_path), "--json")
    assert code == 0
    told = json.loads(out)
    assert {name: told["competition"][name] for name in ("train", "landmarks", "test")} == {
        "train": 70, "landmarks": 7, "test": 2,
    }  # fmt: skip
    assert told["steps"][0]["step"] == PHOTOS


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-c", "landmark-recognition-2018"), "no competition or folder"),
        (("-c", "landmark-recognition-2019", "--gpu", "t5"), "No GPU is known as 't5'"),
        (("-c", "landmark-recognition-2019", "-r", "xeption-gem"), "Did you mean 'xception-gem'"),
        (("-c", "landmark-recognition-2019", "--local-features", "sift"), "there are rootsift"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(monkeypatch, capsys, tmp_path, words, expected):
    code, _, told = lmk(monkeypatch, capsys, "plan", *words, "-w", str(tmp_path))
    assert code == (1 if "no competition" in expected else 2)
    assert expected in told
    assert told.count("\n") == 1


def test_photos_of_a_folder_and_its_tables_give_the_same_counts(tmp_path, tiny_competition):
    from lmk.data.competitions import read_competition

    whole, tables = size_of(read_competition("walls", tiny_competition)), size_of_tables("walls", tiny_competition)
    assert sorted(whole.counts) == sorted(tables.counts)
    assert (whole.distractors, whole.test) == (tables.distractors, tables.test)
    assert tables.kilobytes == pytest.approx(
        whole.kilobytes, rel=0.05
    )  # the damaged and the distractors are there, too


@pytest.fixture
def tiny_competition(tmp_path) -> Path:
    import tiny

    return tiny.draw_competition(tmp_path / "walls")
