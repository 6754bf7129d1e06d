"""Training: it learns, stops where dev was best, and goes on after a kill as if there had been none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny

from lmk.models import training as train
from lmk.models.backbones.build import network_of
from lmk.models.extract import forward
from lmk.models.learner import TrainingSet
from lmk.models.network import Network, build_network
from lmk.models.pooling import GeM
from lmk.models.recipe import HEAD_ONLY, Recipe, Stage
from lmk.models.recipe_files import find_recipe
from lmk.models.saved import load_network, save_network
from lmk.models.training import Trainer, backbone_multipliers, best_epochs
from lmk.util.errors import LmkError, StoppedEarly
from lmk.util.stopping import Stop

SIDE = 12
FROZEN = Recipe(
    "frozen", "mobilenet", SIDE, (Stage(12, 0.05, batch_size=16),), normalize=True, dropout=0.1, views=1, balance=True
)
TUNED = replace(
    FROZEN,
    name="tuned",
    stages=(
        Stage(3, 0.05, batch_size=16),
        Stage(4, 0.02, train_from=0, batch_size=16, warmup=1, backbone_factor=0.5, patience=4),
    ),
)
IDS = np.array([f"{number:02d}" for number in range(40)])
CLASSES = np.arange(40) % 4 - 1  # a quarter of them NO_LANDMARK


def read(name: str) -> np.ndarray:
    """A noisy photo whose colour tells its class."""
    number = int(name)
    rng = np.random.default_rng(number)
    colour = np.array([[40, 40, 40], [200, 60, 60], [60, 200, 60], [60, 60, 200]])[number % 4]
    return np.clip(rng.normal(colour, 30, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def extractor(side: int = SIDE) -> keras.Model:
    """A tiny network inside a model, as backbones are."""
    inner = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, name="first")(inner)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="second")(x)
    network = keras.Model(inner, x, name="network")
    views = keras.Input((side, side, 3))
    features = network(keras.layers.Rescaling(1 / 127.5, -1)(views))
    model = keras.Model(views, keras.layers.GlobalAveragePooling2D(name="pooling")(features), name="extractor")
    model.compile()
    return model


def new_network(recipe: Recipe, seed: int = 0) -> Network:
    keras.utils.set_random_seed(seed)
    return build_network(recipe, extractor(), 3)


def trainer(recipe: Recipe, folder: Path, seed: int = 0, network: Network | None = None, **options) -> Trainer:
    network = network or new_network(recipe)
    data = TrainingSet(IDS, CLASSES, forward(network.extractor, recipe, read, IDS), read)
    return Trainer(network, data, seed, folder / "state.checkpoint.npz", **options)


def weights(network: Network) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in (*network.extractor.weights, *network.top.weights)]


def assert_equal(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Networks that are not traced: for what counts steps, epochs and bytes, whatever way TensorFlow runs a step."""
    tiny.run_eagerly()
    yield
    tiny.run_eagerly(False)


def gaps(*values: float) -> Callable[[], float]:
    """A dev that answers these GAPs, epoch by epoch."""
    left = list(values)
    return lambda: left.pop(0)


def test_a_head_on_stored_features_learns_and_leaves_the_backbone_alone(tmp_path):
    run = trainer(FROZEN, tmp_path)
    before = [np.array(weight) for weight in run.network.extractor.get_weights()]
    history = run.run()
    assert [record["epoch"] for record in history] == list(range(12))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["train_score"] > 0.9
    assert_equal(before, run.network.extractor.get_weights())


def test_a_tuned_backbone_learns_too(uninterrupted):
    history = uninterrupted.history
    assert [(record["stage"], record["epoch"]) for record in history] == [(0, e) for e in range(3)] + [
        (1, e) for e in range(4)
    ]
    tuned = [record["loss"] for record in history if record["stage"] == 1]
    assert tuned[-1] < tuned[0]
    start = weights(new_network(TUNED))
    assert sum((old != new).any() for old, new in zip(start, uninterrupted.weights, strict=True)) >= 8


def test_layers_before_train_from_stay(tmp_path, eagerly):
    recipe = replace(TUNED, stages=(replace(TUNED.stages[1], train_from=4),))  # the second convolution
    run = trainer(recipe, tmp_path)
    inner = run.network.extractor.get_layer("network")
    first, second = (np.array(inner.get_layer(name).get_weights()[0]) for name in ("first", "second"))
    run.run()
    np.testing.assert_array_equal(inner.get_layer("first").get_weights()[0], first)
    assert (inner.get_layer("second").get_weights()[0] != second).any()


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tmp_path, eagerly):
    trained = []
    for seed in (1, 1, 2):
        run = trainer(replace(FROZEN, stages=(Stage(1, 0.05, batch_size=16),)), tmp_path, seed)
        run.run()
        trained.append(weights(run.network))
    assert_equal(trained[0], trained[1])
    assert any((one != other).any() for one, other in zip(trained[0], trained[2], strict=True))


