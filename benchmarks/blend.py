"""How fast blend weights are found on GAP, against the peers' way in the same run.

Synthetic lists of 117,703 queries, three labels each, 30 % of the queries showing a landmark. Lists differ in what
they are worth, and share mistakes in families. The peers' way is hill climbing as public notebooks do it: from
the best list, each step tries every list at every share of a grid, with a full GAP in numpy a trial, and keeps the
best until nothing helps. Its table of all labels is given to it ready, and it is timed on its first steps; that our
trial makes the same choices is checked on these, and carries it to its end for its GAP and its number of steps.

    python -m benchmarks.blend --json
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.output import parser, show
from lmk.ensemble.candidates import Candidates, gather
from lmk.ensemble.climb import Found, coordinate, hill_climb
from lmk.metrics import gap
from lmk.predictions import NO_LANDMARK, Predictions, best_of

QUERIES, LISTS, LABELS, LANDMARKS = 117_703, 20, 3, 14_951
SHARE_SHOWN, RIVALS, FAMILIES = 0.3, 6, 4


@dataclass(frozen=True, eq=False)
class Climbed:
    """Where the peers' way stands after some steps: weights (s,), GAP, and seconds a step."""

    weights: np.ndarray
    gap: float
    seconds: float
    steps: int


def synthetic_lists(queries: int, count: int, seed: int) -> tuple[list[Predictions], np.ndarray]:
    """Lists of three labels a query, and the truth (n,).

    A query has six rival labels that look right to everybody; lists of a family see queries alike.
    """
    rng = np.random.default_rng(seed)
    shown = rng.random(queries) < SHARE_SHOWN
    own, stride = rng.integers(0, LANDMARKS, queries), rng.integers(1, LANDMARKS // (RIVALS + 1), queries)
    truth = np.where(shown, own, NO_LANDMARK)
    rivals = (own[:, None] + stride[:, None] * np.arange(1, RIVALS + 1)) % LANDMARKS  # no label twice
    labels = np.column_stack([rivals, own])
    difficulty, lure = rng.normal(0, 1, queries), rng.normal(0, 1, (queries, RIVALS))
    families = rng.normal(0, 1, (FAMILIES, queries))
    ids = np.char.mod("%016x", np.arange(queries))
    lists = []
    for number in range(count):
        right = rng.uniform(1, 2) - difficulty + 0.8 * families[number % FAMILIES]
        right = np.where(shown, right + rng.normal(0, 0.8, queries), -np.inf)
        logits = np.column_stack([lure + rng.normal(0, 1.2, lure.shape), right]) * rng.uniform(0.8, 1.3)
        scores = np.exp(logits)
        scores /= scores.sum(axis=1, keepdims=True) + rng.uniform(1, 3)
        top = np.argsort(-scores, axis=1)[:, :LABELS]
        lists.append(best_of(ids, np.take_along_axis(labels, top, 1), np.take_along_axis(scores, top, 1), LABELS))
    return lists, truth


def peers_way(
    dense: np.ndarray, landmarks: np.ndarray, truth: np.ndarray, shares: np.ndarray, steps: int | None
) -> Climbed:
    """Hill climbing with a full GAP each trial; dense (s, n, m) are each list's scores of the candidates (n, m).

    steps: The most; None until nothing helps.
    """
    rows, num_landmarks = np.arange(len(truth)), int((truth != NO_LANDMARK).sum())

    def full_gap(total: np.ndarray) -> float:
        best = total.argmax(axis=1)
        correct = (landmarks[rows, best] == truth)[np.argsort(-total[rows, best])]
        precision = np.cumsum(correct) / np.arange(1, len(correct) + 1)
        return float((precision * correct).sum() / num_landmarks)

    alone = [full_gap(scores) for scores in dense]
    weights = np.zeros(len(dense))
    weights[int(np.argmax(alone))] = 1.0
    current, best_gap, done = dense[int(np.argmax(alone))], max(alone), 0
    start = time.perf_counter()
    while steps is None or done < steps:
        best = (best_gap, 0, 0.0)
        for source, scores in enumerate(dense):
            for share in shares:
                best = max(best, (full_gap((1 - share) * current + share * scores), source, share))
        done += 1
        if best[0] <= best_gap:
            break
        best_gap, source, share = best
        current = (1 - share) * current + share * dense[source]
        weights *= 1 - share
        weights[source] += share
    return Climbed(weights, best_gap, (time.perf_counter() - start) / max(1, done), done)


def run(
    queries: int = QUERIES, lists: int = LISTS, grid: float = 0.01, steps: int | None = 1, seed: int = 0
) -> dict[str, object]:
    """Both ways on the same lists.

    Args:
        queries, lists: How many.
        grid: Between the shares that the peers' way tries.
        steps: Of the peers' way that are timed; None for all.
        seed: Of the lists.

    Returns:
        gap, seconds: By coordinate search, from the lists to weights.
        peer_gap: Of the peers' way at its end; peer_seconds: its seconds a step times its steps.
        peer_steps, peer_steps_timed: How many it takes, and how many were timed.
        ratio: peer_seconds / seconds.
        search_seconds, gather_seconds: Parts of `seconds`.
    """
    sources, truth = synthetic_lists(queries, lists, seed)
    start = time.perf_counter()
    found = gather(sources, [_as_it_is] * lists)
    gathered = time.perf_counter()
    ours = coordinate(found, truth)
    end = time.perf_counter()

    shares = np.round(np.arange(grid, 1 - grid / 2, grid), 10)
    dense = np.stack([found.sums(row) for row in np.eye(lists)])
    peers = peers_way(dense, found.landmarks, truth, shares, steps)
    finished, taken = _to_the_end(found, truth, shares, peers, steps)
    return {
        "ratio": taken * peers.seconds / (end - start),
        "gap": _gap(found, truth, ours.weights),
        "peer_gap": _gap(found, truth, finished.weights),
        "seconds": end - start,
        "peer_seconds": taken * peers.seconds,
        "gather_seconds": gathered - start,
        "search_seconds": end - gathered,
        "peer_steps": taken,
        "peer_steps_timed": peers.steps,
        "peer_grid": grid,
        "best_list_gap": max(_gap(found, truth, row) for row in np.eye(lists)),
        "queries": queries,
        "lists": lists,
    }


def _to_the_end(
    found: Candidates, truth: np.ndarray, shares: np.ndarray, peers: Climbed, steps: int | None
) -> tuple[Found, int]:
    """What the peers' way finds when it goes on until nothing helps, and after how many steps.

    Raises:
        RuntimeError: On the timed steps our trial chose otherwise.
    """
    if steps is None:
        return Found(peers.weights, peers.gap, peers.steps), peers.steps
    same = hill_climb(found, truth, shares, peers.steps)
    if abs(same.gap - peers.gap) > 1e-5 or np.abs(same.weights - peers.weights).max() > 1e-6:
        raise RuntimeError(f"The peers' way reached {peers.gap:.6f}, its fast twin {same.gap:.6f}.")
    whole = hill_climb(found, truth, shares)
    return whole, whole.steps


def _gap(found: Candidates, truth: np.ndarray, weights: np.ndarray) -> float:
    blended = found.best(weights, 1)
    return gap(blended.ids, truth, blended.best, blended.confidence)


def _as_it_is(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isneginf(scores), 0.0, scores)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.blend`."""
    options = parser("blend", __doc__)
    options.add_argument("--queries", type=int, default=QUERIES)
    options.add_argument("--lists", type=int, default=LISTS)
    options.add_argument("--grid", type=float, default=0.01, help="between the shares that the peers' way tries")
    options.add_argument("--steps", type=int, default=1, help="of the peers' way that are timed")
    options.add_argument("--full", action="store_true", help="run the peers' way to its end; minutes")
    options.add_argument("--seed", type=int, default=0)
    words = options.parse_args(arguments)
    steps = None if words.full else max(1, words.steps)
    show(run(words.queries, words.lists, words.grid, steps, words.seed), words.json)


if __name__ == "__main__":
    main()
