"""What a recipe is: everything that training one network depends on, as data. Any backbone goes with any head."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Literal, cast

from lmk.models.backbones.catalogue import BACKBONES, Scaling, backbone_named
from lmk.util.errors import LmkError, UsageError
from lmk.util.schema import Range

HEAD_ONLY = 10_000
"""For `Stage.train_from`: past the last layer of every backbone. The backbone stays frozen, but the stage runs on
augmented photos, not on stored features, so that the pooling (the exponent of GeM) learns with the head."""

ENOUGH_FOR_STATISTICS = 32
"""Photos a batch from which batch normalization learns; the mean and variance of fewer are mostly chance."""

Pooling = Literal["average", "max", "gem", "gem-channels", "gem-signed", "rmac", "flatten"]
HeadName = Literal["sigmoid", "softmax", "cosine", "subcentre"]
LossName = Literal["bce", "rank-bce", "rank-bce-published", "softmax", "arcface", "cosface", "arcface-dynamic"]
Views = Literal[1, 12, 22]
OptimizerName = Literal["adam", "adamw", "sgd"]
"""Names that recipes take, without loading Keras; tests/test_recipes.py holds them equal to the registries' keys."""
MARGIN_LOSSES = ("arcface", "cosface", "arcface-dynamic")
COSINE_HEADS = ("cosine", "subcentre")