DEV = (0.2, 0.6, 0.4, 0.5)


class Killed(Exception):
    """As if the process had ended."""


def killed_after(epochs: int) -> Callable[[], float]:
    """A dev that answers DEV, and is killed when it is asked after so many epochs were."""
    dev = gaps(*DEV)
    asked = iter(range(100))

    def answer() -> float:
        if next(asked) == epochs:
            raise Killed
        return dev()

    return answer


@contextmanager
def killing_progress(steps: int) -> Iterator[Callable]:
    """A progress that ends the process at that step of the second stage."""
    done = iter(range(1, 1000))

    @contextmanager
    def progress(label: str, total: int, unit: str):
        def advance(count: int) -> None:
            if "stage 2" in label and count and next(done) == steps:
                raise Killed

        yield advance

    yield progress


@dataclass
class Trained:
    """What a whole training left: weights at its end and after each epoch that asked dev, history, steps told."""

    weights: list[np.ndarray]
    asked: list[list[np.ndarray]]
    history: list[dict]
    told: list[tuple]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Trained:
    asked, told = [], []
    network = new_network(TUNED)
    dev = gaps(*DEV)

    def spied() -> float:
        asked.append(weights(network))
        return dev()

    @contextmanager
    def progress(label: str, total: int, unit: str):
        done = []
        yield done.append
        told.append((label, total, sum(done), unit))

    folder = tmp_path_factory.mktemp("whole")
    run = trainer(TUNED, folder, network=network, dev_score=spied, label="tuned, fold 1", progress=progress)
    history = run.run()
    return Trained(weights(network), asked, history, told)


@pytest.mark.parametrize("epochs", [1, 3])
def test_training_that_was_killed_on_dev_goes_on_to_the_same_bytes(epochs, tmp_path, uninterrupted):
    with pytest.raises(Killed):
        trainer(TUNED, tmp_path, dev_score=killed_after(epochs)).run()
    run = trainer(TUNED, tmp_path, dev_score=gaps(*DEV[epochs:]))
    assert run.run() == uninterrupted.history
    assert_equal(weights(run.network), uninterrupted.weights)
    again = trainer(
        TUNED, tmp_path, dev_score=gaps()
    )  # killed before its weights were stored: nothing is trained again
    assert again.run() == uninterrupted.history
    assert_equal(weights(again.network), uninterrupted.weights)


def test_training_that_was_killed_within_an_epoch_goes_on_to_the_same_bytes(tmp_path, uninterrupted):
    with killing_progress(steps=5) as progress, pytest.raises(Killed):  # an epoch has 3 steps
        trainer(TUNED, tmp_path, dev_score=gaps(*DEV), progress=progress).run()
    run = trainer(TUNED, tmp_path, dev_score=gaps(*DEV[1:]))
    assert run.run() == uninterrupted.history
    assert_equal(weights(run.network), uninterrupted.weights)


AVERAGED = replace(TUNED, stages=(replace(TUNED.stages[0], ema=0.7), replace(TUNED.stages[1], ema=0.7, patience=None)))


@pytest.mark.parametrize("recipe", [TUNED, AVERAGED], ids=["plain", "averaged"])
def test_training_goes_on_from_a_checkpoint_within_an_epoch_to_the_same_bytes(recipe, tmp_path, eagerly):
    """Each run is asked to stop after a few steps, in frozen and tuned stages, in whatever place of an epoch."""
    whole = trainer(recipe, tmp_path / "whole", dev_score=gaps(*DEV))
    whole.run()
    dev, runs = gaps(*DEV), 0
    while True:
        stop = Stop()
        run = trainer(recipe, tmp_path, dev_score=dev, stop=stop, progress=stopping_progress(stop, steps=4))
        runs += 1
        try:
            run.run()
            break
        except StoppedEarly as stopped:
            assert "Run the same command to go on" in str(stopped)
    assert runs == 6  # 21 steps in all
    assert run.history == whole.history
    assert_equal(weights(run.network), weights(whole.network))


def stopping_progress(stop: Stop, steps: int) -> Callable:
    """A progress that asks the run to stop after so many steps of it."""
    done = [0]

    @contextmanager
    def progress(label: str, total: int, unit: str):
        def advance(count: int) -> None:
            done[0] += count == 1
            if done[0] == steps:
                stop.reason = "a test wants it"

        yield advance

    return progress


