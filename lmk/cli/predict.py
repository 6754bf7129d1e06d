"""`lmk predict`: which landmark photos show, by what a run trained; or a recipe's answers, as a stage of a run."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmk.cli.app import COMMON, JsonOption, app, print_json
from lmk.cli.complete import photos_or_recipes, run_names
from lmk.cli.output import fail, say, say_text
from lmk.cli.run_commands import on_command_line, run_command
from lmk.cli.stages import run_to

if TYPE_CHECKING:
    from lmk.cli.options import Opened
    from lmk.pipeline.ask import Recognition

OF_PHOTOS = ("recipe", "run", "out", "json", "workspace", "jobs", "context")
"""Parameters that matter where photos are asked about."""
PROBABLE = 0.5
"""Probability of the best landmark below which a photo probably shows none."""
SHOWN = 3
"""Landmarks shown of a photo."""


def _asks_about_photos(**given: Any) -> bool:
    """Answer photos where the arguments are photos; whether that was so."""
    names, context = given["recipe"], given["context"]
    if given["run"] is None and given["out"] is None and not any(map(_looks_like_photo, names)):
        if (folder := Path(names[0])).is_dir():
            from lmk.data.photos import SUFFIXES

            photo = next((path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES), folder / "x.jpg")
            such = f"{shlex.quote(str(photo.parent))}/*{photo.suffix}"
            raise typer.BadParameter(f"{folder} is a folder. Name photos in it, such as {such}.")
        if len(names) != 1:
            raise typer.BadParameter("Name one recipe, or photos (.jpg, .png, .webp).")
        return False
    if named := on_command_line(context, [name for name in given if name not in OF_PHOTOS]):
        raise typer.BadParameter(f"{named} has no effect on photos: they are answered by a run as it was (--run).")
    _answer_photos(names, given["run"], given["out"], given["workspace"], given["jobs"], given["json"])
    return True


@app.command()
@partial(run_command, instead=_asks_about_photos)
def predict(
    opened: Opened,
    context: typer.Context,
    recipe: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...|RECIPE",
            autocompletion=photos_or_recipes,
            help="Photos to recognise; or a recipe, whose stage of a run is computed.",
        ),
    ],
    run: Annotated[
        str | None,
        typer.Option(
            autocompletion=run_names,
            rich_help_panel=COMMON,
            help="With photos: the run that answers. Default: the newest one.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            rich_help_panel=COMMON,
            help="With photos: where pictures of matches go. Default: beside.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say which landmark photos show, by a run's networks, and draw the matches with the closest gallery photo.

    Photos may come from anywhere. Each is answered by itself; its picture, PHOTO-matches.jpg, is written beside it, or
    here where it is a photo of the competition. With a RECIPE in place of photos: predict all dev queries and test
    photos by it, training it first where that is not done; the other options below are for this alone.
    """
    run_to(opened, opened.config.recipes[0].name, json)


def _looks_like_photo(word: str) -> bool:
    from lmk.data.photos import SUFFIXES
    from lmk.models.recipes import RECIPES

    if word in RECIPES or word.endswith(".toml"):
        return False
    return word.lower().endswith(SUFFIXES) or Path(word).expanduser().is_file()


def _answer_photos(names: list[str], run: str | None, out: Path | None, workspace: Path, jobs: int, json: bool) -> None:
    """Answer each photo that can be read, write its picture, and name those that cannot; exit code 1 with one."""
    from shlex import quote

    from lmk.cli.console import next_steps, note, progress
    from lmk.data.images import read_photo
    from lmk.pipeline.ask import recognize
    from lmk.pipeline.config import READ_SIDE, Execution
    from lmk.runs import find_record
    from lmk.util.errors import LmkError
    from lmk.util.workspace import Workspace

    place = Workspace.open(workspace)
    record = find_record(place.runs, run)
    photos, flaws = [], {}
    for name in names:
        path = Path(name).expanduser()
        try:
            read_photo(path, READ_SIDE)
            photos.append(path)
        except LmkError as flaw:
            flaws[name] = str(flaw)
    pictures = pictures_of(photos, out, Path(record.root))
    answers: list[dict[str, object]] = []
    if photos:
        note(f"by run {record.run} ({', '.join(record.recipes)})")
        found = recognize(record, photos, Execution(place, jobs, progress, note))
        for photo, one in zip(photos, found, strict=True):
            answers.append(_answer(photo, one, pictures[photo], json))
    if photos and not json:
        note("Each line: confidence, landmark, and local features that match the closest gallery photo (inliers).")
    if json:
        print_json({"run": record.run, "photos": [*answers, *({"photo": n, "error": why} for n, why in flaws.items())]})
    for reason in flaws.values():
        fail(reason)
    if photos and not json:
        next_steps(f"lmk report {quote(record.run)} --open")
    if flaws:
        raise typer.Exit(1)


def pictures_of(photos: list[Path], out: Path | None, root: Path) -> dict[Path, Path]:
    """Where each photo's picture goes: into `out`, or beside it, but never into the folder of a competition.

    Raises:
        LmkError: It cannot be written there.
    """
    from lmk.util.out_path import check_out

    found: dict[Path, Path] = {}
    for photo in photos:
        inside = root.resolve() in photo.resolve().parents
        folder = out.expanduser() if out is not None else Path() if inside else photo.parent
        path = folder / f"{photo.stem}-matches.jpg"
        number = 2
        while path in found.values():
            path = folder / f"{photo.stem}-matches-{number}.jpg"
            number += 1
        found[photo] = check_out(path)
    return found


def _answer(photo: Path, found: Recognition, picture: Path, json: bool) -> dict[str, object]:
    """Write a photo's picture and print its answer; returns it as JSON values."""
    if not found.candidates:
        if not json:
            say(f"{photo}: no landmark")
        return {"photo": str(photo), "landmark": None, "candidates": []}
    best = found.candidates[0]
    inliers = None
    if best.gallery_photo:
        inliers = found.draw(picture)
    if not json:
        _print(photo, found, picture, inliers)
    return {
        "photo": str(photo),
        "landmark": best.landmark,
        "name": best.name,
        "confidence": best.confidence,
        "is_probability": found.is_probability,
        "picture": str(picture) if inliers is not None else None,
        "candidates": [
            {
                "landmark": one.landmark,
                "name": one.name,
                "confidence": one.confidence,
                "inliers": one.inliers,
                "gallery_photo": one.gallery_photo,
            }
            for one in found.candidates
        ],
    }


def _print(photo: Path, found: Recognition, picture: Path, inliers: int | None) -> None:
    best = found.candidates[0]
    unlikely = found.is_probability and best.confidence < PROBABLE
    say_text(f"{photo}: {'probably none of the landmarks' if unlikely else best.name or best.landmark}", "  ")
    for one in found.candidates[:SHOWN]:
        verified = "" if one.inliers is None else f"  {one.inliers} inliers with {one.gallery_photo or 'no photo'}"
        say(f"  {one.confidence:.3f}  {one.name or one.landmark}{verified}")
    if inliers is not None:
        say(f"  matches with {best.gallery_photo}: {picture}")
