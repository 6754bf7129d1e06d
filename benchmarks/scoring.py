"""GAP, its interval, the k best of scores, a vote and a submission's CSV, beside the forms that public kernels use.

The public forms are written here as kernels of the competitions write them: pandas for GAP and CSV, a full argsort for
the k best, a loop of bootstrap samples. Both ways of each row get the same data, and the row tells whether they agree.

    python -m benchmarks.scoring --json
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.output import parser, show
from benchmarks.timing import in_turns
from lmk.metrics import gap, gap_interval
from lmk.models.prediction import vote_views
from lmk.predictions import NO_LANDMARK, Predictions, largest, read_submission, write_submission

QUERIES, LANDMARKS = 117_703, 14_951
"""Of the edition of 2018."""
SHOWN = 0.02
DRAWS, ROUNDS = 20, 3
BLOCK, K = 2000, 20
VIEWS = 22


def run(rounds: int = ROUNDS) -> dict[str, object]:
    """Seconds of both forms of each step, in turns, on synthetic answers at full size.

    Returns:
        rows: Of each step: lmk's seconds, the public form's, their ratio, and whether the results agree.
    """
    with tempfile.TemporaryDirectory() as folder:
        steps = _steps(np.random.default_rng(0), Path(folder))
        rows = []
        for name, (ours, public, same) in steps.items():
            agree = bool(same(ours(), public()))  # numpy has a kind of bool of its own
            seconds = in_turns({"lmk": ours, "public": public}, rounds, time.process_time)
            rows.append(
                {
                    "step": name,
                    "seconds": seconds["lmk"],
                    "public_seconds": seconds["public"],
                    "ratio": seconds["public"] / seconds["lmk"],
                    "agree": agree,
                }
            )
    return {"queries": QUERIES, "rows": rows}


Step = tuple[Callable[[], object], Callable[[], object], Callable[[object, object], bool]]


def _steps(rng: np.random.Generator, folder: Path) -> dict[str, Step]:
    ids = np.array([f"{number:016x}" for number in rng.permutation(QUERIES)])
    truth = np.where(rng.random(QUERIES) < SHOWN, rng.integers(0, LANDMARKS, QUERIES), NO_LANDMARK)
    right = (truth != NO_LANDMARK) & (rng.random(QUERIES) < 0.7)
    answers = np.where(right, truth, rng.integers(0, LANDMARKS, QUERIES))
    confidence = rng.random(QUERIES) + 0.5 * right
    order = np.argsort(-confidence)
    correct, shows = (answers == truth)[order], (truth != NO_LANDMARK)[order]
    scores = rng.random((BLOCK, LANDMARKS), np.float32)
    view_answers = rng.integers(0, 40, (BLOCK, VIEWS))
    view_scores = rng.random((BLOCK, VIEWS))
    path = folder / "submission.csv"
    submission = Predictions(ids, answers[:, None], confidence[:, None])
    write_submission(submission, path)
    return {
        "GAP": (
            partial(gap, ids, truth, answers, confidence),
            partial(_pandas_gap, truth, answers, confidence),
            np.isclose,
        ),
        f"interval of {DRAWS} samples": (
            partial(gap_interval, correct, shows, DRAWS, 0),
            partial(_resampled, truth, answers, confidence),
            lambda a, b: bool(np.allclose(a, b, atol=0.02)),  # the samples differ
        ),
        f"{K} best of {LANDMARKS:,}, {BLOCK:,} queries": (
            partial(largest, scores, K),
            lambda: np.argsort(-scores, axis=1)[:, :K],
            lambda a, b: bool(np.array_equal(np.take_along_axis(scores, a, 1), np.take_along_axis(scores, b, 1))),
        ),
        f"vote of {VIEWS} views, {BLOCK:,} queries": (
            lambda: vote_views(ids[:BLOCK], view_answers, view_scores, 1).scores[:, 0],
            partial(_vote_in_a_loop, view_answers, view_scores),
            np.allclose,
        ),
        "write a submission": (
            partial(write_submission, submission, folder / "ours.csv"),
            partial(_pandas_write, ids, answers, confidence, folder / "theirs.csv"),
            lambda a, b: np.allclose(_pandas_read(folder / "ours.csv"), _pandas_read(folder / "theirs.csv")),
        ),
        "read and check a submission": (
            lambda: read_submission(path).confidence,
            lambda: _pandas_read(path),
            np.allclose,
        ),
    }


def _pandas_gap(truth: np.ndarray, answers: np.ndarray, confidence: np.ndarray) -> float:
    table = pd.DataFrame({"pred": answers, "conf": confidence, "true": truth})
    table = table.sort_values("conf", ascending=False)
    table["correct"] = (table["true"] == table["pred"]).astype(int)
    table["prec"] = table["correct"].cumsum() / (np.arange(len(table)) + 1)
    return float((table["prec"] * table["correct"]).sum() / (truth != NO_LANDMARK).sum())


def _resampled(truth: np.ndarray, answers: np.ndarray, confidence: np.ndarray) -> tuple[float, float]:
    rng, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(truth), len(truth))
        found.append(_pandas_gap(truth[rows], answers[rows], confidence[rows]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _vote_in_a_loop(answers: np.ndarray, scores: np.ndarray) -> np.ndarray:
    best = []
    for labels, values in zip(answers, scores, strict=True):
        sums: Counter[int] = Counter()
        for label, value in zip(labels, values, strict=True):
            sums[label] += value
        best.append(max(sums.values()) / len(labels))
    return np.array(best)


def _pandas_write(ids: np.ndarray, answers: np.ndarray, confidence: np.ndarray, path: Path) -> None:
    table = pd.DataFrame({"id": ids, "label": answers, "conf": confidence})
    table["landmarks"] = table.apply(lambda row: f"{row['label']} {row['conf']}", axis=1)
    table[["id", "landmarks"]].to_csv(path, index=False)


def _pandas_read(path: Path) -> np.ndarray:
    cells = pd.read_csv(path)["landmarks"].str.split(" ", expand=True)
    return cells[1].astype(float).to_numpy()


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.scoring`."""
    options = parser("scoring", __doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    given = options.parse_args(words)
    show(run(given.rounds), given.json)


if __name__ == "__main__":
    main()
