"""The published decisions of 2018 on a finished run's networks: GAP on dev beside the network's own and lmk's default.

Each recipe of the run answers dev as it did; its first landmark is compared with that landmark's training photos by
stored DELF features, as published, and the system's rule decides. The run's other stages are lmk's own decisions from
the same network. So a network that has no weights for DELF can be measured, too. FEATURES is a store of DELF features,
`WORKSPACE/stores/local-delf-...`, best that of a run with `--like SYSTEM`; photos that it lacks are left out.

    python -m benchmarks.likes WORKSPACE FEATURES --system SYSTEM --competition COMPETITION [--run RUN] --json
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.agreement import read_landmarks, read_table
from benchmarks.output import parser, show
from lmk.data.splits import Queries, choose_galleries, photo_of
from lmk.evaluation import gap_of
from lmk.local.evidence import strongest
from lmk.local.features import FeatureTable
from lmk.local.verify import verify
from lmk.pipeline.fuse import Proposed, fuse
from lmk.pipeline.likes import LIKES, Like, find_like
from lmk.pipeline.results import Answers, Verified
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.report.record import FinishedRun, load_run
from lmk.util.store import ArrayStore
from lmk.util.workspace import Workspace

PASSES = (1, 3)


def run(found: FinishedRun, competition: Path, table: FeatureTable, like: Like, store: Path) -> dict[str, object]:
    """GAP of the run's stages, and of each recipe decided as the system does.

    Returns:
        run, queries, those with a landmark; rows of `answers`, `decision`, `gap`.
    """
    landmarks = {name: int(landmark) for name, landmark in read_landmarks(competition).items() if name in table}
    known = np.array([name in table for name in photo_of(found.ids).tolist()])
    dev = Queries(found.ids[known], found.photos[known], found.truth[known])
    rows = [
        {"answers": stage, "decision": "as lmk has it", "gap": gap_of(answers.take(known), dev.truth)}
        for stage, answers in found.dev.items()
    ]
    for recipe in found.run.recipes:
        for passes in PASSES if like.system.sums else PASSES[:1]:
            asked = like.as_asked(passes, seed=int(found.run.settings["seed"]))
            answers = _decided(asked, found.dev[recipe].take(known).top(1), dev, landmarks, table, store)
            decision = f"{like.system.name}, {passes} pass{'es' * (passes > 1)}"
            rows.append({"answers": recipe, "decision": decision, "gap": gap_of(answers, dev.truth)})
    shown = int((dev.truth != NO_LANDMARK).sum())
    return {"run": found.name, "queries": len(dev.truth), "with a landmark": shown, "rows": rows}


def _decided(
    like: Like, found: Predictions, dev: Queries, landmarks: dict[str, int], table: FeatureTable, store: Path
) -> Predictions:
    """Dev predictions as the system decides."""
    names, labels = np.array(list(landmarks)), np.array(list(landmarks.values()))
    gallery = choose_galleries(names, labels, like.gallery.kept, like.gallery.seed)
    settings = replace(like.comparison, seed=like.gallery.seed)
    passes = []
    for number in range(like.gallery.passes):
        key = {"like": like.system.name, "pass": number, "gallery": asdict(like.gallery), "comparison": settings.key()}
        kept = ArrayStore(store, "verification", key)
        choose = partial(like.gallery.choose, number=number)
        passes.append(verify(found, gallery, table, table, kept, settings, choose=choose, jobs=2))
    evidence = {"delf": strongest(passes)}
    answers = Answers(found, found)
    return fuse(Proposed({}, None, answers, Verified(evidence, evidence), dev, {}, 0), like.system.rule).dev


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.likes`."""
    options = parser("likes", __doc__)
    options.add_argument("workspace", type=Path)
    options.add_argument("features", type=Path)
    options.add_argument("--system", choices=LIKES, required=True)
    options.add_argument("--competition", type=Path, required=True, help="folder with train.csv")
    options.add_argument("--run", help="the newest if not given")
    words = options.parse_args(arguments)
    found, table = load_run(Workspace.open(words.workspace), words.run), read_table(words.features)
    with tempfile.TemporaryDirectory() as folder:
        show(run(found, words.competition, table, find_like(words.system), Path(folder)), words.json)


if __name__ == "__main__":
    main()
