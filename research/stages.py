"""What each stage of a whole run is worth, and each kind of local features: dev GAP, paired over seeds, and seconds.

Runs `lmk make-submission` in every setting with every seed, by the defaults and with each choice of local features; or,
with `--kinds none`, without spreading and without the ridge head. A lead is the mean difference in GAP of two stages'
dev answers with the 95 % interval of a bootstrap over seeds and queries; no solution is read.

    python -m research.stages COMPETITION --weights DIR --folder DIR [--setting NAME] [--kinds none | --kinds KINDS] \
        [--seeds 5] [--json | --markdown]
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.output import show
from lmk.local.kinds import kinds_of
from lmk.report.record import FinishedRun, load_run
from lmk.util.workspace import Workspace
from research.harder import harder_parser, made_harder

DEFAULT = "rootsift,delf"
KINDS = ("rootsift,xfeat", "delf,xfeat", "rootsift,delf,xfeat", "rootsift,delf,aliked-n16")
"""Choices of local features that are compared with the default where nobody says which."""
NONE = "none"
"""Compares stages in place of kinds."""
ALONE, NO_RIDGE = f"{DEFAULT} --no-spread", f"{DEFAULT} --no-ridge"
"""Choices that answer each photo alone, and that blend no ridge head."""
COMPARED = {
    "a ridge head in the blend": ((NO_RIDGE, "ensemble"), (DEFAULT, "ensemble")),
    "a ridge head, fused and spread": ((NO_RIDGE, "spread-fused"), (DEFAULT, "spread-fused")),
    "blended lists spread": ((DEFAULT, "ensemble"), (DEFAULT, "spread")),
    "fused lists spread": ((DEFAULT, "fused"), (DEFAULT, "spread-fused")),
    "both, against neither": ((ALONE, "fused"), (DEFAULT, "spread-fused")),
}
"""Two choices with a stage of each, by what the second has and the first lacks."""


def run(competition: Path, weights: str, workspace: Path, choice: str, seed: int, folds: int) -> FinishedRun:
    """A run of lmk; what the workspace holds is not computed again. The choice names kinds, and options may follow."""
    name = f"{competition.name}-{choice.replace(' --', '-').replace(',', '-')}-{seed}"
    found = subprocess.run(
        [sys.executable, "-m", "lmk", "make-submission", "-c", competition, "--weights", weights, "-w", workspace,
         "--seed", str(seed), "--folds", str(folds), "--out", workspace / f"{name}.csv", "--json",
         "--local-features", *choice.split()],
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return load_run(Workspace.open(workspace), json.loads(found.stdout)["run"])


def rows_of(runs: Mapping[str, Sequence[FinishedRun]], setting: str) -> list[dict[str, object]]:
    """A row a comparison of the runs by choice, one a seed: of `COMPARED`, or of kinds of local features."""
    from research.lab import paired

    kinds = [choice for choice in runs if choice not in (DEFAULT, ALONE, NO_RIDGE)]
    instead = {f"{one} in place of {DEFAULT}": ((DEFAULT, "spread-fused"), (one, "spread-fused")) for one in kinds}
    rows: list[dict[str, object]] = []
    for name, ((first, before), (second, after)) in (instead or COMPARED).items():
        pairs = list(zip(runs[first], runs[second], strict=True))
        told = paired(
            [one.dev[before] for one, _ in pairs],
            [other.dev[after] for _, other in pairs],
            [one.truth for one, _ in pairs],
        )
        rows.append({"setting": setting, "choice": name, **told})
    return rows


def seconds_of(runs: Mapping[str, Sequence[FinishedRun]], setting: str) -> list[dict[str, object]]:
    """Mean seconds a seed of each step that some run computed, the features of photos apart, which seeds share."""
    rows: list[dict[str, object]] = []
    for choice, found in runs.items():
        spent: dict[str, float] = {}
        for one in found:
            for stage, seconds in one.run.spent.items():
                spent[stage] = spent.get(stage, 0.0) + seconds / len(found)
        rows.append({"setting": setting, "choice": choice, "seconds": {k: round(v, 1) for k, v in spent.items()}})
    return rows


def markdown(rows: Sequence[Mapping]) -> str:
    """A table with a row a comparison and a column a setting."""
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    lines = [f"| | {' | '.join(settings)} |", f"|{'---|' * (len(settings) + 1)}"]
    for choice in dict.fromkeys(row["choice"] for row in rows):
        of = {row["setting"]: row for row in rows if row["choice"] == choice}
        cells = [f"{r['gap']:.4f}: {r['lead']:+.4f} ({r['low']:+.4f} to {r['high']:+.4f})" for r in of.values()]
        lines.append(f"| {choice} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _kinds(choice: str) -> str:
    """A choice of local features that there is, or `NONE`: a typing error must not end hours of runs."""
    if choice != NONE:
        try:
            kinds_of(choice)
        except KeyError as error:
            raise ArgumentTypeError(f"no kind of local features: {error.args[0]}") from error
    return choice


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m research.stages`."""
    options = harder_parser("stages", __doc__)
    options.add_argument(
        "--kinds", type=_kinds, action="append", help=f"compared with {DEFAULT}, or {NONE}; {len(KINDS)} without"
    )
    words = options.parse_args(arguments)
    if NONE in (words.kinds or ()) and words.kinds != [NONE]:
        options.error(f"--kinds {NONE} compares stages alone: no other kinds beside it")

    choices = (DEFAULT, ALONE, NO_RIDGE) if words.kinds == [NONE] else (DEFAULT, *(words.kinds or KINDS))
    rows, spent = [], []
    for setting, competition in made_harder(words):
        runs: dict[str, list[FinishedRun]] = {choice: [] for choice in choices}
        for seed in range(words.seeds):
            for choice, found in runs.items():
                found.append(run(competition, words.weights, words.folder / "workspace", choice, seed, words.folds))
        rows += rows_of(runs, setting)
        spent += seconds_of(runs, setting)
    if words.markdown:
        sys.stdout.write(markdown(rows))
    else:
        show({"seeds": words.seeds, "folds": words.folds, "leads": rows, "spent": spent}, words.json)


if __name__ == "__main__":
    main()
