"""A competition and recipes so small that a whole run takes seconds, and `lmk` with these recipes.

`python tests/tiny.py ARGUMENTS` is `lmk ARGUMENTS`, its networks run eagerly; with KILL_AT=n in the environment it
kills itself (SIGKILL) where the n-th file would take its place, so that nothing can be put in order before.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from scenes import scene, tilt, view

LANDMARKS = {40: 7, 7: 6, 1000: 5, 55: 4, 3: 2, 8: 1}
"""Training photos by landmark."""
UNREADABLE, WITHOUT_PHOTO = "t05", "t09"
RECIPE_NAMES = ("tiny-frozen", "tiny-tuned")


def draw_competition(folder: Path) -> Path:
    """Scenes seen from several places; test photos of landmarks, of none, one damaged and one missing."""
    for part in ("train", "test", "distractors"):
        (folder / part).mkdir(parents=True)
    rows = ["id,landmark_id"]
    for landmark, count in LANDMARKS.items():
        for number in range(count):
            rows.append(f"l{landmark}n{number},{landmark}")
            write(folder / "train" / f"l{landmark}n{number}.jpg", seen(landmark, number))
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    for number in range(8):
        write(folder / "distractors" / f"d{number}.jpg", seen(500 + number, number))
    shown = [40, 7, 1000, 55, 40, 7, -1, -2, -3, 3]
    for place, landmark in enumerate(shown):
        if f"t{place:02d}" != WITHOUT_PHOTO:
            write(folder / "test" / f"t{place:02d}.jpg", seen(landmark + 700 if landmark < 0 else landmark, 30 + place))
    damaged = folder / "test" / f"{UNREADABLE}.jpg"
    damaged.write_bytes(damaged.read_bytes()[:900])
    order = [3, 0, 9, 1, 2, 5, 4, 8, 7, 6]  # the sample's own
    (folder / "sample_submission.csv").write_text("id,landmarks\n" + "".join(f"t{place:02d},\n" for place in order))
    solution = [f"t{place:02d},{'' if shown[place] < 0 else shown[place]},Private\n" for place in order]
    (folder / "solution.csv").write_text("id,landmarks,Usage\n" + "".join(solution))
    return folder


def seen(scene_number: int, view_number: int) -> np.ndarray:
    """A scene from a place that the number draws; RGB (96, 96, 3) uint8."""
    rng = np.random.default_rng([scene_number, view_number])
    moved = tilt(rng.uniform(-8, 8), rng.uniform(0.9, 1.1), tuple(rng.uniform(-6, 6, 2)))
    return view(scene(scene_number, (96, 96)), moved, view_number)


def write(path: Path, photo: np.ndarray) -> None:
    cv2.imwrite(str(path), photo[..., ::-1])


def install(put: Callable[[object, object, object], None]) -> None:
    """Make the recipes known; `put` sets an item of a dictionary or an attribute of a module."""
    from lmk.models.backbones.catalogue import BACKBONES, GIGA_MACS, Backbone
    from lmk.models.recipe import Recipe, Stage
    from lmk.models.recipes import RECIPES

    put(BACKBONES, "tiny", Backbone("tiny", "Tiny", 32, "included", 8, "tiny.h5", stride=4))
    put(GIGA_MACS, "tiny", 0.001)
    frozen = Recipe(
        "tiny-frozen", "tiny", 32, (Stage(4, 0.02, batch_size=64),), normalize=True, dropout=0.1, views=12, dense=True
    )
    tuned = replace(
        frozen,
        name="tiny-tuned",
        stages=(Stage(2, 0.01, train_from=0, batch_size=16, patience=1),),
        views=1,
        dense=False,
        vote="vote",
    )
    for recipe in (frozen, tuned):
        put(RECIPES, recipe.name, recipe)


def install_network(put: Callable[[object, object, object], None]) -> None:
    """Give the backbone `tiny` a network; this loads Keras."""
    import lmk.models.network

    put(lmk.models.network, "build_backbone", build)


def run_eagerly(eagerly: bool = True) -> None:
    """Let TensorFlow run networks without tracing them first, which takes far longer than running such small ones."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.run_functions_eagerly(eagerly)


def install_delf(put: Callable[[object, object, object], None]) -> None:
    """Let the backbone `tiny` be one that DELF is trained on, in seconds; this loads Keras."""
    import lmk.models.delf.network
    import lmk.pipeline.building.delf
    import lmk.pipeline.delf
    from lmk.local.delf import DelfOptions
    from lmk.models.delf.recipe import CUTS, DelfRecipe, DelfTraining

    recipe = DelfRecipe("tiny", 8, DelfTraining(side=64, epochs=3))
    put(CUTS, "tiny", "relu1")
    put(lmk.pipeline.delf, "default_recipe", lambda weights: recipe)
    put(lmk.pipeline.building.delf, "DelfOptions", lambda: DelfOptions(max_features=40, side=96, scales=(0.5, 1.0)))
    put(lmk.models.delf.network, "build_backbone", build)


def build(name: str, weights: str = "none", image_size: int | None = None, provider: str = "keras", pixels=None):
    """The backbone `tiny`, with weights from Keras' seed or from a file."""
    from lmk.models.backbones.build import network_of

    assert name == "tiny"
    backbone = small_backbone(name, image_size)
    if weights != "none":
        network_of(backbone).load_weights(weights)
    return backbone


def write_weights(path: Path) -> None:
    """A file of weights of the backbone `tiny`."""
    import keras

    from lmk.models.backbones.build import network_of

    keras.utils.set_random_seed(0)
    network_of(small_backbone("tiny", 32)).save_weights(path)


def small_backbone(name: str, image_size: int | None):
    """A backbone of two layers, from RGB (batch, side, side, 3) to (batch, side / 4, side / 4, 16)."""
    import keras

    inner = keras.Input((image_size, image_size, 3))
    x = inner
    for place, width in enumerate((8, 16)):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"conv{place}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{place}")(x)
        x = keras.layers.ReLU(name=f"relu{place}")(x)
    images = keras.Input((image_size, image_size, 3), name="images")
    network = keras.Model(inner, x, name="network")
    return keras.Model(images, network(keras.layers.Rescaling(1 / 127.5, -1)(images)), name=name)


def _put(holder: object, name: str, value: object) -> None:
    if isinstance(holder, dict):
        holder[name] = value
    else:
        setattr(holder, name, value)


def _kill_at(count: int) -> None:
    """Kill this process where the `count`-th file would take its place."""
    replaced, really_replace = 0, Path.replace

    def counting(path: Path, target: Path) -> Path:
        nonlocal replaced
        replaced += 1
        if replaced == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return really_replace(path, target)

    Path.replace = counting


def main() -> None:
    """`lmk` with the recipes."""
    from lmk.cli.main import main as lmk
    from lmk.models import start

    install(_put)
    really_start = start.start_keras

    def start_keras(*team) -> None:
        really_start(*team)
        install_network(_put)
        run_eagerly()

    start.start_keras = start_keras
    if "KILL_AT" in os.environ:
        _kill_at(int(os.environ["KILL_AT"]))
    lmk()


if __name__ == "__main__":
    main()
