"""The kinds of local features: a registry of how each is computed, compared, and what it costs.

Nothing here loads what computes them. Another kind is a module with its extractor and an entry in `LOCAL_FEATURES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from lmk.local.settings import Settings

if TYPE_CHECKING:
    from lmk.local.features import Extractor

ROOTSIFT, DELF = "rootsift", "delf"
ROOTSIFT_AND_DELF = "both"


@dataclass(frozen=True)
class Kind:
    """A kind of local features.

    Attributes:
        name: As the command line and stores call it.
        factory: Who makes its extractor, as `module:function`; the function takes where weights lie (a file, a folder,
            or None for what is installed). None: it is trained on the competition's photos, by the pipeline.
        comparison: How two photos are compared by it.
        seconds: Extraction of a photo of provence on two cores, in seconds, measured by `lmk bench kinds`.
        giga_macs: Billions of multiply-adds of its network a photo, 0 without a network.
        feature_bytes: Bytes that a photo's features take in the store, at the most.
        about: One line for people.
    """

    name: str
    factory: str | None
    comparison: Settings
    seconds: float
    giga_macs: float
    feature_bytes: int
    about: str

    def extractor(self, weights: str | None = None) -> Extractor:
        """The extractor; its network is built with the first photo.

        Args:
            weights: A file of weights or a folder that holds one; None or no such file in the folder: those of an
                installed package.

        Raises:
            LmkError: The weights cannot be had.
            ValueError: The kind is trained on the competition's photos.
        """
        if self.factory is None:
            raise ValueError(f"'{self.name}' is trained on a competition's photos: it has no extractor by itself.")
        module, _, function = self.factory.partition(":")
        return getattr(import_module(module), function)(weights)


LOCAL_FEATURES: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            ROOTSIFT,
            factory="lmk.local.rootsift:rootsift",
            comparison=Settings(),
            seconds=0.035,
            giga_macs=0.0,
            feature_bytes=800 * (20 + 128),
            about="SIFT with square roots, needs no weights",
        ),
        Kind(
            DELF,
            factory=None,
            # As published (Noh et al., ICCV 2017) a distance alone decides: cells overlap, so that the second nearest
            # is mostly a neighbour of the nearest and a ratio says little.
            comparison=Settings(ratio=None, max_distance=0.8, residual=22.0),
            seconds=0.3,
            giga_macs=5.0,
            feature_bytes=1000 * (20 + 2 * 40),
            about="a backbone's dense features with attention learned from the competition's photos",
        ),
    )
}
"""Every kind by name."""

KINDS: Mapping[str, tuple[str, ...]] = {ROOTSIFT: (ROOTSIFT,), DELF: (DELF,), ROOTSIFT_AND_DELF: (ROOTSIFT, DELF)}
"""What may be asked for, and the kinds of evidence that it gives; the first is the one that pictures show."""
