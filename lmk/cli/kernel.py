"""`lmk kernel`: training and submission on Kaggle's machines."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, app, print_json
from lmk.cli.kaggle_options import DEFAULT_TIMEOUT, TimeoutOption, connect, kaggle_slug

if TYPE_CHECKING:
    from lmk.kaggle.pull import Pulled
    from lmk.kaggle.push import Prepared
    from lmk.kaggle.rerun import Hidden

kernel = typer.Typer(help="Training and submission on Kaggle's machines.", no_args_is_help=True)
app.add_typer(kernel, name="kernel")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Folder in kernels/ (LMK_KERNELS).")]
POLL_SECONDS = 15.0
DONE, FAILED = "complete", "error"


@kernel.command()
def new(
    name: NameArgument,
    kind: Annotated[str, typer.Option(help="train, delf or submission.")] = "train",
    recipe: Annotated[list[str], typer.Option(help="Recipe to train, or recipes of the submission.")] = [],  # noqa: B006
    dataset: Annotated[list[str], typer.Option(metavar="OWNER/SLUG", help="Attach this, as the backbones.")] = [],  # noqa: B006
    gpu: Annotated[bool, typer.Option("--gpu/--cpu", help="What it runs on.")] = True,
    competition: Annotated[
        str, typer.Option("--competition", "-c", envvar="LMK_COMPETITION", help="Slug on Kaggle.")
    ] = "landmark-recognition-2020",
) -> None:
    """Make kernels/NAME: settings that pass Kaggle's checks, and a short script to read and change."""
    from lmk.kaggle.kernels import kernels_root
    from lmk.kaggle.templates import make_kernel
    from lmk.models.recipes import find_recipe

    for word in recipe:
        find_recipe(word)
    made = make_kernel(kernels_root(), name, kind, recipe, kaggle_slug(competition), dataset, gpu)
    typer.echo(str(made.folder))


@kernel.command()
def push(
    name: NameArgument,
    wheels: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Wheels that Kaggle's image lacks.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=60, help="Longest run, in seconds.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Push although nothing changed.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check and bundle only; nothing is sent.")] = False,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Bundle lmk with the kernel's script, check everything, and let Kaggle run it.

    The search for secrets in the script and the settings catches mistakes; it is no proof that none is left.
    """
    from lmk.cli.console import note
    from lmk.kaggle.credentials import secrets
    from lmk.kaggle.kernels import Kernel
    from lmk.kaggle.push import prepare
    from lmk.kaggle.push import push as push_kernel
    from lmk.kaggle.wheels import publish_wheels

    folder = Kernel.open(name)
    if check:
        prepared = prepare(folder, "local", secrets())
        typer.echo(f"{name}: bundle {prepared.bundle.digest}, {prepared.bundle.size:,} bytes; nothing was sent")
        return
    client = connect(timeout)
    known = [*secrets(), *client.secrets()]
    prepared = prepare(folder, client.username, known)
    if wheels is not None:
        prepared = prepare(folder, client.username, known, publish_wheels(client, folder, wheels))
    note(f"bundle {prepared.bundle.digest}, {prepared.bundle.size:,} bytes")
    version = push_kernel(client, folder, prepared, again, limit)
    if as_json:
        print_json({"ref": version.ref, "version": version.version, "bundle": version.bundle, "url": version.url})
    else:
        typer.echo(f"{version.ref} version {version.version}, bundle {version.bundle}  {version.url}")


@kernel.command()
def status(
    name: NameArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Until the run has ended.")] = False,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = POLL_SECONDS,
    as_json: JsonOption = False,
) -> None:
    """Tell how the last pushed run stands; fails if the run failed."""
    from lmk.kaggle.kernels import Kernel, status_of
    from lmk.util.errors import LmkError

    version = Kernel.open(name).pushed()
    client = connect(timeout)
    now = status_of(client, version.ref)
    while wait and not now.finished:
        time.sleep(every)
        now = status_of(client, version.ref)
    if now.state == FAILED:
        raise LmkError(f"{version.ref} version {version.version} failed: {now.failure}. See `lmk kernel logs {name}`.")
    if as_json:
        print_json({"ref": version.ref, "version": version.version, "status": now.state})
    else:
        typer.echo(f"{version.ref} version {version.version}: {now.state}")


@kernel.command()
def logs(name: NameArgument, timeout: TimeoutOption = DEFAULT_TIMEOUT) -> None:
    """Print the log of the last run."""
    from lmk.cli.console import note
    from lmk.kaggle.kernels import Kernel, log_of

    version = Kernel.open(name).pushed()
    text = log_of(connect(timeout), version.ref)
    if text:
        typer.echo(text.rstrip("\n"))
    else:
        note(f"{version.ref} has no log yet.")


@kernel.command()
def pull(
    name: NameArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Bring predictions and weights of the last run into the workspace, each file checked."""
    from lmk.cli.console import progress
    from lmk.kaggle.kernels import Kernel
    from lmk.kaggle.pull import pull as pull_kernel
    from lmk.util.workspace import Workspace

    folder = Kernel.open(name)
    root = Workspace.open(workspace).root
    pulled = pull_kernel(connect(timeout), folder, root, timeout, progress)
    if as_json:
        print_json({"new": pulled.new, "kept": pulled.kept})
        return
    tell_pulled(pulled)


@kernel.command()
def run(
    name: NameArgument,
    given: Annotated[
        list[str], typer.Option("--input", metavar="NAME=FOLDER", help="What Kaggle would attach as NAME; repeatable.")
    ] = [],  # noqa: B006
    limit: Annotated[float, typer.Option(min=1, help="Longest run, in seconds.")] = 12 * 3600.0,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="As the scored run of a code competition: a hidden gallery, other photos.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Bring the output into the workspace, as `pull` does.")] = False,
    seed: Annotated[int, typer.Option(envvar="LMK_SEED", min=0, help="Of the hidden gallery.")] = 0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Run the kernel here: Kaggle's folders, an empty environment, no network, none of your files, a time limit."""
    from lmk.cli.console import note, progress
    from lmk.kaggle.inside import MANIFEST
    from lmk.kaggle.kernels import Kernel
    from lmk.kaggle.pull import read_manifest, take
    from lmk.kaggle.push import prepare
    from lmk.kaggle.run_locally import HIDDEN_PARTS, check_inputs, play, run_folder
    from lmk.util.workspace import Workspace

    house = Workspace.open(workspace)
    prepared = prepare(Kernel.open(name), "local", [])
    inputs = attached_folders(prepared, given, house.root)
    check_inputs(inputs)
    note(f"bundle {prepared.bundle.digest}, {prepared.bundle.size:,} bytes")
    with ExitStack() as held:
        hidden, readable = None, list(inputs.values())
        if rerun:
            folder = house.root / "kernels" / f"{name}-hidden"
            held.enter_context(run_folder(folder, inputs.values(), HIDDEN_PARTS))
            hidden = hide_first(prepared, inputs, folder, seed)
        stage = play(prepared.bundle, inputs, house.root / "kernels" / name, limit, rerun, note, readable)
    if hidden is not None:
        typer.echo(score_rerun(stage.working / "submission.csv", hidden))
    elif keep:
        tell_pulled(take(read_manifest(stage.working / MANIFEST), stage.working, house.root, progress=progress))
    else:
        for path in sorted(path for path in stage.working.rglob("*") if path.is_file()):
            typer.echo(f"{path}  {path.stat().st_size:,} bytes")


