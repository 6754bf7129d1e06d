"""Recipes: what is trained, and with which settings, as data. Any backbone goes with any head."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

from lmk.models.backbones.catalogue import backbone_named
from lmk.util.errors import LmkError

if TYPE_CHECKING:  # recipes are listed without loading Keras
    from lmk.models.heads import Background


HEAD_ONLY = 10_000
"""For `Stage.train_from`: past the last layer of every backbone. The backbone stays frozen, but the stage runs on
augmented photos, not on stored features, so that the pooling (the exponent of GeM) learns with the head."""

ENOUGH_FOR_STATISTICS = 32
"""Photos a batch from which batch normalization learns; the mean and variance of fewer are mostly chance."""


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Attributes:
        epochs: Passes over the training photos (over all their stored views where the backbone is frozen).
        learning_rate: At its peak; a cosine falls from it to 0, after `warmup` epochs of rising.
        train_from: Index of the first backbone layer that learns; None leaves the backbone frozen, so that the
            stage runs on its stored features; `HEAD_ONLY` leaves it frozen and runs on photos.
        batch_size: Photos (or views) a step.
        warmup: Epochs.
        backbone_factor: Of the learning rate in the backbone.
        depth_decay: Of the learning rate from each quarter of the backbone's layers to the one before it; 1 for none.
        ema: Momentum of an average of the weights over the steps, which takes their place at the end; None for none.
        image_size: Side of the views in place of the recipe's, smaller in earlier stages to save time.
        patience: Stop after as many epochs without a better GAP on dev; None trains all epochs.
        batch_norm: Whether batch normalization learns, too, where the backbone does; None: in batches of
            `ENOUGH_FOR_STATISTICS` or more. Else it keeps the statistics and scales that it has, in the head as well.
        weight_decay: In place of the recipe's: what a head on frozen features wants would shrink a backbone.
        steps: Steps an epoch at the most, of photos or views drawn anew for each epoch; None for all of them.
    """

    epochs: int
    learning_rate: float
    train_from: int | None = None
    batch_size: int = 48
    warmup: int = 0
    backbone_factor: float = 1.0
    depth_decay: float = 1.0
    ema: float | None = None
    image_size: int | None = None
    patience: int | None = None
    batch_norm: bool | None = None
    weight_decay: float | None = None
    steps: int | None = None

    @property
    def learns_batch_norm(self) -> bool:
        """Whether batch normalization learns in this stage."""
        if self.train_from is None or self.batch_norm is None:
            return self.train_from is None or self.batch_size >= ENOUGH_FOR_STATISTICS
        return self.batch_norm


