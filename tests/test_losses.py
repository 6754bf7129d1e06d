"""Losses: against the published vector, hand formulas and slow twins."""

import keras
import numpy as np
import pytest
from keras import ops

from lmk.models.heads import HEADS, CosineHead
from lmk.models.losses import (
    LOSSES,
    MarginLoss,
    RankWeightedBCE,
    SoftmaxCrossEntropy,
    SummedBCE,
    class_size_weights,
    dynamic_margins,
    make_loss,
    rank_weights,
    target_classes,
    with_margin,
)
from lmk.predictions import NO_LANDMARK

pytestmark = pytest.mark.networks  # also run on the other backends, see tests/test_backends.py

RNG = np.random.default_rng(5)
CLASSES = np.array([2, NO_LANDMARK, 0, 2, 3, 1])
LOGITS = RNG.normal(size=(6, 4)).astype("float32") * 2
COSINES = RNG.uniform(-0.9, 0.9, size=(6, 4)).astype("float32")
ROWS = np.eye(4)[CLASSES] * (CLASSES >= 0)[:, None]


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(float)))


def softmax(logits):
    powers = np.exp(logits.astype(float))
    return powers / powers.sum(axis=-1, keepdims=True)


def entropy_terms(rows, probabilities):
    return -rows * np.log(probabilities) - (1 - rows) * np.log(1 - probabilities)


def value(loss, outputs=LOGITS, classes=CLASSES):
    return float(loss(classes, outputs))


def test_rank_weights_of_the_published_vector():
    # The 19th place of 2018: four photos, the most confident second.
    confidence = np.float32([0.2, 0.9, 0.5, 0.7])
    np.testing.assert_allclose(ops.convert_to_numpy(rank_weights(confidence, "rank")), [0.25, 1.0, 0.5, 0.75])
    np.testing.assert_allclose(ops.convert_to_numpy(rank_weights(confidence, "index")), [0.75, 0.25, 0.5, 1.0])


def test_equal_confidences_take_ranks_in_their_order():
    np.testing.assert_allclose(
        ops.convert_to_numpy(rank_weights(np.float32([0.5, 0.7, 0.5, 0.7]))), [0.5, 1, 0.25, 0.75]
    )


@pytest.mark.parametrize(("activation", "probability"), [("sigmoid", sigmoid), ("softmax", softmax)])
def test_summed_bce_is_a_sum_over_classes_and_a_mean_over_photos(activation, probability):
    expected = entropy_terms(ROWS, probability(LOGITS)).sum(axis=1).mean()
    assert value(SummedBCE(activation)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("activation", "probability"), [("sigmoid", sigmoid), ("softmax", softmax)])
