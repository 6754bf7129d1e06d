"""`lmk submissions`: what was sent and what became of it; without the network unless asked."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import JsonOption, app, competition_option, print_json
from lmk.cli.kaggle_options import (
    DEFAULT_RECORDS,
    DEFAULT_TIMEOUT,
    RecordsOption,
    TimeoutOption,
    connect,
    kaggle_slug,
)

if TYPE_CHECKING:
    from lmk.kaggle.api import Submission


@app.command()
def submissions(
    competition: Annotated[
        str | None,
        competition_option("Only of this competition.", envvar="LMK_COMPETITION"),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Ask Kaggle for scores and status first.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table into this file, too.")] = None,
    records: RecordsOption = DEFAULT_RECORDS,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Show the submissions: when, file, message, what it is made of, dev GAP, public and private score."""
    from lmk.cli.console import next_steps, note
    from lmk.cli.kaggle_views import stdout, submissions_table
    from lmk.kaggle.records import Records
    from lmk.kaggle.submit import refresh

    kept = Records(records)
    slug = kaggle_slug(competition) if competition else None
    unknown: list[Submission] = []
    if update:
        client = connect(timeout)
        slugs = [slug] if slug else sorted({record.competition for record in kept.all()})
        unknown = [submission for name in slugs for submission in refresh(client, kept, name)]
    found = kept.all(slug)
    for line in kept.damaged:
        note(line)
    if csv is not None:
        from lmk.kaggle.frames import submissions_frame, write_csv

        write_csv(submissions_frame(found), csv)
        note(f"{len(found)} submissions are in {csv}.")
    if as_json:
        print_json([asdict(record) for record in found])
        return
    if not found and not unknown:
        note(f"No submission is recorded in {kept.root}. `lmk submit` makes one; `--update -c SLUG` asks Kaggle.")
        return
    console = stdout()
    console.print(submissions_table(found, unknown, console.width))
    if not update and any(record.status not in ("complete", "error") for record in found):
        next_steps("lmk submissions --update")
    elif found:
        newest = found[-1].competition
        next_steps(f"lmk scores -c {newest}  (dev beside public)", f"lmk leaderboard -c {newest}")