Count = Annotated[int, Range(1)]
Share = Annotated[float, Range(0, 1, open_least=True, open_most=True)]
Positive = Annotated[float, Range(0, open_least=True)]
FromZero = Annotated[float, Range(0)]
Dropped = Annotated[float, Range(0, 1, open_most=True)]


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Attributes:
        epochs: Passes over the training photos (over all their stored views where the backbone is frozen).
        learning_rate: Peak learning rate; it rises during `warmup` epochs, then falls to 0 along a cosine.
        train_from: Index of the first backbone layer that learns; none leaves the backbone frozen, so that the stage
            runs on its stored features; 10000 (`HEAD_ONLY`) leaves it frozen and runs on augmented photos.
        batch_size: Photos (or views) a step.
        warmup: Epochs in which the learning rate rises.
        backbone_factor: Factor of the learning rate in the backbone.
        depth_decay: Factor of the learning rate from each quarter of the backbone's layers to the one before it.
        ema: Momentum of an average of the weights over the steps, which takes their place at the end.
        image_size: Side of the views in pixels in place of the recipe's, smaller in earlier stages to save time.
        patience: Epochs without a better result on dev after which the stage stops; none trains all epochs.
        batch_norm: Whether batch normalization learns, too, where the backbone does. None: in batches of 32
            (`ENOUGH_FOR_STATISTICS`) or more. Else it keeps the statistics and scales that it has, in the head as well.
        weight_decay: Decay of the weights in place of the recipe's: what a head on frozen features wants would shrink a
            backbone.
        steps: Most steps an epoch, of photos or views drawn anew for each epoch; none takes all of them.
    """

    epochs: Count
    learning_rate: Positive
    train_from: Annotated[int, Range(0)] | None = None
    batch_size: Count = 48
    warmup: Annotated[int, Range(0)] = 0
    backbone_factor: Positive = 1.0
    depth_decay: Annotated[float, Range(0, 1, open_least=True)] = 1.0
    ema: Share | None = None
    image_size: Annotated[int, Range(32)] | None = None
    patience: Count | None = None
    batch_norm: bool | None = None
    weight_decay: FromZero | None = None
    steps: Count | None = None

    @property
    def learns_batch_norm(self) -> bool:
        """Whether batch normalization learns in this stage."""
        if self.train_from is None or self.batch_norm is None:
            return self.train_from is None or self.batch_size >= ENOUGH_FOR_STATISTICS
        return self.batch_norm


@dataclass(frozen=True)
class Recipe:
    """From a photo to scores: what is trained, how, and how it predicts.

    Attributes:
        name: Name for `--recipe`, results and records; in a file by default that of the file.
        backbone: The network without its classifier; `lmk.models.backbones.catalogue.BACKBONES` lists them.
        image_size: Side of a view in pixels. Larger sees more detail; cost grows by its square.
        stages: Stages of training in order, those with a frozen backbone first.
        pooling: Way from the feature map to one vector: GeM learns where between mean and maximum to be; `gem-channels`
            has an exponent a channel; `flatten` keeps the feature map as it is. Transformers take `average`, the mean
            of the patches beside the class token, or `gem-signed`, whose powers keep signs.
        hidden: Widths of dense layers with ReLU before the head.
        normalize: Whether features are standardised (batch normalization) first.
        dropout: Share of features dropped before the head.
        head: Last layer, one output a landmark: sigmoids may score all landmarks low, which photos of no landmark need;
            `cosine` and `subcentre` compare with one and three centres a landmark, for margin losses.
        loss: Loss in training: `rank-bce` weighs a photo by its rank in confidence, as GAP does; `arcface`, `cosface`
            and `arcface-dynamic` (margins by the size of a landmark) need a head of cosines.
        margin: Margin of `arcface`, in radians, and `cosface`, a cosine.
        sampled_classes: Share of the landmarks that a training step compares photos with (Partial FC,
            arXiv:2203.15565); none compares with all. With tens of thousands of landmarks it saves most of a step's
            memory. It goes with the losses `softmax`, `arcface` and `cosface`, without `weigh_classes`.
        descriptor: Width of a dense layer with batch normalization before the head, the descriptor; none for no layer.
        background: Target of photos of no landmark: a class of their own, zeros, or equal targets.
        distractors: Whether the network learns from photos of no landmark at all.
        label_smoothing: Share of a target that is spread over all landmarks, or taken off with the losses of BCE.
        weigh_classes: Whether photos of landmarks with few photos weigh more in the loss.
        balance: Whether landmarks are drawn evenly, in place of photos.
        optimizer: Optimizer of all stages.
        weight_decay: Decay of the weights, decoupled from the gradient; none for no decay.
        views: Views a photo in prediction: the whole photo, and windows of slightly larger sizes, each mirrored.
        dense: Whether the views are windows of one feature map (and of its mirror's), which costs two passes, and not
            crops of the photo, each with a pass of its own; for a frozen backbone with the pooling `gem`.
        vote: How views become one answer: `vote` (each view's best landmark and its score, summed, divided by all
            views), `mean` of their scores, or `descriptors`, the scores of their mean features.
        provider: Library that builds the backbone, a key of `lmk.models.backbones.catalogue.PROVIDERS`; none: the
            catalogue's.
        pixels: How the backbone gets its pixels; none: as its weights were trained.
        about: One line for people.
        reaches: What it reached where, for people.
    """

    name: str
    backbone: str
    image_size: Annotated[int, Range(32)]
    stages: tuple[Stage, ...]
    pooling: Pooling = "gem"
    hidden: tuple[Count, ...] = ()
    normalize: bool = False
    dropout: Dropped = 0.0
    head: HeadName = "softmax"
    loss: LossName = "softmax"
    margin: FromZero = 0.3
    sampled_classes: Share | None = None
    descriptor: Count | None = None
    background: Literal["zero", "uniform", "class"] = "class"
    distractors: bool = True
    label_smoothing: Dropped = 0.0
    weigh_classes: bool = False
    balance: bool = False
    optimizer: OptimizerName = "adam"
    weight_decay: FromZero | None = None
    views: Views = 22
    dense: bool = False
    vote: Literal["mean", "vote", "descriptors"] = "mean"
    provider: str | None = None
    pixels: Scaling | None = None
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
            UsageError: There are no views of that number.
        """
        allowed = (12, 22) if self.dense else (1, 12, 22)
        if views not in allowed:
            raise UsageError(f"{self.name} takes {' or '.join(map(str, allowed))} views, not {views}.")
        return replace(self, views=cast(Views, views))

    def __post_init__(self) -> None:
        if problem := self._conflict():
            raise LmkError(f"Recipe {self.name}: {problem}")

    def _conflict(self) -> str | None:
        """Which of its fields do not go together; None if all do."""
        if not self.stages:
            return "`stages` is empty; it takes one stage or more."
        if problem := self._unfit_for_transformer():
            return problem
        if self.dense and (self.pooling != "gem" or not self.frozen):
            return "`dense` views need the pooling `gem` and stages without `train_from`."
        if (self.loss in MARGIN_LOSSES) != (self.head in COSINE_HEADS):
            fitting = "cosine or subcentre" if self.loss in MARGIN_LOSSES else "sigmoid or softmax"
            return f"the loss `{self.loss}` needs a head {fitting}, not {self.head}."
        if self.background == "uniform" and self.loss.startswith(("bce", "rank-bce")):
            return f"the background `uniform` needs a softmax loss, not {self.loss}."
        if self.sampled_classes is None:
            return None
        if not 0 < self.sampled_classes < 1:
            return f"sampled_classes is a share between 0 and 1, not {self.sampled_classes}."
        if self.loss not in ("softmax", "arcface", "cosface") or self.weigh_classes or self.background == "uniform":
            return (
                "sampled_classes goes with the losses softmax, arcface and cosface, backgrounds zero and class, and "
                "without weigh_classes."
            )
        return None

    def _unfit_for_transformer(self) -> str | None:
        """What a transformer among the backbones does not go with; None for any other."""
        backbone = BACKBONES.get(self.backbone)  # an unknown one is named by who reads the recipe
        if backbone is None or not backbone.transformer:
            return None
        if self.pooling in ("gem", "gem-channels"):
            return (
                f"the pooling `{self.pooling}` drops negative features, half of those of {self.backbone}; take "
                "`average` or `gem-signed`."
            )
        sides = (self.image_size, *(stage.image_size for stage in self.stages))
        return next((problem for side in sides if side and (problem := backbone.side_problem(side))), None)

    def key(self) -> dict[str, object]:
        """All that the trained network depends on, for digests; texts for people are left out."""
        return {name: value for name, value in asdict(self).items() if name not in FOR_PEOPLE}


FOR_PEOPLE = ("about", "reaches")
"""Fields of a recipe that change no result."""


def differences(recipe: Recipe, base: Recipe) -> list[str]:
    """Names of the fields in which a recipe differs from another, apart from its name and texts for people."""
    names = (one.name for one in fields(Recipe) if one.name not in ("name", *FOR_PEOPLE))
    return [name for name in names if getattr(recipe, name) != getattr(base, name)]