def tell_pulled(pulled: Pulled) -> None:
    """Print what came home, and how it is reused."""
    from lmk.cli.console import note
    from lmk.pipeline.config import backend_here

    manifest = pulled.manifest
    for kind, names in (("new", pulled.new), ("here already", pulled.kept)):
        folders = sorted({name.split("/")[0] for name in names})
        counts = [f"{sum(name.startswith(folder + '/') for name in names)} in {folder}" for folder in folders]
        if counts:
            typer.echo(f"{kind}: {', '.join(counts)}")
    recipes = "".join(f" -r {recipe}" for recipe in manifest.recipes)
    note(f"Reused by `lmk make-submission -c {manifest.competition}{recipes}` with the kernel's other options.")
    there, here = (manifest.keras, manifest.backend), backend_here()
    if there != here:
        note(
            f"The kernel ran Keras {' '.join(there)}, here is {' '.join(here)}: a run here takes its results as they "
            "are and says so. To have the same Keras there, push with --wheels."
        )


def attached_folders(prepared: Prepared, given: list[str], workspace: Path) -> dict[str, Path]:
    """Where each of the kernel's sources lies here: as `--input` says, else where lmk keeps it."""
    from lmk.util.errors import LmkError

    named = dict(entry.partition("=")[::2] for entry in given)
    values = prepared.metadata.values
    found = {slug: workspace / "competitions" / slug for slug in prepared.metadata.competitions}
    others = [*values.get("dataset_sources", []), *values.get("kernel_sources", [])]
    found |= {
        ref.split("/")[1]: workspace / "kernels" / ref.split("/")[1].removeprefix("lmk-") / "working" for ref in others
    }
    for name, folder in named.items():
        if not folder:
            raise LmkError(f"`--input {name}` names no folder; write --input {name}=FOLDER.")
        found[name] = Path(folder).expanduser()
    return found


def hide_first(prepared: Prepared, inputs: dict[str, Path], folder: Path, seed: int) -> Hidden:
    """Put a hidden competition, made in the empty `folder`, in the place of the kernel's first one."""
    from lmk.kaggle.rerun import hide
    from lmk.util.errors import LmkError

    if not prepared.metadata.competitions:
        raise LmkError(
            "The kernel attaches no competition, so there is nothing to hide. Add it to competition_sources."
        )
    slug = prepared.metadata.competitions[0]
    hidden = hide(inputs[slug], folder, seed)
    inputs[slug] = folder
    return hidden


def score_rerun(submission: Path, hidden: Hidden) -> str:
    """What the scored run would say of a submission."""
    from lmk.kaggle.rerun import check_answers
    from lmk.metrics import gap
    from lmk.predictions import read_submission
    from lmk.util.errors import LmkError

    if not submission.is_file():
        raise LmkError("The kernel left no submission.csv in the working folder.")
    predictions = read_submission(submission)
    check_answers(predictions, hidden)
    score = gap(hidden.test_ids, hidden.truth, predictions.best, predictions.confidence)
    return f"rerun GAP {score:.5f}  ({len(hidden.test_ids)} photos, {len(hidden.landmarks)} landmarks in the gallery)"
