"""The `lmk` application, and what its commands share: options."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lmk import __version__
from lmk.cli.commands import Commands
from lmk.cli.complete import competition_names, metric_names
from lmk.cli.output import print_json as print_json
from lmk.cli.output import say

app = typer.Typer(
    name="lmk",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)
data = typer.Typer(help="The competition's files.", no_args_is_help=True)
app.add_typer(data, name="data")

COMMON, TRAINING, VERIFYING, MACHINE, KAGGLE = "Common", "Training", "Verification", "Machine", "Kaggle"
"""Panels of the options."""


def competition_option(text: str, **settings: Any) -> Any:
    """The option `-c`, with its help text and what else `typer.Option` takes."""
    return typer.Option("--competition", "-c", autocompletion=competition_names, help=text, **settings)


CompetitionOption = Annotated[
    str,
    competition_option(
        "Slug (landmark-recognition-2020 ...), `demo`, or a folder with train.csv.",
        envvar="LMK_COMPETITION",
        rich_help_panel=COMMON,
    ),
]
WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace", "-w", envvar="LMK_WORKSPACE", rich_help_panel=COMMON, help="Folder for all that lmk computes."
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        envvar="LMK_SEED", min=0, rich_help_panel=COMMON, help="Random seed for splits, training and verification."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]

MetricOption = Annotated[
    str,
    typer.Option(
        envvar="LMK_METRIC",
        autocompletion=metric_names,
        rich_help_panel=COMMON,
        help="The competition's metric: gap, top-1, or map@5 and the like.",
    ),
]

DEFAULT_COMPETITION = "demo"
DEFAULT_METRIC = "gap"
DEFAULT_WORKSPACE = Path("workspace")


def _print_version(asked: bool) -> None:
    if asked:
        say(f"lmk {__version__}")
        raise typer.Exit


@app.callback()
def lmk(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", envvar="LMK_QUIET", help="Say nothing on stderr but errors.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print what is read and what is stored.")] = False,
) -> None:
    """From a landmark-recognition competition's files to a checked submission."""
    from lmk.cli.console import set_loudness

    set_loudness(quiet, verbose)