@dataclass(frozen=True)
class Recipe:
    """From a photo to scores.

    Attributes:
        name: As `--recipe` takes it.
        backbone: One of `backbones.BACKBONES`.
        image_size: Side of a view, in pixels.
        pooling: One of `pooling.POOLINGS`, or `flatten`: the feature map as it is.
        hidden: Widths of dense layers before the head, with ReLU.
        normalize: Whether features are standardised (batch normalization) first.
        dropout: Share of features dropped before the head.
        head, loss: Of `heads.HEADS` and `losses.LOSSES`.
        margin: Of `arcface` (radians) and `cosface`.
        sampled_classes: Share of the landmarks, in (0, 1), that a training step compares photos with (Partial FC,
            arXiv:2203.15565); None for all. With tens of thousands of landmarks it saves most of a step's memory. It
            goes with the losses `softmax`, `arcface` and `cosface`, without `weigh_classes`.
        descriptor: Width of a dense layer with batch normalization before the head, the descriptor; None for none.
        background: Target of photos of no landmark.
        distractors: Whether the network learns from photos of no landmark at all.
        label_smoothing, weigh_classes: As for `losses.make_loss`.
        balance: Draw landmarks evenly, not photos.
        stages: Of training, in order; those with a frozen backbone first.
        optimizer, weight_decay: As for `schedules.make_optimizer`.
        views: Views a photo in prediction: 1, 12 or 22.
        dense: Whether the views are windows of one feature map (and of its mirror's) and not crops of the photo,
            each with a pass of its own; for a frozen backbone with GeM.
        vote: What makes one answer of several views: `vote` (each view's best landmark and its score, summed, divided
            by all views), `mean` of their scores, or `descriptors`, the scores of their mean features.
        provider: Who builds the backbone, a key of `catalogue.PROVIDERS`; None: as the catalogue says.
        pixels: How the backbone gets its pixels, one of `catalogue.Scaling`; None: as its weights were trained.
        about: One line for people.
        reaches: What it reached where, for people.
    """

    name: str
    backbone: str
    image_size: int
    stages: tuple[Stage, ...]
    pooling: str = "gem"
    hidden: tuple[int, ...] = ()
    normalize: bool = False
    dropout: float = 0.0
    head: str = "softmax"
    loss: str = "softmax"
    margin: float = 0.3
    sampled_classes: float | None = None
    descriptor: int | None = None
    background: Background = "class"
    distractors: bool = True
    label_smoothing: float = 0.0
    weigh_classes: bool = False
    balance: bool = False
    optimizer: str = "adam"
    weight_decay: float | None = None
    views: int = 22
    dense: bool = False
    vote: Literal["mean", "vote", "descriptors"] = "mean"
    provider: str | None = None
    pixels: Literal["tf", "lite", "caffe", "torch", "unit", "included"] | None = None
    about: str = ""
    reaches: str = ""

    @property
    def passes(self) -> int:
        """Passes of the backbone over a photo in prediction."""
        return 2 if self.dense else self.views

    @property
    def giga_macs(self) -> float:
        """Billions of multiply-adds that prediction of one photo costs, all views."""
        backbone = backbone_named(self.backbone)
        return self.passes * backbone.giga_macs * (self.image_size / backbone.image_size) ** 2

    @property
    def frozen(self) -> bool:
        """Whether the backbone never learns, so that its features serve all folds."""
        return all(stage.train_from is None for stage in self.stages)

    def with_views(self, views: int) -> Recipe:
        """The same recipe with another number of views a photo.

        Raises:
            LmkError: There are no views of that number.
        """
        allowed = (12, 22) if self.dense else (1, 12, 22)
        if views not in allowed:
            raise LmkError(f"{self.name} takes {' or '.join(map(str, allowed))} views, not {views}.")
        return replace(self, views=views)

    def __post_init__(self) -> None:
        if self.sampled_classes is None:
            return
        if not 0 < self.sampled_classes < 1:
            raise LmkError(f"{self.name}: sampled_classes is a share between 0 and 1, not {self.sampled_classes}.")
        if self.loss not in ("softmax", "arcface", "cosface") or self.weigh_classes or self.background == "uniform":
            raise LmkError(
                f"{self.name}: sampled_classes goes with the losses softmax, arcface and cosface, backgrounds zero and "
                "class, and without weigh_classes."
            )

    def key(self) -> dict[str, object]:
        """All that the trained network depends on, for digests; what is only told to people is left out."""
        return {name: value for name, value in asdict(self).items() if name not in ("about", "reaches")}


_HEAD_ON_STORED_VIEWS = Stage(epochs=20, learning_rate=2e-3, batch_size=256, steps=2000)
"""2,000 steps of 256 are 512,000 views: all of 42,000 photos of 12 views. Larger competitions are not shown more."""

_FROZEN = Recipe(
    name="",
    backbone="",
    image_size=352,
    stages=(_HEAD_ON_STORED_VIEWS,),
    normalize=True,
    dropout=0.5,
    optimizer="adamw",
    weight_decay=0.5,
    views=12,
    dense=True,
)

