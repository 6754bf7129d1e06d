"""How much a configuration asks for and stores on a competition: queries, photos compared, bytes of features."""

from __future__ import annotations

from lmk.data.sizes import Size
from lmk.local.kinds import LOCAL_FEATURES
from lmk.models.backbones.catalogue import backbone_named
from lmk.models.recipe import Recipe
from lmk.pipeline.config import Config


def dev_queries(config: Config, size: Size) -> int:
    """About how many dev queries the configuration asks."""
    if config.holds_out(size.train):
        return size.holdout_queries(config.share_without_landmark, config.dev_queries)
    return size.queries(config.share_without_landmark)


def compared_photos(config: Config, size: Size) -> int:
    """Photos with local features: queries, and the galleries of the landmarks that are proposed for them.

    Dev queries of a small competition are most of its training photos, each counted once.
    """
    queries = dev_queries(config, size) + size.test
    return min(size.photos, queries + size.proposed(config.gallery, queries * config.candidates))


def local_bytes(config: Config, size: Size, kind: str) -> float:
    """Bytes of a kind of local features of all photos that are compared."""
    share = min(1.0, config.most_features / LOCAL_FEATURES[kind].most) if config.most_features else 1.0
    return compared_photos(config, size) * LOCAL_FEATURES[kind].feature_bytes * share


def stored_bytes(recipe: Recipe, photos: int) -> float:
    """Bytes of the features of so many photos that a recipe stores, in half precision."""
    if recipe.stages[0].train_from is not None:
        return 2.0 * photos * feature_width(recipe)
    return 2.0 * photos * recipe.views * feature_width(recipe)


def feature_width(recipe: Recipe) -> int:
    """Numbers of a view that the head gets."""
    backbone = backbone_named(recipe.backbone)
    cells = (recipe.image_size // backbone.stride) ** 2 if recipe.pooling == "flatten" else 1
    return backbone.channels * cells


def descriptor_width(config: Config, recipe: Recipe) -> int:
    """Numbers of a photo's descriptor by a recipe's network."""
    width = feature_width(recipe)
    return width if config.descriptor_width is None else min(width, config.descriptor_width)
