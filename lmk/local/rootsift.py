"""RootSIFT: local features that need no training.

SIFT: Lowe, IJCV 2004. Its square root, which makes the Euclidean distance the Hellinger distance of
the histograms: Arandjelović and Zisserman, CVPR 2012.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import cv2
import numpy as np

from lmk.local.features import LocalFeatures

DIMENSIONS = 128


@dataclass(frozen=True)
class RootSift:
    """The strongest RootSIFT features of photos.

    Attributes:
        side: Longest side that a photo is brought to before detection, in pixels.
        enlarge: The most that a small photo is enlarged to reach `side`: SIFT finds little that is smaller than its
            first scale, but more pixels add time and no detail.
        max_features: Features kept, by the detector's response.
    """

    side: int = 480
    enlarge: float = 2.5
    max_features: int = 800

    batch_size: ClassVar[int] = 4
    stored_as: ClassVar[type] = np.uint8

    def key(self) -> dict[str, object]:
        """All that the features depend on besides the photo."""
        return {"extractor": "rootsift", "opencv": cv2.__version__, **asdict(self)}

    def __call__(self, photos: Sequence[np.ndarray]) -> list[LocalFeatures]:
        """Features of RGB photos (h, w, 3) uint8; a photo without contrast has none."""
        return [self._features(photo) for photo in photos]

    def _features(self, photo: np.ndarray) -> LocalFeatures:
        height, width = photo.shape[:2]
        grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
        shrink = min(self.enlarge, self.side / max(height, width))
        new_size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        if new_size != (width, height):
            grey = cv2.resize(grey, new_size, interpolation=cv2.INTER_AREA if shrink < 1 else cv2.INTER_CUBIC)
        sift = cv2.SIFT.create(nfeatures=self.max_features, enable_precise_upscale=True)
        keypoints, histograms = sift.detectAndCompute(grey, None)
        if not keypoints:
            return _none((width, height))
        # Where responses tie, OpenCV gives more than asked for.
        order = sorted(range(len(keypoints)), key=lambda row: _rank(keypoints[row]))[: self.max_features]
        histograms = histograms[order]
        points = np.array([(*point.pt, point.response, point.size, point.angle) for point in keypoints], np.float32)
        points = points[order]
        zoom = np.array([width / new_size[0], height / new_size[1]], np.float32)
        return LocalFeatures(
            locations=(points[:, :2] + 0.5) * zoom - 0.5,
            descriptors=np.sqrt(histograms / histograms.sum(axis=1, keepdims=True)),
            scores=points[:, 2],
            scales=points[:, 3] * zoom.mean(),
            angles=np.deg2rad(points[:, 4]),
            size=(width, height),
        )


def _rank(point: cv2.KeyPoint) -> tuple:
    """The strongest first; equal ones in a fixed order."""
    return -point.response, point.pt, point.size, point.angle


def _none(size: tuple[int, int]) -> LocalFeatures:
    zero = np.zeros(0, np.float32)
    return LocalFeatures(np.zeros((0, 2), np.float32), np.zeros((0, DIMENSIONS), np.float32), zero, zero, zero, size)
