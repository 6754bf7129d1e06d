"""Photos of two scenes: is the evidence of every pair within a scene above that of every pair across?

Every kind of local features with its defaults, where its weights are there; DELF with the network that a competition's
photos trained. A pair's evidence is the mean of its inliers with either photo as the query; `photo_s` are processor
seconds of extraction. FOLDER holds `SCENE_NUMBER.jpg`.

    python -m benchmarks.pairs FOLDER --competition COMPETITION --weights WEIGHTS --json
"""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show
from lmk.cli.console import note, progress
from lmk.cli.run_config import CPU_RECIPES
from lmk.data.images import read_photo
from lmk.local.compare import Settings as Comparing
from lmk.local.compare import compare
from lmk.local.features import Extractor
from lmk.local.kinds import DELF, LOCAL_FEATURES
from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.config import Execution, config_of
from lmk.pipeline.dataset import open_competition, open_dataset
from lmk.util.errors import LmkError
from lmk.util.workspace import Workspace


def run(photos: Sequence[Path], extractor: Extractor, settings: Comparing) -> dict[str, object]:
    """The least inliers of a pair within a scene, the most of one across, and whether the first is more."""
    read = [read_photo(path) for path in photos]
    extractor(read[:1])  # loads what it needs
    start = time.process_time()
    features = extractor(read)
    seconds = time.process_time() - start
    counts: dict[bool, list[float]] = {True: [], False: []}
    for (first, one), (second, two) in itertools.combinations(zip(photos, features, strict=True), 2):
        same = first.stem.rsplit("_", 1)[0] == second.stem.rsplit("_", 1)[0]
        both = len(compare(one, two, settings).inliers) + len(compare(two, one, settings).inliers)
        counts[same].append(both / 2)
    return {
        "within": min(counts[True]),
        "within_median": float(np.median(counts[True])),
        "across": max(counts[False]),
        "above": min(counts[True]) > max(counts[False]),
        "photo_s": seconds / len(photos),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.pairs`."""
    options = parser("pairs", __doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--competition", required=True, help="whose photos train DELF")
    options.add_argument("--weights", required=True)
    options.add_argument("--workspace", type=Path, default=Path("workspace"))
    words = options.parse_args(arguments)
    workspace = Workspace.open(words.workspace)
    competition = open_competition(words.competition, workspace.competitions, progress)
    config = config_of(CPU_RECIPES, weights=words.weights, local_features=DELF)
    execution = Execution(workspace, progress=progress, note=note)
    local = LocalSteps(Shared(config, open_dataset(config, competition, execution), execution))
    local.local_features()
    delf = local.sources[DELF].extractor
    delf.train()
    photos = sorted(words.folder.glob("*.jpg"))
    extractors: dict[str, Extractor] = {}
    for name, kind in LOCAL_FEATURES.items():
        try:
            extractors[name] = delf if name == DELF else kind.extractor(words.weights)
        except LmkError as error:
            note(str(error))
    rows = [
        {"kind": kind} | run(photos, extractor, LOCAL_FEATURES[kind].comparison)
        for kind, extractor in extractors.items()
    ]
    show({"photos": len(photos), "rows": rows}, words.json)


if __name__ == "__main__":
    main()
