"""`lmk data fetch`: a competition's files from Kaggle."""

from typing import Annotated

import typer

from lmk.cli.app import (
    DEFAULT_COMPETITION,
    DEFAULT_WORKSPACE,
    CompetitionOption,
    JsonOption,
    WorkspaceOption,
    data,
    print_json,
)
from lmk.cli.kaggle_options import DEFAULT_TIMEOUT, TimeoutOption, connect, kaggle_slug
from lmk.cli.output import say
from lmk.cli.run_commands import is_typed


@data.command()
def fetch(
    context: typer.Context,
    competition: CompetitionOption = DEFAULT_COMPETITION,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    again: Annotated[bool, typer.Option("--again", help="Ask Kaggle even if the files are here.")] = False,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Bring a competition's files from Kaggle: the whole archive, resumed where it broke off, unpacked safely."""
    from lmk.cli.console import next_steps, note, progress
    from lmk.kaggle.fetch import already_fetched
    from lmk.kaggle.fetch import fetch as fetch_files
    from lmk.util.workspace import Workspace

    slug = kaggle_slug(competition)
    folder = Workspace.open(workspace).competitions / slug
    fetched = None if again else already_fetched(folder)
    if fetched is None:
        fetched = fetch_files(connect(timeout), slug, folder, timeout, progress)
    else:
        note(f"{slug} is here already; --again asks Kaggle.")
    if as_json:
        print_json({"folder": str(folder), "files": fetched.files, "bytes": fetched.size, "new": fetched.new})
    else:
        say(f"{folder}  ({fetched.files:,} files, archive {fetched.size / 1e6:,.1f} MB)")
        remembered = competition != DEFAULT_COMPETITION and not is_typed(context, "competition")
        named = "" if remembered else f" -c {slug}"
        first = [] if remembered else [f"lmk config set competition {slug}  (then without -c)"]
        next_steps(*first, f"lmk data status{named}", f"lmk make-submission{named} --dry-run")
