"""Frozen backbones side by side: kNN by their descriptors, and the ensemble of their heads with kNN, on dev.

Each set of recipes is compared with the first, paired over seeds and queries, in every setting of the ablation: all
photos, four photos a landmark, few distractors, small photos. Features are extracted once a network and size and stored
in the workspace; `photo_ms` are the processor's milliseconds of the passes over a photo. No solution is read.

    python -m benchmarks.backbones COMPETITION --weights WEIGHTS \\
        --set mobilenetv2-gem,mobilenet-gem --set efficientnetlite0-gem

A recipe may be followed by a size in pixels: `efficientnetlite0-gem@288`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.output import parser, show
from research.ablation import SETTINGS


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.backbones`."""
    options = parser("backbones", __doc__)
    options.add_argument("competition")
    options.add_argument("--weights", default="imagenet", help="of the backbones, as for make-submission")
    options.add_argument(
        "--set", action="append", required=True, help="recipes, joined by commas; the first is the base"
    )
    options.add_argument("--setting", choices=SETTINGS, action="append", help="all without")
    options.add_argument("--ensemble", action="store_true", help="train heads, too, and blend them with kNN")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--folds", type=int, default=3)
    options.add_argument("--workspace", type=Path, default=Path("workspace"))
    words = options.parse_args(arguments)

    from lmk.models.start import start_keras

    start_keras()
    from lmk.cli.console import note
    from lmk.ensemble.blend import fit_blend
    from lmk.retrieval.neighbours import Options
    from research.ideas import blended
    from research.lab import Answer, Lab, Setting, Trial, paired

    def recipes_of(lab: Lab, names: str) -> tuple:
        found = []
        for name in names.split(","):
            recipe, _, side = name.partition("@")
            sized = lab.recipe(recipe)
            found.append(replace(sized, image_size=int(side)) if side and not lab.setting.image_size else sized)
        return tuple(found)

    def neighbours(lab: Lab, recipes: tuple) -> Callable[[Trial], Answer]:
        return lambda trial: lab.retrieval(trial, recipes, Options())[0]

    def ensemble(lab: Lab, recipes: tuple) -> Callable[[Trial], Answer]:
        def answer(trial: Trial) -> Answer:
            parts = [lab.answer(trial, recipe) for recipe in recipes]
            return blended(trial, [*parts, lab.retrieval(trial, recipes, Options())[0]], fit_blend)

        return answer

    rows: list[dict[str, object]] = []
    for setting in words.setting or SETTINGS:
        first = words.set[0].split(",")[0].partition("@")[0]
        lab = Lab(
            words.competition, words.weights, words.workspace, (first,), words.seeds, words.folds,
            Setting(**SETTINGS[setting][0]),
        )  # fmt: skip
        truths = [trial.truth for trial in lab.trials]
        for kind, idea in [("kNN", neighbours)] + ([("ensemble", ensemble)] if words.ensemble else []):
            base: list = []
            for names in words.set:
                recipes = recipes_of(lab, names)
                found = [idea(lab, recipes)(trial).dev for trial in lab.trials]
                base = base or found
                told = paired(base, found, truths)
                cost = sum(1000 * lab.pass_seconds(recipe) for recipe in recipes) if not lab.setting.photos else 0.0
                rows.append({"setting": setting, "stage": kind, "recipes": names} | told | {"photo_ms": cost})
                lead = f"{told['lead']:+.4f} ({told['low']:+.4f} to {told['high']:+.4f})"
                note(f"{setting}, {kind}: {names}: {told['gap']:.4f}, {lead}, {cost:.0f} ms")
    show({"seeds": words.seeds, "rows": rows}, words.json)


if __name__ == "__main__":
    main()
