"""How few inliers a robust fit needs: ours by single matches, OpenCV's MAGSAC++ and its plain RANSAC.

Each trial draws an affinity as it lies between two photos of one building, true matches that it moves with noise of 2
pixels, scales and angles of features with the noise that SIFT's have, and wrong matches all over the photos. A fit is
right if it takes most true matches to within the residual of where they belong, and takes few wrong ones along.

    python -m benchmarks.inliers --json
"""

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.output import parser, show
from lmk.local.ransac import Method, Model, fit
from lmk.local.spatial import Points

SIDE, NOISE, RESIDUAL = 640, 2.0, 15.0
OCTAVES, TURNS = 0.25, np.deg2rad(8)
"""Deviations of a feature's change of scale, and of its turn."""
WAYS: tuple[tuple[Method, Model], ...] = (
    ("spatial", "affine"),
    ("magsac", "affine"),
    ("ransac", "affine"),
    ("magsac", "homography"),
    ("ransac", "homography"),
)


def run(trials: int, matches: int, shares: Sequence[float]) -> dict[str, object]:
    """Rows of `method`, `model`, and for each share of inliers the share of right fits, and milliseconds."""
    rows = []
    for method, model in WAYS:
        row: dict[str, object] = {"method": method, "model": model}
        start = time.process_time()
        for share in shares:
            row[f"{share:.0%}"] = float(np.mean([_right(method, model, matches, share, t) for t in range(trials)]))
        row["milliseconds"] = 1000 * (time.process_time() - start) / (trials * len(shares))
        rows.append(row)
    return {"trials": trials, "matches": matches, "rows": rows}


def _right(method: Method, model: Model, matches: int, share: float, seed: int) -> bool:
    query, index, true = _drawn(matches, share, np.random.default_rng([seed, round(1000 * share)]))
    found = fit(query, index, RESIDUAL, model, method, np.deg2rad(45), trials=1000, seed=seed).inliers
    return bool(found[true].mean() >= 0.8 and found[~true].sum() <= max(3, 0.1 * true.sum()))


def _drawn(matches: int, share: float, rng: np.random.Generator) -> tuple[Points, Points, np.ndarray]:
    """Both ends of matches, in random order of trust, and which are true."""
    true = rng.permutation(matches) < round(share * matches)
    start, end = rng.uniform(0, SIDE, (2, matches, 2))
    turn, zoom = rng.normal(0, np.deg2rad(6)), 2 ** rng.normal(0, 0.4)
    rotation = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = rotation @ (np.eye(2) + rng.normal(0, 0.08, (2, 2)))
    moved = (start - SIDE / 2) @ matrix.T + SIDE / 2 + rng.normal(0, 40, 2)
    end[true] = (moved + rng.normal(0, NOISE, (matches, 2)))[true]
    scales, angles = 2 ** rng.uniform(1, 5, matches), rng.uniform(-np.pi, np.pi, matches)
    other_scales, other_angles = 2 ** rng.uniform(1, 5, matches), rng.uniform(-np.pi, np.pi, matches)
    agreeing = scales * zoom * 2 ** rng.normal(0, OCTAVES, matches), angles + turn + rng.normal(0, TURNS, matches)
    other_scales[true], other_angles[true] = (values[true] for values in agreeing)
    return Points(start, scales, angles), Points(end, other_scales, other_angles), true


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.inliers`."""
    options = parser("inliers", __doc__)
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--matches", type=int, default=100)
    options.add_argument("--share", type=float, action="append", help="of inliers; repeat it")
    words = options.parse_args(arguments)
    show(run(words.trials, words.matches, words.share or [0.5, 0.3, 0.2, 0.1, 0.05]), words.json)


if __name__ == "__main__":
    main()
