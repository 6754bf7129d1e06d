"""The step that blends: sources weighted by what they are worth on dev."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lmk.data.splits import Queries
from lmk.ensemble.blend import Blend, fit_blend
from lmk.ensemble.tune import cross_fit, cross_fit_parts
from lmk.metrics import Metric
from lmk.pipeline.dev_parts import DevParts
from lmk.pipeline.results import Answers, Blended, Part
from lmk.predictions import Predictions


def all_lists(sources: Mapping[str, Answers], part: Part) -> list[Predictions]:
    """All lists that are blended, source by source."""
    return [found for source in sources.values() for found in source.lists(part)]


def all_context_lists(sources: Mapping[str, Answers], fold: int) -> list[Predictions]:
    """The same lists of the test photos, as the models of a fold answer them."""
    return [found for source in sources.values() for found in source.context_lists(fold)]


def blend(
    sources: Mapping[str, Answers], dev: Queries, k: int, seed: int, metric: Metric, parts: DevParts | None = None
) -> Blended:
    """Blend sources by weights fitted on dev, cross-fitted there.

    A source with several lists has the sum of their weights.

    Args:
        sources: Answers by step name, all of the same queries.
        dev: The dev queries.
        k: Landmarks kept a query.
        seed: Random seed of resamples and of the parts of cross-fitting.
        metric: What the weights are fitted for.
        parts: Where answers are spread, what they are cross-fitted by; the test photos are then blended for each part,
            too.
    """
    asked, tested = all_lists(sources, "dev"), all_lists(sources, "test")

    def fit(rows: np.ndarray) -> Blend:
        return fit_blend([found.take(rows) for found in asked], dev.truth[rows], seed, metric=metric)

    def apply(fitted: Blend, rows: np.ndarray) -> Predictions:
        return fitted([found.take(rows) for found in asked], k)

    context: tuple[Predictions, ...] = ()
    if parts is None:
        crossed = cross_fit(dev.photos, fit, apply, seed)
    else:
        folds = parts.fold_of
        crossed, context = cross_fit_parts(
            parts.of_query,
            dev.photos,
            fit,
            apply,
            lambda fitted, part: fitted(all_context_lists(sources, folds[part]), k),
        )
    fitted = fit_blend(asked, dev.truth, seed, metric=metric)
    optimism = metric.score(fitted(asked, k), dev.truth) - metric.score(crossed, dev.truth)
    shares = iter(fitted.weights)
    weights = {name: float(sum(next(shares) for _ in source.lists("dev"))) for name, source in sources.items()}
    return Blended(crossed, fitted(tested, k), float(np.float64(optimism)), weights, context=context)
