"""GAP while training is the competition's GAP; the published batch metric is not."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lmk.metrics import gap
from lmk.models.batch_metrics import TrainingMetric, batch_gap, published_batch_gap
from lmk.models.heads import HEADS
from lmk.models.losses import SoftmaxCrossEntropy
from lmk.predictions import NO_LANDMARK

pytestmark = pytest.mark.networks  # also run on the other backends, see tests/test_backends.py

RNG = np.random.default_rng(11)


def host_gap(truth, scores):
    """The competition's GAP; ids rise in the order of the photos, so that ties fall alike."""
    ids = np.array([f"{row:06d}" for row in range(len(truth))])
    return gap(ids, truth, scores.argmax(axis=1), scores.max(axis=1))


SIZES = (1, 2, 3, 5, 9, 17, 30)
"""Photos of a batch: JAX compiles every operation anew for each size, which takes longer than all examples of it."""


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(SIZES), st.sampled_from([1, 3, 100]))
def test_batch_gap_is_gap_ties_and_all(seed, photos, levels):
    rng = np.random.default_rng(seed)
    truth = rng.integers(NO_LANDMARK, 3, photos)
    truth[0] = 1
    scores = (rng.integers(0, levels, (photos, 3)) / levels).astype("float32")
    assert float(batch_gap(truth, scores)) == pytest.approx(host_gap(truth, scores), abs=1e-6)


def test_gap_over_an_epoch_is_not_the_mean_over_batches():
    truth = RNG.integers(NO_LANDMARK, 4, 60)
    scores = RNG.uniform(size=(60, 4)).astype("float32")
    logits = np.log(scores / (1 - scores))
    metric = TrainingMetric(HEADS["sigmoid"], capacity=64)
    for start in range(0, 60, 17):  # the last batch is smaller
        metric.update_state(truth[start : start + 17], logits[start : start + 17])
    assert float(metric.result()) == pytest.approx(host_gap(truth, scores), abs=1e-6)
    metric.reset_state()
    metric.update_state(truth[:20], logits[:20])
    assert float(metric.result()) == pytest.approx(host_gap(truth[:20], scores[:20]), abs=1e-6)


def test_more_photos_than_the_capacity_leave_the_last_ones():
    truth = RNG.integers(NO_LANDMARK, 4, 50)
    cosines = RNG.uniform(-1, 1, (50, 4)).astype("float32")  # no two alike: the order of arrival says nothing
    metric = TrainingMetric(HEADS["cosine"], capacity=20)
    for start in range(0, 50, 10):
        metric.update_state(truth[start : start + 10], cosines[start : start + 10])
    assert float(metric.result()) == pytest.approx(host_gap(truth[30:], cosines[30:]), abs=1e-6)


def test_the_background_class_is_no_answer():
    outputs = np.float32([[1, 0, 3], [2, 0, 1]])
    metric = TrainingMetric(HEADS["softmax"], background="class", capacity=4)
    metric.update_state(np.array([NO_LANDMARK, 0]), outputs)
    # The distractor's landmarks share what the background class left; the landmark ranks first.
    assert float(metric.result()) == pytest.approx(1)


def test_gap_without_a_landmark_is_zero():
    assert float(batch_gap(np.array([NO_LANDMARK] * 3), np.ones((3, 2), "float32"))) == 0


def test_the_metric_follows_fit_and_evaluate():
    keras.utils.set_random_seed(2)
    features = RNG.normal(size=(45, 6)).astype("float32")
    truth = RNG.integers(NO_LANDMARK, 3, 45)
    model = keras.Sequential([keras.Input((6,)), HEADS["softmax"].layer(3)])
    model.compile(
        "sgd", SoftmaxCrossEntropy(), metrics=[TrainingMetric(HEADS["softmax"], capacity=45)], jit_compile=False
    )
    measured = model.evaluate(features, truth, batch_size=16, verbose=0, return_dict=True)["score"]
    scores = ops.convert_to_numpy(HEADS["softmax"].scores(model.predict(features, verbose=0)))
    assert measured == pytest.approx(host_gap(truth, scores), abs=1e-6)


def test_the_published_metric_takes_the_batch_in_its_order():
    # Wrong and least confident first: GAP ranks it last and is 1/1 + 2/2 of 3; published, right answers stand 2 and 3.
    truth = np.array([0, 1, 2])
    scores = np.float32([[0.1, 0.2, 0.1], [0, 0.8, 0], [0, 0, 0.9]])
    assert float(batch_gap(truth, scores)) == pytest.approx(2 / 3)
    assert float(published_batch_gap(truth, scores)) == pytest.approx((1 / 2 + 2 / 3) / 3)


def test_the_published_metric_divides_by_the_batch():
    # One landmark, found, and one distractor answered by class 1.
    truth, scores = np.array([1, NO_LANDMARK]), np.float32([[0, 0.9], [0, 0.1]])
    assert float(batch_gap(truth, scores)) == 1
    assert float(published_batch_gap(truth, scores)) == pytest.approx(0.5)


def test_the_published_metric_takes_class_zero_for_the_truth_of_distractors():
    truth, scores = np.array([NO_LANDMARK, 1]), np.float32([[0.9, 0], [0, 0.8]])
    assert float(batch_gap(truth, scores)) == pytest.approx(0.5)
    assert float(published_batch_gap(truth, scores)) == pytest.approx(1)
