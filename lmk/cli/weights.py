"""`lmk weights`: weights of backbones here and on Kaggle, and the kernels that they are attached to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.complete import all_kernels, kernel_names
from lmk.cli.kaggle_options import DEFAULT_TIMEOUT, TimeoutOption, connect
from lmk.cli.output import say, say_text

weights = typer.Typer(help="Weights of backbones, here and on Kaggle.", no_args_is_help=True)
app.add_typer(weights, name="weights")


@weights.command(name="list")
def list_weights(
    folder: Annotated[
        Path | None,
        typer.Argument(exists=True, file_okay=False, help="Also list the backbones whose weights lie in this folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the datasets of weights that were sent to Kaggle from here, and the kernels that attach them."""
    from dataclasses import asdict
    from shlex import quote

    from lmk.cli.console import next_steps, note
    from lmk.cli.kaggle_views import minute
    from lmk.kaggle.kernels import kernels_root
    from lmk.kaggle.weights import attached_sources, published

    sent = published(kernels_root())
    attached = {kernel.name: attached_sources(kernel) for kernel in all_kernels()}
    here = _backbones_in(folder) if folder is not None else {}
    if as_json:
        print_json({"datasets": [asdict(entry) for entry in sent], "kernels": attached, "backbones": here})
        return
    for entry in sent:
        names = [name for name, sources in attached.items() if {entry.ref, entry.ref.split("/")[1]} & set(sources)]
        size = sum(entry.files.values()) / 1e6
        say_text(
            f"{entry.ref}  {len(entry.files)} files, {size:.1f} MB, sent {minute(entry.sent)} UTC from {entry.folder}; "
            f"attached to {', '.join(names) or 'no kernel'}"
        )
    for backbone, file in here.items():
        say(f"{backbone}  {file}")
    if not sent:
        note("No dataset of weights was sent from here.")
    if folder is not None and not here:
        note(f"{folder} holds no file that is named as the weights of a backbone are.")
    if sent:
        next_steps(f"lmk weights attach {sent[0].ref.split('/')[1]} KERNEL", "lmk kernel push KERNEL --wait --pull")
    else:
        holder = (folder / next(iter(here.values()))).parent if folder is not None and here else "FOLDER"
        next_steps(f"lmk weights push {quote(str(holder))}")


@weights.command()
def push(
    folder: Annotated[Path, typer.Argument(help="Folder of files of weights.")],
    dataset: Annotated[str, typer.Option(metavar="SLUG", help="Slug of the dataset on Kaggle.")] = "lmk-backbones",
    attach: Annotated[
        list[str], typer.Option(autocompletion=kernel_names, metavar="KERNEL", help="Attach it; repeatable.")
    ] = [],  # noqa: B006
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Make a private dataset of a folder's weights, or a new version of it, and wait until Kaggle has processed it.

    Nothing is sent where the files are those that were sent last.
    """
    from lmk.cli.console import next_steps
    from lmk.kaggle.kernels import Kernel, kernels_root
    from lmk.kaggle.weights import attach as attach_source
    from lmk.kaggle.weights import push_weights
    from lmk.util.errors import LmkError

    if not folder.is_dir():
        raise LmkError(f"{folder} is no folder. Name one that holds files of weights.")
    kernels = [Kernel.open(name) for name in attach]
    made, sent = push_weights(connect(timeout), kernels_root(), folder, dataset)
    changed = [kernel.name for kernel in kernels if attach_source(kernel, dataset)]
    if as_json:
        print_json({"dataset": made.ref, "digest": made.digest, "files": made.files, "sent": sent, "attached": changed})
        return
    size = sum(made.files.values()) / 1e6
    said = "sent and ready" if sent else "there already"
    count = "1 file" if len(made.files) == 1 else f"{len(made.files)} files"
    say(f"{made.ref}: {count}, {size:.1f} MB, {said}")
    for kernel in kernels:
        say(f"{kernel.name}: {'attached' if kernel.name in changed else 'attached before'}")
    if kernels:
        next_steps(*(f"lmk kernel push {kernel.name} --wait --pull" for kernel in kernels))
    else:
        some = [f"lmk weights attach {dataset} KERNEL"] if all_kernels() else []
        next_steps(*some, f"lmk kernel new NAME --recipe RECIPE --dataset {dataset}")


@weights.command()
def attach(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="The source: [OWNER/]SLUG of a dataset, or OWNER/MODEL/FRAMEWORK/VARIATION/VERSION of a model.",
        ),
    ],
    kernel: Annotated[list[str], typer.Argument(metavar="KERNEL...", autocompletion=kernel_names, help="Kernels.")],
    as_json: JsonOption = False,
) -> None:
    """Attach a dataset or a Kaggle model to kernels, by their kernel-metadata.json."""
    from lmk.cli.console import next_steps
    from lmk.kaggle.kernels import Kernel
    from lmk.kaggle.weights import attach as attach_source

    kernels = [Kernel.open(name) for name in kernel]
    changed = [entry.name for entry in kernels if attach_source(entry, source)]
    if as_json:
        print_json({"source": source, "attached": changed})
        return
    for entry in kernels:
        say(f"{entry.name}: {'attached' if entry.name in changed else 'attached before'}")
    next_steps(*(f"lmk kernel push {entry.name} --wait --pull" for entry in kernels))


def weights_here(backbones: Sequence[str]) -> Path | None:
    """The folder of lmk, of an installed package or of Keras' downloads that holds weights of all the backbones; None
    where there is none."""
    files = [published_file(name) for name in backbones]
    folders = {None if file is None else file.parent for file in files}
    return folders.pop() if len(folders) == 1 else None


def published_file(backbone: str) -> Path | None:
    """The file on this machine with a backbone's published weights, or those that come with lmk; nothing is fetched."""
    from lmk.models.backbones.catalogue import TINY, backbone_named

    known = backbone_named(backbone)
    if known.package is not None:
        return known.installed
    downloads = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()) / "models"
    places = (TINY / f"{backbone}.weights.h5", downloads / known.published)
    return next((path for path in places if path.is_file()), None)


def _backbones_in(folder: Path) -> dict[str, str]:
    """Backbones whose weights a folder holds, with the file's name."""
    from lmk.models.backbones.architectures import ARCHITECTURES, check_config
    from lmk.models.backbones.catalogue import BACKBONES
    from lmk.util.errors import LmkError

    def fits(name: str, path: Path) -> bool:
        """Whether a file that may be of several transformers is of this one, by the configuration beside it."""
        if name not in ARCHITECTURES or path.name.startswith(name):
            return True
        try:
            check_config(ARCHITECTURES[name], path.parent, name)
        except LmkError:
            return False
        return True

    found = {}
    for name, backbone in BACKBONES.items():
        here = (file for file in backbone.weights_files if (folder / file).is_file())
        file = next((file for file in here if fits(name, folder / file)), None)
        if file is not None:
            found[name] = file
    return found
