"""Recipes: what is trained, and with which settings, as data. Any backbone goes with any head."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from lmk.models.backbones.catalogue import BACKBONES, PROVIDERS, Scaling, backbone_named
from lmk.util.errors import LmkError, UsageError, did_you_mean, quoted
from lmk.util.schema import Range, WrongSetting, read_table

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

_TRANSFORMER = replace(_MARGIN, image_size=224, pooling="average", dense=False)
"""Its views are crops: windows of one feature map would share the class token, which saw the whole photo."""

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
            about="efficientnet-gem built by the package efficientnet: its noisy-student weights where the folder of "
            "--weights holds them, else ImageNet's",
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
            _TRANSFORMER,
            name="dinov2-base",
            backbone="dinov2base",
            about="for a GPU: frozen DINOv2 ViT-B/14, whose folder --weights names, an ArcFace head on the stored "
            "features of 12 crops; not measured: no real weights were at hand",
        ),
        replace(
            _TRANSFORMER,
            name="dinov2-base-tuned",
            backbone="dinov2base",
            stages=(
                _HEAD_ON_STORED_VIEWS,
                Stage(
                    epochs=4,
                    learning_rate=5e-4,
                    train_from=0,
                    batch_size=32,
                    warmup=1,
                    backbone_factor=0.1,
                    depth_decay=0.5,
                    weight_decay=0.01,
                    steps=2000,
                ),
            ),
            about="dinov2-base, then all its layers at a tenth of the head's rate, the first quarter at an eightieth; "
            "not measured: no real weights were at hand",
        ),
        replace(
            _TRANSFORMER,
            name="siglip2-base",
            backbone="siglip2base",
            about="dinov2-base with SigLIP 2's image tower, B/16; not measured: no real weights were at hand",
        ),
        replace(
            _TRANSFORMER,
            name="dinov3-base",
            backbone="dinov3base",
            about="dinov2-base with DINOv3 ViT-B/16; not measured: no real weights were at hand",
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


FOR_PEOPLE = ("about", "reaches")
"""Fields of a recipe that change no result."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def find_recipe(word: str) -> Recipe:
    """The recipe of that name, or the one in that TOML file.

    Raises:
        LmkError: There is none, which names the nearest; or as `read_recipe`.
    """
    if word in RECIPES:
        return RECIPES[word]
    if is_recipe_file(word):
        return read_recipe(Path(word))[0]
    hint = did_you_mean(word, RECIPES)
    raise UsageError(f"No recipe is named '{word}'.{hint} `lmk recipes` lists them; a recipe file ends in .toml.")


def is_recipe_file(word: str) -> bool:
    """Whether a word names a recipe file and not a recipe."""
    return word.endswith(".toml") or "/" in word


def read_recipe(path: Path) -> tuple[Recipe, Recipe | None]:
    """The recipe in a TOML file, and the base that it names, if any.

    `base` names a recipe of lmk, whose fields the file overrides; without it the file gives all that have no default.
    The recipe is called as `name` says, or as the file is.

    Raises:
        LmkError: The file cannot be read, or a field is unknown, missing, or has a value that it does not take.
    """
    table = _table(path)
    base = _base(path, table.pop("base", None))
    table = {"name": path.stem, "about": "", "reaches": ""} | table  # a base's texts describe the base
    try:
        recipe = read_table(Recipe, table, base)
        backbone_named(recipe.backbone)
        recipe.with_views(recipe.views)
    except (WrongSetting, LmkError) as error:
        raise LmkError(f"{path}: {error}") from error
    if recipe.provider is not None and recipe.provider not in PROVIDERS:
        hint = did_you_mean(recipe.provider, PROVIDERS)
        raise LmkError(f"{path}: `provider` is {quoted(recipe.provider)}; it takes {', '.join(PROVIDERS)}.{hint}")
    if not NAME.fullmatch(recipe.name):
        raise LmkError(
            f"{path}: `name` is {quoted(recipe.name)}; it takes up to 64 of a-z, A-Z, 0-9, dot, hyphen and underscore."
        )
    shipped = RECIPES.get(recipe.name)
    if shipped is not None and shipped.key() != recipe.key():
        raise LmkError(f"{path}: `name` is that of a recipe of lmk with other fields, {recipe.name}. Choose another.")
    return recipe, base


def differences(recipe: Recipe, base: Recipe) -> list[str]:
    """Names of the fields in which a recipe differs from another, apart from its name and texts for people."""
    names = (one.name for one in fields(Recipe) if one.name not in ("name", *FOR_PEOPLE))
    return [name for name in names if getattr(recipe, name) != getattr(base, name)]


def _table(path: Path) -> dict[str, Any]:
    place = path.expanduser()
    try:
        return tomllib.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = [str(file) for file in sorted(place.parent.glob("*.toml"))]
        raise LmkError(f"There is no recipe file {path}.{did_you_mean(str(path), there)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise LmkError(f"{path} cannot be read as TOML: {error}. Correct the file.") from error


def _base(path: Path, named: object) -> Recipe | None:
    if named is None:
        return None
    if not isinstance(named, str) or named not in RECIPES:
        hint = did_you_mean(str(named), RECIPES)
        raise LmkError(f"{path}: `base` is {quoted(named)}; it takes the name of a recipe of lmk.{hint}")
    return RECIPES[named]
