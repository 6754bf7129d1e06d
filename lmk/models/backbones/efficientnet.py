"""EfficientNets of the `efficientnet` package, under Keras 3.

The package asks its caller for the Keras it builds with. It was written for an older one; the few
functions that it still needs are handed over here, and its own activation and dropout are then
replaced by Keras' equal ones, so that a saved model needs none of the package to load.
"""

from types import SimpleNamespace

import keras

from lmk.models.backbones.catalogue import PACKAGE_NAMES


def build_network(name: str, image_size: int | None) -> keras.Model:
    """The network `efficientnetb0` ... `efficientnetb7`, untrained.

    Takes pixels standardised by ImageNet's mean and deviation, (batch, size, size, 3), and gives the feature map.
    Tan and Le, arXiv:1905.11946.
    """
    import efficientnet.model

    backend = SimpleNamespace(
        backend=lambda: "keras3",  # any name that the package has no branch of its own for
        image_data_format=keras.config.image_data_format,
        sigmoid=keras.ops.sigmoid,
        shape=keras.ops.shape,
        is_keras_tensor=keras.utils.is_keras_tensor,
    )
    build = getattr(efficientnet.model, PACKAGE_NAMES[name])
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


def _plain(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The same layer without the package's own classes and functions."""
    config = layer.get_config()
    if getattr(getattr(layer, "activation", None), "__name__", "") == "swish":
        config["activation"] = "silu"
    kind = keras.layers.Dropout if isinstance(layer, keras.layers.Dropout) else type(layer)
    return kind.from_config(config)
