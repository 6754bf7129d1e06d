"""`lmk blend`: anybody's submission files into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import DEFAULT_METRIC, DEFAULT_WORKSPACE, JsonOption, MetricOption, SeedOption, app, print_json
from lmk.cli.complete import blend_rule_names
from lmk.cli.output import say, say_text
from lmk.ensemble.blend_rules import BLENDS, fixed_rules, learned_rules
from lmk.util.text import described

if TYPE_CHECKING:
    import numpy as np

    from lmk.ensemble.blend import Blending
    from lmk.metrics import Metric
    from lmk.predictions import Predictions


@app.command()
def blend(
    submissions: Annotated[list[Path], typer.Argument(help="Two submissions or more: `id,landmarks`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The blend's file.")],
    rule: Annotated[
        str,
        typer.Option(
            autocompletion=blend_rule_names,
            help=f"{described(fixed_rules())}; learned from --dev: {described(learned_rules())}.",
        ),
    ] = "min-max",
    weight: Annotated[
        list[float] | None,
        typer.Option(help="Weight of each submission, in order; for rules not learned."),
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option(help="Truth to learn from: `id,landmarks` of queries whose answer you know. Never the solution."),
    ] = None,
    dev_list: Annotated[
        list[Path] | None,
        typer.Option(help="What each submission's model says of the dev queries, in their order. Default: look there."),
    ] = None,
    solution: Annotated[
        Path | None,
        typer.Option(help="The hosts' solution: scores the blend and its parts, fits nothing."),
    ] = None,
    seed: SeedOption = 0,
    metric: MetricOption = DEFAULT_METRIC,
    json: JsonOption = False,
) -> None:
    """Blend submissions by a rule; with --dev weights are learned, with --solution the blend is scored."""
    from lmk.cli.console import next_steps
    from lmk.ensemble.combine import combination
    from lmk.metrics.registry import find_metric
    from lmk.predictions import write_submission
    from lmk.util.errors import UsageError, did_you_mean
    from lmk.util.out_path import check_out

    if rule not in BLENDS:
        raise UsageError(f"No blend rule is named '{rule}'; there are {', '.join(BLENDS)}.{did_you_mean(rule, BLENDS)}")
    if len(submissions) < 2:
        raise UsageError("One submission is no blend. Name two or more.")
    if solution is not None and dev is not None and solution.resolve() == dev.resolve():
        raise UsageError(f"{dev} cannot both fit the blend and score it. Fit on queries that the score leaves out.")
    scored_by = find_metric(metric)
    out = check_out(out)
    if out.resolve() in {path.resolve() for path in submissions}:
        raise UsageError(f"{out} is one of the submissions. Give --out another name.")
    lists = _aligned(submissions)
    facts: dict[str, object] = {"out": str(out), "rule": rule, "rows": len(lists[0])}
    blending: Blending
    if BLENDS[rule].learned:
        if dev is None or weight:
            raise UsageError(
                f"The rule '{rule}' learns its weights: give the truth of some queries by --dev, no --weight."
            )
        blending, learned = _learn(lists, submissions, dev, dev_list, rule, seed, scored_by)
        facts |= learned
    else:
        if dev is not None or dev_list:
            raise UsageError(f"The rule '{rule}' learns nothing from --dev. Learned are {', '.join(learned_rules())}.")
        _check_weights(weight, len(submissions))
        blending = combination(rule, lists, weight)
    blended = blending(lists, 1)
    write_submission(blended, out)
    if solution is not None:
        facts["scores"] = _scores([*submissions, out], [*lists, blended], solution, scored_by)
    if json:
        print_json(facts)
    else:
        _print(facts, scored_by)
        next_steps(*after_blend(submissions, out))


def after_blend(submissions: Sequence[Path], out: Path) -> list[str]:
    """Commands that follow a blend, for the competition of the run that made one of its parts, if any did."""
    from shlex import quote

    from lmk.data.competitions import SOLUTIONS
    from lmk.runs import all_records
    from lmk.util.workspace import Workspace

    parts = {path.resolve() for path in submissions}
    made = all_records(Workspace(DEFAULT_WORKSPACE).runs)
    run = next((record for record in made if Path(record.submission).resolve() in parts), None)
    competition, file = quote(run.competition) if run else "COMPETITION", quote(str(out))
    solved = run is not None and any((Path(run.root) / name).is_file() for name in SOLUTIONS)
    last = f"lmk evaluate {file} -c {competition}" if solved else f"lmk submit {file} -c {competition} --wait"
    return [f"lmk check {file} -c {competition}", last]


def _aligned(paths: list[Path]) -> list[Predictions]:
    """The files' predictions in the first one's order."""
    from lmk.predictions import read_submission
    from lmk.util.arrays import positions
    from lmk.util.errors import LmkError

    lists = [read_submission(path) for path in paths]
    ids = lists[0].ids
    if not len(ids):
        raise LmkError(f"{paths[0]} has no rows.")
    for path, found in zip(paths[1:], lists[1:], strict=True):
        for holder, other, names in (
            (path, paths[0], ids[positions(found.ids, ids) < 0]),
            (paths[0], path, found.ids[positions(ids, found.ids) < 0]),
        ):
            if len(names):
                raise LmkError(
                    f"{holder} lacks {len(names)} ids of {other}; first: '{names[0]}'. Blend files of one competition."
                )
    return [found.align(ids) for found in lists]


def _learn(
    lists: list[Predictions],
    paths: list[Path],
    dev: Path,
    dev_lists: list[Path] | None,
    rule: str,
    seed: int,
    metric: Metric,
) -> tuple[Blending, dict[str, object]]:
    """The blend fitted on dev, and its weights, its value on dev cross-fitted, and the optimism of that fitted."""
    from lmk.data.tables import read_solution
    from lmk.ensemble.blend import fit_blend
    from lmk.ensemble.tune import cross_fit
    from lmk.predictions import NO_LANDMARK
    from lmk.util.arrays import positions
    from lmk.util.errors import LmkError, UsageError

    if dev_lists and len(dev_lists) != len(paths):
        raise UsageError(f"There are {len(paths)} submissions and {len(dev_lists)} --dev-list. Give one for each.")
    known = read_solution(dev)
    asked = _aligned(dev_lists) if dev_lists else lists
    lacking = known.ids[positions(asked[0].ids, known.ids) < 0]
    if len(lacking):
        where = dev_lists[0] if dev_lists else paths[0]
        raise LmkError(
            f"{where} lacks {len(lacking)} ids of {dev}; first: '{lacking[0]}'. "
            "Give files that answer them by --dev-list, one for each submission."
        )
    if not (known.truth != NO_LANDMARK).any():
        raise LmkError(f"No query in {dev} shows a landmark, so {metric.title} is undefined there.")
    answers = [found.align(known.ids) for found in asked]

    def fit(rows: np.ndarray) -> Blending:
        return fit_blend([found.take(rows) for found in answers], known.truth[rows], seed, rule, metric)

    def apply(done: Blending, rows: np.ndarray) -> Predictions:
        return done([found.take(rows) for found in answers], metric.depth)

    held_out = cross_fit(known.ids, fit, apply, seed)
    blend = fit_blend(answers, known.truth, seed, rule, metric)
    crossed = metric.score(held_out, known.truth)
    return blend, {
        "weights": dict(zip(map(str, paths), blend.weights, strict=True)),
        f"dev_{metric.name}": crossed,
        "dev_queries": len(known.ids),
        "optimism": metric.score(blend(answers, metric.depth), known.truth) - crossed,
    }


def _check_weights(weights: list[float] | None, count: int) -> None:
    from lmk.util.errors import UsageError

    if weights and (len(weights) != count or min(weights) < 0 or not 0 < sum(weights) < float("inf")):
        raise UsageError(f"{len(weights)} --weight for {count} submissions: give one for each, >= 0 and not all 0.")


def _scores(paths: list[Path], lists: list[Predictions], solution: Path, metric: Metric) -> list[dict[str, object]]:
    from lmk.data.tables import read_solution
    from lmk.evaluation import evaluate

    truth = read_solution(solution)
    return [
        {"file": str(path), **evaluate(found, truth, metric=metric).to_dict()}
        for path, found in zip(paths, lists, strict=True)
    ]


def _print(facts: dict, metric: Metric) -> None:
    from lmk.cli.tables import print_table

    if "weights" in facts:
        print_table(
            f"Weights by {facts['rule']}, from {facts['dev_queries']:,} dev queries",
            ("submission", "weight"),
            [(name, f"{weight:.3f}") for name, weight in facts["weights"].items()],
        )
        say_text(
            f"Dev {metric.title} {facts[f'dev_{metric.name}']:.5f} cross-fitted; fitted on all of dev it is "
            f"{facts['optimism']:+.5f} optimistic"
        )
    if "scores" in facts:
        rows = [
            (score["file"], f"{score[metric.name]:.5f}", f"{score['low']:.3f} to {score['high']:.3f}")
            for score in facts["scores"]
        ]
        print_table(f"{metric.title} on the solution", ("file", metric.title, "95 % interval"), rows)
    say(f"{facts['out']}: {facts['rows']:,} rows, blended by {facts['rule']}")
