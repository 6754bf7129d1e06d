"""`lmk scores`: dev GAP against public score, and how far dev may be trusted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lmk.cli.app import JsonOption, app, competition_option, print_json
from lmk.cli.kaggle_options import DEFAULT_RECORDS, RecordsOption, kaggle_slug


@app.command()
def scores(
    competition: Annotated[
        str | None,
        competition_option("Where several have records.", envvar="LMK_COMPETITION"),
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Draw the plot into this file too (needs matplotlib).")] = None,
    records: RecordsOption = DEFAULT_RECORDS,
    as_json: JsonOption = False,
) -> None:
    """Compare dev GAP with the public score of every scored submission: may dev be trusted?"""
    from shlex import quote

    from lmk.cli.console import next_steps, note
    from lmk.cli.kaggle_views import stdout, trust_view
    from lmk.kaggle.records import Records
    from lmk.kaggle.trust import draw_png, scatter, trust
    from lmk.util.errors import LmkError

    slug = kaggle_slug(competition) if competition else None
    scored = [record for record in Records(records).all(slug) if record.public is not None and "gap" in record.dev]
    slugs = sorted({record.competition for record in scored})
    if len(slugs) > 1:
        raise LmkError(f"Scores of different competitions do not compare. Name one by -c: {', '.join(slugs)}.")
    if not scored:
        raise LmkError(
            f"{records} holds no submission with both a dev GAP and a public score. Submit a run (`lmk submit RUN`), "
            "then run `lmk submissions --update`."
        )
    dev = [record.dev["gap"] for record in scored]
    public = [record.public for record in scored if record.public is not None]
    found = trust(dev, public)
    if png is not None:
        draw_png(png, dev, public, slugs[0])
        note(f"The plot is in {png}.")
    if as_json:
        pairs = [{"file": record.file, "dev": record.dev, "public": record.public} for record in scored]
        print_json(asdict(found) | {"competition": slugs[0], "scores": pairs})
        return
    console = stdout()
    console.print(trust_view(scored, found, scatter(dev, public), slugs[0], console.width))
    if runs := [record.run for record in scored if record.run]:
        next_steps(f"lmk report {quote(runs[-1])} --open")
