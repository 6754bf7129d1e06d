"""False verifications by what a publisher prints on photos, with and without suppression.

Captions, a logo and a date are printed on photos of no landmark, each on pairs of unrelated photos, the
second one resized; then on pairs of photos of one landmark, which must keep their evidence.

    python -m benchmarks.captions COMPETITION_FOLDER [--kind KIND --weights FOLDER] --json
"""

import dataclasses
import functools
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.evidence import extractor_of
from benchmarks.output import parser, show
from lmk.local.compare import Settings, compare, comparison_settings
from lmk.local.features import Extractor, LocalFeatures
from lmk.local.kinds import LOCAL_FEATURES, ROOTSIFT

STAMPS = {
    "caption": (["Image ID: 2BK8NE8", "www.example.com", "(c) Somebody's Photos"], 0.5, (10, -40)),
    "date": (["14.07.2012 16:32"], 0.8, (-210, -14)),
    "logo": (["EXAMPLE", "stock photos"], 1.1, None),
    "tiles": (["example.com"], 0.7, (0, 0)),
}
"""Lines, size, and place of the first line: pixels from the left or right and from the top or bottom; None: the middle
of the photo, of all lines. Tiles repeat theirs all over the photo, half transparent, as agencies mark what they
sell."""
TILE = (170, 90)
"""Pixels from tile to tile, across and down; every second row is shifted by half."""
VERIFIED = 15
"""Inliers from which on a comparison passes for a landmark here."""


def run(folder: Path, pairs: int, kind: str, extractor: Extractor) -> dict[str, object]:
    """Rows of `stamp` by a kind of local features: how many pairs of unrelated photos have `VERIFIED` inliers, kept and
    suppressed, and the median count of pairs of one landmark, without the stamp, with it kept, and suppressed."""
    photos = {path.stem: path for part in ("train", "distractors") for path in (folder / part).rglob("*.jpg")}
    rng = np.random.default_rng(0)
    shown = [row.split(",") for row in (folder / "train.csv").read_text().split()[1:]]
    unrelated = sorted(path.stem for path in (folder / "distractors").rglob("*.jpg"))
    one = [tuple(name) for name in rng.permuted(np.tile(unrelated, (pairs, 1)), axis=1)[:, :2].tolist()]
    by_landmark = [
        pair
        for _, group in itertools.groupby(sorted(shown, key=lambda row: row[1]), key=lambda row: row[1])
        for pair in itertools.combinations([name for name, _ in group], 2)
    ]
    same = [by_landmark[row] for row in rng.permutation(len(by_landmark))[:pairs]]
    drops = comparison_settings(kind)
    keeps = dataclasses.replace(drops, captions=False)

    @functools.cache
    def features(name: str, stamp: str | None, zoom: float = 1.0) -> LocalFeatures:
        photo = cv2.imread(str(photos[name]), cv2.IMREAD_COLOR_RGB)
        printed = photo if stamp is None else _printed(photo, stamp)
        return extractor([cv2.resize(printed, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)])[0]

    def counts(pairs: Sequence[tuple[str, ...]], stamp: str | None, settings: Settings) -> np.ndarray:
        found = [compare(features(a, stamp), features(b, stamp, 0.8), settings).inliers for a, b in pairs]
        return np.array([len(inliers) for inliers in found])

    plain = counts(same, None, keeps)
    rows = [{"stamp": "none", "false_kept": int((counts(one, None, keeps) >= VERIFIED).sum())}]
    rows[0] |= {"false_suppressed": int((counts(one, None, drops) >= VERIFIED).sum())}
    rows[0] |= {"right_kept": float(np.median(plain)), "right_suppressed": float(np.median(counts(same, None, drops)))}
    for stamp in STAMPS:
        row = {"stamp": stamp}
        for name, settings in (("kept", keeps), ("suppressed", drops)):
            row |= {f"false_{name}": int((counts(one, stamp, settings) >= VERIFIED).sum())}
        for name, settings in (("kept", keeps), ("suppressed", drops)):
            row |= {f"right_{name}": float(np.median(counts(same, stamp, settings)))}
        rows.append(row)
    return {"kind": kind, "pairs": pairs, "verified": VERIFIED, "rows": rows}


def _printed(photo: np.ndarray, stamp: str) -> np.ndarray:
    lines, size, place = STAMPS[stamp]
    height, width = photo.shape[:2]
    if stamp == "tiles":
        return _tiled(photo, lines[0], size)
    photo = photo.copy()
    for line, text in enumerate(lines):
        if place is None:
            wide = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
            x, y = (width - wide) // 2, height // 2
        else:
            x, y = place[0] % width, place[1] % height
        at = (x, y + round(32 * size) * line)
        cv2.putText(photo, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return photo


def _tiled(photo: np.ndarray, text: str, size: float) -> np.ndarray:
    marked = photo.copy()
    across, down = TILE
    for row, y in enumerate(range(down // 2, photo.shape[0] + down, down)):
        for x in range(-(row % 2) * across // 2, photo.shape[1], across):
            cv2.putText(marked, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 2, cv2.LINE_AA)
    return cv2.addWeighted(marked, 0.5, photo, 0.5, 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.captions`."""
    options = parser("captions", __doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--pairs", type=int, default=60)
    by_distance = [kind.name for kind in LOCAL_FEATURES.values() if kind.matching is None]
    options.add_argument("--kind", choices=by_distance, default=ROOTSIFT, help="of local features")
    options.add_argument("--weights", help="of DELF's backbone, or of the kind's network")
    words = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as workspace:
        extractor = extractor_of(words.folder, words.kind, words.weights, Path(workspace), np.array([], str))
        show(run(words.folder, words.pairs, words.kind, extractor), words.json)


if __name__ == "__main__":
    main()
