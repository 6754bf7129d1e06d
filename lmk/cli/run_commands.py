"""Commands that take the options of a run: their signatures are made of a function's own options and of those."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from lmk.cli.options import open_run
from lmk.cli.run_config import config_from

if TYPE_CHECKING:
    from lmk.pipeline.config import Config

INNER = {"ensemble", "computes"}
"""Parameters of `open_run` that are no options."""
OF_ENSEMBLE = (
    "like",
    "spread",
    "each_network",
    "ridge",
    "retrieval",
    "comparison",
    "divisor",
    "passes",
    "fusion",
    "local_features",
    "delf",
    "delf_tune",
    "delf_attention",
    "gallery",
    "most_features",
    "pairs",
    "nearest",
    "enough",
)
"""Options that have no effect without an ensemble."""
OF_LIKE = (
    "ensemble",
    "spread",
    "each_network",
    "ridge",
    "retrieval",
    "fusion",
    "local_features",
    "comparison",
    "gallery",
    "nearest",
    "enough",
)
"""Options that a published system decides by itself."""


def refuse_without_effect(context: typer.Context, ensemble: bool) -> None:
    """Refuse options of the ensemble where there is none.

    Raises:
        typer.BadParameter: An option was given that changes nothing.
    """
    if ensemble:
        return
    if named := on_command_line(context, OF_ENSEMBLE):
        raise typer.BadParameter(f"{named} has no effect with --no-ensemble: nothing is verified or fused.")


def refuse_overridden(context: typer.Context, like: str) -> None:
    """Refuse options that a published system decides by itself.

    Raises:
        typer.BadParameter: An option was given that changes nothing.
    """
    if named := on_command_line(context, OF_LIKE):
        raise typer.BadParameter(f"{named} has no effect with --like {like}, which decides that itself: leave it out.")


def on_command_line(context: typer.Context, names: Sequence[str]) -> str:
    """Which of the options were given on the command line, for people."""
    given = [param for param in context.command.params if param.name in names and is_typed(context, param.name)]
    # a switch that was turned off is named as it was typed: --no-spread
    typed = [param.secondary_opts if context.params.get(str(param.name)) is False else param.opts for param in given]
    return ", ".join(spelled[0] for spelled in typed)


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether a parameter's value stands on the command line, not in the environment or in lmk.toml."""
    return str(context.get_parameter_source(name)).endswith("COMMANDLINE")


@dataclass(frozen=True)
class Asked:
    """Inputs of a command that opens nothing: the configuration, and the options of a run by name."""

    config: Config
    options: Mapping[str, Any]


def run_command(
    function: Callable[..., None], computes: bool = True, instead: Callable[..., bool] | None = None
) -> Callable[..., None]:
    """Give a command the options of a run; its first parameter, `opened`, becomes what they describe.

    A parameter `recipe` or `ensemble` of the command's own takes the place of the option and still goes into the run.
    A command that keeps nothing it computes, or runs dry, does not hold the workspace. No run is opened where a
    command's context says that a command below it does the work, or where `instead`, which is given all options, does.
    """

    def call(options: dict[str, Any], own: dict[str, Any], typed: Mapping[str, Any]) -> None:
        options["computes"] = computes and not own.get("dry_run", False)
        with open_run(**options) as opened:
            function(replace(opened, words=command_of(typed)), **own)

    return _with_options(function, call, instead=instead)


def config_command(
    function: Callable[..., None], without_effect: Callable[..., None] | None = None
) -> Callable[..., None]:
    """Give a command the options of a run; its first parameter becomes an `Asked`, and no competition is read.

    Args:
        function: The command.
        without_effect: A command whose own options it takes, too, and leaves alone, so that its line can be pasted.
    """

    def call(options: dict[str, Any], own: dict[str, Any], typed: Mapping[str, Any]) -> None:
        every = {name: part.default for name, part in inspect.signature(open_run).parameters.items()} | options
        function(Asked(config_from(every), every), **own)

    further = () if without_effect is None else inspect.signature(without_effect).parameters.values()
    return _with_options(function, call, tuple(further))


def default_of(option: str) -> Any:
    """The default of an option of a run."""
    return inspect.signature(open_run).parameters[option].default


def command_of(options: Mapping[str, Any]) -> str:
    """The words that give options of a run, by name of their parameter, whatever differs from its default."""
    shared = inspect.signature(open_run, eval_str=True).parameters
    words: list[str] = []
    for name, value in options.items():
        if name not in shared or name == "computes" or value == shared[name].default or value is None:
            continue
        declared = getattr(shared[name].annotation, "__metadata__", [typer.Option()])[0].param_decls or ()
        named = [word for word in declared if word.startswith("--")]
        flag = named[0] if named else f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            yes, _, no = flag.partition("/")
            words.append(yes if value else no or f"--no-{name.replace('_', '-')}")
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                words += [flag, shlex.quote(str(one))]
    return " ".join(words)


def _with_options(
    function: Callable[..., None],
    call: Callable[[dict[str, Any], dict[str, Any], Mapping[str, Any]], None],
    further: Sequence[inspect.Parameter] = (),
    instead: Callable[..., bool] | None = None,
) -> Callable[..., None]:
    """A command with a function's own options, those of a run, and `further` ones that go nowhere.

    Args:
        function: Its parameters after the first are its own options.
        call: Gets the options of a run, the function's own, and those of a run that were typed, by name.
        further: Number of other names.
        instead: Gets all options first, and says whether it did the work in place of the command.
    """
    local = {"Opened": object, "Asked": object}
    own = list(inspect.signature(function, eval_str=True, locals=local).parameters.values())[1:]
    names = {part.name for part in own}
    shared = inspect.signature(open_run, eval_str=True).parameters
    offered = [part for part in shared.values() if part.name not in names | INNER]
    ignored = [part for part in further if part.name not in names | set(shared)]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        if given["context"].invoked_subcommand:
            return
        if instead is not None and instead(**given):
            return
        options = {name: given[name] for name in shared if name in given}
        if isinstance(options["recipe"], str):
            options["recipe"] = [options["recipe"]]
        if "ensemble" in names:
            refuse_without_effect(given["context"], given["ensemble"])
        if options["like"] is not None:
            refuse_overridden(given["context"], options["like"])
        typed = {name: value for name, value in options.items() if is_typed(given["context"], name)}
        call(options, {name: given[name] for name in names}, typed)

    if "context" not in names | {part.name for part in ignored}:  # which option was given, the context alone knows
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        offered.append(inspect.Parameter("context", kind, annotation=typer.Context))
    parameters = sorted([*own, *offered, *ignored], key=lambda part: part.default is not inspect.Parameter.empty)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {part.name: part.annotation for part in parameters}
    del command.__wrapped__
    return command
