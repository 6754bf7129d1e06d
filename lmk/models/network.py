"""A recipe's network: the extractor from views to features, and the top from features to outputs."""

from dataclasses import dataclass

import keras
import numpy as np

from lmk.models.backbones.build import build_backbone, network_of
from lmk.models.dense_views import WindowGeM, dense_windows
from lmk.models.device import jit_for_device
from lmk.models.heads import HEADS, Head, SampledOutputs, descriptor_neck
from lmk.models.pooling import POOLINGS
from lmk.models.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Network:
    """Both parts, sharing weights with `whole`.

    Attributes:
        extractor: Views (b, side, side, 3) in [0, 255] to features: (b, d); (b, h, w, c) where pooling is `flatten`;
            (b, windows, d) of dense views.
        top: Features to outputs (b, n), as the head gives them.
        head: What outputs mean.
    """

    recipe: Recipe
    extractor: keras.Model
    top: keras.Model
    head: Head

    def whole(self) -> keras.Model:
        """Views to outputs, for training the backbone."""
        views = keras.Input(self.extractor.input_shape[1:], name="views")
        return keras.Model(views, self.top(self.extractor(views)), name=self.recipe.name.replace("-", "_"))

    def trained_part(self, whole: bool) -> keras.Model:
        """Model that a stage trains: from views if `whole`, else from features, to outputs.

        With `sampled_classes` it also takes the photos' classes (b, 1), and its outputs are those of `SampledOutputs`.
        """
        share = self.recipe.sampled_classes
        if share is None:
            return self.whole() if whole else self.top
        head = self.top.layers[-1]
        inputs = keras.Input(self.extractor.input_shape[1:], name="views") if whole else self.top.input
        descriptors = keras.Model(self.top.input, head.input, name="before_head")
        classes = keras.Input((1,), dtype="int32", name="classes")
        sampled = SampledOutputs(head, share, self.recipe.background == "class", name="sampled")
        described = descriptors(self.extractor(inputs)) if whole else head.input
        return keras.Model([inputs, classes], sampled([described, classes]), name="sampled_part")


def build_extractor(recipe: Recipe, weights: str) -> keras.Model:
    """The backbone with its weights, and the pooling.

    weights: `imagenet`, `none`, or a file or folder, as `build_backbone` takes them.
    """
    backbone = build_backbone(recipe.backbone, weights, recipe.image_size, recipe.provider, recipe.pixels)
    features = backbone.outputs[0]
    if recipe.dense:
        features = WindowGeM(dense_windows(recipe.views), name="pooling")(features)
    elif recipe.pooling != "flatten":
        features = POOLINGS[recipe.pooling](name="pooling")(features)
    extractor = keras.Model(backbone.input, features, name="extractor")
    extractor.compile(jit_compile=jit_for_device())  # for prediction
    return extractor


def calibrate_normalization(extractor: keras.Model, views: np.ndarray) -> None:
    """Set the statistics of batch normalization to those of `views`, (b, side, side, 3) uint8.

    Without it the signal of a random backbone fades from layer to layer, and all photos look alike. With it random
    features distinguish textures and colours. Statistics of the data at hand: Li et al., arXiv:1603.04779.
    """
    layers = [layer for layer in network_of(extractor).layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # the statistics become the batch's own
    extractor(views, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def build_network(recipe: Recipe, extractor: keras.Model, num_landmarks: int) -> Network:
    """A network with a new top for `num_landmarks` landmarks; the extractor is taken as it is."""
    head = HEADS[recipe.head]
    shape = extractor.output_shape[2:] if recipe.dense else extractor.output_shape[1:]
    features = keras.Input(shape, name="features")
    x = keras.layers.Flatten()(features) if recipe.pooling == "flatten" else features
    if recipe.normalize:
        x = keras.layers.BatchNormalization(momentum=0.9, name="standardize")(x)
    for width in recipe.hidden:
        x = keras.layers.Dense(width, activation="relu")(x)
    if recipe.descriptor is not None:
        x = descriptor_neck(x, recipe.descriptor)
    x = keras.layers.Dropout(recipe.dropout)(x)
    outputs = head.layer(num_landmarks, recipe.background)(x)
    return Network(recipe, extractor, keras.Model(features, outputs, name="top"), head)
