"""Checks of a competition for a run, before anything is computed."""

from collections.abc import Collection

import numpy as np

from lmk.data.competitions import Competition
from lmk.data.findings import CUT, STRAY, UNENDED
from lmk.util.errors import LmkError


def check_before_run(competition: Competition, unreadable: Collection[str], with_dev: bool) -> None:
    """Refuse a competition that a run would fail on at its end.

    Args:
        competition: As it was read.
        unreadable: Ids of photos that cannot be decoded.
        with_dev: Whether stages are fitted on dev queries (an ensemble, fusion), which need photos that are held out.

    Raises:
        LmkError: train.csv was cut, no photo to answer can be read, or fewer than two landmarks have one; with
            `with_dev`: no landmark has two.
    """
    _check_whole(competition)
    bad = np.array(sorted(unreadable), dtype=str)
    tested = competition.test_ids[competition.has_photo(competition.test_ids)]
    if not len(tested):
        raise LmkError(
            f"{competition.root} has no photo of the {len(competition.test_ids):,} ids to answer; the first would be "
            f"{competition.test_ids[0]}.jpg in test/. Fetch them first."
        )
    if np.isin(tested, bad).all():
        raise LmkError(
            f"None of the {len(tested):,} photos to answer in {competition.root} can be read. `lmk data status "
            "--unreadable` lists them with the reasons."
        )
    landmarks, counts = np.unique(competition.train_landmarks[~np.isin(competition.train_ids, bad)], return_counts=True)
    if len(landmarks) < 2:
        raise LmkError(
            f"{competition.root} has readable training photos of {len(landmarks)} landmark(s). It needs two at least: "
            "what is left must be known when one is held out."
        )
    if with_dev and (counts < 2).all():
        raise LmkError(
            f"No landmark of {competition.root} has two readable photos, so no query can be held out and nothing can "
            "be fitted on dev. Run one recipe with --no-ensemble."
        )


def _check_whole(competition: Competition) -> None:
    """Refuse a train.csv that does not end its last line, and shows by its numbers or by its photos that it was cut."""
    found = {finding.kind: finding for finding in competition.findings}
    if UNENDED not in found or not (CUT in found or STRAY in found):
        return
    if CUT in found:
        reason = f"the landmark of {found[UNENDED].items[0]} stands in no other row but begins another's number"
    else:
        reason = f"photos in train/ have no row ({found[STRAY].count:,}; first: {found[STRAY].items[0]})"
    raise LmkError(
        f"{competition.root / 'train.csv'} does not end its last line, and {reason}: it seems to be cut. Fetch it "
        "again; if it is whole, write an end of line behind its last row."
    )
