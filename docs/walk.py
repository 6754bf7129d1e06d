"""Run the commands of a document and write their output into it.

    python docs/walk.py docs/tour.md --folder EMPTY_FOLDER

In every ```console block, a line that starts with "$ " is run by bash in the folder, in order and in this environment;
what it prints (both streams) takes the place of what stood below it. A command that fails is followed by its exit code.
"""

import argparse
import re
import subprocess
from pathlib import Path

BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def walk(text: str, folder: Path) -> str:
    """The document with fresh output."""
    return BLOCK.sub(lambda block: f"```console\n{_run_all(block[1], folder)}```", text)


def _run_all(block: str, folder: Path) -> str:
    lines = []
    for command in (line[2:] for line in block.splitlines() if line.startswith("$ ")):
        print(f"$ {command}", flush=True)
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines += [f"$ {command}", *(line.rstrip() for line in done.stdout.splitlines())]
        if done.returncode:
            lines.append(f"(exit code {done.returncode})")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    options.document.write_text(walk(options.document.read_text(encoding="utf-8"), options.folder), encoding="utf-8")


if __name__ == "__main__":
    main()
