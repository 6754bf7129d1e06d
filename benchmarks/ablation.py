"""What each idea is worth: dev GAP against the plain recipe, paired over seeds, and what it costs.

Each seed has its own split, heads and dev queries; no solution is read. Features of frozen backbones are extracted once
and stored. Of a group, every idea is compared with the group's first row: `lead` is the mean difference in GAP with the
95 % interval of a bootstrap over seeds and queries. Seconds are of the processor, a fold: training and prediction of
its queries from stored features; `passes` counts the backbone's passes a photo.

    lmk bench ablation COMPETITION --weights DIR [--only GROUP] [--seeds 5] [--photos 4] --json

`--photos 4` keeps four training photos a landmark: a harder competition, on which choices must hold too.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show

PLAIN, SECOND = "mobilenetv2-gem", "mobilenet-gem"
VIEW_SIDE = 224
GROUPS = ("loss", "views", "retrieval", "answers", "blend", "stack", "suppression")
EXPONENTS = (0.25, 0.5, 1.0, 2.0, 4.0)

Idea = Callable[["Trial"], "Answer"]  # noqa: F821


def losses(lab) -> dict[str, Idea]:
    """Heads on one frozen backbone: the loss, the head, and how photos of no landmark are taught."""
    plain = lab.recipe(PLAIN)
    cosine = {"head": "cosine", "descriptor": 256}
    changes: dict[str, dict[str, object]] = {
        "softmax, background class (plain)": {},
        "softmax, distractors to equal targets": {"background": "uniform"},
        "softmax, no distractors": {"background": "zero", "distractors": False},
        "sigmoid BCE, distractors all zero": {"head": "sigmoid", "loss": "bce", "background": "zero"},
        "sigmoid BCE, no distractors": {"head": "sigmoid", "loss": "bce", "background": "zero", "distractors": False},
        "sigmoid rank-BCE as meant": {"head": "sigmoid", "loss": "rank-bce", "background": "zero"},
        "sigmoid rank-BCE as published": {"head": "sigmoid", "loss": "rank-bce-published", "background": "zero"},
        "softmax BCE": {"loss": "bce", "background": "zero"},
        "softmax rank-BCE as published": {"loss": "rank-bce-published", "background": "zero"},
        "softmax, descriptor layer 256": {"descriptor": 256},
        "ArcFace 0.3, descriptor 256": cosine | {"loss": "arcface"},
        "CosFace 0.3, descriptor 256": cosine | {"loss": "cosface"},
        "sub-centre ArcFace, dynamic margins": cosine | {"head": "subcentre", "loss": "arcface-dynamic"},
        "label smoothing 0.1": {"label_smoothing": 0.1},
        "weights by class size": {"weigh_classes": True},
        "seeds' vote over views": {"vote": "vote"},
    }
    return {name: _head_of(lab, replace(plain, **change)) for name, change in changes.items()}


def _head_of(lab, recipe) -> Idea:
    return lambda trial: lab.head(trial, recipe)


def views(lab) -> dict[str, Idea]:
    """Views of the photos at one size, for training and prediction."""
    plain = replace(lab.recipe(PLAIN), image_size=VIEW_SIDE)
    kinds = {
        "12 dense": (12, True), "22 dense": (22, True), "1 view": (1, False), "12 crops": (12, False),
        "22 crops": (22, False),
    }  # fmt: skip
    sized = {
        f"{name}, {VIEW_SIDE} px": _head_of(lab, replace(plain, views=count, dense=dense))
        for name, (count, dense) in kinds.items()
    }
    return sized | {"12 dense, 384 px": _head_of(lab, lab.recipe(PLAIN))}


def retrieval(lab) -> dict[str, Idea]:
    """kNN by the descriptors of both networks."""
    from lmk.models.retrieval import Options

    both = (lab.recipe(PLAIN), lab.recipe(SECOND))

    def idea(recipes, **options):
        return lambda trial: lab.retrieval(trial, recipes, Options(**options))[0]

    return {
        "both networks (default)": idea(both),
        "one network": idea(both[:1]),
        "the other network": idea(both[1:]),
        "second network half weight": idea(both, weights=(1.0, 0.5)),
        "no whitening": idea(both, power=0.0),
        "whitening, little shrinkage": idea(both, shrinkage=1.0),
        "whitening, power 0.5": idea(both, power=0.5),
        "class-wise maximum": idea(both, score="max"),
        "sum of 10th powers": idea(both, score="powers"),
        "database-side augmentation, 2": idea(both, augment=2),
        "alpha query expansion, 2": idea(both, expand=2),
        "likeness of gallery off (C), 0.25": idea(both, index_bias=0.25),
    }


def answers(lab) -> dict[str, Idea]:
    """Head, neighbours, or both."""
    from benchmarks.lab import Answer
    from lmk.ensemble.blend import fit_blend
    from lmk.evaluation import gap_of
    from lmk.models.retrieval import Options, with_logits

    one = (lab.recipe(PLAIN),)

    def head(trial):
        return lab.head(trial, one[0])

    def product(trial):
        sums, heads = lab.retrieval(trial, one, Options(score="powers"))[0].dev, head(trial).dev

        def apply(exponent, rows):
            return with_logits(sums.take(rows), heads.take(rows), exponent, 10)

        def fit(rows):
            return max(EXPONENTS, key=lambda exponent: gap_of(apply(exponent, rows), trial.truth[rows]))

        return Answer(trial.cross_fitted(fit, apply))

    def both(trial):
        parts = [head(trial).dev, lab.retrieval(trial, one, Options())[0].dev]
        return Answer(blended(trial, parts, fit_blend))

    return {
        "head (plain)": head,
        "neighbours": lambda trial: lab.retrieval(trial, one, Options())[0],
        "head and neighbours, blended": both,
        "sum cos^10 * p^b, b from dev": product,
    }


def blended(trial, parts, fit):
    """Dev predictions of a blend, cross-fitted; fit: sources, truth, seed to a blend."""
    return trial.cross_fitted(
        lambda rows: fit([part.take(rows) for part in parts], trial.truth[rows], 0),
        lambda blend, rows: blend([part.take(rows) for part in parts], 10),
    )


def parts_of(lab, trial, alone: bool = False) -> list:
    """What the ensemble blends: both heads and neighbours by both networks; `alone`: and neighbours by each."""
    from lmk.models.retrieval import Options

    recipes = (lab.recipe(PLAIN), lab.recipe(SECOND))
    groups = [recipes, recipes[:1], recipes[1:]] if alone else [recipes]
    heads = [lab.head(trial, recipe).dev for recipe in recipes]
    return [*heads, *(lab.retrieval(trial, group, Options())[0].dev for group in groups)]


def blends(lab) -> dict[str, Idea]:
    """Rules that make one list of both heads and retrieval, cross-fitted."""
    from benchmarks.lab import Answer
    from lmk.ensemble.blend import RULES, fit_blend, fit_rule

    def idea(rule):
        def fit(sources, truth, seed):
            return fit_rule(rule, sources, truth, seed)

        return lambda trial: Answer(blended(trial, parts_of(lab, trial), fit))

    def source(place):
        return lambda trial: Answer(parts_of(lab, trial)[place])

    def fewer(trial):
        return Answer(blended(trial, parts_of(lab, trial, alone=True), fit_blend))

    rules = ["greedy", *(rule for rule in RULES if rule != "greedy")]
    return {f"{rule}{' (default)' if rule == 'greedy' else ''}": idea(rule) for rule in rules} | {
        "greedy, neighbours by each network, too": fewer, "first head alone": source(0), "second head alone": source(1),
        "retrieval alone": source(2),
    }  # fmt: skip


def stacks(lab) -> dict[str, Idea]:
    """Models of proposals' features, without evidence of local features, against the blend that proposes them."""
    from benchmarks.lab import Answer
    from lmk.ensemble.blend import fit_blend
    from lmk.ensemble.fuse import proposal_features
    from lmk.ensemble.stack import Stack
    from lmk.models.retrieval import Options

    recipes = (lab.recipe(PLAIN), lab.recipe(SECOND))

    def proposals(trial):
        def compute():
            parts = parts_of(lab, trial)
            found = blended(trial, parts, fit_blend).top(5)
            known, counts = np.unique(trial.run.split.train_landmarks, return_counts=True)
            likeness = lab.retrieval(trial, recipes, Options())[1][:, None]
            sizes = dict(zip(known.tolist(), counts.tolist(), strict=True))
            return found, proposal_features(found, parts, sizes, likeness, {})

        return trial.once("proposals", compute)

    def idea(kind):
        def answer(trial):
            found, features = proposals(trial)
            right = (found.landmarks == trial.truth[:, None]) & (found.landmarks >= 0)
            return Answer(
                trial.cross_fitted(
                    lambda rows: Stack(kind, features[rows], right[rows]),
                    lambda model, rows: model(found.take(rows), features[rows]),
                )
            )

        return answer

    return {
        "greedy blend (plain)": lambda trial: Answer(proposals(trial)[0]),
        "logistic stack": idea("logistic"),
        "gradient-boosted stack": idea("boosted"),
    }


