"""The ideas that the ablation measures, in groups; each makes an `Answer` of a `Trial`.

A group's first idea is what its others are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lmk.ensemble.blend import fit_blend, fit_rule
from lmk.ensemble.blend_rules import BLENDS
from lmk.ensemble.fuse import proposal_features, source_features
from lmk.evaluation import gap_of
from lmk.models.recipe import Recipe, Stage
from lmk.pipeline.described import Described, nearest_landmarks, ridge_landmarks
from lmk.predictions import Predictions
from lmk.retrieval.neighbours import Options, with_logits
from lmk.retrieval.scores import ABC, PRODUCT
from research.adapted import neighbours_of_neighbours, whitened
from research.lab import TOP, Answer, Lab, Trial
from research.stack import Stack
from research.suppress import fit_suppression

PLAIN, SECOND = "mobilenetv2-gem", "mobilenet-gem"
DEFAULTS = ("mobilenet-gem", "efficientnetlite0-gem")
"""What a run trains where `lmk[weights]` is installed."""
VIEW_SIDE, TUNED_SIDE = 224, 160
LAST_BLOCKS = 116
"""First layer of MobileNetV2's block 13; three more blocks and the last convolution follow."""
EXPONENTS = (0.25, 0.5, 1.0, 2.0, 4.0)

Idea = Callable[[Trial], Answer]

SOFTMAX: dict[str, object] = {"head": "softmax", "loss": "softmax", "descriptor": None}
SIGMOID: dict[str, object] = {"head": "sigmoid", "loss": "bce", "background": "zero"}
ARCFACE: dict[str, object] = {"head": "cosine", "loss": "arcface", "descriptor": 256}


def plain(lab: Lab, name: str) -> Recipe:
    """A network with the head that all ideas are measured with: a softmax."""
    return replace(lab.recipe(name), **SOFTMAX)


def losses(lab: Lab) -> dict[str, Idea]:
    """Heads on one frozen backbone: the loss, the head, and the target of photos of no landmark."""
    changes: dict[str, dict[str, object]] = {
        "softmax, background class (plain)": {},
        "softmax, distractors to equal targets": {"background": "uniform"},
        "softmax, no distractors": {"background": "zero", "distractors": False},
        "sigmoid BCE, background class": SIGMOID | {"background": "class"},
        "sigmoid BCE, distractors all zero": SIGMOID,
        "sigmoid BCE, no distractors": SIGMOID | {"distractors": False},
        "softmax, descriptor layer 256": {"descriptor": 256},
        "ArcFace 0.3, descriptor 256 (default)": ARCFACE,
        "ArcFace 0.3, no distractors": ARCFACE | {"background": "zero", "distractors": False},
        "CosFace 0.3, descriptor 256": ARCFACE | {"loss": "cosface"},
        "sub-centre ArcFace, dynamic margins": ARCFACE | {"head": "subcentre", "loss": "arcface-dynamic"},
        "label smoothing 0.1": {"label_smoothing": 0.1},
        "weights by class size": {"weigh_classes": True},
    }
    return _heads(lab, changes)


def ranks(lab: Lab) -> dict[str, Idea]:
    """The rank-weighted loss of the 19th place of 2018 against plain BCE, with sigmoids and with its softmax."""
    softmax: dict[str, object] = {"background": "zero"}
    return _heads(
        lab,
        {
            "sigmoid, BCE (plain)": SIGMOID,
            "sigmoid, rank-weighted BCE as meant": SIGMOID | {"loss": "rank-bce"},
            "sigmoid, rank-weighted BCE as published": SIGMOID | {"loss": "rank-bce-published"},
            "softmax, BCE": softmax | {"loss": "bce"},
            "softmax, rank-weighted BCE as meant": softmax | {"loss": "rank-bce"},
            "softmax, rank-weighted BCE as published": softmax | {"loss": "rank-bce-published"},
        },
    )


def _heads(lab: Lab, changes: dict[str, dict[str, object]]) -> dict[str, Idea]:
    first = plain(lab, PLAIN)
    return {name: _head_of(lab, replace(first, **change)) for name, change in changes.items()}


def _head_of(lab: Lab, recipe: Recipe) -> Idea:
    return lambda trial: lab.answer(trial, recipe)


