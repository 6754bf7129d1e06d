"""Settings of a DELF network; nothing here loads Keras."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from lmk.util.errors import LmkError

CUTS = {
    "resnet50": "conv4_block6_out",
    "resnet101": "conv4_block23_out",
    "mobilenet": "conv_pw_11_relu",
    "mobilenetv2": "block_13_expand_relu",
    "tinymobilenet": "conv_pw_11_relu",
    "tinymobilenetv2": "block_13_expand_relu",
    "xception": "add_10",
    "vgg16": "block5_conv3",
    "efficientnetb0": "block6a_expand_activation",
    "efficientnetlite0": "block11_expand_relu",
    "efficientnetlite1": "block15_expand_relu",
    "efficientnetlite2": "block15_expand_relu",
}
"""The layer at which each backbone is cut, all of stride 16; of ResNet-50 the one that was published."""


@dataclass(frozen=True)
class DelfTraining:
    """How DELF learns.

    Attributes:
        side: Side of the square views, in pixels.
        views: Augmented views a photo, whose feature maps are kept in memory.
        photos: The most photos: those of the landmarks with the most photos.
        photos_a_landmark: The most of one landmark, so that it does not outweigh the others.
        epochs, learning_rate, batch_size: Training of attention.
        tune_epochs, tune_rate: Training of the backbone before it, which learns to name the landmark from the mean of
            all cells, as in the paper; 0 epochs leave it frozen.
        normalize: Whether the vector that the classifier sees has a fixed length. As published it has not: it is the
            mean of the weighted cells, so that attention's own scale matters to the loss, and a threshold on scores
            means the same for every network that was trained so. A fixed length learns in fewer epochs.
        seed: Random seed of choices, views and weights.
    """

    side: int = 256
    views: int = 2
    photos: int = 1024
    photos_a_landmark: int = 64
    epochs: int = 10
    learning_rate: float = 2e-3
    batch_size: int = 32
    tune_epochs: int = 0
    tune_rate: float = 1e-4
    normalize: bool = True
    seed: int = 0


@dataclass(frozen=True)
class DelfRecipe:
    """A backbone of `CUTS`, how its attention learns, and the dimensions that PCA leaves of its features."""

    backbone: str = "mobilenetv2"
    dimensions: int = 40
    training: DelfTraining = field(default_factory=DelfTraining)

    def key(self) -> dict[str, object]:
        """Settings by name, for digests."""
        return {**asdict(self), "cut": cut_of(self.backbone)}


def cut_of(backbone: str) -> str:
    """The layer at which a backbone is cut.

    Raises:
        LmkError: It is not one of `CUTS`.
    """
    if backbone not in CUTS:
        raise LmkError(f"DELF does not know where to cut '{backbone}'; it knows {', '.join(CUTS)}.")
    return CUTS[backbone]
