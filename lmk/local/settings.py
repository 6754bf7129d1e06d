"""Settings of a comparison of two photos; nothing here loads what compares them."""

from dataclasses import asdict, dataclass
from typing import Literal

Model = Literal["similarity", "affine", "homography", "fundamental"]
"""Geometric models that relate the matches of two photos."""
Method = Literal["spatial", "magsac", "ransac", "samples"]
"""How it is fitted robustly."""

PHOTO_SIDE = 640
"""Longest side of a photo in which `Settings.residual` is meant, in pixels."""


@dataclass(frozen=True)
class Settings:
    """How two photos are compared: what a verification depends on besides features and galleries.

    Attributes:
        asks: Whose features ask for their nearest: the query's, by `putative_matches`, or the `gallery` photo's, by
            `gallery_matches`, which knows neither ratio nor mutual test.
        ratio, mutual, max_distance: As for these.
        model, method, trials, seed: As for `fit`.
        residual: Inlier threshold, in pixels of an index photo in its `frame`.
        frame: How large a photo is for the fit: its longest side is `PHOTO_SIDE` (`side`), it has its own pixels
            (`pixels`), or both its sides are `published.SQUARE`, whatever their ratio (`square`).
        max_turn: Largest rotation between two photos, in degrees.
        captions: Whether to leave out what two photos share as a caption or a watermark.
        agreeing: Inliers from which on a gallery photo counts as one that agrees.
        enough: Inliers of one photo after which a query is compared with no more of that landmark; `None` for all.
    """

    asks: Literal["query", "gallery"] = "query"
    ratio: float | None = 0.93
    mutual: bool = True
    max_distance: float | None = None
    model: Model = "affine"
    method: Method = "spatial"
    trials: int = 1000
    seed: int = 0
    residual: float = 15.0
    frame: Literal["side", "pixels", "square"] = "side"
    max_turn: float = 45.0
    captions: bool = True
    agreeing: int = 8
    enough: int | None = None

    def key(self) -> dict[str, object]:
        """The settings by name, for the key of an `ArrayStore`."""
        return asdict(self)