def views(lab: Lab) -> dict[str, Idea]:
    """Views of the photos at one size, for training and prediction, and what makes one answer of them."""
    first = plain(lab, PLAIN)
    sized = replace(first, image_size=VIEW_SIDE)
    ways = {"mean of scores": "mean", "seeds' vote": "vote", "mean of descriptors": "descriptors"}
    kinds = {"12 crops": (12, False), "22 crops": (22, False), "12 dense": (12, True), "22 dense": (22, True)}
    found = {f"1 view, {VIEW_SIDE} px (plain)": _head_of(lab, replace(sized, views=1, dense=False))}
    for kind, (count, dense) in kinds.items():
        for way, vote in ways.items():
            recipe = replace(sized, views=count, dense=dense, vote=vote)
            found[f"{kind}, {VIEW_SIDE} px, {way}"] = _head_of(lab, recipe)
    finer = replace(first, views=22)
    found[f"12 dense, {first.image_size} px, mean of scores (default views)"] = _head_of(lab, first)
    found[f"22 dense, {first.image_size} px, mean of scores"] = _head_of(lab, finer)
    for kind, (count, dense) in {"1 view": (1, False), **kinds}.items():
        recipe = replace(sized, views=count, dense=dense)
        found[f"neighbours, {kind}, {VIEW_SIDE} px"] = _neighbours(lab, (recipe,))
    found[f"neighbours, 12 dense, {first.image_size} px (default)"] = _neighbours(lab, (first,))
    found[f"neighbours, 22 dense, {first.image_size} px"] = _neighbours(lab, (finer,))
    return found


def _neighbours(lab: Lab, recipes: tuple[Recipe, ...], **options) -> Idea:
    return lambda trial: lab.retrieval(trial, recipes, Options(**options))[0]


def _published(lab: Lab, recipes: tuple[Recipe, ...], name: str) -> Idea:
    return lambda trial: lab.published(trial, recipes, name)


def tuning(lab: Lab) -> dict[str, Idea]:
    """A backbone that learns in small batches, after the head has learned on its frozen features; 12 crops."""
    softmax = replace(plain(lab, PLAIN), name="crops", image_size=TUNED_SIDE, dense=False)
    arcface = replace(softmax, **ARCFACE)
    every = Stage(epochs=4, learning_rate=5e-5, train_from=0, batch_size=16, warmup=1)
    last = replace(every, train_from=LAST_BLOCKS)
    slow = (
        replace(every, epochs=2, image_size=128, depth_decay=0.5),
        replace(every, depth_decay=0.5, ema=0.97, warmup=0),
    )

    def tuned(recipe: Recipe, *stages: Stage) -> Idea:
        return _head_of(lab, replace(recipe, stages=(*recipe.stages, *stages)))

    return {
        "frozen, ArcFace head (plain)": _head_of(lab, arcface),
        "frozen, softmax head": _head_of(lab, softmax),
        "last four blocks, ArcFace": tuned(arcface, last),
        "all layers, ArcFace": tuned(arcface, every),
        "all layers, slower near the photo, 128 then 160 px, averaged": tuned(arcface, *slow),
        "all layers, softmax": tuned(softmax, every),
    }


def retrieval(lab: Lab) -> dict[str, Idea]:
    """kNN by the descriptors of both networks."""
    both = (plain(lab, PLAIN), plain(lab, SECOND))
    cosines = tuple(replace(recipe, **ARCFACE) for recipe in both)
    return {
        "both networks (default)": _neighbours(lab, both),
        "one network": _neighbours(lab, both[:1]),
        "the other network": _neighbours(lab, both[1:]),
        "second network half weight": _neighbours(lab, both, weights=(1.0, 0.5)),
        "no whitening": _neighbours(lab, both, power=0.0),
        "whitening, little shrinkage": _neighbours(lab, both, shrinkage=1.0),
        "whitening, power 0.5": _neighbours(lab, both, power=0.5),
        "class-wise maximum": _neighbours(lab, both, score="max"),
        "sum of 10th powers": _neighbours(lab, both, score="powers"),
        "database-side augmentation, 2": _neighbours(lab, both, augment=2),
        "alpha query expansion, 2": _neighbours(lab, both, expand=2),
        "gallery's likeness to distractors off, 0.25": _neighbours(lab, both, index_bias=0.25),
        "A - B - C as published": _published(lab, both, ABC),
        "cosine^9 * logit^10 as published, softmax heads": _published(lab, both, PRODUCT),
        "cosine^9 * logit^10 as published, ArcFace heads": _published(lab, cosines, PRODUCT),
    }


