"""Foreign text is printed literally, its control characters shown: by every command, on a terminal and in a pipe."""

import ast
import io
import logging
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

import lmk.cli
from lmk.cli import console, output
from lmk.cli.tables import print_table
from lmk.util.text import safe

CLI = Path(lmk.cli.__file__).parent
SINKS = {"output.py", "console.py"}
"""Files that may print."""
UNCONVERTED: set[str] = set()
"""Files whose prints do not go through the sinks yet."""
HOSTILE = [
    "[/]x",
    "[bold red]Team[/bold red]",
    "[mobilenet] a team",
    "[link=http://evil/]click[/link]",
    ":smile: :warning:",
    "\x1b]0;owned\x07title",
    "\x1b[2J\x1b[31mred",
    "\x9b31mred",
    "\x1b]8;;http://evil/\x1b\\click\x1b]8;;\x1b\\",
    "two\rlines",
    "back\b\b\b\bspace",
    "\u202egnp.exe",
    "a\u2028b",
    "caf\udce9",
    "half \ud83d",
    "\ufeffbom",
    "http://a.b/c 'quoted' 123 True",
]


def ugly(text: str, lines: bool = True) -> set[str]:
    """Characters of a text that a terminal would take for more than a letter."""
    return {
        letter
        for letter in text
        if (unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or "\u202a" <= letter <= "\u202e")
        and not (lines and letter == "\n")
    }


@given(st.text(st.characters(exclude_categories=[])))
def test_safe_text_has_no_control_character_and_stays_as_it_is(text):
    shown = safe(text)
    assert not ugly(shown, lines=False)
    assert safe(shown) == shown
    shown.encode()  # no lone surrogate is left
    assert safe(text, lines=True).count("\n") == text.replace("\r\n", "\n").count("\n")


@given(st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126)))
def test_plain_text_is_not_changed(text):
    assert safe(text) == safe(text, lines=True) == text


def test_letters_of_all_scripts_stay():
    for text in ("Δελφοί", "東京", "café", "क्षि", "👩‍👩‍👧", "نقش", "C:\\photos\\a.jpg"):
        assert safe(text) == text


def test_control_characters_are_written_as_python_writes_them():
    assert safe("a\x1b[1m\n\t\x9b\u202e\ufeff\udce9\ud83d\U000e0041") == (
        r"a\x1b[1m\n\t\x9b\u202e\ufeff\xe9\ud83d\U000e0041"
    )


def test_letters_that_nobody_sees_are_shown():
    assert safe("a\xad\u180e\u200b\u2060\u3164\uffa0\U0001d173b") == (r"a\xad\u180e\u200b\u2060\u3164\uffa0\U0001d173b")


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("terminal", [False, True])
def test_whatever_prints_shows_a_hostile_name_literally(name, terminal, monkeypatch, capsys):
    """The terminal's own sequences (cursor, colours of a bar) are not the name's: they are taken out by their form."""
    written = io.StringIO()
    monkeypatch.setattr(console, "stderr", console.LiteralConsole(file=written, force_terminal=terminal, width=200))
    record = logging.makeLogRecord({"msg": "%s", "args": (name,), "levelno": 30})
    output.say(name)
    output.say_block(name)
    output.print_json({"name": name})
    output.fail(name)
    print_table(name, ("team", name), [(name, "1")])
    console.note(name)
    told = capsys.readouterr()
    formatted = console._SafeFormatter("%(message)s").format(record)
    for text in (told.out, told.err, formatted, written.getvalue()):
        assert not ugly(text), text
    assert told.out.count(safe(name)) >= 5
    assert safe(name) in told.err and safe(name) in formatted and safe(name) in written.getvalue()
    with console.progress(name, 2, "photos") as advance:
        advance(2)
        if terminal:
            console._shown[0].refresh()
    assert safe(name, lines=False) in written.getvalue() or not terminal
    assert name not in written.getvalue() or not ugly(name)


def test_a_console_escapes_rich_text_that_nobody_made_safe():
    written = io.StringIO()
    console.LiteralConsole(file=written, width=80).print(Text("a\x1b]0;x\x07b"), Text.assemble(("c\x9bd", "bold")))
    assert not ugly(written.getvalue())
    assert "a\\x1b]0;x" in written.getvalue()


def test_an_error_is_one_line_and_literal_whatever_it_tells(tmp_path):
    folder = tmp_path / "\x1b[31mred\n[bold]x"
    folder.mkdir()
    for encoding in ("utf-8", "ascii", "latin-1"):
        done = subprocess.run(
            [sys.executable, "-m", "lmk.cli.main", "data", "status", "-c", str(folder), "-w", str(tmp_path / "w")],
            capture_output=True,
            env={"PATH": "/usr/bin", "PYTHONIOENCODING": encoding, "HOME": str(tmp_path)},
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 1
        assert b"\\x1b[31mred\\n[bold]x has no train.csv" in done.stderr


def test_a_stream_that_cannot_write_a_letter_escapes_it(tmp_path):
    script = "from lmk.cli.output import *; prepare_streams(); say('caf\\u00e9 \\u6771'); fail('\\u6771')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env={"PYTHONIOENCODING": "ascii"}, check=True
    )
    assert done.stdout == b"caf\\xe9 \\u6771\n"
    assert done.stderr == b"error: \\u6771\n"


def bypasses(path: Path) -> list[str]:
    """Calls of a file that print past `output.py` and `console.py`, or that let rich read markup."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            streams = name.startswith(("sys.stdout.", "sys.stderr.", "sys.__std")) and "write" in name
            printers = ("print", "rprint", "typer.echo", "typer.secho", "click.echo", "os.write", "Console", "pprint")
            markup = name.endswith((".from_markup", ".from_ansi")) or any(
                word.arg == "markup" and ast.unparse(word.value) != "False" for word in node.keywords
            )
            if name in printers or streams or markup:
                found.append(f"{path.name}:{node.lineno} {name}")
    return found


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.name)
def test_no_command_prints_past_the_safe_functions(path):
    if path.name in UNCONVERTED:
        assert bypasses(path), f"{path.name} is converted: take it from the list"
    elif path.name not in SINKS:
        assert not bypasses(path)


def test_a_print_that_bypasses_is_found(tmp_path):
    path = tmp_path / "command.py"
    path.write_text(
        "print(name)\ntyper.echo(name)\nsys.stdout.write(name)\nConsole()\nText.from_markup(name)\n"
        "console.print(name, markup=True)\nsay(name)\nconsole.print(name, markup=False)\n"
    )
    assert len(bypasses(path)) == 6
