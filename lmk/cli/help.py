"""`lmk help`: the help of a command, for those who look for it there."""

from typing import Annotated, Any

import typer

from lmk.cli.app import app
from lmk.cli.complete import command_names


@app.command(name="help")
def show_help(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND", autocompletion=command_names, help="Command, such as data new. Default: all commands."
        ),
    ] = None,
) -> None:
    """Show the help of a command, as its --help does."""
    from lmk.cli.output import say_block
    from lmk.util.errors import did_you_mean

    found: Any = context.parent
    for word in command or ():
        below = getattr(found.command, "commands", None) or {}
        if word not in below:
            raise typer.BadParameter(f"There is no command `{found.command_path} {word}`.{did_you_mean(word, below)}")
        found = type(found)(below[word], info_name=word, parent=found)
    text = found.get_help()
    if text:  # rich prints by itself
        say_block(text)