def answers(lab: Lab) -> dict[str, Idea]:
    """Head, neighbours, or both."""
    one = (plain(lab, PLAIN),)

    def head(trial: Trial) -> Answer:
        return lab.answer(trial, one[0])

    def product(trial: Trial) -> Answer:
        parts = [lab.retrieval(trial, one, Options(score="powers"))[0], head(trial)]
        sums, heads = (part.dev for part in parts)

        def apply(exponent, rows):
            return with_logits(sums.take(rows), heads.take(rows), exponent, 10)

        def fit(rows):
            return max(EXPONENTS, key=lambda exponent: gap_of(apply(exponent, rows), trial.truth[rows]))

        return trial.cross_fitted(parts, fit, apply)

    def both(trial: Trial) -> Answer:
        return blended(trial, [head(trial), lab.retrieval(trial, one, Options())[0]], fit_blend)

    return {
        "head (plain)": head,
        "neighbours": _neighbours(lab, one),
        "head and neighbours, blended": both,
        "sum cos^10 * p^b, b from dev": product,
    }


def blended(trial: Trial, parts: Sequence[Answer], fit: Callable) -> Answer:
    """A blend of the parts, cross-fitted; fit: sources, truth, seed to a blend."""
    lists = [part.dev for part in parts]
    return trial.cross_fitted(
        parts,
        lambda rows: fit([part.take(rows) for part in lists], trial.truth[rows], 0),
        lambda blend, rows: blend([part.take(rows) for part in lists], 10),
    )


def parts_of(lab: Lab, trial: Trial, alone: bool = False, kinds: Sequence[dict[str, object]] = ({},)) -> list[Answer]:
    """What the ensemble blends: both heads and neighbours by both networks.

    alone: And neighbours by each network. kinds: Changes of the heads' recipes; a head of each kind.
    """
    recipes = (plain(lab, PLAIN), plain(lab, SECOND))
    groups = [recipes, recipes[:1], recipes[1:]] if alone else [recipes]
    heads = [lab.answer(trial, replace(recipe, **change)) for change in kinds for recipe in recipes]
    return [*heads, *(lab.retrieval(trial, group, Options())[0] for group in groups)]


def blends(lab: Lab) -> dict[str, Idea]:
    """Rules that make one list of both heads and retrieval, cross-fitted, and what else may be blended."""

    def idea(rule: str) -> Idea:
        def fit(sources, truth, seed):
            return fit_rule(rule, sources, truth, seed)

        return lambda trial: blended(trial, parts_of(lab, trial), fit)

    def source(place: int) -> Idea:
        return lambda trial: parts_of(lab, trial)[place]

    def of(**parts) -> Idea:
        return lambda trial: blended(trial, parts_of(lab, trial, **parts), fit_blend)

    rules = ["greedy", *(rule for rule in BLENDS if rule != "greedy")]
    return {f"{rule}{' (default)' if rule == 'greedy' else ''}": idea(rule) for rule in rules} | {
        "greedy, neighbours by each network, too": of(alone=True),
        "greedy, ArcFace heads (default)": of(kinds=(ARCFACE,)),
        "greedy, softmax and ArcFace heads": of(kinds=({}, ARCFACE)),
        "greedy, ArcFace heads, neighbours by each network": of(kinds=(ARCFACE,), alone=True),
        "first head alone": source(0),
        "second head alone": source(1),
        "retrieval alone": source(2),
    }


def stacks(lab: Lab) -> dict[str, Idea]:
    """Models of proposals' features, without evidence of local features, against the blend that proposes them."""
    recipes = (plain(lab, PLAIN), plain(lab, SECOND))

    def proposals(trial: Trial):
        def compute():
            parts = parts_of(lab, trial)
            found = blended(trial, parts, fit_blend)
            found = replace(found, dev=found.dev.top(5))
            known, counts = np.unique(trial.dataset.split.train_landmarks, return_counts=True)
            likeness = lab.retrieval(trial, recipes, Options())[1][:, None]
            sizes = dict(zip(known.tolist(), counts.tolist(), strict=True))
            told = source_features(found.dev.landmarks, [part.dev for part in parts])
            return found, np.concatenate([proposal_features(found.dev, sizes, likeness, {}), told], axis=2)

        return trial.once("proposals", compute)

    def idea(kind: str) -> Idea:
        def answer(trial: Trial) -> Answer:
            found, features = proposals(trial)
            right = (found.dev.landmarks == trial.truth[:, None]) & (found.dev.landmarks >= 0)
            return trial.cross_fitted(
                [found],
                lambda rows: Stack(kind, features[rows], right[rows]),
                lambda model, rows: model(found.dev.take(rows), features[rows]),
            )

        return answer

    return {
        "greedy blend (plain)": lambda trial: proposals(trial)[0],
        "logistic stack": idea("logistic"),
        "gradient-boosted stack": idea("boosted"),
    }


