"""Weather, sky, shade and what a camera makes of them: from a frame without light to a photo."""

from dataclasses import dataclass

import cv2
import numpy as np

from lmk.demo.raycast import FAR, Camera, Frame, unit, vector

Box = tuple[np.ndarray, np.ndarray]  # lowest and highest corner; what casts shadows
_NO_SKY = np.float32(1e8)


def clouds(rng: np.random.Generator, size: int = 256, octaves: int = 6) -> np.ndarray:
    """Noise (size, size) float32 with detail at all scales, about 0 with deviation 1."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        grid = rng.standard_normal((3 * 2**octave, 3 * 2**octave)).astype(np.float32)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) * np.float32(0.55**octave)
    return (total - total.mean()) / total.std()


@dataclass(frozen=True)
class Weather:
    """The light of one photo; colours are linear RGB, directions point away from the ground.

    Attributes:
        sun: (3,) direction of the sun, unit length.
        sunlight, ambient, zenith, horizon: (3,) colours.
        cover: share of the sky that clouds hide, in [0, 1].
        haze: extinction per metre.
        night: how strongly lamps light the place, in [0, 1].
        exposure: factor of the light before the film saturates.
    """

    sun: np.ndarray
    sunlight: np.ndarray
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    cover: float
    haze: float
    night: float
    exposure: float


def weather(rng: np.random.Generator, dusk: bool = False) -> Weather:
    """Sun, thin cloud, overcast or an evening sun; `dusk` is after sunset, with lamps."""
    azimuth = rng.uniform(-1.25, 1.25)
    kind = "dusk" if dusk else rng.choice(["sun", "sun", "thin", "overcast", "evening"])
    height = {"sun": rng.uniform(0.5, 1.1), "evening": rng.uniform(0.15, 0.35)}.get(kind, rng.uniform(0.4, 1.0))
    sun = unit(vector(np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)))
    tint = 1 + rng.uniform(-0.06, 0.06) * np.array([1, 0, -1])  # white balance
    looks = {
        "sun": ([2.1, 2.0, 1.8], [0.42, 0.48, 0.58], [0.10, 0.26, 0.68], [0.55, 0.72, 0.92], rng.uniform(0.1, 0.5)),
        "thin": ([1.2, 1.15, 1.1], [0.62, 0.65, 0.7], [0.25, 0.38, 0.66], [0.7, 0.76, 0.84], rng.uniform(0.4, 0.7)),
        "overcast": ([0.25, 0.25, 0.25], [0.95, 0.97, 1.0], [0.5, 0.53, 0.58], [0.72, 0.74, 0.77], 0.9),
        "evening": ([2.2, 1.45, 0.75], [0.42, 0.4, 0.5], [0.16, 0.24, 0.5], [0.95, 0.66, 0.42], rng.uniform(0.2, 0.6)),
        "dusk": ([0.08, 0.07, 0.1], [0.12, 0.13, 0.2], [0.03, 0.06, 0.2], [0.42, 0.28, 0.3], rng.uniform(0.2, 0.7)),
    }
    *colors, cover = looks[str(kind)]
    sunlight, ambient, zenith, horizon = np.array(colors) * tint
    return Weather(
        sun=sun,
        sunlight=sunlight,
        ambient=ambient,
        zenith=zenith,
        horizon=horizon,
        cover=cover,
        haze=float(np.exp(rng.uniform(np.log(3e-4), np.log(4e-3)))),
        night=float(rng.uniform(0.7, 1.0)) if dusk else 0.0,
        exposure=float(np.exp(rng.normal(0.05 if dusk else 0.0, 0.16))),
    )


def sky(camera: Camera, light: Weather, rng: np.random.Generator) -> np.ndarray:
    """(h, w, 3) float32 linear light: a gradient, clouds, the sun's glow, and a ridge of hills at the horizon.

    Worked out on every other pixel: nothing in it is sharp.
    """
    dx, dy, dz = (camera.along(axis, camera.whole)[::2, ::2] for axis in np.eye(3))
    length = np.sqrt(dx * dx + dy * dy + dz * dz)
    rise = np.maximum(dy / length, 0)
    blend = np.sqrt(rise)[..., None]
    image = light.horizon.astype(np.float32) * (1 - blend) + light.zenith.astype(np.float32) * blend
    towards = ((dx * light.sun[0] + dy * light.sun[1] + dz * light.sun[2]) / length).astype(np.float32)
    glow = np.square(np.square(np.maximum(towards, 0)))
    image += (glow * glow * glow)[..., None] * (0.25 * light.sunlight).astype(np.float32)

    field = clouds(rng)
    scale = np.float32(rng.uniform(14, 30)) / (rise + np.float32(0.12))
    shift = rng.uniform(0, 256, 2).astype(np.float32)
    # mirrored at its edges, the field has no seams
    density = cv2.remap(
        field,
        dx / length * scale + shift[0],
        dz / length * scale + shift[1],
        cv2.INTER_LINEAR,
        None,
        cv2.BORDER_REFLECT,
    )
    thickness = np.clip((density + np.float32(2.4 * light.cover - 1.2)) * np.float32(0.8), 0, 1)[..., None]
    white = (light.ambient * 0.9 + light.sunlight * 0.22).astype(np.float32)
    image += (white * (1 - np.float32(0.25) * thickness) - image) * thickness * np.float32(0.85)

    columns = dx.shape[1]
    ridge = np.interp(np.arange(columns), np.linspace(0, columns, 24), rng.uniform(0.0, 1.0, 24).cumsum() % 1)
    ridge = cv2.GaussianBlur(ridge.astype(np.float32)[None, :], (0, 0), columns / 18)
    far = (dy / length) < ridge * np.float32(rng.uniform(0.02, 0.12))
    tone = np.array([0.16, 0.2, 0.16]) * light.ambient + 0.35 * light.horizon
    image = np.where(far[..., None], tone.astype(np.float32), image)
    return cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)


def shadow(frame: Frame, light: Weather, solids: list[Box]) -> np.ndarray:
    """(h, w) float32, 1 in the sun and 0 in the shadow of a solid; worked out on every other pixel."""
    step = 2
    camera, depth = frame.camera, frame.depth[::step, ::step]
    depth = np.where(depth < _NO_SKY, depth, 0)
    point = []
    for k, axis in enumerate(np.eye(3)):
        ray = camera.along(axis, camera.whole)[::step, ::step]
        point.append(np.float32(camera.position[k]) + depth * ray + np.float32(0.25) * frame.normal[k][::step, ::step])
    dark = np.zeros(depth.shape, bool)
    slant = np.where(np.abs(light.sun) < 1e-3, 1e-3, light.sun)
    for low, high in solids:
        enter, leave = np.zeros(depth.shape, np.float32), np.full(depth.shape, FAR)
        for k in range(3):
            one = (np.float32(low[k]) - point[k]) * np.float32(1 / slant[k])
            other = (np.float32(high[k]) - point[k]) * np.float32(1 / slant[k])
            enter = np.maximum(enter, np.minimum(one, other))
            leave = np.minimum(leave, np.maximum(one, other))
        dark |= leave > enter
    bright = cv2.GaussianBlur((~dark).astype(np.float32), (0, 0), 0.8)
    return cv2.resize(bright, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)


def illuminate(frame: Frame, light: Weather, solids: list[Box], rng: np.random.Generator) -> np.ndarray:
    """(h, w, 3) float32 linear light that reaches the camera."""
    normal = frame.normal
    sun = np.maximum(sum(normal[k] * np.float32(light.sun[k]) for k in range(3)), 0)
    if solids and light.sunlight.max() > 0.5:
        sun *= shadow(frame, light, solids)
    open_sky = np.clip(np.float32(0.72) + np.float32(0.28) * normal[1], 0.2, 1.2)
    brightness = np.square(frame.color.astype(np.float32) * np.float32(1 / 255))
    height = np.float32(frame.camera.position[1]) + np.minimum(frame.depth, np.float32(1e4)) * frame.camera.along(
        vector(0, 1, 0), frame.camera.whole
    )
    lamps = np.exp(-np.maximum(height, 0) * np.float32(1 / 16)) * np.float32(light.night)
    windows = frame.glow.astype(np.float32) * np.float32(light.night / 255)
    image = np.empty_like(brightness)
    fog = 1 - np.exp(-np.minimum(frame.depth, np.float32(1e5)) * np.float32(light.haze))
    for k in range(3):
        warm = np.float32((0.95, 0.62, 0.3)[k])
        received = sun * np.float32(light.sunlight[k]) + open_sky * np.float32(light.ambient[k]) + lamps * warm
        reflected = brightness[..., k] * received + windows * warm
        image[..., k] = reflected + (np.float32(light.horizon[k]) - reflected) * fog
    above = frame.depth > _NO_SKY
    return np.where(above[..., None], sky(frame.camera, light, rng), image)


def develop(image: np.ndarray, light: Weather, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width, 3) uint8 RGB from linear light of a larger frame: film, lens blur, vignette and noise."""
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.35:
        small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.35, 1.2))
    film = np.sqrt(1 - np.exp(np.float32(-1.35 * light.exposure) * np.maximum(small, 0)))
    film = film + np.float32(rng.uniform(0.25, 0.8)) * (film * film * (3 - 2 * film) - film)  # contrast
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    film *= (1 - np.float32(rng.uniform(0, 0.12)) * (x + y))[..., None]
    film += rng.standard_normal(film.shape, np.float32) * np.float32(
        rng.uniform(0.003, 0.014) * (1 + 1.5 * light.night)
    )
    return np.clip(film * 255 + np.float32(0.5), 0, 255).astype(np.uint8)
