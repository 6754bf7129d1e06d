"""`lmk delf train` and `lmk delf extract`: the network of DELF, and its features of a competition's photos."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.output import say, say_text
from lmk.cli.run_commands import run_command

if TYPE_CHECKING:
    from lmk.cli.options import Opened

delf = typer.Typer(help="DELF: attentive deep local features.", no_args_is_help=True)
app.add_typer(delf, name="delf")


@delf.command("train")
@run_command
def train(opened: Opened, json: JsonOption = False) -> None:
    """Train attention on the competition's training photos, and fit the PCA to their features."""
    from lmk.cli.console import next_steps
    from lmk.pipeline.build import local_steps
    from lmk.pipeline.steps import DELF_NETWORK, execute
    from lmk.util.errors import LmkError

    steps = local_steps(replace(opened.config, local_features="delf"), opened.dataset, opened.execution)
    outcome = execute(steps, [DELF_NETWORK], opened.execution)
    found = outcome.results[DELF_NETWORK]
    history = found.train()
    if not history:
        raise LmkError(f"The DELF in {found.published} is trained already: there is nothing to train.")
    weights, pca = found.files
    last = history[-1]
    if json:
        values = {"weights": str(weights), "pca": str(pca), "history": history}
        print_json({"backbone": found.recipe.backbone, "seconds": outcome.seconds[DELF_NETWORK]} | values)
        return
    say_text(f"DELF on {found.recipe.backbone}: {last['accuracy']:.1%} of the views named after {len(history)} epochs")
    say(f"Weights and PCA: {weights}, {pca}")
    next_steps(f"{opened.then('delf extract')}  (its features of all photos)", verified_by_delf(opened))


@delf.command("extract")
@run_command
def extract(opened: Opened, json: JsonOption = False) -> None:
    """Extract the features of all photos; those that are stored are not computed again."""
    import time

    from lmk.cli.console import next_steps
    from lmk.pipeline.build import local_steps
    from lmk.pipeline.steps import DELF_NETWORK, execute, local_of

    ids = opened.dataset.photos
    steps = local_steps(replace(opened.config, local_features="delf"), opened.dataset, opened.execution)
    execute(steps, [DELF_NETWORK], opened.execution)
    source = next(step for step in steps if step.name == local_of("delf")).slot.load()
    missing, start = len(source.store.missing(ids)), time.monotonic()
    table = source.table(ids)
    seconds, count = time.monotonic() - start, int(table.counts.sum())
    if json:
        values = {"photos": len(ids), "computed": missing, "seconds": seconds, "store": str(source.store.folder)}
        print_json(values | {"features": count, "photos_per_second": missing / seconds})
        return
    say_text(f"{count:,} features of {len(ids):,} photos, {missing:,} of them computed now: {source.store.folder}")
    next_steps(verified_by_delf(opened))


def verified_by_delf(opened: Opened) -> str:
    """The command that verifies by DELF's features, which are stored."""
    from lmk.local.kinds import kinds_of

    stored = "delf" in kinds_of(opened.config.local_features)
    return opened.then("make-submission", *(() if stored else ("--local-features delf",)))
