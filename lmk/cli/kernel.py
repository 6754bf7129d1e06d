"""`lmk kernel`: training and submission on Kaggle's machines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, app, competition_option, print_json
from lmk.cli.complete import kernel_kinds, kernel_names, like_names, recipe_names
from lmk.cli.kaggle_options import DEFAULT_TIMEOUT, TimeoutOption, connect, kaggle_slug
from lmk.cli.output import say, say_block, say_piece, say_text

if TYPE_CHECKING:
    from lmk.kaggle.api import Client
    from lmk.kaggle.kernels import Kernel
    from lmk.kaggle.pull import Pulled

kernel = typer.Typer(help="Training and submission on Kaggle's machines.", no_args_is_help=True)
app.add_typer(kernel, name="kernel")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=kernel_names, help="Folder in kernels/ (LMK_KERNELS).")
]
WheelsOption = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder of wheels that Kaggle's image lacks.")
]
LimitOption = Annotated[
    int | None, typer.Option(min=60, help="Longest session in seconds. Default: Kaggle's own, 12 hours.")
]
EveryOption = Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks while waiting.")]
POLL_SECONDS = 15.0
FAILED, COMPLETE = "error", "complete"
WEIGHTS_FOLDER = "FOLDER-OF-WEIGHTS"
"""Placeholder of `lmk.kaggle.reuse` for a folder that it does not know."""


@kernel.command()
def new(
    name: NameArgument,
    kind: Annotated[str, typer.Option(autocompletion=kernel_kinds, help="train, delf or submission.")] = "train",
    recipe: Annotated[
        list[str],
        typer.Option(
            autocompletion=recipe_names, help="Recipe or recipe file (TOML) to train; those of the submission."
        ),
    ] = [],  # noqa: B006
    like: Annotated[
        str | None,
        typer.Option(
            autocompletion=like_names,
            help="Published system that a submission follows; its own recipe without --recipe.",
        ),
    ] = None,
    dataset: Annotated[
        list[str], typer.Option(metavar="[OWNER/]SLUG", help="Dataset with weights to attach; repeatable.")
    ] = [],  # noqa: B006
    model: Annotated[
        list[str],
        typer.Option(
            metavar="OWNER/MODEL/FRAMEWORK/VARIATION/VERSION", help="Kaggle model with weights to attach; repeatable."
        ),
    ] = [],  # noqa: B006
    gpu: Annotated[bool, typer.Option("--gpu/--cpu", help="Run on two T4 GPUs, or on a CPU.")] = True,
    competition: Annotated[
        str,
        competition_option("Slug on Kaggle.", envvar="LMK_COMPETITION"),
    ] = "landmark-recognition-2020",
) -> None:
    """Make kernels/NAME: settings that pass Kaggle's checks, and a short script to read and change.

    The internet is off in kernels, so that weights must be attached: --dataset or --model.
    """
    from lmk.cli.console import next_steps
    from lmk.cli.weights import weights_here
    from lmk.kaggle.kernels import kernels_root
    from lmk.kaggle.templates import make_kernel
    from lmk.models.recipe_files import find_recipe, is_recipe_file
    from lmk.pipeline.systems import find_system

    if like is not None:
        recipe = recipe or [find_system(like).recipe]
    words, files = [], {}
    for word in recipe:
        find_recipe(word)
        words.append(Path(word).name if is_recipe_file(word) else word)
        if is_recipe_file(word):
            files[words[-1]] = Path(word).expanduser().read_text(encoding="utf-8")
    place = weights_here([find_recipe(word).backbone for word in recipe]) or Path("FOLDER")
    slug = kaggle_slug(competition)
    made = make_kernel(kernels_root(), name, kind, words, slug, dataset, gpu, model, files, like, place)
    say(str(made.folder))
    if kind == "submission":
        next_steps(f"lmk kernel run {name} --rerun  (here, as the scored run)", f"lmk kernel push {name} --wait")
    else:
        next_steps(f"lmk kernel run {name}  (here, as Kaggle would)", f"lmk kernel push {name} --wait --pull")


@kernel.command()
def push(
    name: NameArgument,
    wheels: WheelsOption = None,
    limit: LimitOption = None,
    again: Annotated[bool, typer.Option("--again", help="Push although nothing changed.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check and bundle only; nothing is sent.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended; fail if it failed.")] = False,
    pull_after: Annotated[bool, typer.Option("--pull", help="Wait, then pull the output into the workspace.")] = False,
    every: EveryOption = POLL_SECONDS,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Bundle lmk with the kernel's script, check everything, and let Kaggle run it.

    The search for secrets in the script and the settings catches mistakes; it is no proof that none is left.
    """
    from lmk.cli.console import next_steps, note
    from lmk.kaggle.credentials import secrets
    from lmk.kaggle.kernels import Kernel
    from lmk.kaggle.push import prepare
    from lmk.kaggle.push import push as push_kernel
    from lmk.kaggle.wheels import publish_wheels

    folder = Kernel.open(name)
    check_recipe_files(folder)
    if check:
        prepared = prepare(folder, "local", secrets(), seconds=limit)
        facts = {"bundle": prepared.bundle.digest, "bytes": prepared.bundle.size, "pushed": False}
        text = f"{name}: bundle {prepared.bundle.digest}, {prepared.bundle.size:,} bytes; nothing was sent"
        print_json(facts) if as_json else say(text)
        return
    client = connect(timeout)
    known = [*secrets(), *client.secrets()]
    prepared = prepare(folder, client.username, known, seconds=limit)
    if wheels is not None:
        dataset = publish_wheels(client, folder, wheels)
        prepared = prepare(folder, client.username, known, dataset, limit)
    note(f"bundle {prepared.bundle.digest}, {prepared.bundle.size:,} bytes")
    version = push_kernel(client, folder, prepared, again, limit)
    result: dict[str, object] = {
        "ref": version.ref,
        "version": version.version,
        "bundle": version.bundle,
        "url": version.url,
    }
    if not as_json:
        say_text(f"{version.ref} version {version.version}, bundle {version.bundle}  {version.url}")
    if wait or pull_after:
        result["status"] = wait_for_run(client, name, version.ref, version.version, every)
    elif not as_json:
        next_steps(f"lmk kernel logs {name} --follow", f"lmk kernel status {name} --wait", f"lmk kernel pull {name}")
    if pull_after:
        pulled = pull_into(client, folder, workspace, timeout)
        result |= {"new": pulled.new, "kept": pulled.kept}
        if not as_json:
            tell_pulled(pulled, workspace)
    elif wait and not as_json:
        next_steps(*after_run(folder))
    if as_json:
        print_json(result)


