"""How well adversarial validation sees a shift: as it is, and with two shifts that are made on purpose.

A run is computed up to its blend, or taken from the workspace. Dev and test are then compared as they are, against the
half of the test photos that is furthest from the gallery, and with dev queries that show a landmark alone. Where the
competition has a solution, the score of the compared test photos stands beside what dev says of them; nothing is
chosen by it.

    python -m research.shift COMPETITION --weights DIR [-r RECIPE ...] [--seed 0] [--json]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show
from lmk.data.tables import read_solution
from lmk.metrics.ranking import GAP
from lmk.pipeline.build import build
from lmk.pipeline.config import Execution, config_of
from lmk.pipeline.dataset import open_competition, open_dataset
from lmk.pipeline.likeness import shift_features
from lmk.pipeline.steps import ENSEMBLE, RETRIEVAL, execute
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.shift import measure_shift
from lmk.util.arrays import positions
from lmk.util.workspace import Workspace

Row = dict[str, object]


def rows(competition: str, recipes: Sequence[str], workspace: Path, **settings: object) -> list[Row]:
    """ROC area, dev GAP plain and weighted, and GAP of the test photos, in each setting; `settings` of the run."""
    execution = Execution(Workspace.open(workspace))
    config = config_of(recipes, **settings)
    dataset = open_dataset(config, open_competition(competition, execution.workspace.competitions), execution)
    names = [recipe.name for recipe in config.recipes]
    results = execute(build(config, dataset, execution), [*names, RETRIEVAL, ENSEMBLE], execution).results
    near, blended = results[RETRIEVAL], results[ENSEMBLE]
    dev, test = shift_features(config, results)
    truth = dataset.dev.truth
    every_query, every_photo = np.ones(len(dev), dtype=bool), np.ones(len(test), dtype=bool)
    far = near.cosines_test[:, 0] <= np.median(near.cosines_test[:, 0])
    compared = {
        "as it is": (every_query, every_photo),
        "test photos furthest from the gallery": (every_query, far),
        "dev queries of landmarks alone": (truth != NO_LANDMARK, every_photo),
    }
    found = []
    for name, (queries, photos) in compared.items():
        groups = dataset.dev.photos[queries]
        shift = measure_shift(dev[queries], test[photos], groups, blended.dev.take(queries), truth[queries], GAP)
        shown = _score(dataset.competition.solution_path, blended.test.take(photos))
        found.append(
            {"setting": name, "roc_area": shift.area, "dev": shift.score, "dev_weighted": shift.weighted, "test": shown}
        )
    return found


def _score(solution: Path | None, answers: Predictions) -> float | None:
    """GAP of the answers' photos; None without a solution."""
    if solution is None:
        return None
    known = read_solution(solution)
    return GAP.score(answers, known.truth[positions(known.ids, answers.ids)])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m research.shift`."""
    options = parser("shift", __doc__)
    options.add_argument("competition", nargs="?", default="demo")
    options.add_argument("--weights", default="tiny", help="of the backbones, as for make-submission")
    options.add_argument("-r", "--recipe", action="append", help="repeat it; default: two of the demo")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--workspace", type=Path, default=Path("workspace"))
    words = options.parse_args(arguments)
    recipes = words.recipe or ["tinymobilenetv2-gem", "tinymobilenet-gem"]
    found = rows(words.competition, recipes, words.workspace, weights=words.weights, seed=words.seed)
    show({"settings": found}, words.json)


if __name__ == "__main__":
    main()
