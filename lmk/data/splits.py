"""Train and dev: who is trained on, who is asked, and what the right answer then is.

Most test photos show no landmark, and the hardest of those show a building that no training
photo shows. So dev asks three kinds of queries: a photo held out of its landmark; a distractor held
out of training; and a photo whose whole landmark is held out, which then shows no *known* landmark.
The last kind exists in every competition, also where nobody ships distractors.
"""

from dataclasses import dataclass

import numpy as np

from lmk.predictions import NO_LANDMARK
from lmk.predictions import UNSEEN as UNSEEN

NEVER = -1
MOST_QUERIES = 100_000
"""Most dev queries, all folds together: the 6.9 million that the largest edition would give answer no question better,
and would take days to verify."""

HELD_OUT_LANDMARKS = 0.01
"""Share of the landmarks that a holdout takes whole: the test photos of these cannot be answered."""
HELD_OUT_PHOTOS = 0.2
"""Share of a landmark's photos that a holdout asks, at most, so that training keeps most of them."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Dev queries: ids (n,) str, the photos that they show (n,) str, and the truth (n,) int64."""

    ids: np.ndarray
    photos: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Split:
    """Which fold holds out which photo, landmark and distractor; rows as in the competition's tables.

    Attributes:
        photo_fold: (n,) int, fold in which a training photo is asked for its landmark.
        unseen_fold: (n,) int, fold in which all photos of its landmark are held out, so that it shows no known one.
        asked_unseen: (n,) bool, whether it is asked in that fold.
        distractor_fold: (d,) int, fold in which a distractor is asked.
        asked_distractor: (d,) bool, whether it is asked in that fold.
        folds: How many parts there are; `NEVER` stands for no fold.
    """

    train_ids: np.ndarray
    train_landmarks: np.ndarray
    distractor_ids: np.ndarray
    photo_fold: np.ndarray
    unseen_fold: np.ndarray
    asked_unseen: np.ndarray
    distractor_fold: np.ndarray
    asked_distractor: np.ndarray
    folds: int

    def training(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (bool) of the training photos and of the distractors that a model of this fold may see."""
        return (self.photo_fold != fold) & (self.unseen_fold != fold), self.distractor_fold != fold

    def queries(self, fold: int) -> Queries:
        """Queries for a model that was trained on `training(fold)`."""
        held_out = self.photo_fold == fold
        unseen = (self.unseen_fold == fold) & self.asked_unseen
        distractors = (self.distractor_fold == fold) & self.asked_distractor
        photos = np.concatenate([self.train_ids[held_out], self.train_ids[unseen], self.distractor_ids[distractors]])
        ids = photos.astype(f"U{photos.dtype.itemsize // 4 + len(UNSEEN)}")
        start = held_out.sum()
        ids[start : start + unseen.sum()] = np.strings.add(self.train_ids[unseen], UNSEEN)
        truth = np.full(len(ids), NO_LANDMARK, dtype=np.int64)
        truth[:start] = self.train_landmarks[held_out]
        return Queries(ids, photos, truth)


def photo_of(query_ids: np.ndarray) -> np.ndarray:
    """(n,) str, the photo that each query shows: its id without the mark of an unseen landmark."""
    return np.strings.partition(np.asarray(query_ids, dtype=str), UNSEEN[0])[0]  # no photo's id holds a `/`


def make_split(
    train_ids: np.ndarray,
    train_landmarks: np.ndarray,
    distractor_ids: np.ndarray,
    folds: int,
    share_without_landmark: float,
    seed: int,
    most: int = MOST_QUERIES,
) -> Split:
    """Split a competition into folds; the same arguments give the same split.

    Args:
        train_ids: (n,) str.
        train_landmarks: (n,) int64.
        distractor_ids: (d,) str, photos of no landmark.
        folds: Parts, at least 3. Each photo is held out in one of them and its landmark in another one.
        share_without_landmark: In (0, 1), of the dev queries; reached by asking fewer of the kind that is in excess.
        seed: Random seed of all random choices.
        most: Dev queries, about: of more a choice is asked, of each kind the same share. Photos that are not asked for
            their landmark stay in training.

    Raises:
        ValueError: `folds` or the share is out of range.

    A landmark with one photo is never held out: without it, its model could not know the landmark.
    """
    if folds < 3 or not 0 < share_without_landmark < 1:
        raise ValueError(f"Need folds >= 3 and a share in (0, 1), not {folds} and {share_without_landmark}.")
    rng = np.random.default_rng(seed)
    _, classes, counts = np.unique(train_landmarks, return_inverse=True, return_counts=True)
    landmark_fold = np.where(counts > 1, _deal_landmarks(counts, folds, rng), NEVER)
    unseen_fold = landmark_fold[classes]
    photo_fold = _deal_photos(classes, unseen_fold, folds, rng)
    distractor_fold = rng.permutation(len(distractor_ids)) % folds
    known, unseen, without = (int((rows != NEVER).sum()) for rows in (photo_fold, unseen_fold, distractor_fold))
    asked_known, asked_unseen, asked_distractors = asked_of_each_kind(
        known, unseen, without, share_without_landmark, most
    )
    photo_fold[~_choose(photo_fold != NEVER, asked_known, rng)] = NEVER
    return Split(
        train_ids=train_ids,
        train_landmarks=train_landmarks,
        distractor_ids=distractor_ids,
        photo_fold=photo_fold,
        unseen_fold=unseen_fold,
        asked_unseen=_choose(unseen_fold != NEVER, asked_unseen, rng),
        distractor_fold=distractor_fold,
        asked_distractor=_choose(distractor_fold != NEVER, asked_distractors, rng),
        folds=folds,
    )


def make_holdout(
    train_ids: np.ndarray,
    train_landmarks: np.ndarray,
    distractor_ids: np.ndarray,
    queries: int,
    share_without_landmark: float,
    seed: int,
) -> Split:
    """Hold out one part of a competition, fold 0; the same arguments give the same split.

    One network, trained without that part, answers dev and the test photos, so few landmarks are held out as a whole:
    the network cannot name them. They are drawn from the half with the fewest photos, which loses least.

    Args:
        train_ids, train_landmarks, distractor_ids: As for `make_split`.
        queries: Dev queries, about; fewer where the photos do not suffice.
        share_without_landmark: Share of the queries that show no known landmark, in (0, 1).
        seed: Seed of all random choices.

    Raises:
        ValueError: The share is out of range.
    """
    if not 0 < share_without_landmark < 1:
        raise ValueError(f"Need a share in (0, 1), not {share_without_landmark}.")
    rng = np.random.default_rng(seed)
    _, classes, counts = np.unique(train_landmarks, return_inverse=True, return_counts=True)
    without = round(queries * share_without_landmark)
    distractors = min(len(distractor_ids) // 2, without)
    unseen = _landmarks_to_hold_out(counts, without - distractors, rng)[classes]
    asked_unseen = _choose(unseen, without - distractors, rng)
    without = distractors + int(asked_unseen.sum())
    known = round(without * (1 - share_without_landmark) / share_without_landmark)
    held_out = _choose(_spare_photos(classes, counts, rng) & ~unseen, known, rng)
    asked_distractor = _choose(np.ones(len(distractor_ids), dtype=bool), distractors, rng)
    return Split(
        train_ids=train_ids,
        train_landmarks=train_landmarks,
        distractor_ids=distractor_ids,
        photo_fold=np.where(held_out, 0, NEVER),
        unseen_fold=np.where(unseen, 0, NEVER),
        asked_unseen=asked_unseen,
        distractor_fold=np.where(asked_distractor, 0, NEVER),
        asked_distractor=asked_distractor,
        folds=1,
    )


def _landmarks_to_hold_out(counts: np.ndarray, photos: int, rng: np.random.Generator) -> np.ndarray:
    """(c,) bool: landmarks with about so many photos in all, at most `HELD_OUT_LANDMARKS` of them, one at least."""
    order = np.argsort(counts, kind="stable")[: max(1, len(counts) // 2)]
    order = rng.permutation(order)[: max(1, round(HELD_OUT_LANDMARKS * len(counts)))]
    enough = int(np.searchsorted(np.cumsum(counts[order]), photos)) + 1
    chosen = np.zeros(len(counts), dtype=bool)
    chosen[order[:enough]] = True
    return chosen


def _spare_photos(classes: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool: of each landmark at most `HELD_OUT_PHOTOS` of its photos, none of a landmark with one photo."""
    order = np.lexsort((rng.random(len(classes)), classes))
    starts = np.cumsum(counts) - counts
    within = np.empty(len(classes), dtype=int)
    within[order] = np.arange(len(classes)) - starts[classes[order]]
    return within < np.ceil(HELD_OUT_PHOTOS * (counts - 1))[classes]


def asked_of_each_kind(
    known: int, unseen: int, distractors: int, share_without_landmark: float, most: int
) -> tuple[int, int, int]:
    """How many of the photos that could be asked are asked: of known landmarks, of unseen ones, and distractors.

    The share without a landmark is reached by asking fewer of the kind in excess, distractors before unseen landmarks;
    of more than `most` all kinds are asked in the same share.
    """
    wanted_without = round(known * share_without_landmark / (1 - share_without_landmark))
    asked_distractors = min(distractors, wanted_without)
    asked_unseen = min(unseen, wanted_without - asked_distractors)
    asked_known = min(
        known, round((asked_distractors + asked_unseen) * (1 - share_without_landmark) / share_without_landmark)
    )
    part = min(1.0, most / max(1, asked_known + asked_unseen + asked_distractors))
    return round(part * asked_known), round(part * asked_unseen), round(part * asked_distractors)


def choose_galleries(ids: np.ndarray, landmarks: np.ndarray, most: int, seed: int) -> dict[int, list[str]]:
    """Photos that stand for each landmark when a query is compared with it.

    Args:
        ids: (n,) str, training photos.
        landmarks: (n,) int64, what they show.
        most: Photos of a landmark, at the most; which, the seed chooses.
        seed: Random seed of that choice.

    Returns:
        A landmark to its photos' ids, ascending.
    """
    order = np.random.default_rng(seed).permutation(len(ids))
    order = order[np.argsort(landmarks[order], kind="stable")]
    known, starts = np.unique(landmarks[order], return_index=True)
    ends = np.append(starts[1:], len(ids))
    return {
        landmark: sorted(ids[order[start : min(end, start + most)]].tolist())
        for landmark, start, end in zip(known.tolist(), starts.tolist(), ends.tolist(), strict=True)
    }


def _deal_landmarks(counts: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """(c,) int: a fold for each landmark; large ones are dealt first, forth and back, so that folds weigh alike."""
    order = np.lexsort((rng.permutation(len(counts)), -counts))
    turn = np.arange(len(counts)) % (2 * folds)
    fold = np.empty(len(counts), dtype=int)
    fold[order] = np.where(turn < folds, turn, 2 * folds - 1 - turn)
    return fold


def _deal_photos(classes: np.ndarray, unseen_fold: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) int: the photos of each landmark in turn over the folds other than the landmark's own."""
    order = np.lexsort((rng.permutation(len(classes)), classes))
    starts = np.searchsorted(classes[order], np.arange(classes.max(initial=-1) + 1))
    within = np.empty(len(classes), dtype=int)
    within[order] = np.arange(len(classes)) - starts[classes[order]]
    first = rng.integers(0, folds - 1, len(starts))  # else small landmarks would crowd the first folds
    step = (within + first[classes]) % (folds - 1)
    return np.where(unseen_fold == NEVER, NEVER, (unseen_fold + 1 + step) % folds)


def _choose(candidates: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool: `count` of the candidates, at random."""
    chosen = np.zeros(len(candidates), dtype=bool)
    chosen[rng.permutation(np.flatnonzero(candidates))[:count]] = True
    return chosen