@kernel.command()
def status(
    name: NameArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended.")] = False,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    every: EveryOption = POLL_SECONDS,
    as_json: JsonOption = False,
) -> None:
    """Print the status of the last pushed run; exit code 1 if the run failed."""
    from lmk.kaggle.kernels import Kernel, status_of
    from lmk.util.errors import LmkError

    folder = Kernel.open(name)
    version = folder.pushed()
    client = connect(timeout)
    if wait:
        state = wait_for_run(client, name, version.ref, version.version, every)
    else:
        now = status_of(client, version.ref)
        state = now.state
        if state == FAILED:
            raise LmkError(failure(name, version.ref, version.version, now.failure))
    if as_json:
        print_json({"ref": version.ref, "version": version.version, "status": state})
    else:
        from lmk.cli.console import next_steps

        say(f"{version.ref} version {version.version}: {state}")
        done = wait or state == COMPLETE
        next_steps(*(after_run(folder) if done else [f"lmk kernel logs {name} --follow"]))


def after_run(folder: Kernel) -> list[str]:
    """Commands that follow a finished run: a submission, if the kernel's script writes one, is submitted."""
    name, script = folder.name, folder.folder / f"{folder.name}.py"
    text = script.read_text(encoding="utf-8", errors="replace") if script.is_file() else ""
    answers = re.search(r"\bsubmission\.csv", text)  # not sample_submission.csv, which scripts of training read, too
    return [*([f"lmk submit --kernel {name} --wait"] if answers else []), f"lmk kernel pull {name}"]


def check_recipe_files(folder: Kernel) -> None:
    """Read the kernel's recipe files, so that a mistake in one is known before a session is spent.

    Raises:
        LmkError: As `lmk.models.recipe_files.read_recipe`.
    """
    from lmk.kaggle.bundle import recipe_files
    from lmk.models.recipe_files import read_recipe

    for path in recipe_files(folder.folder):
        read_recipe(path)


def wait_for_run(client: Client, name: str, ref: str, version: int, every: float) -> str:
    """The state in which a run ended, `complete` or `cancel_acknowledged`.

    Raises:
        LmkError: The run failed.
    """
    from lmk.cli.console import progress
    from lmk.kaggle.follow import wait_until_finished
    from lmk.util.errors import LmkError

    with progress(f"{ref} runs", 1, "") as advance:  # a clock that moves: a run takes minutes to hours
        ended = wait_until_finished(client, ref, every)
        advance(1)
    if ended.state == FAILED:
        raise LmkError(failure(name, ref, version, ended.failure))
    return ended.state


