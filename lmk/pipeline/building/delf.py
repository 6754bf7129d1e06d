"""The step of DELF's network, and the key of its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmk.local.delf import DelfOptions
from lmk.local.kinds import DELF
from lmk.models.backbones.catalogue import weights_digest
from lmk.models.delf.files import published_digest
from lmk.models.delf.recipe import DelfRecipe
from lmk.pipeline.backend import choose_backend, refusal
from lmk.pipeline.building.handle import Handle
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.code_of_steps import DELF_CODE, DELF_FEATURES_CODE
from lmk.pipeline.config import Backend
from lmk.pipeline.delf import PCA_FEATURES, PCA_PHOTOS, DelfExtractor, pca_zoom, recipe_of
from lmk.pipeline.key import Key
from lmk.pipeline.steps import DELF_NETWORK, VERIFICATION, Step, local_of
from lmk.util.errors import LmkError


@dataclass(frozen=True, eq=False)
class DelfSteps:
    """Builds the step that trains DELF.

    Attributes:
        shared: Settings, and the keys so far.
    """

    shared: Shared

    def network(self) -> tuple[Step, DelfExtractor, Key]:
        """The step of the network, the extractor that it trains, and the key of the features.

        Raises:
            LmkError: The weights of the backbone cannot be had, or there are none.
        """
        execution = self.shared.execution
        recipe = self._recipe()
        facts, options = self._facts(recipe), self._options(recipe)

        def stored(backend: Backend) -> bool:
            key = self._keys(facts, options, backend)[1]
            folder = execution.workspace.stores / f"{key.name.replace('/', '-')}-{key.digest}"
            return any(folder.glob("*.npz"))

        backend = choose_backend(DELF_NETWORK, stored, execution)
        key, features = self._keys(facts, options, backend)
        extractor = self._extractor(recipe, options, key, backend)

        def missing() -> float:
            return 0.0 if extractor.is_trained() else 1.0

        def train(results: Mapping[str, Any]) -> DelfExtractor:
            extractor.train()
            return extractor

        slot = Handle(missing, lambda: extractor)
        return Step(DELF_NETWORK, VERIFICATION, (), key, slot, train), extractor, features

    def _recipe(self) -> DelfRecipe:
        """The network that is asked for.

        Raises:
            LmkError: As `recipe_of`, or attention is to be trained of a model that is trained.
        """
        config = self.shared.config
        recipe = recipe_of(config.weights, config.delf, config.delf_tune)
        if config.delf_attention == "normalized":
            return recipe
        if Path(recipe.backbone).is_dir():
            raise LmkError(
                f"--delf-attention says how attention is trained, and the DELF in {recipe.backbone} is trained: leave "
                "it out."
            )
        return replace(recipe, training=replace(recipe.training, normalize=False))

    def _keys(self, facts: Mapping[str, object], options: DelfOptions, backend: Backend) -> tuple[Key, Key]:
        """Keys of the network and of its features."""
        shared, dataset = self.shared, self.shared.dataset
        parent = dataset.split_key if dataset.is_holdout else dataset.photos_key
        network = shared.accepted(Key.of(DELF_NETWORK, {**facts, "backend": list(backend)}, [parent], DELF_CODE))
        parents = [network, dataset.photos_key]
        return network, shared.accepted(Key.of(local_of(DELF), options.key({}), parents, DELF_FEATURES_CODE))

    def _extractor(self, recipe: DelfRecipe, options: DelfOptions, key: Key, backend: Backend) -> DelfExtractor:
        config, dataset, execution = self.shared.config, self.shared.dataset, self.shared.execution
        base = execution.workspace.weights / f"{DELF_NETWORK}-{key.digest}"
        return DelfExtractor(
            recipe,
            options,
            config.weights,
            dataset.reference,
            dataset.read,
            (base.with_name(f"{base.name}.weights.h5"), base.with_name(f"{base.name}.npz")),
            execution.jobs,
            config.precision,
            refusal(DELF_NETWORK, backend, execution.workspace),
            execution.progress,
        )

    def _options(self, recipe: DelfRecipe) -> DelfOptions:
        """Which features are kept; a published threshold on scores means something to published weights alone."""
        like = self.shared.like
        if like is None:
            options, most = DelfOptions(), self.shared.config.most_features
            return options if most is None else replace(options, max_features=min(options.max_features, most))
        return like.delf if Path(recipe.backbone).is_dir() else like.without_threshold

    def _facts(self, recipe: DelfRecipe) -> dict[str, object]:
        """Settings of the network besides its training photos; raises as `network`."""
        folder, weights = Path(recipe.backbone), self.shared.config.weights
        if folder.is_dir():
            return {"published": published_digest(folder), "dimensions": recipe.dimensions}
        if weights == "none":
            raise LmkError("DELF needs pretrained weights: give --weights, or --local-features rootsift.")
        return {
            "recipe": recipe.key(),
            "weights": weights_digest(recipe.backbone, weights),
            "unreadable": sorted(self.shared.dataset.unreadable),
            "pca": [PCA_PHOTOS, PCA_FEATURES, pca_zoom(len(self.shared.dataset.reference.photos))],
        }
