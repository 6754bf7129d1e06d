"""`lmk data status`: what a competition's files hold, and what is odd about them."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import (
    DEFAULT_COMPETITION,
    DEFAULT_WORKSPACE,
    CompetitionOption,
    JsonOption,
    WorkspaceOption,
    data,
    print_json,
)
from lmk.cli.output import say

if TYPE_CHECKING:
    from lmk.data.competitions import Competition
    from lmk.data.findings import Finding

UNREADABLE = "unreadable-photos"


@data.command()
def status(
    context: typer.Context,
    competition: CompetitionOption = DEFAULT_COMPETITION,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    unreadable: Annotated[bool, typer.Option("--unreadable", help="Decode every photo; list those that fail.")] = False,
    listed: Annotated[
        str | None, typer.Option("--list", metavar="KIND", help="Print all that one finding counted, one a line.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count a competition's photos and landmarks, and list what is missing, doubled, left over or unreadable.

    Without --competition: of the one that came last into the workspace; of the demo where there is none.
    """
    from shlex import quote

    from lmk.cli.console import next_steps, note, progress
    from lmk.data.competitions import competitions_here
    from lmk.pipeline.dataset import open_competition
    from lmk.util.errors import LmkError
    from lmk.util.workspace import Workspace

    folder = Workspace(workspace).competitions
    if str(context.get_parameter_source("competition")).endswith(".DEFAULT") and (here := competitions_here(folder)):
        competition = here[0]
        if len(here) > 1:
            note(f"{competition} came last; {folder} also holds {', '.join(here[1:])}, to be named by -c.")
    opened = open_competition(competition, folder, progress)
    findings = list(opened.findings)
    if unreadable:
        findings += _unreadable(opened)
    if listed is not None:
        found = next((finding for finding in findings if finding.kind == listed), None)
        if found is None:
            kinds = ", ".join(finding.kind for finding in findings) or "none"
            raise LmkError(f"{opened.root} has no finding `{listed}`. It has: {kinds}.")
        findings = [found]
    if as_json:
        print_json(_facts(opened, findings))
    elif listed is not None:
        for item in findings[0].items.tolist():
            say(item)
    else:
        for line in _table(opened, findings):
            say(line)
        if unreadable and all(finding.kind != UNREADABLE for finding in findings):
            say(f"All {sum(len(files) for files in opened.files):,} photos can be read.")
        named = f"-c {quote(competition)}"
        check = [] if unreadable else [f"lmk data status {named} --unreadable  (decodes every photo)"]
        next_steps(f"lmk make-submission {named} --dry-run", *check)


def _unreadable(competition: Competition) -> list[Finding]:
    """One finding of the photos that cannot be decoded, or none."""
    import os

    import numpy as np

    from lmk.cli.console import progress
    from lmk.data.findings import Finding
    from lmk.data.photos import find_unreadable

    total = sum(len(files) for files in competition.files)
    photos = (path for files in competition.files for path in files.paths())
    flaws = find_unreadable(photos, total, os.cpu_count() or 1, progress)
    items = np.array([f"{flaw.path.relative_to(competition.root)}: {flaw.reason}" for flaw in flaws], dtype=str)
    remedy = "They are left out of training, and answered last in test; fetch them again."
    return [Finding(UNREADABLE, "photos that cannot be read", items, remedy)] if flaws else []


def _facts(competition: Competition, findings: list[Finding]) -> dict[str, object]:
    """The table as JSON values, with every item of every finding."""
    each = _photos_per_landmark(competition)
    return {
        "competition": competition.name,
        "folder": str(competition.root),
        "digest": competition.digest,
        "train_photos": len(competition.train_ids),
        "landmarks": len(each),
        "photos_per_landmark": {"min": each[0], "median": median(each), "max": each[-1]},
        "distractors": len(competition.distractor_ids),
        "test_ids": len(competition.test_ids),
        "test_photos": int(competition.has_photo(competition.test_ids).sum()),
        "solution": None if competition.solution_path is None else str(competition.solution_path),
        "findings": [
            {
                "kind": finding.kind,
                "what": finding.what,
                "count": finding.count,
                "items": finding.items.tolist(),
                "remedy": finding.remedy,
            }
            for finding in findings
        ],
    }


def _table(competition: Competition, findings: list[Finding]) -> list[str]:
    """Lines of the facts, for a person."""
    each = _photos_per_landmark(competition)
    answerable = competition.has_photo(competition.test_ids).sum()
    lines = [
        f"{competition.name}  {competition.root}",
        f"  train photos {len(competition.train_ids):>10,}",
        f"  landmarks    {len(each):>10,}  photos of each: {each[0]:,} to {each[-1]:,}, median {median(each):,.4g}",
        f"  distractors  {len(competition.distractor_ids):>10,}  photos of no landmark to train on",
        f"  test photos  {answerable:>10,}  of {len(competition.test_ids):,} ids to answer",
        f"  solution     {'none' if competition.solution_path is None else competition.solution_path.name:>10}",
    ]
    if not findings:
        lines.append("Nothing is missing, doubled or left over.")
    for finding in findings:
        more = finding.count > len(finding.examples)
        lines.append(f"{finding.what}: {finding.count:,}")
        lines.append(f"  {', '.join(finding.examples)}{f', ... (all: --list {finding.kind})' if more else ''}")
        lines.append(f"  {finding.remedy}")
    return lines


def _photos_per_landmark(competition: Competition) -> list[int]:
    """How many photos each landmark has, ascending."""
    import numpy as np

    return sorted(np.unique(competition.train_landmarks, return_counts=True)[1].tolist())
