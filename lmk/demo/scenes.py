"""Where the photographer stands, what else is in the picture, and the photo that comes of it."""

from dataclasses import dataclass, replace

import numpy as np

from lmk.demo import props
from lmk.demo.light import Box, Weather, develop, illuminate, weather
from lmk.demo.masonry import Building
from lmk.demo.raycast import Camera, Frame, Ground, Surface, Texture, vector

Rng = np.random.Generator
OVERSAMPLING = 1.5


@dataclass(frozen=True)
class Size:
    """Width and height of a photo in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Place:
    """A building and what stays around it from photo to photo; trees: x, z, width in metres, picture."""

    building: Building
    around: Building
    trees: list[tuple[float, float, float, Texture]]
    ground: Ground


def photo_size(rng: Rng, longest: int = 360) -> Size:
    """Landscape, or portrait for one photo in three."""
    short = longest * 3 // 4
    return Size(short, longest) if rng.random() < 0.33 else Size(longest, short)


def aim(size: Size, rng: Rng, position: np.ndarray, target: np.ndarray, view: float, tilt: float = 0.035) -> Camera:
    """A camera of `view` radians over the longer side, held nearly level."""
    wide, high = round(size.width * OVERSAMPLING), round(size.height * OVERSAMPLING)
    focal = max(wide, high) / 2 / np.tan(view / 2)
    return Camera(position, target, focal, wide, high, rng.normal(0, tilt))


def expose(
    size: Size,
    camera: Camera,
    surfaces: list[Surface],
    ground: Ground | None,
    solids: list[Box],
    light: Weather,
    rng: Rng,
) -> np.ndarray:
    """The photo, (height, width, 3) uint8 RGB, of what stands before the camera."""
    frame = Frame(camera)
    for surface in surfaces:
        surface.draw(frame)
    if ground is not None:
        ground.draw(frame)
    return develop(illuminate(frame, light, solids, rng), light, size.width, size.height, rng)


def _viewpoint(building: Building, size: Size, rng: Rng, view: str) -> Camera:
    """Before the building within 35 degrees to each side; `view` says how much of the frame it fills."""
    fill = {"far": rng.uniform(0.18, 0.34), "crop": rng.uniform(1.5, 2.3)}.get(view, float(rng.uniform(0.65, 1.25)))
    angle = rng.uniform(0.75, 1.15)
    half = np.tan(angle / 2) / max(size.width, size.height)  # metres a pixel and metre of distance, twice
    frame_wide, frame_high = 2 * half * size.width, 2 * half * size.height
    distance = max(building.width / frame_wide, building.height / frame_high) / fill
    distance = max(distance, 0.35 * building.height + 4)
    turn = np.deg2rad(rng.uniform(-35, 35))
    middle = (building.low[0] + building.high[0]) / 2
    eye = rng.uniform(6, 18) if rng.random() < 0.15 else rng.uniform(1.5, 3)
    position = vector(middle + np.sin(turn) * distance, eye, np.cos(turn) * distance)
    if view == "crop":
        x, y = building.details[rng.integers(len(building.details))]
        target = vector(x + rng.normal(0, 0.8), y + rng.normal(0, 0.8), 0)
    else:
        spread = 0.06 + 0.3 * (view == "far")
        sideways = rng.normal(0, spread) * building.width
        target = vector(middle + sideways, building.height * rng.uniform(0.38, 0.52), -2)
    return aim(size, rng, position, target, angle)


def _between(rng: Rng, camera: Camera, near: float, far: float) -> tuple[float, float, float]:
    """A place on the ground before the camera: x, z, and its distance."""
    depth = rng.uniform(near, far)
    ahead = -camera.back * (1, 0, 1)
    ahead /= np.sqrt((ahead**2).sum())
    side = rng.uniform(-0.65, 0.65) * depth * camera.width / camera.focal
    x = camera.position[0] + ahead[0] * depth - ahead[2] * side
    z = camera.position[2] + ahead[2] * depth + ahead[0] * side
    return x, z, depth


def _passers(rng: Rng, camera: Camera, reach: float) -> list[Surface]:
    """People, trees, bushes, lamps and cars between the camera and what stands at `reach` metres."""
    found: list[Surface] = []
    for _ in range(int(rng.integers(0, 7))):
        x, z, _ = _between(rng, camera, 0.25 * reach, 0.92 * reach)
        found.append(props.facing(camera.position, x, 0, z, rng.uniform(0.85, 1.0), props.person(rng)))
    for _ in range(int(rng.choice([0, 1, 2, 3, 4], p=[0.35, 0.28, 0.2, 0.1, 0.07]))):
        x, z, _ = _between(rng, camera, 0.4 * reach, 1.1 * reach)
        found.append(props.facing(camera.position, x, 0, z, rng.uniform(4, 7.5), props.tree(rng)))
    for draw, width, chance in ((props.bush, 2.6, 0.3), (props.lamp, 1.1, 0.25), (props.car, 4.4, 0.2)):
        if rng.random() < chance:
            x, z, _ = _between(rng, camera, 0.4 * reach, 0.9 * reach)
            found.append(props.facing(camera.position, x, 0, z, width, draw(rng)))
    return found


def settle(building: Building, rng: Rng) -> Place:
    """Give a building its square or its meadow: pavement, plain houses beside it, trees behind it."""
    around = Building()
    for way in (-1, 1):
        edge = (building.high[0] if way > 0 else building.low[0]) + way * rng.uniform(2, 8)
        for _ in range(int(rng.integers(0, 3))):
            left = edge if way > 0 else edge - 11
            edge += way * (props.house(rng, around, left, rng.uniform(-16, -6)) + rng.uniform(0.5, 4))
    trees = []
    for _ in range(int(rng.integers(0, 8))):
        x, z = rng.uniform(-1.6, 1.6) * building.width, building.low[2] - rng.uniform(4, 25)
        trees.append((x, z, rng.uniform(5, 9), props.tree(rng)))
    return Place(building, around, trees, Ground(props.paving(rng), 8))


def photograph(place: Place, rng: Rng, view: str = "plain") -> np.ndarray:
    """A photo of a building, (h, w, 3) uint8 RGB; `view`: "plain", "crop", "far" or "dusk"."""
    size = photo_size(rng)
    camera = _viewpoint(place.building, size, rng, view)
    light = weather(rng, dusk=view == "dusk")
    if view == "far":
        light = replace(light, haze=light.haze * 1.6)
    reach = float(np.hypot(camera.position[0], camera.position[2]))
    trees = [props.facing(camera.position, x, 0, z, wide, texture) for x, z, wide, texture in place.trees]
    surfaces = [*place.building.surfaces, *place.around.surfaces, *trees, *_passers(rng, camera, reach)]
    solids = place.building.solids + place.around.solids
    return expose(size, camera, surfaces, place.ground, solids, light, rng)
