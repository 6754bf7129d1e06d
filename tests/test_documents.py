"""The documents: each code block and command in them works, links lead somewhere, and the reference is whole.

Python blocks are run. So are commands of `lmk`, in the order in which a document gives them, on a demo of few photos
with networks of two layers. What cannot be run here is checked as far as it can be, and says why in `REASONS`:
a block or command that is neither is a failure. A block with a title is the file of that name; under `lmk/` it is a new
module, or lines at the end of a module that there is.
"""

import __future__

import importlib
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import tiny
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROSE = {"text", "csv", "json", "toml"}
"""Languages of blocks that show something and ask for nothing."""
REASONS = {
    r"make ": "it installs, tests or serves; its target exists",
    r"(pip|uv) |python -m (pip|venv|build)|\. \.venv": "tests/package.sh builds, installs and tries the package",
    r"kaggle |curl |export KAGGLE": "it asks a server",
    r"cat |head |ls |grep |cp |mkdir |for |[A-Z_]+=\S+ lmk": "a shell's own business",
    r"lmk .*(--install-completion|--show-completion)": "it depends on the shell, see test_completion",
    r"lmk (data fetch|submit|leaderboard|quota|weights|kernel (push|status|logs|pull|run|train))\b": (
        "it asks Kaggle; options are checked"
    ),
    r"lmk config set": "it would hold for the commands after it; options are checked",
    r"lmk .*(submissions --update|--watch)\b": "it asks Kaggle; options are checked",
    r"(KERAS_BACKEND=\w+ )?python -m (benchmarks|research|tests)\b": "it takes minutes; its module exists",
    r"lmk .*--weights imagenet": "it downloads weights; options are checked",
    r"lmk scores": "it takes scored submissions; options are checked",
    r"lmk .*(landmark-recognition-|provence|my-photos|COMPETITION)": "its photos are not here; options are checked",
}
"""What is not run, by the beginning of the command, and why."""
REGISTRIES = (
    *(
        "lmk.models.recipe",
        "lmk.models.recipes",
        "lmk.models.backbones.catalogue",
        "lmk.local.kinds",
        "lmk.metrics.registry",
    ),
    *("lmk.ensemble.blend_rules", "lmk.ensemble.fusion_rules", "lmk.ensemble.spreading", "lmk.cli.commands"),
)
"""Modules that a page may add lines to; they are restored after it."""
CHECKED = {
    "docs/results.md": "each command takes minutes; the figures that it gave stand beside it",
    **{
        f"docs/journal/{page}.md": "each command takes minutes; the figures that it gave stand beside it"
        for page in ("competitions", "networks", "local-features", "ideas", "speed")
    },
    "docs/scale.md": "each command takes minutes or hours; the figures that it gave stand beside it",
    "docs/tour.md": "it asks Kaggle; docs/walk.py runs it against a stand-in and writes what it printed",
}
"""Documents whose commands are checked and not run, and why."""


@dataclass(frozen=True)
class Block:
    """A code block: its document, its first line there, its language, what stands in it, and the file that it shows."""

    document: Path
    line: int
    language: str
    text: str
    title: str | None = None

    def commands(self) -> list[str]:
        """Its lines that a person would type; of a console block those after the prompt."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def blocks(document: Path) -> Iterator[Block]:
    """Of a document; an indented block is one of commands if it begins like one."""
    for token in MarkdownIt().parse(document.read_text(encoding="utf-8")):
        if token.type == "fence":
            title = re.search(r'title="([\w./-]+)"', token.info)
            language = token.info.split(" ")[0]
            yield Block(document, token.map[0] + 1, language, token.content, title[1] if title else None)
        elif token.type == "code_block":
            is_command = re.match(r"(lmk|make|kaggle|curl|python|pip) ", token.content)
            yield Block(document, token.map[0] + 1, "sh" if is_command else "text", token.content)


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def reason(command: str) -> str | None:
    """Why a command is not run, None if it is."""
    return next((why for pattern, why in REASONS.items() if re.match(pattern, command)), None)


def calls(command: str) -> list[list[str]]:
    """The arguments of each `lmk` in a line of shell."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="();|&<>")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word[0] in "<>":  # a redirection: the number before it and the file after it are the shell's
            if parts[-1] and parts[-1][-1] in ("1", "2"):
                parts[-1].pop()
            next(words, None)
        elif word[0] in "();|&":
            parts.append([])
        elif word != "$":
            parts[-1].append(word)
    return [part[part.index("lmk") + 1 :] for part in parts if "lmk" in part]


@pytest.fixture(scope="module")
def command_line():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import hooks

        return hooks.command_line()
    finally:
        sys.path.remove(str(ROOT / "docs"))


