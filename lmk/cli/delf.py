"""`lmk delf train` and `lmk delf extract`: the network of DELF, and its features of a competition's photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.running import run_command

if TYPE_CHECKING:
    from lmk.pipeline.steps import Run

delf = typer.Typer(help="DELF: attentive deep local features.", no_args_is_help=True)
app.add_typer(delf, name="delf")


@delf.command("train")
@run_command
def train(run: Run, json: JsonOption = False) -> None:
    """Train attention on the competition's training photos, and fit the PCA to their features."""
    from lmk.pipeline.delf import DelfOf
    from lmk.util.errors import LmkError

    found = DelfOf.of(run)
    with run.timed("delf"):
        history = found.train()
    if not history:
        raise LmkError(f"The DELF in {found.published} is trained already: there is nothing to train.")
    weights, pca = found.files
    last = history[-1]
    if json:
        told = {"weights": str(weights), "pca": str(pca), "history": history, "seconds": run.seconds["delf"]}
        print_json({"backbone": found.recipe.backbone} | told)
        return
    print(f"DELF on {found.recipe.backbone}: {last['accuracy']:.1%} of the views named after {len(history)} epochs")
    print(f"Weights and PCA: {weights}, {pca}")


@delf.command("extract")
@run_command
def extract(run: Run, json: JsonOption = False) -> None:
    """Extract the features of all photos that verification looks at; those that are stored are not computed again."""
    import numpy as np

    from lmk.pipeline.local_features import local_features, store_of

    ids = np.unique(np.concatenate([run.split.train_ids, run.split.distractor_ids, run.test_ids]))
    store = store_of(run, "delf")
    missing = len(store.missing(ids))
    with run.timed("delf"):
        table = local_features(run, "delf", ids)
    seconds = run.seconds["delf"]
    if json:
        told = {"photos": len(ids), "computed": missing, "seconds": seconds, "store": str(store.folder)}
        print_json(told | {"features": int(table.counts.sum()), "photos_per_second": missing / seconds})
        return
    print(
        f"{int(table.counts.sum()):,} features of {len(ids):,} photos, {missing:,} of them computed now: {store.folder}"
    )
