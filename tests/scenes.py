"""Photos drawn from a seed whose local features match between views of one scene and not between scenes."""

import cv2
import numpy as np


def scene(seed: int, size: tuple[int, int] = (480, 360)) -> np.ndarray:
    """A wall of 150 rectangles and discs of random place, size and colour; RGB uint8."""
    rng = np.random.default_rng(seed)
    width, height = size
    photo = np.full((height, width, 3), rng.integers(80, 176, 3), np.uint8)
    for _ in range(150):
        place = (int(rng.integers(width)), int(rng.integers(height)))
        reach = rng.integers(5, 40, 2)
        colour = rng.integers(0, 256, 3).tolist()
        if rng.random() < 0.5:
            cv2.rectangle(photo, place, (place[0] + int(reach[0]), place[1] + int(reach[1])), colour, cv2.FILLED)
        else:
            cv2.circle(photo, place, int(reach[0]), colour, cv2.FILLED)
    return cv2.GaussianBlur(photo, (0, 0), 1.0)


def view(photo: np.ndarray, affinity: np.ndarray, seed: int = 0) -> np.ndarray:
    """The scene moved by a (2, 3) affinity, darker and with noise."""
    height, width = photo.shape[:2]
    moved = cv2.warpAffine(photo, affinity, (width, height), borderMode=cv2.BORDER_REFLECT)
    noise = np.random.default_rng(seed).normal(0, 4, moved.shape)
    return np.clip(moved * 0.85 + noise, 0, 255).astype(np.uint8)


def tilt(degrees: float = 6.0, zoom: float = 0.9, shift: tuple[float, float] = (20.0, -12.0)) -> np.ndarray:
    """A (2, 3) affinity: turned, zoomed, sheared a little, shifted."""
    turn = np.deg2rad(degrees)
    rotation = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([rotation @ np.array([[1.0, 0.06], [0.0, 0.95]]), shift])
