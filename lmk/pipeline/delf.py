"""DELF on a run's competition: its network trained where it is not stored, its PCA, and the extractor of both.

Attention learns from all training photos of the run, once: the networks that answer dev queries are trained fold by
fold, this one is not, for it would have to look at every photo anew in each fold. docs/design.md says what that means
for dev.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from joblib import cpu_count

from lmk.local.delf import Delf, DelfOptions
from lmk.local.features import SHARD, LocalFeatures
from lmk.local.kinds import DELF
from lmk.local.pca import Pca
from lmk.models.backbones.catalogue import weights_digest
from lmk.models.delf.files import published_digest
from lmk.models.delf.recipe import DelfRecipe, cut_of
from lmk.pipeline.steps import Run
from lmk.util.errors import LmkError
from lmk.util.files import digest_of, write_json
from lmk.util.workspace import Maker

if TYPE_CHECKING:
    from lmk.models.delf.network import DelfNetwork
    from lmk.models.delf.training import Record

PCA_PHOTOS, PCA_FEATURES = 100, 200
"""Training photos whose features the PCA is fitted to, and how many of each: seeded choices."""
PCA_BATCH = 10
"""Photos that it reads at once."""
GPU_PHOTOS = 8
"""Photos of one size that a GPU gets at once; a CPU is as fast with one, which makes rounding the same always."""


def default_recipe(weights: str) -> DelfRecipe:
    """What suits the weights of a run's backbones."""
    return DelfRecipe("tinymobilenetv2" if weights == "tiny" else "mobilenetv2")


def stored_key(competition: str, extractor_key: Mapping[str, object]) -> dict[str, object]:
    """All that stored local features depend on: a competition's digest, and what names the extractor."""
    return {"competition": competition, "extractor": extractor_key}