def failure(name: str, ref: str, version: int, why: str) -> str:
    """The error's text for a run that failed."""
    return (
        f"{ref} version {version} failed: {why.strip().rstrip('.') or 'no reason given'}. See `lmk kernel logs {name}`."
    )


@kernel.command()
def logs(
    name: NameArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print the log as it grows, until the run has ended.")
    ] = False,
    every: EveryOption = POLL_SECONDS,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Print the log of the last run."""
    from lmk.cli.console import note
    from lmk.kaggle.follow import follow_log
    from lmk.kaggle.kernels import Kernel, log_of
    from lmk.util.errors import UsageError

    version = Kernel.open(name).pushed()
    client = connect(timeout)
    if follow and as_json:
        raise UsageError("--json prints one value at the end, and --follow lines as they come. Choose one.")
    if follow:
        for piece in follow_log(client, version.ref, every):
            say_piece(piece)
        wait_for_run(client, name, version.ref, version.version, every)
        return
    text = log_of(client, version.ref)
    if as_json:
        print_json({"ref": version.ref, "version": version.version, "log": text})
    elif text:
        say_block(text.rstrip("\n"))
    else:
        note(f"{version.ref} has no log yet.")


@kernel.command()
def pull(
    name: NameArgument,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Only predictions, records and submissions; no weights or features.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Copy the output of the last run into the workspace, each file checked, and print the command that reuses it."""
    from lmk.kaggle.kernels import Kernel

    folder = Kernel.open(name)
    pulled = pull_into(connect(timeout), folder, workspace, timeout, predictions)
    if as_json:
        print_json(
            {
                "new": pulled.new,
                "kept": pulled.kept,
                "versions": pulled.manifest.versions,
                "command": command_of(pulled, workspace),
            }
        )
        return
    tell_pulled(pulled, workspace)


def pull_into(
    client: Client, folder: Kernel, workspace: Path, timeout: float, predictions_only: bool = False
) -> Pulled:
    """Pull a kernel's output into a workspace."""
    from lmk.cli.console import progress
    from lmk.kaggle.pull import PREDICTIONS
    from lmk.kaggle.pull import pull as pull_kernel
    from lmk.kaggle.resume import KEPT
    from lmk.util.workspace import Workspace

    place = Workspace.open(workspace)
    return pull_kernel(client, folder, place.root, timeout, progress, PREDICTIONS if predictions_only else KEPT)


def tell_pulled(pulled: Pulled, workspace: Path) -> None:
    """Print what came, by which versions it was computed, and the command that reuses it."""
    from lmk.cli.console import next_steps, note
    from lmk.kaggle.kernels import kernels_root
    from lmk.kaggle.reuse import recipe_here
    from lmk.pipeline.config import backend_here

    manifest = pulled.manifest
    for kind, names in (("new", pulled.new), ("here already", pulled.kept)):
        folders = sorted({name.split("/")[0] for name in names})
        counts = [f"{sum(name.startswith(folder + '/') for name in names)} in {folder}" for folder in folders]
        if counts:
            say_text(f"{kind}: {', '.join(counts)}")
    if manifest.versions:
        note(f"computed by {', '.join(f'{package} {version}' for package, version in manifest.versions.items())}")
    there, here = (manifest.keras, manifest.backend), backend_here()
    if there != here:
        note(
            f"The kernel ran Keras {' '.join(there)}, here is {' '.join(here)}: a run here takes its results as they "
            "are and says so. To have the same Keras there, push with --wheels."
        )
    if not manifest.finished:
        note(f"The training is not finished: `lmk kernel train {manifest.kernel}` goes on.")
    elif command := command_of(pulled, workspace):
        next_steps(f"{command}  (reuses it)")
        if WEIGHTS_FOLDER in command:
            note(f"{WEIGHTS_FOLDER} stands for the folder of the very files that the kernel's dataset or model holds.")
    else:
        folder = kernels_root() / manifest.kernel
        recipes = "".join(f" -r {recipe_here(recipe, folder)}" for recipe in manifest.recipes)
        next_steps(f"lmk make-submission -c {manifest.competition}{recipes}  (with the kernel's other options)")


def command_of(pulled: Pulled, workspace: Path) -> str | None:
    """The command that reuses what a kernel computed; None where the kernel left none."""
    from lmk.kaggle.kernels import kernels_root
    from lmk.kaggle.reuse import reuse_command
    from lmk.kaggle.weights import published

    other = workspace if workspace != DEFAULT_WORKSPACE else None
    return reuse_command(pulled.manifest, published(kernels_root()), other, kernels_root())
