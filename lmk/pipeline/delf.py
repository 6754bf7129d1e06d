"""DELF on a dataset: its network trained where it is not stored, its PCA, and the extractor made of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from joblib import cpu_count

from lmk.local.delf import SCALES, Canvases, Delf, DelfOptions
from lmk.local.features import SHARD, LocalFeatures
from lmk.local.pca import Pca
from lmk.models.delf.recipe import DelfRecipe, cut_of
from lmk.models.start import start_keras
from lmk.pipeline.dataset import Part
from lmk.pipeline.histories import discard_damaged, is_history, read_history, write_history
from lmk.util.checked import is_sealed, is_whole, seal
from lmk.util.errors import LmkError
from lmk.util.progress import Progress

if TYPE_CHECKING:
    from lmk.models.delf.network import DelfNetwork
    from lmk.models.delf.training import Record

PCA_PHOTOS, PCA_FEATURES = 100, 200
"""Training photos whose features the PCA is fitted to, and features of each: 20,000 vectors for 40 components."""
PCA_ZOOM = 1.0
"""The largest scale that they are taken from where there are so many photos: larger ones are three quarters of DELF's
work on a photo, and without them GAP is the same (docs/journal/competitions.md)."""
MOST_WITHOUT_PCA = 256
"""Channels of a published model up to which its descriptors are taken as they are where no PCA came with it."""
PCA_BATCH = 10
"""Photos that it reads at once."""
PIXELS = 16 * 96 * 96
"""Pixels of photos that go through the network together on a CPU: sixteen photos of 96 pixels take half as long so."""
GPU_THREADS = 8
"""Threads that prepare images beside a GPU."""


def default_recipe(weights: str) -> DelfRecipe:
    """The DELF that suits the weights of a run's backbones."""
    return DelfRecipe("tinymobilenetv2" if weights == "tiny" else "mobilenetv2")


def recipe_of(weights: str, named: str | None, tune_epochs: int) -> DelfRecipe:
    """The DELF that is asked for.

    Args:
        weights: Weights of the backbones, as in `Config`.
        named: A backbone, or the folder of a published model; None for what suits the weights.
        tune_epochs: Epochs in which the backbone learns.

    Raises:
        LmkError: It names neither a backbone that DELF can be trained on nor a folder, or asks to tune what such a
            folder holds.
    """
    recipe = default_recipe(weights)
    if named is not None:
        recipe = replace(recipe, backbone=named)
        if not Path(named).is_dir():
            cut_of(named)
        elif tune_epochs:
            raise LmkError(f"--delf-tune trains a backbone, and the DELF in {named} is trained: leave it out.")
    return replace(recipe, training=replace(recipe.training, tune_epochs=tune_epochs))