@dataclass(eq=False)
class DelfOf:
    """A run's DELF, an `Extractor`: its network is built, or trained, when the first photo comes."""

    run: Run
    recipe: DelfRecipe
    options: DelfOptions

    batch_size: ClassVar[int] = SHARD
    stored_as: ClassVar[type] = np.float16

    @classmethod
    def of(cls, run: Run) -> DelfOf:
        """With the options that the run has.

        Raises:
            LmkError: It names neither a backbone that DELF can be trained on nor a folder, or asks to tune what such
                a folder holds.
        """
        named, epochs = run.settings.delf, run.settings.delf_tune
        recipe = default_recipe(run.settings.weights)
        if named is not None:
            recipe = replace(recipe, backbone=named)
            if not Path(named).is_dir():
                cut_of(named)
            elif epochs:
                raise LmkError(f"--delf-tune trains a backbone, and the DELF in {named} is trained: leave it out.")
        recipe = replace(recipe, training=replace(recipe.training, tune_epochs=epochs))
        return cls(run, recipe, DelfOptions())

    @property
    def published(self) -> Path | None:
        """The folder of a published model that the run names in place of a backbone."""
        folder = Path(self.recipe.backbone)
        return folder if folder.is_dir() else None

    @property
    def max_features(self) -> int:
        """The most features of a photo."""
        return self.options.max_features

    @cached_property
    def network_key(self) -> dict[str, object]:
        """All that the network and its PCA depend on: neither the split nor the run's seed.

        Raises:
            LmkError: The weights of the backbone cannot be had, or there are none.
        """
        key = self._published_key(self.published) if self.published is not None else self._trained_key()

        def by(maker: Maker) -> dict[str, object]:
            return key | {"keras": maker[0], "backend": maker[1]}

        return by(self.run.maker_of(DELF, lambda maker: self._has_features(by(maker))))

    def _published_key(self, folder: Path) -> dict[str, object]:
        return {"published": published_digest(folder), "dimensions": self.recipe.dimensions}

    def _trained_key(self) -> dict[str, object]:
        weights = self.run.settings.weights
        if weights == "none":
            raise LmkError("DELF needs pretrained weights: give --weights, or --local-features rootsift.")
        return {
            "recipe": self.recipe.key(),
            "weights": weights_digest(self.recipe.backbone, weights),
            "competition": self.run.competition.digest,
            "unreadable": sorted(self.run.unreadable),
            "pca": [PCA_PHOTOS, PCA_FEATURES],
        }

    def _has_features(self, network_key: dict[str, object]) -> bool:
        """Whether features of a network are stored."""
        key = stored_key(self.run.competition.digest, self.options.key(network_key))
        return any((self.run.workspace.stores / f"{DELF}-{digest_of(key)}").glob("*.npz"))

    def key(self) -> dict[str, object]:
        """All that the features depend on besides the photo."""
        return self.options.key(self.network_key)

    def __call__(self, photos: Sequence[np.ndarray]) -> list[LocalFeatures]:
        """Features of RGB photos (h, w, 3) uint8."""
        return self._ready(photos)

    def train(self) -> list[Record]:
        """Train what is not trained yet, fit the PCA, and keep both in the workspace; returns the history, which a
        published model has none of."""
        if self.published is not None:
            return []
        network, pca = self.files
        if not pca.exists():
            self._ready  # noqa: B018  - builds, trains and keeps
        return json.loads(network.with_suffix("").with_suffix(".json").read_text(encoding="utf-8"))

    @property
    def files(self) -> tuple[Path, Path]:
        """Of the network's weights and of the PCA."""
        name = f"delf-{digest_of(self.network_key)}"
        folder = self.run.workspace.weights
        return folder / f"{name}.weights.h5", folder / f"{name}.npz"

    @cached_property
    def _ready(self) -> Delf:
        self.run.check_maker(DELF, "features")
        from lmk.models.start import start_keras

        start_keras()
        if self.published is not None:
            return self._with(
                *import_module("lmk.models.delf.published").load_published(self.published, self.recipe.dimensions)
            )
        return self._trained()

    def _with(self, network: DelfNetwork, pca: Pca | None) -> Delf:
        """A network as it runs on the device at hand: a GPU gets many photos at once, a processor's cores one each."""
        from lmk.models.device import has_gpu

        at_once, threads = (GPU_PHOTOS, 1) if has_gpu() else (1, min(self.run.settings.jobs, cpu_count()))
        return Delf(network.dense(self.max_features), network.fields, pca, self.options, at_once, threads)

    def _trained(self) -> Delf:
        import keras

        from lmk.models.delf.network import build_delf, load_delf, save_delf
        from lmk.models.delf.training import train_delf

        weights, pca = self.files
        run, recipe = self.run, self.recipe
        keras.utils.set_random_seed(recipe.training.seed)  # attention begins the same, whatever was computed before
        network = build_delf(recipe.backbone, run.settings.weights)
        if weights.exists():
            load_delf(network, weights)
        else:
            ids, landmarks, _ = run.training(None)
            history = train_delf(network, ids, landmarks, run.read, recipe.training, run.progress)
            write_json(weights.with_suffix("").with_suffix(".json"), history)
            save_delf(network, weights)
        if not pca.exists():
            self._fit_pca(network).save(pca)
        return self._with(network, Pca.load(pca))

    def _fit_pca(self, network: DelfNetwork) -> Pca:
        """Of features of training photos, as they are extracted."""
        rng = np.random.default_rng(self.recipe.training.seed)
        every = self.run.training(None)[0]
        ids = every[np.sort(rng.permutation(len(every))[:PCA_PHOTOS])]
        whole, chosen = self._with(network, None), []
        with self.run.progress("DELF: PCA", len(ids), "photos") as advance:
            for start in range(0, len(ids), PCA_BATCH):
                for photo in whole([self.run.read(name) for name in ids[start : start + PCA_BATCH].tolist()]):
                    chosen.append(photo.descriptors[rng.permutation(len(photo))[:PCA_FEATURES]])
                    advance(1)
        return Pca.fit(np.concatenate(chosen), self.recipe.dimensions)
