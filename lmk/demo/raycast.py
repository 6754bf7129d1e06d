"""A pinhole camera, flat panels and surfaces of revolution in a z-buffer; light comes later, once for all pixels.

Metres; x to the right, y up, z towards the viewer of a building's front. Depth is measured along the camera's axis.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np

NEAR = 0.2  # metres before the camera within which nothing is drawn
FAR = np.float32(1e9)
Window = tuple[slice, slice]  # rows and columns of the frame


def vector(x: float, y: float, z: float) -> np.ndarray:
    """(3,) float64."""
    return np.array([x, y, z], float)


def unit(v: np.ndarray) -> np.ndarray:
    """`v` at length 1."""
    return v / np.sqrt((v**2).sum())


class Camera:
    """A pinhole at `position` that looks at `target`; `focal` in pixels, `roll` in radians, frame width x height."""

    def __init__(
        self, position: np.ndarray, target: np.ndarray, focal: float, width: int, height: int, roll: float = 0.0
    ):
        self.position, self.focal, self.width, self.height = position, focal, width, height
        self.back = unit(position - target)
        level = unit(np.cross(vector(0, 1, 0), self.back))
        upright = np.cross(self.back, level)
        self.right = np.cos(roll) * level + np.sin(roll) * upright
        self.up = np.cos(roll) * upright - np.sin(roll) * level
        self._step_x, self._step_y = self.right / focal, -self.up / focal
        self._corner = -self.back - self._step_x * (width - 1) / 2 - self._step_y * (height - 1) / 2

    @property
    def whole(self) -> Window:
        """The window of all pixels."""
        return slice(0, self.height), slice(0, self.width)

    def along(self, direction: np.ndarray, window: Window) -> np.ndarray:
        """Scalar products (h, w) float32 of `direction` and the rays of `window`; a ray advances 1 m in depth."""
        rows, columns = window
        x = np.arange(columns.start, columns.stop) * (direction @ self._step_x) + direction @ self._corner
        y = np.arange(rows.start, rows.stop) * (direction @ self._step_y)
        return x.astype(np.float32)[None, :] + y.astype(np.float32)[:, None]

    def window(self, points: np.ndarray) -> Window | None:
        """The pixels that the hull of `points` (n, 3) can cover; None where it lies behind or beside the frame."""
        offset = points - self.position
        depth = -(offset * self.back).sum(axis=1)
        if (depth <= NEAR).all():
            return None
        if (depth <= NEAR).any():
            return self.whole
        x = (offset * self.right).sum(axis=1) / depth * self.focal + (self.width - 1) / 2
        y = -(offset * self.up).sum(axis=1) / depth * self.focal + (self.height - 1) / 2
        left, right = max(int(x.min()) - 1, 0), min(int(x.max()) + 2, self.width)
        top, bottom = max(int(y.min()) - 1, 0), min(int(y.max()) + 2, self.height)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


class Texture:
    """Texture of a surface, in ever coarser levels.

    color (h, w, 4) uint8, RGB and opacity; relief (h, w, 3) uint8: slope along u and along v (128 is flat, 64 more
    is 45 degrees) and how much the place glows at night.
    """

    def __init__(self, color: np.ndarray, relief: np.ndarray):
        self._levels = [(color, relief)]

    @property
    def width(self) -> int:
        return self._levels[0][0].shape[1]

    @property
    def height(self) -> int:
        return self._levels[0][0].shape[0]

    def level(self, shrink: float) -> tuple[np.ndarray, np.ndarray]:
        """Color and relief for a screen on which `shrink` texture pixels share one."""
        wanted = int(np.log2(max(shrink, 1)) + 0.3)
        while len(self._levels) <= wanted and min(self._levels[-1][0].shape[:2]) >= 8:
            self._levels.append((cv2.pyrDown(self._levels[-1][0]), cv2.pyrDown(self._levels[-1][1])))
        return self._levels[min(wanted, len(self._levels) - 1)]


class Frame:
    """Surfaces that the camera sees at each pixel, still without light.

    depth (h, w) float32; color (h, w, 3) uint8; normal (3, h, w) float32, nearly unit length; glow (h, w) uint8.
    """

    def __init__(self, camera: Camera):
        self.camera = camera
        shape = (camera.height, camera.width)
        self.depth = np.full(shape, FAR, np.float32)
        self.color = np.zeros((*shape, 3), np.uint8)
        self.normal = np.zeros((3, *shape), np.float32)
        self.glow = np.zeros(shape, np.uint8)

    def paint(
        self,
        window: Window,
        hit: np.ndarray,
        depth: np.ndarray,
        places: tuple[np.ndarray, np.ndarray],
        levels: tuple[np.ndarray, np.ndarray],
        axes: tuple,
    ) -> None:
        """Draw a surface where it is the nearest.

        hit (h, w) bool, depth (h, w); places: u and v in [0, 1]; levels: color and relief of the texture;
        axes: the normal and the directions of u and v, each of three numbers or of three (h, w) arrays.
        """
        color, relief = levels
        rows, columns = color.shape[:2]
        x = np.clip(places[0], 0, 1) * np.float32(columns) - np.float32(0.5)
        y = (1 - np.clip(places[1], 0, 1)) * np.float32(rows) - np.float32(0.5)
        seen = cv2.remap(color, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        hit = hit & (seen[..., 3] > 127)
        bumps = cv2.remap(relief, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        np.copyto(self.depth[window], depth, where=hit)
        np.copyto(self.color[window], seen[..., :3], where=hit[..., None])
        np.copyto(self.glow[window], bumps[..., 2], where=hit)
        slope_u = (bumps[..., 0].astype(np.float32) - 128) * np.float32(1 / 64)
        slope_v = (bumps[..., 1].astype(np.float32) - 128) * np.float32(1 / 64)
        normal, along_u, along_v = axes
        for k in range(3):
            tilted = normal[k] - slope_u * along_u[k] - slope_v * along_v[k]
            np.copyto(self.normal[k][window], tilted, where=hit)


class Surface(Protocol):
    """Shape that can be drawn into a frame."""

    def draw(self, frame: Frame) -> None: ...


@dataclass(frozen=True, eq=False)
class Panel:
    """A rectangle or parallelogram: `origin` + u * `across` + v * `upward`; seen where across x upward points.

    The texture's bottom left lies at the origin; transparent parts cut any shape out of it.
    """

    origin: np.ndarray
    across: np.ndarray
    upward: np.ndarray
    texture: Texture

    @cached_property
    def normal(self) -> np.ndarray:
        return unit(np.cross(self.across, self.upward))

    def draw(self, frame: Frame) -> None:
        camera = frame.camera
        o, a, b = self.origin, self.across, self.upward
        distance = float(((camera.position - o) * self.normal).sum())
        window = camera.window(np.stack([o, o + a, o + b, o + a + b]))
        if distance <= 1e-3 or window is None:
            return
        approach = camera.along(self.normal, window)
        depth = np.float32(-distance) / np.where(approach < -1e-6, approach, np.float32(-1e-6))
        dual_a, dual_b = _dual(a, b, self.normal), _dual(b, a, self.normal)
        u = depth * camera.along(dual_a, window) + np.float32(((camera.position - o) * dual_a).sum())
        v = depth * camera.along(dual_b, window) + np.float32(((camera.position - o) * dual_b).sum())
        hit = (depth > NEAR) & (depth < frame.depth[window]) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
        if not hit.any():
            return
        middle = max(float(depth[hit].mean()), NEAR)
        shrink = self.texture.height / np.sqrt((b**2).sum()) * middle / camera.focal
        axes = (self.normal, unit(a), unit(b))
        frame.paint(window, hit, depth, (u, v), self.texture.level(shrink), axes)


def _dual(a: np.ndarray, b: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """The vector in the plane whose product with `a` is 1 and with `b` is 0."""
    across = np.cross(b, normal)
    return across / (across * a).sum()


@dataclass(frozen=True, eq=False)
class Revolved:
    """A surface around the upright axis through (x, z), from `bottom` to `top`.

    Its squared radius is a quadratic in height that passes through radii[0] at the bottom, radii[1] half way and
    radii[2] at the top: cylinders, cones, domes and waisted drums. The texture goes once around, its middle in front.
    """

    x: float
    z: float
    bottom: float
    top: float
    radii: tuple[float, float, float]
    texture: Texture

    def _quadratic(self) -> tuple[float, float, float]:
        low, middle, high = (r * r for r in self.radii)
        size = self.top - self.bottom
        return low, (4 * middle - 3 * low - high) / size, 2 * (low + high - 2 * middle) / size**2

    def draw(self, frame: Frame) -> None:
        camera = frame.camera
        wide = max(self.radii) * 1.05
        corners = [
            vector(self.x + i * wide, y, self.z + k * wide)
            for i in (-1, 1)
            for k in (-1, 1)
            for y in (self.bottom, self.top)
        ]
        window = camera.window(np.array(corners))
        if window is None:
            return
        constant, linear, square = (np.float32(value) for value in self._quadratic())
        dx, dy, dz = (camera.along(axis, window) for axis in np.eye(3))
        ox, oy, oz = (np.float32(v) for v in camera.position - vector(self.x, self.bottom, self.z))
        a = dx * dx + dz * dz - square * dy * dy
        b = ox * dx + oz * dz - (linear / 2 + square * oy) * dy
        c = ox * ox + oz * oz - constant - linear * oy - square * oy * oy
        inside = b * b - a * c
        root = np.sqrt(np.maximum(inside, 0))
        a = np.where(np.abs(a) < 1e-9, np.float32(1e-9), a)
        first, second = (-b - root) / a, (-b + root) / a
        near, far = np.minimum(first, second), np.maximum(first, second)
        size = np.float32(self.top - self.bottom)
        good = (near > NEAR) & (oy + near * dy >= 0) & (oy + near * dy <= size)
        depth = np.where(good, near, far)
        x, h, z = ox + depth * dx, oy + depth * dy, oz + depth * dz
        nx, ny, nz = x, -(linear / 2 + square * h), z
        hit = (inside > 0) & (depth > NEAR) & (h >= 0) & (h <= size) & (depth < frame.depth[window])
        hit &= nx * dx + ny * dy + nz * dz < 0
        if not hit.any():
            return
        length = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-6)
        around = np.sqrt(x * x + z * z) + np.float32(1e-6)
        u = np.arctan2(x, z) * np.float32(0.5 / np.pi) + np.float32(0.5)
        axes = ((nx / length, ny / length, nz / length), (z / around, 0.0, -x / around), (0.0, 1.0, 0.0))
        shrink = self.texture.height / float(size) * float(depth[hit].mean()) / camera.focal
        frame.paint(window, hit, depth, (u, h / size), self.texture.level(shrink), axes)


@dataclass(frozen=True, eq=False)
class Ground:
    """The plane y = 0, tiled with a texture of `tile` metres that fades into its mean colour with distance."""

    texture: Texture
    tile: float

    def draw(self, frame: Frame) -> None:
        camera = frame.camera
        slope = camera.along(vector(0, 1, 0), camera.whole)
        rows_hit = np.flatnonzero((slope < -1e-4).any(axis=1))
        if len(rows_hit) == 0:
            return
        window = slice(int(rows_hit[0]), int(rows_hit[-1]) + 1), slice(0, camera.width)
        slope = slope[window]
        hit = slope < -1e-4
        depth = np.float32(-camera.position[1]) / np.where(hit, slope, np.float32(-1e-4))
        hit &= depth < frame.depth[window]
        color = self.texture.level(1)[0]
        rows, columns = color.shape[:2]
        scale = np.float32(rows / self.tile)
        column = (depth * camera.along(vector(1, 0, 0), window) + np.float32(camera.position[0])) * scale
        row = (depth * camera.along(vector(0, 0, 1), window) + np.float32(camera.position[2])) * scale
        seen = cv2.remap(color, np.mod(column, columns), np.mod(row, rows), cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
        mean = np.array(cv2.mean(color)[:3], np.float32)
        fade = np.exp(depth * (-scale / np.float32(2 * camera.focal)))[..., None]
        faded = mean + (seen[..., :3].astype(np.float32) - mean) * fade
        np.copyto(frame.color[window], faded.astype(np.uint8), where=hit[..., None])
        np.copyto(frame.depth[window], depth, where=hit)
        np.copyto(frame.glow[window], np.uint8(0), where=hit)
        for k in range(3):
            np.copyto(frame.normal[k][window], np.float32(k == 1), where=hit)
