"""The published decisions of 2018 on a finished run's networks: GAP on dev beside the network's own and lmk's default.

Each recipe of the run answers dev as it did; its first landmark is compared with that landmark's training photos by
stored DELF features, in the published way, and both published rules decide. `ensemble` and `fused` are lmk's own stages
of the same run. FEATURES is a store of DELF features, `WORKSPACE/stores/delf-...`; photos that it lacks are left out.

    python -m benchmarks.likes WORKSPACE FEATURES --competition COMPETITION [--run RUN] [--seeds 3] --json
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.agreement import read_landmarks, read_table
from benchmarks.output import parser, show
from lmk.data.splits import choose_galleries
from lmk.evaluation import gap_of
from lmk.local.features import FeatureTable
from lmk.local.verify import photo_of, verify
from lmk.pipeline.likes import LIKES, Like, decide
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.report.record import RunRecord, load_run
from lmk.util.store import ArrayStore
from lmk.util.workspace import Workspace

PASSES = (1, 3)


def run(record: RunRecord, competition: Path, table: FeatureTable, seeds: int, store: Path) -> dict[str, object]:
    """GAP of each recipe alone and decided as either system does, for each seed of galleries and samples.

    Returns:
        queries; rows of `answers`, `decision`, `gap` (mean over the seeds), `least`, `most`.
    """
    landmarks = {name: int(landmark) for name, landmark in read_landmarks(competition).items() if name in table}
    known = np.array([photo_of(name) in table for name in record.ids.tolist()])
    truth = record.truth[known]
    rows = [_row(stage, "as lmk has it", [gap_of(found.take(known), truth)]) for stage, found in record.dev.items()]
    for recipe in record.facts["settings"]["recipes"]:
        found = record.dev[recipe].take(known).top(1)
        for like in LIKES.values():
            for passes in PASSES if like.rule.startswith("seed-0") else PASSES[:1]:
                gaps = [
                    gap_of(_decided(like.as_asked(passes, seed=seed), found, landmarks, table, truth, store), truth)
                    for seed in range(seeds)
                ]
                rows.append(_row(recipe, f"{like.name}, {passes} pass{'es' * (passes > 1)}", gaps))
    return {
        "run": record.name,
        "queries": len(truth),
        "with a landmark": int((truth != NO_LANDMARK).sum()),
        "rows": rows,
    }


def _row(answers: str, decision: str, gaps: Sequence[float]) -> dict[str, object]:
    figures = {"gap": float(np.mean(gaps)), "least": min(gaps), "most": max(gaps)}
    return {"answers": answers, "decision": decision, **figures}


def _decided(
    like: Like, found: Predictions, landmarks: dict[str, int], table: FeatureTable, truth: np.ndarray, store: Path
) -> Predictions:
    """Dev predictions as the system decides."""
    names, labels = np.array(list(landmarks)), np.array(list(landmarks.values()))
    gallery = choose_galleries(names, labels, like.gallery.kept, like.gallery.seed)
    passes = []
    for number in range(like.gallery.passes):

        def choose(query: str, landmark: int, photos: Sequence[str], number: int = number) -> list[str]:
            return like.gallery.choose(query, landmark, photos, number)

        key = {"like": like.name, "pass": number, "gallery": asdict(like.gallery), "comparison": like.comparison.key()}
        kept = ArrayStore(store, "verification", key | {"queries": found.ids.tolist()})
        passes.append(verify(found, gallery, table, table, kept, like.comparison, choose=choose).counts)
    return decide(like, found, found, passes, passes, truth)[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.likes`."""
    options = parser("likes", __doc__)
    options.add_argument("workspace", type=Path)
    options.add_argument("features", type=Path)
    options.add_argument("--competition", type=Path, required=True, help="folder with train.csv")
    options.add_argument("--run", help="the newest if not given")
    options.add_argument("--seeds", type=int, default=3)
    words = options.parse_args(arguments)
    record, table = load_run(Workspace.open(words.workspace), words.run), read_table(words.features)
    with tempfile.TemporaryDirectory() as folder:
        show(run(record, words.competition, table, words.seeds, Path(folder)), words.json)


if __name__ == "__main__":
    main()
