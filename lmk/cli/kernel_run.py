"""`lmk kernel run`: a kernel run here, as Kaggle would run it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, WorkspaceOption
from lmk.cli.kernel import NameArgument, check_recipe_files, kernel, tell_pulled
from lmk.cli.output import say

if TYPE_CHECKING:
    from lmk.kaggle.push import Prepared
    from lmk.kaggle.rerun import Hidden


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
    seed: Annotated[int, typer.Option(envvar="LMK_SEED", min=0, help="Random seed of the hidden gallery.")] = 0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Run the kernel here: Kaggle's folders, an empty environment, no network, none of your files, a time limit."""
    from lmk.cli.console import next_steps, note, progress
    from lmk.kaggle.inside import MANIFEST
    from lmk.kaggle.kernels import Kernel
    from lmk.kaggle.pull import read_manifest, take
    from lmk.kaggle.push import prepare
    from lmk.kaggle.run_locally import HIDDEN_PARTS, check_inputs, play, run_folder
    from lmk.util.workspace import Workspace

    place = Workspace.open(workspace)
    folder = Kernel.open(name)
    check_recipe_files(folder)
    prepared = prepare(folder, "local", [], seconds=limit)
    inputs = attached_folders(prepared, given, place.root)
    check_inputs(inputs)
    note(f"bundle {prepared.bundle.digest}, {prepared.bundle.size:,} bytes")
    with ExitStack() as held:
        hidden, readable = None, list(inputs.values())
        if rerun:
            other = place.root / "kernels" / f"{name}-hidden"
            held.enter_context(run_folder(other, inputs.values(), HIDDEN_PARTS))
            hidden = hide_first(prepared, inputs, other, seed)
        stage = play(prepared.bundle, inputs, place.root / "kernels" / name, limit, rerun, note, readable)
    if hidden is not None:
        say(score_rerun(stage.working / "submission.csv", hidden))
        next_steps(f"lmk kernel push {name} --wait", f"lmk submit --kernel {name} --wait")
    elif keep:
        taken = take(read_manifest(stage.working / MANIFEST), stage.working, place.root, progress=progress)
        tell_pulled(taken, workspace)
    else:
        for line in left_by(stage.working):
            say(line)
        next_steps(f"lmk kernel push {name} --wait --pull", f"lmk kernel run {name} --keep  (here; into the workspace)")


def left_by(folder: Path) -> list[str]:
    """Lines about the files that a kernel left: the folder, each file at its top, and the number in each folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{folder}:" if files else f"{folder} is empty."]
    lines += [f"  {path.name}  {path.stat().st_size:,} bytes" for path in files if path.parent == folder]
    for inner in dict.fromkeys(folder / path.relative_to(folder).parts[0] for path in files if path.parent != folder):
        sizes = [path.stat().st_size for path in files if inner in path.parents]
        count = f"{len(sizes):,} file{'s' if len(sizes) != 1 else ''}"
        lines.append(f"  {inner.name}/  {count}, {sum(sizes):,} bytes")
    return lines


def attached_folders(prepared: Prepared, given: list[str], workspace: Path) -> dict[str, Path]:
    """Where each of the kernel's sources lies here: as `--input` says, else where lmk keeps it, or sent it from."""
    from lmk.kaggle.kernels import kernels_root
    from lmk.kaggle.weights import published
    from lmk.util.errors import UsageError

    named = dict(entry.partition("=")[::2] for entry in given)
    values = prepared.metadata.values
    found = {slug: workspace / "competitions" / slug for slug in prepared.metadata.competitions}
    others = [*values.get("dataset_sources", []), *values.get("kernel_sources", [])]
    found |= {
        ref.split("/")[1]: workspace / "kernels" / ref.split("/")[1].removeprefix("lmk-") / "working" for ref in others
    }
    sent = {entry.ref.split("/")[1]: Path(entry.folder) for entry in published(kernels_root())}
    found |= {slug: folder for slug, folder in sent.items() if slug in found and folder.is_dir()}
    for name, folder in named.items():
        if not folder:
            raise UsageError(f"`--input {name}` names no folder; write --input {name}=FOLDER.")
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
    """Findings of the scored run about a submission."""
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