@pytest.mark.parametrize("kind", ["rank", "index"])
def test_rank_weighted_bce_counts_each_answer_again_by_its_rank(activation, probability, kind):
    probabilities = probability(LOGITS)
    order = np.argsort(-probabilities.max(axis=1))
    losses = []
    for photo in range(6):
        place = list(order).index(photo) if kind == "rank" else order[photo]
        answer = probabilities[photo].argmax()
        terms = entropy_terms(ROWS[photo], probabilities[photo])
        losses.append(terms.sum() + 0.5 * (6 - place) / 6 * terms[answer])
    loss = RankWeightedBCE(kind, rank_weight=0.5, activation=activation)
    assert value(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_rank_weight_of_zero_leaves_plain_bce():
    assert value(RankWeightedBCE(rank_weight=0)) == pytest.approx(value(SummedBCE()))


def test_class_indices_of_any_shape_and_rows_are_the_same_targets():
    for loss in (SummedBCE(), RankWeightedBCE(), SoftmaxCrossEntropy(), SoftmaxCrossEntropy("uniform")):
        expected = value(loss)
        assert value(loss, classes=CLASSES[:, None].astype("float32")) == pytest.approx(expected)
        assert value(loss, classes=ROWS) == pytest.approx(expected)


def test_no_landmark_has_no_class_or_the_last_one():
    np.testing.assert_array_equal(ops.convert_to_numpy(target_classes(CLASSES, 4, "zero")), CLASSES)
    with_background = ops.convert_to_numpy(target_classes(CLASSES, 5, "class"))
    np.testing.assert_array_equal(with_background, np.where(CLASSES == NO_LANDMARK, 4, CLASSES))


def test_a_single_landmark_is_still_an_index():
    np.testing.assert_array_equal(ops.convert_to_numpy(target_classes(np.array([[0], [-1]]), 1, "zero")), [0, -1])


def test_softmax_cross_entropy_of_a_distractor_by_background():
    distractor = np.array([NO_LANDMARK])
    probabilities = softmax(LOGITS[:1])
    assert value(SoftmaxCrossEntropy("zero"), LOGITS[:1], distractor) == 0
    assert value(SoftmaxCrossEntropy("uniform"), LOGITS[:1], distractor) == pytest.approx(-np.log(probabilities).mean())
    assert value(SoftmaxCrossEntropy("class"), LOGITS[:1], distractor) == pytest.approx(-np.log(probabilities[0, 3]))


def test_label_smoothing_spreads_a_part_of_the_target_evenly():
    smooth = 0.9 * ROWS + 0.1 / 4 * ROWS.sum(axis=1, keepdims=True)
    expected = -(smooth * np.log(softmax(LOGITS))).sum(axis=1).mean()
    assert value(SoftmaxCrossEntropy(label_smoothing=0.1)) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_of_sigmoids_touches_positive_targets_alone():
    expected = entropy_terms(0.9 * ROWS, sigmoid(LOGITS)).sum(axis=1).mean()
    assert value(SummedBCE(label_smoothing=0.1)) == pytest.approx(expected, rel=1e-5)


def test_photos_weigh_by_their_landmark_and_distractors_by_one():
    weights = np.array([0.5, 2.0, 3.0, 0.1])
    photo_weights = np.where(CLASSES >= 0, weights[CLASSES], 1)
    expected = (entropy_terms(ROWS, sigmoid(LOGITS)).sum(axis=1) * photo_weights).mean()
    assert value(SummedBCE(class_weights=weights)) == pytest.approx(expected, rel=1e-5)


def test_class_size_weights_fall_with_the_logarithm_and_average_to_one():
    counts = np.array([2, 10, 60])
    weights = class_size_weights(counts)
    np.testing.assert_allclose(weights[0] / weights[2], np.log(61) / np.log(3), rtol=1e-5)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)


def test_a_landmark_without_training_photos_counts_as_one_with_a_single_photo():
    np.testing.assert_allclose(dynamic_margins(np.array([0, 5, 9])), dynamic_margins(np.array([1, 5, 9])))
    np.testing.assert_allclose(class_size_weights(np.array([0, 5, 9])), class_size_weights(np.array([1, 5, 9])))


def test_arcface_adds_its_margin_to_the_angle_of_the_right_class():
    angles = np.arccos(COSINES.astype(float)) + 0.3 * ROWS
    expected = -(ROWS * np.log(softmax(20 * np.cos(angles)))).sum(axis=1).mean()
    assert value(MarginLoss("arcface", 0.3, 20.0), COSINES) == pytest.approx(expected, rel=1e-4)


def test_cosface_takes_its_margin_off_the_cosine_of_the_right_class():
    expected = -(ROWS * np.log(softmax(20 * (COSINES - 0.35 * ROWS)))).sum(axis=1).mean()
    assert value(MarginLoss("cosface", 0.35, 20.0), COSINES) == pytest.approx(expected, rel=1e-4)


def test_each_landmark_has_its_own_margin():
    margins = np.array([0.1, 0.2, 0.3, 0.4])
    expected = -(ROWS * np.log(softmax(20 * (COSINES - margins * ROWS)))).sum(axis=1).mean()
    assert value(MarginLoss("cosface", margins, 20.0), COSINES) == pytest.approx(expected, rel=1e-4)


def test_the_background_class_has_the_mean_margin():
    margins = np.array([0.1, 0.2, 0.6])
    rows = np.eye(4)[np.where(CLASSES < 0, 3, np.minimum(CLASSES, 2))]
    expected = -(rows * np.log(softmax(20 * (COSINES - np.append(margins, 0.3) * rows)))).sum(axis=1).mean()
    loss = MarginLoss("cosface", margins, 20.0, background="class")
    assert value(loss, COSINES, np.minimum(CLASSES, 2)) == pytest.approx(expected, rel=1e-4)


