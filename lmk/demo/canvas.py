"""A wall as it is built: painted and carved in metres, then made into a texture."""

from collections.abc import Iterable

import cv2
import numpy as np

from lmk.demo.raycast import Texture

SCALE = 24  # texture pixels per metre
Color = tuple[int, int, int]
Points = Iterable[tuple[float, float]]


def noise(rng: np.random.Generator, rows: int, columns: int, cell: float, octaves: int = 3) -> np.ndarray:
    """(rows, columns) float32, about 0 with deviation 1; `cell` pixels is the size of its largest blobs."""
    total = np.zeros((rows, columns), np.float32)
    for octave in range(octaves):
        size = cell / 2**octave
        grid = rng.standard_normal((int(rows / size) + 2, int(columns / size) + 2)).astype(np.float32)
        total += cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC) * np.float32(0.6**octave)
    return total / (total.std() + np.float32(1e-6))


def tone(color: Color, factor: float) -> Color:
    """`color`, lighter or darker."""
    red, green, blue = (int(min(255, max(0, value * factor))) for value in color)
    return red, green, blue


class Canvas:
    """A wall of width x height metres, its origin at the bottom left.

    color (h, w, 3) uint8; relief (h, w) float32, metres before the wall; glow and alpha (h, w) uint8.
    """

    def __init__(self, width: float, height: float, color: Color, scale: float = SCALE):
        self.width, self.height, self.scale = width, height, scale
        rows, columns = max(8, round(height * scale)), max(8, round(width * scale))
        self.color = np.full((rows, columns, 3), color, np.uint8)
        self.relief = np.zeros((rows, columns), np.float32)
        self.glow = np.zeros((rows, columns), np.uint8)
        self.alpha = np.full((rows, columns), 255, np.uint8)

    def _pixels(self, points: Points) -> np.ndarray:
        place = np.array(list(points), np.float64) * (self.scale, -self.scale) + (0, self.color.shape[0])
        return np.round(place - 0.5).astype(np.int32)

    def polygon(
        self,
        points: Points,
        color: Color | None = None,
        relief: float | None = None,
        glow: int | None = None,
        alpha: int | None = None,
    ) -> None:
        """Fill a polygon in the layers that are named."""
        corners = [self._pixels(points)]
        if color is not None:
            cv2.fillPoly(self.color, corners, color, cv2.LINE_AA)
        if relief is not None:
            cv2.fillPoly(self.relief, corners, relief)
        if glow is not None:
            cv2.fillPoly(self.glow, corners, glow)
        if alpha is not None:
            cv2.fillPoly(self.alpha, corners, alpha)

    def box(self, x: float, y: float, width: float, height: float, color: Color | None = None, **layers) -> None:
        """Fill a rectangle whose bottom left is (x, y)."""
        self.polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], color, **layers)

    def ellipse(
        self,
        x: float,
        y: float,
        a: float,
        b: float,
        angle: float,
        color: Color | None = None,
        relief: float | None = None,
        glow: int | None = None,
        alpha: int | None = None,
    ) -> None:
        """Fill an ellipse with half axes `a` and `b`, turned by `angle` radians."""
        scale = self.scale
        center = round(x * scale - 0.5), round(self.color.shape[0] - y * scale - 0.5)
        axes, turn = (max(1, round(a * scale)), max(1, round(b * scale))), -np.rad2deg(angle)
        if color is not None:
            cv2.ellipse(self.color, center, axes, turn, 0, 360, color, cv2.FILLED, cv2.LINE_AA)
        for layer, value in ((self.relief, relief), (self.glow, glow), (self.alpha, alpha)):
            if value is not None:
                cv2.ellipse(layer, center, axes, turn, 0, 360, value, cv2.FILLED)

    def disc(self, x: float, y: float, radius: float, color: Color | None = None, **layers) -> None:
        """Fill a circle."""
        self.ellipse(x, y, radius, radius, 0, color, **layers)

    def line(self, x0: float, y0: float, x1: float, y1: float, color: Color, thickness: float = 0.06) -> None:
        """A stroke, `thickness` in metres."""
        start, end = self._pixels([(x0, y0), (x1, y1)])
        cv2.line(self.color, start.tolist(), end.tolist(), color, max(1, round(thickness * self.scale)), cv2.LINE_AA)

    def text(self, x: float, y: float, words: str, size: float, color: Color) -> None:
        """Letters of `size` metres, their bottom left at (x, y)."""
        place = self._pixels([(x, y)])[0].tolist()
        thickness = max(1, round(size * self.scale / 9))
        font = size * self.scale / 21
        cv2.putText(self.color, words, place, cv2.FONT_HERSHEY_COMPLEX, font, color, thickness, cv2.LINE_AA)

    def blocks(self, rng: np.random.Generator, course: float, spread: float, depth: float = 0.04) -> None:
        """Courses of stones of uneven width and tone; `course` metres high, tones of relative deviation `spread`."""
        rows, columns = self.alpha.shape
        factor = np.empty((rows, columns), np.float32)
        top = 0.0
        while top < rows:
            high = course * self.scale * rng.uniform(0.75, 1.25)
            widths = course * self.scale * rng.uniform(1.0, 3.0, int(columns / course / self.scale) + 3)
            ends = np.round(np.cumsum(widths) - rng.uniform(0, widths[0])).astype(int).clip(0, columns)
            tones = (1 + spread * rng.standard_normal(len(ends))).astype(np.float32)
            tones_along = np.repeat(tones, np.diff(ends, prepend=0))
            joints = ends[(ends > 0) & (ends < columns)] - 1
            tones_along[joints] *= np.float32(0.8)
            first, last = round(top), min(rows, round(top + high))
            factor[first:last] = tones_along
            factor[last - 1] *= np.float32(0.8)
            self.relief[first:last, joints] -= depth
            self.relief[last - 1] -= depth
            top += high
        self.multiply(factor)

    def weather(self, rng: np.random.Generator, amount: float = 0.09) -> None:
        """Stains, streaks and grain: what years do to a wall, different everywhere."""
        rows, columns = self.alpha.shape
        blotches = noise(rng, rows, columns, 3.0 * self.scale, 5)
        streaks = cv2.resize(
            noise(rng, max(2, rows // 24), columns, 8), (columns, rows), interpolation=cv2.INTER_LINEAR
        )
        grain = rng.standard_normal((rows, columns), np.float32)
        self.multiply(1 + np.float32(amount) * (blotches + np.float32(0.6) * streaks) + np.float32(0.03) * grain)

    def multiply(self, factor: np.ndarray) -> None:
        """Lighten or darken each place by `factor` (h, w)."""
        self.color = np.clip(self.color * np.clip(factor, 0.3, 1.6)[..., None], 0, 255).astype(np.uint8)

    def cut(self, points: Points) -> None:
        """Keep only the inside of a polygon."""
        keep = np.zeros_like(self.alpha)
        cv2.fillPoly(keep, [self._pixels(points)], 255)
        self.alpha = np.minimum(self.alpha, keep)

    def texture(self) -> Texture:
        """Slopes of the relief, and a little darkness where the relief lies deep."""
        relief = cv2.GaussianBlur(self.relief, (0, 0), 0.8)
        around = cv2.blur(relief, (int(self.scale) | 1, int(self.scale) | 1))
        # a sky above: light is lacking more under a ledge than over it
        around = np.roll(around, int(self.scale / 4), axis=0)
        self.multiply(1 - np.clip((around - relief) * np.float32(1.1), -0.1, 0.5))
        slope = np.float32(64 * 0.5 * self.scale)
        along_u = cv2.filter2D(relief, cv2.CV_32F, np.array([[-1, 0, 1]], np.float32))
        along_v = cv2.filter2D(relief, cv2.CV_32F, np.array([[1], [0], [-1]], np.float32))
        layers = [np.clip(128 + layer * slope, 20, 236).astype(np.uint8) for layer in (along_u, along_v)]
        color = np.dstack([self.color, self.alpha])
        return Texture(np.ascontiguousarray(color), np.ascontiguousarray(np.dstack([*layers, self.glow])))