def check_options(words: list[str], command) -> None:
    """Fails where a command or an option is not known, or a value is out of its range."""
    path = "lmk"
    words = [word for word in words if word not in ("-q", "--quiet", "-v", "--verbose")]
    while hasattr(command, "commands") and words and not words[0].startswith("-") and words[0] in command.commands:
        path += f" {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    if path == "lmk" and words and not words[0].startswith("-"):
        pytest.fail(f"`lmk {words[0]}` is no command")
    try:
        command.make_context(path, list(words), resilient_parsing=False)
    except SystemExit as end:
        assert end.code == 0, words
    except Exception as error:  # typer's own kinds are not public
        if type(error).__name__ != "Exit":
            pytest.fail(f"{path} {' '.join(words)}: {error}")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[Path]:
    """A folder with a demo of few photos and two finished runs, of networks of two layers that train one epoch."""
    import lmk.models.network
    from lmk.demo import competition as demo
    from lmk.models.recipe import Stage
    from lmk.models.recipes import RECIPES

    folder = tmp_path_factory.mktemp("documents")
    amounts = demo.Amounts(
        train=(4, 3, 3, 2), test=(2, 1, 1, 1), train_scenes=4, test_scenes=2, train_others=(2,), test_others=(2,)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in ("LMK_COMPETITION", "LMK_WORKSPACE", "LMK_WEIGHTS", "LMK_SEED", "KAGGLE_API_TOKEN"):
            patch.delenv(variable, raising=False)
        patch.setattr(demo, "make_demo", partial(demo.make_demo, amounts=amounts))
        patch.setattr("typer.launch", lambda page: 0)
        patch.setattr("lmk.cli.run_config.DEMO_RECIPES", ("tinymobilenet-gem",))  # one is enough, and twice as quick
        quick = replace(RECIPES["tinymobilenet-gem"], image_size=64, stages=(Stage(1, 2e-3, batch_size=256),))
        patch.setitem(RECIPES, quick.name, quick)
        patch.setattr(
            lmk.models.network, "build_backbone", lambda name, weights, side, *_: tiny.small_backbone(name, side)
        )
        tiny.run_eagerly()
        alone = ["--jobs", "1"]  # the processes of so small a run load their libraries longer than they work
        run(["make-submission", "--ensemble", "--fusion", "seed-35-inliers", *alone])
        run(["make-submission", "--ensemble", *alone])
        yield folder
        tiny.run_eagerly(False)


def run(words: list[str], expected: int = 0) -> None:
    """`lmk WORDS` in this process."""
    from lmk.cli.main import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lmk", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    assert code == expected, f"`lmk {' '.join(words)}` ended with {code}"


@pytest.fixture(scope="module")
def stand_for(world) -> dict[str, str]:
    """What words in capitals mean in the small world."""
    import json

    from lmk.report.examples import best_pair
    from lmk.report.record import load_run
    from lmk.util.workspace import Workspace

    records = sorted((world / "workspace" / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    other, run = (json.loads(path.read_text())["run"] for path in records)
    query, photo, _ = best_pair(load_run(Workspace.open(world / "workspace"), run), None)
    return {
        **{"RUN": run, "OTHER": other, "QUERY": query, "PHOTO": photo},
        **{"RECIPE": "tinymobilenet-gem", "SEED": "1", "SIZE": "64"},
        **{"SUBMISSION": f"workspace/submissions/{run}.csv", "FOLDER": "workspace/competitions/demo"},
    }


@dataclass(frozen=True)
class Tree:
    """The package as a page extends it.

    Attributes:
        folder: Where new modules lie, each in a folder that its package looks into.
        before: Names in each module of `REGISTRIES`, and copies of its dictionaries and lists.
    """

    folder: Path
    before: dict[str, dict[str, object]]

    @classmethod
    def of(cls, folder: Path) -> "Tree":
        found = {module: vars(importlib.import_module(module)) for module in REGISTRIES}
        return cls(folder, {module: {name: copied(value) for name, value in found[module].items()} for module in found})

    def add(self, path: str, text: str, patch: pytest.MonkeyPatch) -> None:
        """Lines at the end of a module, or all of a new one, by its path."""
        module = path.removesuffix(".py").replace("/", ".")
        if (ROOT / path).is_file():
            assert module in self.before, f"{path} has no registry that is restored"
            code = compile(text, path, "exec", flags=__future__.annotations.compiler_flag)
            exec(code, vars(importlib.import_module(module)))
            return
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        package = importlib.import_module(module.rpartition(".")[0])
        patch.setattr(package, "__path__", [*package.__path__, str(place.parent)])
        importlib.invalidate_caches()

    def restore(self) -> None:
        """Take back what was added, so that other tests in this process see the package as it is."""
        from lmk.cli.app import app

        for module, before in self.before.items():
            now = vars(importlib.import_module(module))
            for name in now.keys() - before.keys():
                del now[name]
            for name, value in before.items():
                if isinstance(value, dict | list) and now[name] != value:
                    now[name].clear()
                    now[name].update(value) if isinstance(value, dict) else now[name].extend(value)
        for place in self.folder.rglob("lmk/**/*.py"):
            module = ".".join(place.relative_to(self.folder).with_suffix("").parts)
            sys.modules.pop(module, None)
            package, _, name = module.rpartition(".")
            vars(sys.modules[package]).pop(name, None)
            app.registered_commands[:] = [one for one in app.registered_commands if one.callback.__module__ != module]


def copied(value: object) -> object:
    """A copy of a dictionary or list, anything else itself."""
    return value.copy() if isinstance(value, dict | list) else value


@pytest.fixture
def tree(world, tmp_path) -> Iterator[Tree]:
    found = Tree.of(tmp_path)
    yield found
    found.restore()


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_block_in_it_works(document, stand_for, command_line, tree, monkeypatch, capsys):
    shared: dict[str, object] = {"__name__": "__document__"}
    for block in blocks(document):
        where = f"{name(document)}, line {block.line}"
        assert block.language in PROSE | {"python", "console", "sh"}, f"{where}: what is a block of '{block.language}'?"
        if block.language in PROSE:
            assert not re.search(r"^(\$ |lmk |make [a-z-]+$)", block.text, re.MULTILINE), f"{where}: commands, no prose"
        if block.title and block.title.startswith("lmk/"):
            tree.add(block.title, block.text, monkeypatch)
        elif block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            padding = "\n" * block.line  # a traceback names the document's line
            exec(compile(padding + block.text, str(document), "exec"), shared)
        elif block.language not in PROSE:
            for command in block.commands():
                command = filled(command, stand_for)
                check_command(command, where, command_line)
                if name(document) not in CHECKED and reason(command) is None:
                    run_command(command, where)


def filled(command: str, stand_for: dict[str, str]) -> str:
    """The command without a remark, with names of the small world for words in capitals and for runs of the demo."""
    command = re.sub(r"\bdemo-[0-9a-f]{12}\b", stand_for["RUN"], command.partition("  #")[0])
    return re.sub(r"\b[A-Z]{3,}\b", lambda word: stand_for.get(word[0], word[0]), command)


def check_command(command: str, where: str, command_line) -> None:
    """What can be checked of any command: `lmk` knows it and its options, the Makefile its target."""
    for words in calls(command):
        check_options(words, command_line)
    if command.startswith("make "):
        target = command.split()[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"{where}: no target {target}"


def run_command(command: str, where: str) -> None:
    """Each `lmk` of a line, in this process."""
    assert command.startswith("lmk "), f"{where}: is `{command}` run, or why not? (REASONS)"
    for words in calls(command):
        run(words)


def test_each_change_touches_as_many_files_as_its_table_says():
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    promised = {
        what: int(files) for what, files in re.findall(r"^\| \[(.+?)\]\(#.+?\) \| (\d) \|$", text, re.MULTILINE)
    }
    sections = {section.partition("\n")[0]: section for section in text.split("\n## ")}
    assert len(promised) == 9
    for what, files in promised.items():
        section = sections[what[0].upper() + what[1:]]
        assert len(set(re.findall(r'title="(lmk/[\w./]+)"', section))) == files, what


def test_calls_are_found_in_lines_of_shell():
    assert calls("lmk submit p.csv -m 'a b' --wait 2>/dev/null") == [["submit", "p.csv", "-m", "a b", "--wait"]]
    assert calls("X=1 lmk recipes 2>&1 | grep a; lmk doctor && ls") == [["recipes"], ["doctor"]]


@pytest.mark.parametrize("wrong", ["lmk recipe", "lmk recipes --jsn", "lmk predict R --folds 1", "lmk verify show ONE"])
def test_a_command_that_lmk_does_not_know_is_seen(wrong, command_line):
    with pytest.raises(pytest.fail.Exception):
        for words in calls(wrong):
            check_options(words, command_line)


def test_every_option_has_a_help_text(command_line):
    import hooks

    for path, command in hooks.walk("lmk", command_line):
        assert command.help, path
        for parameter in command.params:
            assert parameter.help, f"{path}: {parameter.name} has no help"


def test_a_page_that_nobody_listed_is_listed_at_the_end(command_line):
    import hooks

    listed = [{"A": path.name} for path in (ROOT / "docs").glob("*.md") if path.name != "report.md"]
    assert hooks.on_config({"nav": [{"All": listed}, {"Home": "index.md"}]})["nav"][2:] == [{"More": ["report.md"]}]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_has_every_command_and_option(site, command_line):
    import hooks

    page = (site / "commands.html").read_text(encoding="utf-8")
    for path, command in hooks.walk("lmk", command_line):
        assert f'id="{path.replace(" ", "-")}"' in page
        for option in itertools.chain.from_iterable(each.opts for each in command.params):
            assert option in page, f"{path} {option}"


@pytest.mark.slow
def test_the_site_documents_every_module_but_the_command_line(site):
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    for path in (ROOT / "lmk").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.stem != "__init__" and not module.startswith("lmk.cli"):
            assert f'id="{module}"' in text, module


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        found = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?(https?:[^\s\">]+)", path.read_text())
        assert found == [], path.name