def test_checkpoints_are_written_by_the_clock(tmp_path, monkeypatch, eagerly):
    clock, saved = [0.0], []
    monkeypatch.setattr(train.time, "monotonic", lambda: clock[0])
    run = trainer(FROZEN, tmp_path, checkpoint_minutes=10)
    really = run._save
    run._save = lambda *given: (saved.append(given[1:4]), really(*given))

    @contextmanager
    def progress(label: str, total: int, unit: str):
        yield lambda count: clock.__setitem__(0, clock[0] + 360 * count)  # a step takes six minutes

    run.progress = progress
    run.run()
    assert saved == [(0, step // 3, step % 3) for step in range(2, 37, 2)]  # an epoch has three steps


def test_epochs_over_stored_views_are_capped_by_steps(tmp_path, eagerly):
    recipe = replace(FROZEN, balance=False, stages=(Stage(3, 0.05, batch_size=16, steps=2),))
    told = []

    @contextmanager
    def progress(label: str, total: int, unit: str):
        told.append(total)
        yield lambda count: None

    assert len(trainer(recipe, tmp_path, progress=progress).run()) == 3
    assert told == [6]


def test_a_batch_in_parts_learns_what_the_whole_batch_does(tmp_path, monkeypatch, eagerly):
    stage = Stage(2, 0.05, batch_size=20, ema=0.9)
    recipe = replace(FROZEN, normalize=False, dropout=0.0, balance=False, optimizer="sgd", stages=(stage,))
    learnt = []
    for parts in (1, 2, 4):
        monkeypatch.setattr(train, "accumulation", lambda *given, parts=parts: parts)
        run = trainer(recipe, tmp_path)
        run.run()
        learnt.append(weights(run.network))
    for other in learnt[1:]:
        for one, two in zip(learnt[0], other, strict=True):
            np.testing.assert_allclose(one, two, atol=0.02)  # the rate and the average move within a step, too


def test_a_device_that_is_too_small_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "device_bytes", lambda: 1000)
    with pytest.raises(
        LmkError, match=r"Training frozen needs .* GB with one photo at a time.*Lower the recipe's image_size"
    ):
        trainer(FROZEN, tmp_path).run()


@pytest.mark.parametrize("tuned", [False, True])
def test_sampled_classes_learn_too_and_predict_with_all(tuned, tmp_path, request):
    if tuned:  # the steps of a head alone are traced
        request.getfixturevalue("eagerly")
    recipe = replace(TUNED if tuned else FROZEN, head="cosine", loss="arcface", sampled_classes=0.5)
    run = trainer(recipe, tmp_path, dev_score=gaps(*DEV))
    history = run.run()
    assert history[-1]["loss"] < history[0]["loss"]
    assert run.network.top.output_shape == (None, 4)  # three landmarks and the background
    scores = run.network.top(run.data.features[:, 0].astype(np.float32), training=False) if not tuned else None
    if scores is not None:
        assert (np.argmax(scores, axis=1)[CLASSES >= 0] == CLASSES[CLASSES >= 0]).mean() > 0.9


def test_the_weights_of_the_best_epoch_are_kept(uninterrupted):
    assert len(uninterrupted.asked) == 4
    assert_equal(uninterrupted.weights, uninterrupted.asked[1])


def test_a_stage_ends_after_its_patience(tmp_path, eagerly):
    recipe = replace(TUNED, stages=(replace(TUNED.stages[1], epochs=9, patience=2),))
    history = trainer(recipe, tmp_path, dev_score=gaps(0.3, 0.5, 0.4, 0.45, 0.9)).run()
    assert [record["dev_score"] for record in history] == [0.3, 0.5, 0.4, 0.45]


def test_without_patience_dev_is_not_asked(tmp_path, eagerly):
    def unneeded() -> float:
        raise AssertionError("dev was asked")

    assert len(trainer(FROZEN, tmp_path, dev_score=unneeded).run()) == 12


def test_epochs_that_folds_found_best_replace_the_recipes(tmp_path, eagerly):
    history = trainer(TUNED, tmp_path, epochs={1: 1}).run()  # its warm-up alone is as long
    assert [record["stage"] for record in history] == [0, 0, 0, 1]
    assert np.isfinite([record["loss"] for record in history]).all()


def test_progress_is_told_every_step(uninterrupted):
    first, second = uninterrupted.told
    assert first == ("tuned, fold 1: stage 1", 9, 9, "steps")
    assert second == ("tuned, fold 1: stage 2", 12, 12, "steps")


def test_stored_features_are_needed_where_the_backbone_is_frozen(tmp_path):
    network = new_network(FROZEN)
    data = TrainingSet(IDS, CLASSES, None, read)
    with pytest.raises(ValueError, match="stored features"):
        Trainer(network, data, 0, tmp_path / "state.npz").run()


@pytest.mark.parametrize(("head", "background"), [("sigmoid", "zero"), ("softmax", "class"), ("cosine", "class")])
def test_any_head_trains_with_distractors(head, background, tmp_path, eagerly):
    loss = {"sigmoid": "rank-bce", "softmax": "softmax", "cosine": "arcface"}[head]
    recipe = replace(FROZEN, head=head, loss=loss, background=background, stages=(Stage(3, 0.05, batch_size=16),))
    history = trainer(recipe, tmp_path).run()
    assert history[-1]["loss"] < history[0]["loss"]


def test_best_epochs_are_the_folds_mean():
    def fold(*dev: float) -> list[dict[str, float]]:
        return [{"stage": 0, "epoch": 0}] + [{"stage": 1, "epoch": e, "dev_score": gap} for e, gap in enumerate(dev)]

    assert best_epochs([fold(0.1, 0.4, 0.3), fold(0.1, 0.2, 0.3, 0.5), fold(0.9, 0.2)]) == {1: 2}  # 2, 4 and 1
    assert best_epochs([fold()]) == {}
    assert best_epochs([]) == {}


@pytest.mark.parametrize("recipe", [FROZEN, TUNED])
def test_what_training_changed_is_saved_and_loaded(recipe, tmp_path):
    network, other = new_network(recipe), new_network(recipe, seed=9)
    save_network(network, tmp_path / "net.weights.h5")
    load_network(other, tmp_path / "net.weights.h5")
    assert_equal(network.top.get_weights(), other.top.get_weights())
    changed = (network.extractor.get_weights()[0] != other.extractor.get_weights()[0]).any()
    assert changed == (recipe is FROZEN)  # a frozen backbone is not saved


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "net.weights.h5"
    save_network(new_network(FROZEN), path)
    other = build_network(FROZEN, extractor(), 8)
    with pytest.raises(LmkError, match=r"holds no weights of frozen .*Remove it to train anew"):
        load_network(other, path)


def test_damaged_weights_are_refused(tmp_path):
    path = tmp_path / "net.weights.h5"
    save_network(new_network(FROZEN), path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(LmkError, match="Remove it to train anew"):
        load_network(new_network(FROZEN), path)


def test_the_average_of_the_weights_takes_their_place(tmp_path, eagerly):
    recipe = replace(FROZEN, stages=(Stage(2, 0.05, batch_size=16, ema=0.5),))
    network, seen = new_network(recipe), []

    @contextmanager
    def progress(label: str, total: int, unit: str):
        yield lambda steps: steps and seen.append([variable.numpy() for variable in network.top.trainable_variables])

    run = trainer(recipe, tmp_path, network=network, progress=progress)
    run.run()
    expected = seen[0]
    for step in seen[1:]:
        expected = [0.5 * mean + 0.5 * weight for mean, weight in zip(expected, step, strict=True)]
    for mean, variable in zip(expected, network.top.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), mean, rtol=1e-5, atol=1e-6)
    assert len(seen) == 2 * 3  # 40 photos in batches of 16
    assert not np.allclose(seen[-1][-1], expected[-1])


def test_layers_near_the_photo_learn_slower():
    model = extractor()
    stage = Stage(1, 0.1, train_from=0, backbone_factor=0.5, depth_decay=0.3)
    found = backbone_multipliers(model, stage)
    factors = {path.split("/")[-2]: factor for path, factor in found.items()}
    # Three layers with weights in four groups: the last, the one before it, and the third from the end.
    assert factors["second"] > factors["norm"] > factors["first"]
    assert factors["second"] == pytest.approx(0.5 * 0.3**2)
    assert backbone_multipliers(model, replace(stage, depth_decay=1.0, backbone_factor=1.0)) == {}


def normalization(network: Network) -> list[np.ndarray]:
    """Statistics and scales of batch normalization, of the backbone and of the head."""
    layers = network.extractor.get_layer("network").get_layer("norm"), network.top.get_layer("standardize")
    return [np.array(weight) for layer in layers for weight in layer.get_weights()]


def test_batches_too_small_to_tell_leave_batch_normalization_as_it_was(tmp_path, eagerly):
    stage = Stage(2, 0.02, train_from=0, batch_size=16)
    run = trainer(replace(TUNED, stages=(stage,)), tmp_path)
    before, first = normalization(run.network), weights(run.network)
    run.run()
    assert_equal(before, normalization(run.network))
    changed = [(old != new).any() for old, new in zip(first, weights(run.network), strict=True)]
    assert sum(changed) == len(changed) - len(before)  # all the others learned


def test_a_stage_may_ask_that_batch_normalization_learns(tmp_path, eagerly):
    stage = Stage(2, 0.02, train_from=0, batch_size=16, batch_norm=True)
    run = trainer(replace(TUNED, stages=(stage,)), tmp_path)
    before = normalization(run.network)
    run.run()
    assert all((old != new).any() for old, new in zip(before, normalization(run.network), strict=True))


def test_batch_normalization_learns_from_large_batches_and_in_heads_alone():
    assert Stage(1, 0.1, train_from=0, batch_size=32).learns_batch_norm
    assert not Stage(1, 0.1, train_from=0, batch_size=31).learns_batch_norm
    assert not Stage(1, 0.1, train_from=0, batch_size=64, batch_norm=False).learns_batch_norm
    assert Stage(1, 0.1, batch_size=2, batch_norm=False).learns_batch_norm  # on stored features of many views


def test_an_early_stage_may_see_smaller_views_and_hands_its_weights_on(tmp_path, monkeypatch, eagerly):
    stages = (Stage(1, 0.05, train_from=0, batch_size=16, image_size=8), Stage(1, 0.05, train_from=0, batch_size=16))
    recipe = replace(TUNED, stages=stages)
    run, sides = trainer(recipe, tmp_path), []
    monkeypatch.setattr(train, "build_extractor", lambda smaller, weights: extractor(smaller.image_size))
    really = train.PhotoBatches
    monkeypatch.setattr(
        train, "PhotoBatches", lambda *given, **named: sides.append(given[3]) or really(*given, **named)
    )
    before = [np.array(weight) for weight in run.network.extractor.get_weights()]
    run._train_stage(0, None)
    after = [np.array(weight) for weight in run.network.extractor.get_weights()]
    assert sides == [8]
    assert any((old != new).any() for old, new in zip(before, after, strict=True))
    run._train_stage(1, None)
    assert sides == [8, SIDE]


def test_a_flat_feature_map_has_one_size(tmp_path):
    recipe = replace(TUNED, pooling="flatten", stages=(replace(TUNED.stages[1], image_size=8),))
    with pytest.raises(ValueError, match="one image size"):
        trainer(recipe, tmp_path, network=replace(new_network(TUNED), recipe=recipe)).run()


def test_a_recipe_may_put_a_descriptor_before_the_head():
    network = build_network(replace(FROZEN, descriptor=5, head="cosine", loss="cosface"), extractor(), 3)
    assert network.top.get_layer("descriptor").output.shape == (None, 5)


def test_the_exponent_of_pooling_learns_beside_a_frozen_backbone_where_a_stage_runs_on_photos(tmp_path, eagerly):
    keras.utils.set_random_seed(0)
    plain = extractor()
    features = GeM(name="pooling")(plain.get_layer("pooling").input)
    recipe = replace(FROZEN, normalize=False, stages=(Stage(2, 0.05, train_from=HEAD_ONLY, batch_size=16),))
    network = build_network(recipe, keras.Model(plain.input, features, name="extractor"), 3)
    before = [np.array(weight) for weight in network_of(network.extractor).get_weights()]
    Trainer(network, TrainingSet(IDS, CLASSES, None, read), 0, tmp_path / "state.checkpoint.npz").run()
    assert_equal(before, network_of(network.extractor).get_weights())
    assert abs(float(network.extractor.get_layer("pooling").p.numpy()) - 3) > 1e-3


def test_the_published_recipes_are_what_their_documents_say():
    vgg, xception = find_recipe("vgg16-published"), find_recipe("xception-published")
    assert (vgg.pixels, vgg.views, vgg.background, vgg.distractors) == ("unit", 1, "zero", False)
    assert [stage.train_from for stage in vgg.stages] == [None, 15]
    assert [stage.train_from for stage in xception.stages] == [HEAD_ONLY, 85, 25]
    assert (xception.head, xception.loss, xception.vote) == ("softmax", "rank-bce-published", "vote")
    assert (xception.views, xception.dropout, xception.background) == (22, 0.05, "zero")
    assert find_recipe("efficientnet-noisy-student").provider == "efficientnet"