def test_a_larger_angle_never_scores_higher_under_a_margin():
    cosines = np.cos(np.linspace(0, np.pi, 400)).astype("float32")
    for kind in ("arcface", "cosface"):
        hardened = ops.convert_to_numpy(with_margin(cosines, np.float32(0.5), kind))
        assert (np.diff(hardened) <= 1e-6).all()


def test_dynamic_margins_run_from_the_largest_to_the_smallest_landmark():
    margins = dynamic_margins(np.array([2, 60, 16]))
    assert margins[1] == pytest.approx(0.05)
    assert margins[0] == pytest.approx(0.5)
    share = (16**-0.25 - 60**-0.25) / (2**-0.25 - 60**-0.25)
    assert margins[2] == pytest.approx(0.05 + 0.45 * share)


def test_landmarks_of_one_size_have_one_margin():
    np.testing.assert_allclose(dynamic_margins(np.array([5, 5, 5])), 0.275)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_outputs_of_twenty_thousand_landmarks_give_a_finite_loss_and_finite_weights(name):
    head = HEADS["cosine" if "face" in name else "sigmoid"]
    descriptors = np.eye(4, dtype="float32") * 100
    model = keras.Sequential([keras.Input((4,)), head.layer(20_000)])
    aligned = np.zeros((4, 20_000), "float32")  # photo 0 at its landmark's centre, photo 1 opposite to it
    aligned[:, 2:] = RNG.normal(size=(4, 19_998))
    aligned[0, 0], aligned[1, 1] = 1, -1
    model.layers[0].set_weights([aligned, *model.layers[0].get_weights()[1:]])
    model.compile("sgd", make_loss(name, head, np.full(20_000, 3)), jit_compile=False)
    history = model.fit(descriptors, np.array([0, 1, NO_LANDMARK, 19_999]), batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


def test_sub_centre_arcface_learns_landmarks_that_look_two_ways():
    keras.utils.set_random_seed(1)
    # Each class lies on both sides of the origin: one centre cannot be near both.
    sides = RNG.choice([-1, 1], size=200)
    classes = RNG.integers(0, 2, 200)
    descriptors = np.eye(2)[classes] * sides[:, None] + RNG.normal(size=(200, 2)) * 0.05
    accuracy = {}
    for centres in (1, 3):
        model = keras.Sequential([keras.Input((2,)), CosineHead(2, centres)])
        model.compile(keras.optimizers.Adam(0.05), MarginLoss("arcface", 0.2, 10.0), jit_compile=False)
        for _ in range(80):
            model.train_on_batch(descriptors, classes)
        accuracy[centres] = (ops.convert_to_numpy(model(descriptors)).argmax(axis=1) == classes).mean()
    assert accuracy[3] == 1
    assert accuracy[1] < 0.8


def test_a_loss_that_does_not_exist_or_fit_the_head_is_an_error():
    counts = np.array([3, 4])
    with pytest.raises(ValueError, match="No loss is named 'triplet'"):
        make_loss("triplet", HEADS["softmax"], counts)
    with pytest.raises(ValueError, match="needs a head of cosines"):
        make_loss("arcface", HEADS["softmax"], counts)
    with pytest.raises(ValueError, match="needs a dense head"):
        make_loss("bce", HEADS["cosine"], counts)
    with pytest.raises(ValueError, match="softmax"):
        make_loss("bce", HEADS["sigmoid"], counts, background="uniform")


def test_loss_names_choose_what_they_say():
    counts = np.array([2, 60])
    assert make_loss("rank-bce", HEADS["sigmoid"], counts).kind == "rank"
    assert make_loss("rank-bce-published", HEADS["softmax"], counts).kind == "index"
    assert make_loss("rank-bce-published", HEADS["softmax"], counts).activation == "softmax"
    np.testing.assert_allclose(make_loss("arcface-dynamic", HEADS["subcentre"], counts).margin, [0.5, 0.05])
    weighed = make_loss("softmax", HEADS["softmax"], counts, weigh_classes=True)
    np.testing.assert_allclose(weighed.class_weights, class_size_weights(counts))
