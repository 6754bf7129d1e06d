"""The list of commands: each is imported when it is run or its own help is asked for.

The list of all commands and shell completion answer from the texts here, in a fraction of the time that the modules
of all commands and the libraries of their help pages need.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
import typer.main
from typer.core import TyperGroup

from lmk.cli.output import say, say_block

COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "make-submission": (
        "Train, predict, ensemble, verify, fuse, and write a checked submission.",
        ("make_submission",),
    ),
    "demo": (
        "Make a submission for the demo, a competition that lmk draws itself: a first run without photos or account.",
        ("demo",),
    ),
    "plan": (
        "Predict a whole run's time, GPU hours, disk and memory, stage by stage.",
        ("plan",),
    ),
    "train": ("Train a recipe's networks: one for each fold, and one on all photos.", ("stages",)),
    "predict": (
        "Say which landmark photos show, by a run's networks, and draw the matches with the closest gallery photo.",
        ("predict",),
    ),
    "ensemble": ("Blend recipes and retrieval by weights fitted on dev.", ("stages",)),
    "fuse": (
        "Fuse the ensemble's confidence with the evidence of verification, and spread what is fused.",
        ("stages",),
    ),
    "evaluate": (
        "Print a submission's metric: overall with its interval, public, private, and on landmark photos alone.",
        ("evaluate",),
    ),
    "check": ("Check that a submission answers the competition's ids as the hosts want it.", ("evaluate",)),
    "blend": (
        "Blend submissions by a rule; with --dev weights are learned, with --solution the blend is scored.",
        ("blend",),
    ),
    "recipes": (
        "List the recipes (network, size, views, cost of predicting a photo, what they reach) and published systems.",
        ("recipes",),
    ),
    "submit": (
        "Check a submission and send it to Kaggle once, whatever breaks on the way; print how many are left today.",
        ("submit",),
    ),
    "submissions": (
        "Show the submissions: when, file, message, what it is made of, dev GAP, public and private score.",
        ("submissions",),
    ),
    "leaderboard": (
        "Show the public leaderboard with our row, the distance to the medals, and the moves since last time.",
        ("leaderboard",),
    ),
    "scores": (
        "Compare dev GAP with the public score of every scored submission: may dev be trusted?",
        ("scores",),
    ),
    "quota": (
        "Print the hours of GPU and TPU that are left on Kaggle this week, and when they come back.",
        ("quota",),
    ),
    "report": (
        "Write a run's report: one HTML page that needs no network. With --against, two runs side by side.",
        ("report",),
    ),
    "doctor": (
        "Look at versions, backend, GPU, weights, credentials, disk and competition; say how to fix what is wrong.",
        ("doctor",),
    ),
    "runs": (
        "List the runs of the workspace, newest first: name, competition, recipes, dev GAP, submission and score.",
        ("runs",),
    ),
    "data": ("The competition's files.", ("data", "new", "fetch", "download")),
    "verify": ("Geometric verification by local features.", ("verify",)),
    "delf": ("DELF: attentive deep local features.", ("delf",)),
    "kernel": ("Training and submission on Kaggle's machines.", ("kernel", "kernel_run", "kernel_train")),
    "weights": ("Weights of backbones, here and on Kaggle.", ("weights",)),
    "plot": ("Draw a run's charts into files: PNG, PDF or SVG.", ("plot",)),
    "help": ("Show the help of a command, as its --help does.", ("help",)),
    "config": ("Settings of a project (lmk.toml), which stand in for options.", ("config",)),
}
"""Commands by name: the first paragraph of its help, and the modules of `lmk.cli` that hold it and the commands below
it."""


class Imported(MutableMapping[str, Any]):
    """The commands by name; one is imported and built when it is first asked for, so that names cost nothing."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            self._built[name] = build(name)
        return self._built[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("The list of commands is fixed.")

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def build(name: str) -> Any:
    """Import the modules of a command and make the command, as typer makes those that it knows from the start."""
    from lmk.cli.app import app

    text, modules = COMMANDS[name]
    for module in modules:
        import_module(f"lmk.cli.{module}")
    settings: dict[str, Any] = {
        "pretty_exceptions_short": app.pretty_exceptions_short,
        "rich_markup_mode": app.rich_markup_mode,
    }
    for group in app.registered_groups:
        if group.name == name:
            return _flowing(typer.main.get_group_from_info(group, suggest_commands=app.suggest_commands, **settings))
    for command in app.registered_commands:
        own = command.name or typer.main.get_command_name(getattr(command.callback, "__name__", ""))
        if own == name:
            return _flowing(typer.main.get_command_from_info(command, **settings))
    raise LookupError(f"No module of {modules} registers `{name}`: {text}")


def _flowing(command: Any) -> Any:
    """The command, with the paragraphs of its help (and of those below it) in one line each, for any width."""
    if command.help:
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in command.help.split("\n\n"))
    for child in (getattr(command, "commands", None) or {}).values():
        _flowing(child)
    return command


class Commands(TyperGroup):
    """`lmk` itself: its help and its completion name all commands without importing them.

    Its help is plain text: drawing it in panels, as that of the commands is drawn, imports twice as much as all the
    rest of `lmk --help` does.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Imported()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; without any, print the help and where to begin, and leave as after a usage error."""
        if not args and not ctx.resilient_parsing:
            say_block(ctx.get_help())
            say()
            say("A first run: lmk demo")
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order of the list."""
        return list(COMMANDS)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write usage, options and commands as plain text."""
        super(TyperGroup, self).format_help(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the name of every command and what it does."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (text, _) in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Commands and options that begin so."""
        from typer._click.shell_completion import CompletionItem

        named = [CompletionItem(name, help=text) for name, (text, _) in COMMANDS.items() if name.startswith(incomplete)]
        return [*named, *super(TyperGroup, self).shell_complete(ctx, incomplete)]
