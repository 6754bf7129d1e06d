"""Pages of the site that are made of the code and of files beside docs/ whenever it is built, so they are never stale.

mkdocs calls `on_config` and `on_files`. The home page is README.md, the changes are CHANGELOG.md, `commands.md` is
made of the command line itself, and `api/` names each module for mkdocstrings.
"""

import re
import sys
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ROOMS = ("data", "demo", "models", "local", "retrieval", "ensemble", "kaggle", "report", "pipeline")
sys.path.insert(0, str(ROOT))  # the code that stands beside these pages, whatever is installed


def on_config(config):
    """Put pages that mkdocs.yml does not name at the end of the list of pages."""
    named = set(names_in(config["nav"]))
    others = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    if others:
        config["nav"].append({"More": others})
    return config


def names_in(nav) -> list[str]:
    """The pages of a list of pages, whatever its depth."""
    if isinstance(nav, str):
        return [nav]
    return [name for part in (nav.values() if isinstance(nav, dict) else nav) for name in names_in(part)]


def on_files(files: Files, config) -> Files:
    """Add the pages that are made."""
    for path, text in {**pages(), **api()}.items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """The home page, the changes, and the commands."""
    home = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](").replace('src="docs/', 'src="')
    home = re.sub(r"\]\((?:LICENSE|CITATION\.cff)\)", "]", home.replace("](CHANGELOG.md)", "](changes.md)"))
    return {
        "index.md": home,
        "changes.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "commands.md": commands(),
    }


def commands() -> str:
    """Every command of `lmk` with its arguments and options, as the command line itself has them."""
    top = command_line()
    text = [
        "# Commands",
        "",
        f"{top.help} This page is made of what `lmk COMMAND --help` says.",
        "",
        *["| command | does |", "|---|---|"],
    ]
    found = list(walk("lmk", top))
    text += [f"| [`{name}`](#{anchor(name)}) | {cell(first_line(command))} |" for name, command in found[1:]]
    text += ["", "## lmk { #lmk }", "", *describe("lmk", top)]
    for name, command in found[1:]:
        text += [f"## {name} {{ #{anchor(name)} }}", "", *describe(name, command)]
    return "\n".join(text)


def command_line():
    """The tree of commands that `lmk` runs."""
    import typer

    from lmk.cli.app import app

    return typer.main.get_command(app)


def walk(name: str, command):
    """A command with its full name, and all those below it."""
    yield name, command
    for below, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield from walk(f"{name} {below}", each)


def describe(name: str, command) -> list[str]:
    """Usage, help, and tables of arguments and options, in lines of Markdown."""
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    text = ["```text", f"{name} {usage}", "```", "", escaped((command.help or "").strip()), ""]
    for kind in ("argument", "option"):
        records = [each.get_help_record(context) for each in command.params if each.param_type_name == kind]
        if any(records):
            text += [f"| {kind} | meaning |", "|---|---|"]
            text += [f"| `{cell(words)}` | {cell(escaped(told))} |" for words, told in filter(None, records)]
            text.append("")
    return text


def first_line(command) -> str:
    return escaped((command.help or "").strip().split("\n\n")[0].replace("\n", " "))


def anchor(name: str) -> str:
    return name.replace(" ", "-")


def escaped(text: str) -> str:
    """Words that Markdown must read neither as HTML nor as a link."""
    return text.replace("<", "&lt;").replace("[", "\\[")


def cell(text: str) -> str:
    """Words that may stand in a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def api() -> dict[str, str]:
    """A page a room of the package with the docstrings of its modules, and one of the modules that stand alone."""
    foundations = [path for part in (".", "metrics", "util") for path in (ROOT / "lmk" / part).glob("*.py")]
    made = {"api/foundations.md": page("Foundations", sorted(foundations))}
    for room in ROOMS:
        made[f"api/{room}.md"] = page(f"lmk.{room}", sorted((ROOT / "lmk" / room).rglob("*.py")))
    return made


def page(title: str, files: list[Path]) -> str:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.stem != "__init__"]
    return "\n\n".join([f"# {title}", *(f"::: {module}" for module in modules)]) + "\n"
