"""`lmk data download`: the photos of an edition that gives addresses."""

from __future__ import annotations

from typing import Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, CompetitionOption, JsonOption, WorkspaceOption, data, print_json
from lmk.cli.output import say


@data.command()
def download(
    competition: CompetitionOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    side: Annotated[
        int | None,
        typer.Option(min=32, max=8192, help="Longest side in pixels; larger photos are scaled as they come."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Requests at once.")] = 64,
    each_host: Annotated[
        int, typer.Option(min=1, max=256, help="Requests at once to one host; more than a few may get you blocked.")
    ] = 2,
    tries: Annotated[
        int, typer.Option(min=1, max=10, help="How often an address is asked whose failure may pass.")
    ] = 3,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without an answer that a request waits.")] = 20.0,
    contact: Annotated[
        str,
        typer.Option(
            envvar="LMK_CONTACT", help="Your e-mail address or page, for the hosts' operators; Wikimedia wants one."
        ),
    ] = "",
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Also ask hosts of this machine and of private networks.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed in an earlier call.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the photos that train.csv and test.csv give addresses for (2018, 2019); goes on where it was stopped."""
    from shlex import quote

    from lmk.cli.console import next_steps, progress
    from lmk.data.address import Limits
    from lmk.data.competitions import find_competition, photo_addresses
    from lmk.data.download import Way
    from lmk.data.download import download as bring
    from lmk.util.files import alone_in
    from lmk.util.workspace import Workspace

    _, root = find_competition(competition, Workspace.open(workspace).competitions)
    listed = photo_addresses(root)
    way = Way(
        side, threads, each_host, tries, limits=Limits(silence=timeout), allow_private=allow_private, contact=contact
    )
    with alone_in(root):
        found = {part: bring(*rows, root / part, way, progress, retry) for part, rows in listed.items()}
    if as_json:
        parts = {
            part: {"stored": done.stored, "new": done.new, "reasons": dict(done.reasons), "table": str(done.table)}
            for part, done in found.items()
        }
        print_json({"folder": str(root), "parts": parts})
        return
    for part, done in found.items():
        say(f"{part}: {done.stored:,} photos, {done.new:,} of them new; what became of each: {done.table}")
        for reason, count in sorted(done.reasons.items(), key=lambda item: -item[1]):
            say(f"  {count:>9,}  {reason}")
    next_steps(f"lmk data status -c {quote(competition)}")
