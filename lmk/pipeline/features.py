"""The pretrained extractor of a recipe, and the features of photos that it stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from lmk.data.images import resize
from lmk.data.views import largest_side
from lmk.models.extract import view_features
from lmk.models.network import build_extractor, calibrate_normalization
from lmk.models.recipe import Recipe
from lmk.models.runtimes import Predictor, predictor
from lmk.util.progress import Progress
from lmk.util.store import ArrayStore

CALIBRATION_PHOTOS = 8
"""Photos that give a backbone without weights the statistics of its normalization, all at once in memory."""


def pixels_seen(recipe: Recipe) -> int:
    """Pixels of the shorter side of a photo that the views of a recipe show."""
    return recipe.image_size if recipe.dense else largest_side(recipe.image_size, recipe.views)


@dataclass(eq=False)
class Extractor:
    """A recipe's backbone as pretrained, with its pooling.

    Attributes:
        recipe: Backbone, pooling and views.
        weights: Weights of the backbone, as in `Config`.
        seed: Random seed of weights where there are none.
        calibration: (n,) str, training photos for the statistics of a backbone without weights.
        read: A photo's id to RGB (h, w, 3) uint8, of at least `pixels_seen` pixels where the photo has them.
        runtime, precision: As in `Config`.
        may_compute: Raises where results of another backend must not be mixed with what is computed here; its
            argument says what is lacking.
        progress: Reports extraction.
        jobs: Threads that read photos; as many as there are cores if None.
    """

    recipe: Recipe
    weights: str
    seed: int
    calibration: np.ndarray
    read: Callable[[str], np.ndarray]
    runtime: str
    precision: str
    may_compute: Callable[[str], None]
    progress: Progress
    jobs: int | None = None

    def features(self, photos: np.ndarray, store: ArrayStore) -> np.ndarray:
        """(n, views, ...) float16 of the photos' views; what the store has is not computed again."""
        return view_features(self._frozen_or_refused, self.recipe, self.read, photos, store, self.progress, self.jobs)

    @cached_property
    def frozen(self) -> keras.Model:
        """The backbone that never learns; random weights are the same ones for every part."""
        return self.new()

    def new(self) -> keras.Model:
        """A backbone of its own, for a network that learns."""
        keras.utils.set_random_seed(self.seed)
        extractor = build_extractor(self.recipe, self.weights)
        if self.weights == "none":
            photos = np.random.default_rng(self.seed).permutation(self.calibration)[:CALIBRATION_PHOTOS]
            side = self.recipe.image_size
            calibrate_normalization(extractor, np.stack([resize(self.read(name), side, side) for name in photos]))
        return extractor

    def fast(self, extractor: keras.Model) -> Predictor:
        """Predictor with an extractor's present weights."""
        return predictor(extractor, self.runtime, self.precision == "bf16")

    def _frozen_or_refused(self) -> Predictor:
        self.may_compute("features")
        return self._frozen_predictor

    @cached_property
    def _frozen_predictor(self) -> Predictor:
        return self.fast(self.frozen)