def adapted(lab: Lab) -> dict[str, Idea]:
    """Retrieval by the default networks, its descriptors or its neighbours adapted, and the ridge head."""
    kinds: dict[str, Callable[[Described], Predictions]] = {
        "neighbours (default)": lambda part: nearest_landmarks(whitened(part), TOP)[0],
        "whitened within landmarks, a half": lambda part: nearest_landmarks(whitened(part, 0.5), TOP)[0],
        "whitened within landmarks": lambda part: nearest_landmarks(whitened(part, 1.0), TOP)[0],
        "neighbours' neighbours, 3": lambda part: neighbours_of_neighbours(whitened(part), 3, TOP),
        "neighbours' neighbours, 10": lambda part: neighbours_of_neighbours(whitened(part), 10, TOP),
        "ridge head": lambda part: ridge_landmarks(whitened(part), TOP),
        "ridge head, whitened within landmarks, a half": lambda part: ridge_landmarks(whitened(part, 0.5), TOP),
    }
    recipes = tuple(lab.recipe(name) for name in DEFAULTS)

    def idea(name: str) -> Idea:
        return lambda trial: trial.once((recipes, name), lambda: lab.described(trial, recipes, kinds[name]))

    return {name: idea(name) for name in kinds}


def sources(lab: Lab) -> dict[str, Idea]:
    """What is blended beside the heads of the default networks, or without them."""
    of = adapted(lab)
    recipes = [lab.recipe(name) for name in DEFAULTS]
    near, ridge = of["neighbours (default)"], of["ridge head"]

    def idea(*parts: Idea, heads: bool = True) -> Idea:
        def answer(trial: Trial) -> Answer:
            learned = [lab.answer(trial, recipe) for recipe in recipes] if heads else []
            return blended(trial, [*learned, *(part(trial) for part in parts)], fit_blend)

        return answer

    return {
        "heads and neighbours (plain)": idea(near),
        "the same, and the ridge head": idea(near, ridge),
        "neighbours and ridge head, no heads": idea(near, ridge, heads=False),
        "the same, no ridge head": idea(near, heads=False),
        "heads, and neighbours whitened within landmarks, a half": idea(of["whitened within landmarks, a half"]),
        "heads, and neighbours' neighbours, 3": idea(of["neighbours' neighbours, 3"]),
        "heads, and neighbours' neighbours, 10": idea(of["neighbours' neighbours, 10"]),
    }


def suppressions(lab: Lab) -> dict[str, Idea]:
    """What is taken off the ensemble's and retrieval's scores, cross-fitted."""
    recipes = (plain(lab, PLAIN), plain(lab, SECOND))

    def idea(source: Idea, **grid) -> Idea:
        def answer(trial: Trial) -> Answer:
            found, likeness = source(trial), lab.retrieval(trial, recipes, Options())[1]
            return trial.cross_fitted(
                [found],
                lambda rows: fit_suppression(found.dev.take(rows), likeness[rows], trial.truth[rows], **grid),
                lambda done, rows: done(found.dev.take(rows), likeness[rows]),
            )

        return answer

    def ensemble(trial: Trial) -> Answer:
        return trial.once("greedy", lambda: blended(trial, parts_of(lab, trial), fit_blend))

    knn, biased = _neighbours(lab, recipes), _neighbours(lab, recipes, index_bias=0.25)
    off = (0.0,)
    return {
        "ensemble (plain)": ensemble,
        "ensemble, query's likeness to distractors off": idea(ensemble, overuse_weights=off),
        "ensemble, overused labels off": idea(ensemble, likeness_weights=off),
        "ensemble, both": idea(ensemble),
        "retrieval": knn,
        "retrieval, query's likeness off": idea(knn, overuse_weights=off),
        "retrieval, query's and gallery's likeness off": idea(biased, overuse_weights=off),
        "retrieval, overused labels off": idea(knn, likeness_weights=off),
    }


GROUPS: dict[str, Callable[[Lab], dict[str, Idea]]] = {
    "loss": losses,
    "rank": ranks,
    "views": views,
    "tuning": tuning,
    "retrieval": retrieval,
    "answers": answers,
    "blend": blends,
    "stack": stacks,
    "suppression": suppressions,
    "adapted": adapted,
    "sources": sources,
}
"""Groups by name."""
