"""Makes the weights that lmk ships: two tiny backbones that learned to tell drawn buildings apart.

    python -m research.tiny_weights --out lmk/models/weights_tiny --backbone tinymobilenet
    python -m research.tiny_weights --out lmk/models/weights_tiny --backbone tinymobilenetv2 --side 96 --epochs 14

No demo shows a building of these. A demo draws the building `n` of its seed from `[seed, 1, n]` and numbers its
buildings from 0 to a few tens; the buildings here are drawn from `[0, 1, n]` with n from `FIRST_BUILDING` on.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import h5py
import joblib
import keras
import numpy as np

from lmk.cli.console import note, progress
from lmk.data.images import resize
from lmk.demo import buildings, distractors
from lmk.demo.scenes import photograph, settle
from lmk.models.backbones.build import network_of
from lmk.models.backbones.catalogue import BACKBONES
from lmk.models.learner import TrainingSet
from lmk.models.network import build_extractor, build_network, calibrate_normalization
from lmk.models.recipe import Recipe, Stage
from lmk.models.training import Trainer
from lmk.predictions import NO_LANDMARK

FIRST_BUILDING = 1_000_000
STORED_SIDE = 192
"""Photos are kept as squares of that side, in pixels: training looks at less."""
VIEWS, SHARES = ("plain", "crop", "far", "dusk"), (0.66, 0.14, 0.08, 0.12)
SCENES_A_BUILDING = 3
"""Photos of no building, for each building: together they are one class more."""
CALIBRATION_PHOTOS = 384


@dataclass(frozen=True)
class Photos:
    """What the backbones learn from: images (n, side, side, 3) uint8, and buildings (n,), -1 for none."""

    images: np.ndarray
    buildings: np.ndarray


def render(number_of_buildings: int, views: int, jobs: int) -> Photos:
    """Photos of buildings, `views` of each, and of other scenes."""
    numbers = range(FIRST_BUILDING, FIRST_BUILDING + number_of_buildings)
    run = joblib.Parallel(n_jobs=jobs, return_as="generator")
    parts, shown = [], []
    with progress("Drawing", number_of_buildings, "buildings") as advance:
        for images in run(joblib.delayed(_draw)(number, views) for number in numbers):
            parts.append(images)
            shown += [len(parts) - 1] * views + [NO_LANDMARK] * SCENES_A_BUILDING
            advance(1)
    return Photos(np.concatenate(parts), np.array(shown))


def _draw(number: int, views: int) -> np.ndarray:
    """(views + SCENES_A_BUILDING, side, side, 3): photos of one building, then scenes without one."""
    cv2.setNumThreads(1)  # the processes share the cores
    rng = np.random.default_rng([0, 1, number])
    place = settle(buildings.build(number % len(buildings.KINDS), rng), rng)
    photos = [photograph(place, rng, str(rng.choice(VIEWS, p=SHARES))) for _ in range(views)]
    kinds = [distractors.KINDS[kind].__name__ for kind in rng.integers(len(distractors.KINDS), size=SCENES_A_BUILDING)]
    photos += [distractors.scene(kind, rng) for kind in kinds]
    return np.stack([resize(photo, STORED_SIDE, STORED_SIDE) for photo in photos])


def photos_of(path: Path, draw: partial[Photos]) -> Photos:
    """What `path` keeps of an earlier run, or photos drawn now and kept there."""
    if not path.exists():
        drawn = draw()
        with path.open("wb") as file:
            np.savez(file, images=drawn.images, buildings=drawn.buildings)
    with np.load(path) as stored:
        return Photos(stored["images"], stored["buildings"])


def recipe_for(backbone: str, side: int, epochs: int, learning_rate: float) -> Recipe:
    """All layers from random weights: a class for each building, one for all other scenes."""
    return Recipe(
        name=backbone,
        backbone=backbone,
        image_size=side,
        stages=(Stage(epochs, learning_rate, train_from=0, batch_size=48, warmup=1),),
        label_smoothing=0.1,
        optimizer="adamw",
        weight_decay=0.02,
    )


def train(recipe: Recipe, photos: Photos, seed: int = 0) -> keras.Model:
    """The backbone after training, its normalization set to the statistics of unchanged photos."""
    keras.utils.set_random_seed(seed)
    extractor = build_extractor(recipe, "none")
    network = build_network(recipe, extractor, int(photos.buildings.max()) + 1)
    ids = np.arange(len(photos.images)).astype(str)
    with tempfile.TemporaryDirectory() as folder:
        data = TrainingSet(ids, photos.buildings, None, lambda name: photos.images[int(name)])
        trainer = Trainer(network, data, seed, Path(folder) / "checkpoint.npz", label=recipe.name, progress=progress)
        for record in trainer.run():
            note(f"epoch {record['epoch'] + 1}: loss {record['loss']:.3f}, GAP {record['train_score']:.3f}")
    chosen = np.random.default_rng(seed).permutation(len(ids))[:CALIBRATION_PHOTOS]
    side = recipe.image_size
    calibrate_normalization(extractor, np.stack([resize(photos.images[row], side, side) for row in chosen]))
    return network_of(extractor)


def save(network: keras.Model, path: Path) -> None:
    """Write weights as Keras does, then each array again in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.weights.h5"
        network.save_weights(whole)
        with h5py.File(whole) as source, h5py.File(path, "w", libver="latest") as target:
            for name, array in _arrays(source):
                target.create_dataset(name, data=array.astype(np.float16))
            target.attrs.update(source.attrs)


def _arrays(file: h5py.File) -> Iterator[tuple[str, np.ndarray]]:
    names: list[str] = []
    file.visit(names.append)
    for name in names:
        if isinstance(file[name], h5py.Dataset):
            yield name, file[name][()]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m research.tiny_weights`."""
    shipped = [name for name in BACKBONES if name.startswith("tiny")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--photos", type=Path, default=Path(tempfile.gettempdir()) / "lmk-tiny-photos.npz")
    parser.add_argument("--backbone", action="append", choices=shipped, help="of which; default: all")
    parser.add_argument("--buildings", type=int, default=240)
    parser.add_argument("--views", type=int, default=14, help="photos of each building")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--side", type=int, default=112, help="of the views in training, in pixels")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--jobs", type=int, default=2, help="processes that draw")
    given = parser.parse_args(arguments)
    photos = photos_of(given.photos, partial(render, given.buildings, given.views, given.jobs))
    for name in given.backbone or shipped:
        network = train(recipe_for(name, given.side, given.epochs, given.learning_rate), photos)
        path = given.out / f"{name}.weights.h5"
        save(network, path)
        note(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
