"""EfficientNets of the `efficientnet` package, under Keras 3: the provider `efficientnet`.

The package asks its caller for the Keras it builds with. It was written for an older one; the few
functions that it still needs are handed over here, and its own activation and dropout are then
replaced by Keras' equal ones, so that a saved model needs none of the package to load.
"""

from pathlib import Path
from types import SimpleNamespace

import keras

from lmk.models.backbones import keras_applications, weights
from lmk.models.backbones.catalogue import PACKAGE_NAMES, Backbone
from lmk.util.errors import LmkError

SCALING = "torch"
"""The package's networks want pixels standardised outside."""


def build_network(backbone: Backbone, image_size: int | None) -> keras.Model:
    """The network `efficientnetb0` ... `efficientnetb7`, untrained.

    Takes pixels standardised by ImageNet's mean and deviation, (batch, size, size, 3), and gives the feature map.
    Tan and Le, arXiv:1905.11946.

    Raises:
        LmkError: The package does not have the network.
    """
    if backbone.name not in PACKAGE_NAMES:
        raise LmkError(f"The package efficientnet has no {backbone.name}; it has {', '.join(PACKAGE_NAMES)}.")
    import efficientnet.model

    backend = SimpleNamespace(
        backend=lambda: "keras3",  # any name that the package has no branch of its own for
        image_data_format=keras.config.image_data_format,
        sigmoid=keras.ops.sigmoid,
        shape=keras.ops.shape,
        is_keras_tensor=keras.utils.is_keras_tensor,
    )
    build = getattr(efficientnet.model, PACKAGE_NAMES[backbone.name])
    network = build(
        include_top=False,
        weights=None,
        input_shape=(image_size, image_size, 3),
        backend=backend,
        layers=keras.layers,
        models=keras.models,
        utils=keras.utils,
    )
    return keras.models.clone_model(network, clone_function=_plain)


def load_weights(network: keras.Model, path: Path, backbone: Backbone) -> None:
    """Read a file of weights, see `weights.load_weights`."""
    weights.load_weights(network, path, backbone.name, backbone.weights_files[0])


def download_weights(network: keras.Model, backbone: Backbone) -> None:
    """Give the network the ImageNet weights of `keras.applications`, which has the same networks."""
    keras_applications.download_weights(network, backbone)


def _plain(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The same layer without the package's own classes and functions."""
    config = layer.get_config()
    if getattr(getattr(layer, "activation", None), "__name__", "") == "swish":
        config["activation"] = "silu"
    kind = keras.layers.Dropout if isinstance(layer, keras.layers.Dropout) else type(layer)
    return kind.from_config(config)
