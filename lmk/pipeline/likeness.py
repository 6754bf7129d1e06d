"""Facts of a run that spreads: what spreading did, and how dev differs from the test photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk.metrics.registry import find_metric
from lmk.pipeline.config import Config, Execution
from lmk.pipeline.dataset import Dataset
from lmk.pipeline.figures import spreading_steps
from lmk.pipeline.results import Answers
from lmk.pipeline.steps import ENSEMBLE, RETRIEVAL, Outcome
from lmk.predictions import Predictions
from lmk.runs import LIKENESS

if TYPE_CHECKING:
    from lmk.shift import Shift  # loads scikit-learn


def spreading_facts(
    config: Config,
    dataset: Dataset,
    execution: Execution,
    outcome: Outcome,
    answers: Mapping[str, Answers],
    final: str,
) -> dict[str, Any]:
    """What spreading did, and whether dev resembles the test photos, for the record; a note where it does not.

    Args:
        config, dataset, execution, outcome: The run.
        answers: By stage; the metric on dev of each is weighted by likeness to test, too.
        final: The stage that is submitted.
    """
    if not config.spreads:
        return {}
    results = outcome.results
    found: dict[str, Any] = {name: results[name].facts() for name in spreading_steps(config)}
    shift = _shift(config, dataset, results, answers[final].dev)
    if shift is not None:
        metric, truth = find_metric(config.metric), dataset.dev.truth
        weighted = {stage: metric.weighted(one.dev, truth, shift.weights) for stage, one in answers.items()}
        found[LIKENESS] = {
            "roc_area": round(shift.area, 5),
            "dev_weighted": {stage: round(value, 5) for stage, value in weighted.items()},
            "queries_effective": round(shift.effective, 1),
            "warning": shift.warning,
        }
        if shift.warning:
            execution.note(shift.warning)
    return found


def _shift(config: Config, dataset: Dataset, results: Mapping[str, Any], final: Predictions) -> Shift | None:
    """How dev differs from test; None where there are too few photos, or gallery photos, to say."""
    from lmk.shift import PARTS, measure_shift  # loads scikit-learn

    near, dev = results[RETRIEVAL], dataset.dev
    if min(len(np.unique(dev.photos)), len(dataset.test_ids)) < PARTS or near.cosines_dev.shape[1] < 2:
        return None
    asked, test = shift_features(config, results)
    return measure_shift(asked, test, dev.photos, final, dev.truth, find_metric(config.metric))


def shift_features(config: Config, results: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Features of dev queries (n, 6) and of test photos (m, 6) that need no label, from a run's recipes, retrieval and
    blend."""
    from lmk.shift import query_features  # loads scikit-learn

    near, blended = results[RETRIEVAL], results[ENSEMBLE]
    sources = [*(results[recipe.name] for recipe in config.recipes), near]
    dev = query_features(near.cosines_dev, near.likeness_dev[:, 0], blended.dev, [one.dev for one in sources])
    test = query_features(near.cosines_test, near.likeness_test[:, 0], blended.test, [one.test for one in sources])
    return dev, test