@dataclass(eq=False)
class DelfExtractor:
    """DELF as an `lmk.local.features.Extractor`: its network is built, or trained, when the first photo comes.

    Attributes:
        recipe, options: Network and extraction.
        weights: Weights of the backbone, as in `Config`.
        part: Photos that attention and PCA learn from.
        read: A photo's id to RGB (h, w, 3) uint8.
        files: Where the network's weights and the PCA lie.
        jobs: Threads that read photos, and on a CPU extract.
        precision: As in `Config`.
        may_compute: As of `Networks`.
        progress: Reports training.
    """

    recipe: DelfRecipe
    options: DelfOptions
    weights: str
    part: Part
    read: Callable[[str], np.ndarray]
    files: tuple[Path, Path]
    jobs: int
    precision: str
    may_compute: Callable[[str], None]
    progress: Progress

    batch_size: ClassVar[int] = SHARD
    stored_as: ClassVar[type] = np.float16

    @property
    def published(self) -> Path | None:
        """The folder of a published model in place of a backbone."""
        folder = Path(self.recipe.backbone)
        return folder if folder.is_dir() else None

    @property
    def max_features(self) -> int:
        """The most features of a photo."""
        return self.options.max_features

    def key(self) -> dict[str, object]:
        """Settings of its features, besides photo and network."""
        return self.options.key({})

    def __call__(self, photos: Sequence[np.ndarray]) -> list[LocalFeatures]:
        """Features of RGB photos (h, w, 3) uint8."""
        return self._ready(photos)

    def is_trained(self) -> bool:
        """Whether nothing has to be trained."""
        if self.published is not None:
            return True
        return all(is_sealed(path) for path in self.files) and is_history(history_of(self.files[0]))

    def train(self) -> list[Record]:
        """Train what is not trained yet, fit the PCA, and keep both; the history, empty for a published model."""
        if self.published is not None:
            return []
        network, _ = self.files
        discard_damaged(network, history_of(network))
        if not self.is_trained():
            self._ready  # noqa: B018  - builds, trains and keeps
        return read_history(history_of(network))

    @cached_property
    def _ready(self) -> Delf:
        self.may_compute("features")
        start_keras()
        from lmk.models.device import POLICIES

        if self.published is not None:
            published = import_module("lmk.models.delf.published")
            network, pca = published.load_published(self.published, self.recipe.dimensions, POLICIES[self.precision])
            if pca is None and network.backbone.output_shape[-1] > MOST_WITHOUT_PCA:
                pca = self._own_pca(network)
            return self._with(network, pca, self.options)
        return self._trained()

    def _with(self, network: DelfNetwork, pca: Pca | None, options: DelfOptions) -> Delf:
        """A network as it runs on the device: a compiled one gets canvases of few sizes, a CPU batches by pixels."""
        from lmk.models.device import jit_for_device

        compiled = jit_for_device()
        threads = min(GPU_THREADS if compiled else self.jobs, cpu_count())
        canvases = Canvases() if compiled else None
        return Delf(network.dense(self.max_features), network.fields, pca, options, PIXELS, threads, canvases)

    def _trained(self) -> Delf:
        import keras

        from lmk.models.delf.network import build_delf, load_delf, save_delf
        from lmk.models.delf.training import train_delf
        from lmk.models.device import POLICIES

        weights = self.files[0]
        keras.utils.set_random_seed(self.recipe.training.seed)  # attention begins the same, whatever came before
        network = build_delf(self.recipe.backbone, self.weights, POLICIES[self.precision])
        if is_whole(weights):
            load_delf(network, weights)
        else:
            training = self.recipe.training
            part = self.part
            history = train_delf(network, part.photos, part.landmarks, self.read, training, self.progress, self.jobs)
            write_history(history_of(weights), history)
            save_delf(network, weights)
            seal(weights)
        return self._with(network, self._own_pca(network), self.options)

    def _own_pca(self, network: DelfNetwork) -> Pca:
        """The PCA that is fitted to training photos, and kept."""
        path = self.files[1]
        if not is_whole(path):
            self._fit_pca(network).save(path)
            seal(path)
        return Pca.load(path)

    def _fit_pca(self, network: DelfNetwork) -> Pca:
        """The PCA of features of training photos, none of which is enlarged where there are many."""
        rng = np.random.default_rng(self.recipe.training.seed)
        every = self.part.photos
        ids = every[np.sort(rng.permutation(len(every))[:PCA_PHOTOS])]
        zoom = pca_zoom(len(every))
        scales = tuple(scale for scale in self.options.scales if scale <= zoom) or self.options.scales
        whole, chosen = self._with(network, None, replace(self.options, scales=scales)), []
        with self.progress("DELF: PCA", len(ids), "photos") as advance:
            for start in range(0, len(ids), PCA_BATCH):
                for photo in whole([self.read(name) for name in ids[start : start + PCA_BATCH].tolist()]):
                    chosen.append(photo.descriptors[rng.permutation(len(photo))[:PCA_FEATURES]])
                    advance(1)
        return Pca.fit(np.concatenate(chosen), self.recipe.dimensions)


def pca_zoom(photos: int) -> float:
    """The largest scale of the features that the PCA is fitted to: of few photos all scales are needed."""
    return PCA_ZOOM if photos >= PCA_PHOTOS else max(SCALES)


def history_of(weights: Path) -> Path:
    """The file of a network's history beside its weights."""
    return weights.with_name(weights.name.replace(".weights.h5", ".json"))