def suppressions(lab) -> dict[str, Idea]:
    """What is taken off the ensemble's and retrieval's scores, cross-fitted."""
    from benchmarks.lab import Answer
    from lmk.ensemble.blend import fit_blend
    from lmk.ensemble.suppress import fit_suppression
    from lmk.models.retrieval import Options

    recipes = (lab.recipe(PLAIN), lab.recipe(SECOND))

    def idea(source, **grid):
        def answer(trial):
            found, likeness = source(trial), lab.retrieval(trial, recipes, Options())[1]
            return Answer(
                trial.cross_fitted(
                    lambda rows: fit_suppression(found.take(rows), likeness[rows], trial.truth[rows], **grid),
                    lambda done, rows: done(found.take(rows), likeness[rows]),
                )
            )

        return answer

    def ensemble(trial):
        return trial.once("greedy", lambda: blended(trial, parts_of(lab, trial), fit_blend))

    def knn(index_bias=0.0):
        return lambda trial: lab.retrieval(trial, recipes, Options(index_bias=index_bias))[0].dev

    off = (0.0,)
    return {
        "ensemble (plain)": lambda trial: Answer(ensemble(trial)),
        "ensemble, likeness to distractors off (B)": idea(ensemble, overuse_weights=off),
        "ensemble, overused labels off": idea(ensemble, likeness_weights=off),
        "ensemble, both": idea(ensemble),
        "retrieval": lambda trial: Answer(knn()(trial)),
        "retrieval, A - B": idea(knn(), overuse_weights=off),
        "retrieval, A - B - C": idea(knn(0.25), overuse_weights=off),
        "retrieval, overused labels off": idea(knn(), likeness_weights=off),
    }


