"""Entry point of the command line: runs a command and turns an `LmkError` into one line."""

import sys
from typing import NoReturn

from lmk.cli.app import app
from lmk.cli.output import fail, interrupted, prepare_streams
from lmk.util.errors import LmkError
from lmk.util.settings import settings_path

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it."""
LOUDNESS = ("--quiet", "-q", "--verbose", "-v")


def main() -> None:
    """Run `lmk` with the process's arguments and leave with its exit code."""
    prepare_streams()
    try:
        app(in_front(sys.argv[1:]), default_map=defaults())
    except KeyboardInterrupt:
        fail_interrupted()
    except SystemExit as left:
        if left.code == INTERRUPTED:  # the command-line library took the interruption
            fail_interrupted()
        raise
    except LmkError as error:
        fail(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be written, a file that went away
        if error.filename is None and error.strerror is None:
            raise
        fail(f"{error.filename or 'input or output'}: {error.strerror}.")
        sys.exit(1)


def fail_interrupted() -> NoReturn:
    """Say that Ctrl-C ended the command and that nothing is lost, and leave."""
    interrupted()
    sys.exit(INTERRUPTED)


def defaults() -> dict[str, object]:
    """Defaults of options from `lmk.toml`; empty without one, so that nothing is built for them.

    Raises:
        LmkError: The file is damaged, or names an option that no command has.
    """
    path = settings_path()
    if path is None:
        return {}
    from typer.main import get_command

    from lmk.cli.defaults import default_map
    from lmk.util.settings import read_settings

    return default_map(get_command(app), read_settings(path))


def in_front(words: list[str]) -> list[str]:
    """The arguments with --quiet and --verbose before the command, wherever a person wrote them."""
    end = words.index("--") if "--" in words else len(words)
    loudness = [word for word in words[:end] if word in LOUDNESS]
    return loudness + [word for word in words[:end] if word not in LOUDNESS] + words[end:]


if __name__ == "__main__":
    main()
