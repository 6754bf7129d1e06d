"""`lmk data new`: a competition of one's own photos."""

from pathlib import Path
from typing import Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, JsonOption, SeedOption, WorkspaceOption, data, print_json
from lmk.cli.output import say_text


@data.command()
def new(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that holds a folder for each landmark.")],
    name: Annotated[str | None, typer.Option(help="Name of the competition. Default: the folder's.")] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0.01,
            max=0.5,
            help="Share of the photos held out as test photos, with a solution. Default: 0.1 where the folder has no "
            "`test` folder of photos to answer.",
        ),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the photos in place of linking them.")] = False,
    seed: SeedOption = 0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make a competition of a folder of photos: each folder in it is a landmark, called as the folder is.

    Photos that lie in FOLDER itself, or in a folder `none`, `distractors` or `no landmark`, show no landmark. Photos in
    a folder `test` are to be answered. Where there is none, a tenth of the photos is held out, so that
    `lmk evaluate` can say how many are right. Run it again when photos came or went: landmarks keep their numbers.
    """
    from shlex import quote

    from lmk.cli.console import next_steps, note, progress
    from lmk.data.competitions import DEMO, SLUGS
    from lmk.data.own import make_competition
    from lmk.util.errors import LmkError
    from lmk.util.workspace import Workspace

    source = folder.expanduser()
    called = name or source.resolve().name
    if not called or called in (DEMO, *SLUGS) or "/" in called or called.startswith("."):
        raise LmkError(f"A competition of your own cannot be called '{called}'. Give another name by --name.")
    place = Workspace.open(workspace)
    made = make_competition(source, place.competitions / called, hold_out, copy, seed, (place.root,), progress)
    if as_json:
        counts = {"landmarks": made.landmarks, "train": made.train, "distractors": made.distractors, "test": made.test}
        print_json({"competition": called, "folder": str(made.folder), **counts, "held_out": made.held_out})
        return
    say_text(
        f"{called}: {made.landmarks:,} landmarks, {made.train:,} training photos, {made.distractors:,} distractors, "
        f"{made.test:,} test photos{' (held out, with a solution)' if made.held_out else ''}  {made.folder}"
    )
    if made.others:
        note(f"Left out, no .jpg, .png or .webp: {made.others:,} file{'s' if made.others != 1 else ''}.")
    next_steps(f"lmk make-submission -c {quote(called)}", f"lmk data status -c {quote(called)}")