def run(lab, groups: Sequence[str]) -> list[dict[str, object]]:
    """A row an idea: group, idea, GAP and lead with interval, processor seconds a fold."""
    from benchmarks.lab import paired

    makers = dict(zip(GROUPS, (losses, views, retrieval, answers, blends, stacks, suppressions), strict=True))
    rows: list[dict[str, object]] = []
    for group in groups:
        base = None
        for name, idea in makers[group](lab).items():
            done = [idea(trial) for trial in lab.trials]
            base = base or done
            told = paired([a.dev for a in base], [a.dev for a in done], [trial.truth for trial in lab.trials])
            train, predict = (float(np.mean([getattr(a, part) for a in done])) for part in ("train", "predict"))
            rows.append({"group": group, "idea": name, **told, "train_seconds": train, "predict_seconds": predict})
            from lmk.cli.console import note

            note(f"{group}: {name}: {told['gap']:.4f}, {told['lead']:+.4f} ({told['low']:+.4f} to {told['high']:+.4f})")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `lmk bench ablation`."""
    options = parser("ablation", __doc__)
    options.add_argument("competition", nargs="?", default="demo")
    options.add_argument("--weights", default="imagenet", help="of the backbones, as for make-submission")
    options.add_argument("--only", choices=GROUPS, action="append", help="a group of ideas; all without")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--folds", type=int, default=3)
    options.add_argument("--photos", type=int, help="the most training photos a landmark")
    options.add_argument("--workspace", type=Path, default=Path("workspace"))
    words = options.parse_args(arguments)

    from lmk.models.start import start_keras

    start_keras()
    from benchmarks.lab import Lab

    lab = Lab(
        words.competition, words.weights, words.workspace, (PLAIN, SECOND), words.seeds, words.folds, words.photos
    )
    rows = run(lab, words.only or GROUPS)
    queries = [len(trial.truth) for trial in lab.trials]
    show({"seeds": words.seeds, "folds": words.folds, "queries": queries, "ideas": rows}, words.json)


if __name__ == "__main__":
    main()
