"""What each idea is worth: dev GAP against the plain recipe, paired over seeds, and what it costs.

Each seed has its own split, heads and dev queries; no solution is read. Features of frozen backbones are extracted once
and stored. Of a group, every idea is compared with the group's first row: `lead` is the mean difference in GAP with the
95 % interval of a bootstrap over seeds and queries. `train_seconds` are of the processor, a fold, from stored features;
`passes` those of backbones over a photo in prediction, `photo_ms` the processor's milliseconds to answer one photo,
passes and all.

    python -m research.ablation COMPETITION --weights DIR [--only GROUP] [--setting NAME] [--seeds 5]
        [--json | --markdown]

Settings make harder competitions of the one given: choices must hold there, too.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show

GROUPS = {
    "loss": "Loss, head, photos of no landmark (one frozen network, dense views)",
    "rank": "Rank-weighted loss (the same)",
    "views": "Views (one frozen network)",
    "tuning": "A backbone that learns",
    "retrieval": "Retrieval",
    "answers": "Head, neighbours or both (one network)",
    "blend": "Rules of blending: both heads and retrieval",
    "stack": "Stacking on proposals, without local features",
    "suppression": "Suppression",
    "adapted": "Adapted descriptors and neighbours (default networks)",
    "sources": "What is blended (default networks)",
}
"""Groups of ideas by name, with their tables' titles."""
SLOW = "tuning"
"""Trains networks for minutes a fold: only where it is asked for by name."""
LISTS = ("retrieval", "answers", "blend", "stack", "suppression", "adapted", "sources")
SETTINGS: dict[str, tuple[dict[str, int], Sequence[str]]] = {
    "all photos": ({}, tuple(GROUPS)),
    "four photos": ({"photos": 4}, tuple(group for group in GROUPS if group != SLOW)),
    "four photos, 15 distractors": ({"photos": 4, "distractors": 15}, LISTS),
    "small photos": ({"image_size": 128}, LISTS),
    "all three": ({"photos": 4, "distractors": 15, "image_size": 128}, LISTS),
}
"""Settings by name: the fields of `lab.Setting`, and the groups that are tried there."""

Row = dict[str, object]


def run(lab, setting: str, groups: Sequence[str]) -> list[Row]:
    """A row an idea: its GAP and lead with interval, and its costs."""
    from lmk.cli.console import note
    from research.ideas import GROUPS as IDEAS
    from research.lab import paired

    truths = [trial.truth for trial in lab.trials]
    rows: list[Row] = []
    for group in groups:
        base = None
        for name, idea in IDEAS[group](lab).items():
            done = [idea(trial) for trial in lab.trials]
            base = base or done
            told = paired([answer.dev for answer in base], [answer.dev for answer in done], truths)
            rows.append({"setting": setting, "group": group, "idea": name, **told, **costs(lab, done)})
            lead = f"{told['lead']:+.4f} ({told['low']:+.4f} to {told['high']:+.4f})"
            note(f"{setting}, {group}: {name}: {told['gap']:.4f}, {lead}")
    return rows


def costs(lab, done) -> Row:
    """Of an idea's answers of all seeds: training, passes, and prediction of one photo."""
    from research.lab import passes_of

    needed = {passes_of(recipe): recipe for recipe in done[0].recipes}.values()
    queries = np.mean([len(trial.truth) for trial in lab.trials]) / lab.trials[0].config.folds
    answering = float(np.mean([answer.predict for answer in done])) / queries
    return {
        "train_seconds": float(np.mean([answer.train for answer in done])),
        "passes": sum(recipe.passes for recipe in needed),
        "photo_ms": 1000 * (answering + sum(lab.pass_seconds(recipe) for recipe in needed)),
    }


def markdown(rows: Sequence[Mapping]) -> str:
    """The tables of docs/journal/ideas.md: one a group, a column a setting, costs of the first setting."""
    tables = []
    for group in dict.fromkeys(row["group"] for row in rows):
        chosen = [row for row in rows if row["group"] == group]
        settings = list(dict.fromkeys(row["setting"] for row in chosen))
        head = ["idea", *settings, "training, s", "passes", "a photo, ms"]
        lines = [f"**{GROUPS[group]}**", "", _line(head), _line(["---"] * len(head))]
        for place, name in enumerate(dict.fromkeys(row["idea"] for row in chosen)):
            of = {row["setting"]: row for row in chosen if row["idea"] == name}
            cells = [_cell(of[setting], plain=place == 0) for setting in settings]
            first = of[settings[0]]
            spent = [f"{first['train_seconds']:.1f}", str(first["passes"]), f"{first['photo_ms']:.0f}"]
            lines.append(_line([name, *cells, *spent]))
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


def _cell(row: Mapping, plain: bool) -> str:
    gap = f"{row['gap']:.4f}"
    return gap if plain else f"{gap}: {row['lead']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m research.ablation`."""
    options = parser("ablation", __doc__)
    options.add_argument("competition", nargs="?", default="demo")
    options.add_argument("--weights", default="imagenet", help="of the backbones, as for make-submission")
    options.add_argument("--only", choices=GROUPS, action="append", help=f"a group of ideas; all but {SLOW} without")
    options.add_argument("--setting", choices=SETTINGS, action="append", help="all without")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--folds", type=int, default=3)
    options.add_argument("--workspace", type=Path, default=Path("workspace"))
    options.add_argument("--markdown", action="store_true", help="print tables of Markdown on stdout")
    options.add_argument("--record", type=Path, help="write what --json prints to this file, too")
    words = options.parse_args(arguments)

    from lmk.models.start import start_keras

    start_keras()
    from lmk.util.files import write_json
    from research.ideas import PLAIN, SECOND
    from research.lab import Lab, Setting

    rows, queries = [], {}
    for name in words.setting or SETTINGS:
        fields, groups = SETTINGS[name]
        chosen = [group for group in groups if (group in words.only if words.only else group != SLOW)]
        setting = Setting(**fields)
        lab = Lab(words.competition, words.weights, words.workspace, (PLAIN, SECOND), words.seeds, words.folds, setting)
        queries[name] = [len(trial.truth) for trial in lab.trials]
        rows += run(lab, name, chosen)
    found = {"seeds": words.seeds, "folds": words.folds, "queries": queries, "ideas": rows}
    if words.record:
        write_json(words.record, found)
    if words.markdown:
        sys.stdout.write(markdown(rows))
    else:
        show(found, words.json)


if __name__ == "__main__":
    main()