_MARGIN = replace(_FROZEN, head="cosine", loss="arcface", descriptor=256)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="vgg16-bottleneck",
            backbone="vgg16",
            image_size=128,
            pooling="flatten",
            hidden=(256,),
            dropout=0.5,
            stages=(
                Stage(epochs=20, learning_rate=1e-3, batch_size=128),
                Stage(epochs=10, learning_rate=1e-4, train_from=15, batch_size=32, patience=3),
            ),
            views=12,
            about="stored bottleneck features, a small top model, then block 5 with augmentation",
            reaches="80 % validation accuracy on the 2018 edition, says the blog that published it; no GAP",
        ),
        Recipe(
            name="xception-gem",
            backbone="xception",
            image_size=299,
            dropout=0.05,
            head="sigmoid",
            loss="rank-bce",
            background="zero",
            stages=(
                Stage(epochs=10, learning_rate=1e-3, batch_size=128),
                Stage(epochs=12, learning_rate=1e-4, train_from=85, warmup=1, patience=4),
            ),
            vote="vote",
            about="learned GeM, a sigmoid a landmark, rank-weighted BCE; the head, then blocks 10 to 14",
            reaches="GAP 0.149 (private, 2018) as its author trained it",
        ),
        Recipe(
            name="mobilenetv2-tuned",
            backbone="mobilenetv2",
            image_size=160,
            normalize=True,
            dropout=0.5,
            head="cosine",
            loss="arcface",
            descriptor=256,
            optimizer="adamw",
            weight_decay=0.5,
            stages=(
                _HEAD_ON_STORED_VIEWS,
                Stage(epochs=4, learning_rate=5e-4, train_from=0, batch_size=32, warmup=1, weight_decay=0.01),
            ),
            views=12,
            about="for a CPU with an hour or two: MobileNetV2, all layers, batch normalization among them",
        ),
        Recipe(
            name="vgg16-published",
            backbone="vgg16",
            image_size=128,
            pooling="flatten",
            hidden=(256,),
            dropout=0.5,
            background="zero",
            distractors=False,
            stages=(
                Stage(epochs=20, learning_rate=1e-3, batch_size=128),
                Stage(epochs=10, learning_rate=1e-4, train_from=15, batch_size=32, patience=3),
            ),
            views=1,
            pixels="unit",
            about="vgg16-bottleneck as the blog has it: pixels / 255, one plain view, no class for distractors",
            reaches="80 % validation accuracy on the 2018 edition, says the blog that published it; no GAP",
        ),
        Recipe(
            name="xception-published",
            backbone="xception",
            image_size=299,
            dropout=0.05,
            head="softmax",
            loss="rank-bce-published",
            background="zero",
            stages=(
                Stage(epochs=10, learning_rate=1e-3, batch_size=128, train_from=HEAD_ONLY),
                Stage(epochs=12, learning_rate=1e-4, train_from=85, patience=4),
                Stage(epochs=4, learning_rate=1e-5, train_from=25, patience=2),
            ),
            vote="vote",
            about="xception-gem as its notebook has it: a softmax under the published loss, an exponent that learns "
            "from the first stage on; the head, then layers from 85 on, then from 25 on",
            reaches="GAP 0.149 (private, 2018) as its author trained it",
        ),
        Recipe(
            name="efficientnet-noisy-student",
            backbone="efficientnetb0",
            image_size=224,
            dropout=0.2,
            stages=(
                Stage(epochs=10, learning_rate=1e-3, batch_size=128),
                Stage(epochs=12, learning_rate=2e-4, train_from=0, warmup=1, backbone_factor=0.3, patience=4),
            ),
            provider="efficientnet",
            about="efficientnet-gem built by the package efficientnet, whose noisy-student weights a folder may hold",
        ),
        Recipe(
            name="efficientnet-gem",
            backbone="efficientnetb0",
            image_size=224,
            dropout=0.2,
            stages=(
                Stage(epochs=10, learning_rate=1e-3, batch_size=128),
                Stage(epochs=12, learning_rate=2e-4, train_from=0, warmup=1, backbone_factor=0.3, patience=4),
            ),
            about="EfficientNet-B0 with learned GeM and a softmax with a background class, all layers",
        ),
        replace(
            _MARGIN,
            name="mobilenetv2-gem",
            backbone="mobilenetv2",
            about="for a CPU: frozen MobileNetV2, an ArcFace head on the stored features of 12 dense views",
        ),
        replace(
            _MARGIN,
            name="mobilenet-gem",
            backbone="mobilenet",
            about="for a CPU: frozen MobileNet, an ArcFace head on the stored features of 12 dense views",
        ),
        replace(
            _MARGIN,
            name="efficientnetlite0-gem",
            backbone="efficientnetlite0",
            about="for a CPU: frozen EfficientNet-Lite0 (by lmk[weights]), an ArcFace head",
        ),
        replace(
            _MARGIN,
            name="efficientnetlite1-gem",
            backbone="efficientnetlite1",
            about="for a CPU: frozen EfficientNet-Lite1 (by lmk[weights]), an ArcFace head",
        ),
        replace(
            _MARGIN,
            name="efficientnetlite2-gem",
            backbone="efficientnetlite2",
            about="for a CPU: frozen EfficientNet-Lite2 (by lmk[weights]), an ArcFace head",
        ),
        replace(
            _FROZEN,
            name="mobilenetv2-softmax",
            backbone="mobilenetv2",
            about="mobilenetv2-gem with a softmax head, which gives probabilities",
        ),
        replace(
            _FROZEN,
            name="mobilenet-softmax",
            backbone="mobilenet",
            about="mobilenet-gem with a softmax head, which gives probabilities",
        ),
        replace(
            _FROZEN,
            name="tinymobilenetv2-gem",
            backbone="tinymobilenetv2",
            image_size=192,
            about="for the demo: MobileNetV2 of width 0.35 that learned from drawn buildings, frozen; a head",
        ),
        replace(
            _FROZEN,
            name="tinymobilenet-gem",
            backbone="tinymobilenet",
            image_size=192,
            about="for the demo: MobileNet of width 0.25 that learned from drawn buildings, frozen; a head",
        ),
    )
}
"""Recipes by name."""


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        LmkError: There is none; the text names the nearest.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.3)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    raise LmkError(f"No recipe is named '{name}'. {hint}`lmk recipes` lists them.")
