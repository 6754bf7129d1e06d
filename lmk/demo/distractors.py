"""Photos that show no landmark: parks, beaches, streets, rooms, meals, people, signs, flowers."""

from collections.abc import Callable

import numpy as np

from lmk.demo import facades as f
from lmk.demo import props
from lmk.demo.canvas import Canvas, Color, noise, tone
from lmk.demo.light import Weather, weather
from lmk.demo.masonry import Building
from lmk.demo.raycast import Ground, Panel, Surface, vector
from lmk.demo.scenes import aim, expose, photo_size

Rng = np.random.Generator
_PAINTS: tuple[Color, ...] = (
    (196, 64, 52),
    (228, 186, 74),
    (70, 120, 84),
    (60, 90, 150),
    (236, 230, 214),
    (120, 72, 120),
    (214, 130, 60),
    (64, 60, 62),
)


def _paint(rng: Rng) -> Color:
    return _PAINTS[rng.integers(len(_PAINTS))]


def _flat(rng: Rng, color: Color, tile: float = 8) -> Ground:
    return Ground(f.plain(rng, color, tile, tile).texture(), tile)


def _outdoors(rng: Rng, surfaces_at: Callable, ground: Ground, eye: float = 1.7, upward: float = 0.0) -> np.ndarray:
    """A photo from (0, eye, 0) towards -z of what `surfaces_at(position)` gives: surfaces and solids."""
    size, light = photo_size(rng), weather(rng, dusk=rng.random() < 0.08)
    position = vector(0, eye, 0)
    camera = aim(
        size, rng, position, vector(rng.normal(0, 6), eye + upward + rng.normal(0, 1.5), -40), rng.uniform(0.7, 1.1)
    )
    surfaces, solids = surfaces_at(position)
    return expose(size, camera, surfaces, ground, solids, light, rng)


def _still(rng: Rng, canvas: Canvas) -> np.ndarray:
    """A photo of something flat from near by, at a slant."""
    size = photo_size(rng)
    light: Weather = weather(rng)
    view = rng.uniform(0.7, 1.0)
    extent = min(canvas.width, canvas.height)
    distance = extent / 2 / np.tan(view / 2) * rng.uniform(0.45, 0.7)
    position = vector(rng.normal(0, 0.25) * extent, rng.normal(0, 0.25) * extent, distance)
    target = vector(rng.normal(0, 0.06) * extent, rng.normal(0, 0.06) * extent, 0)
    camera = aim(size, rng, position, target, view, tilt=0.25)
    corner = vector(-canvas.width / 2, -canvas.height / 2, 0)
    panel = Panel(corner, vector(canvas.width, 0, 0), vector(0, canvas.height, 0), canvas.texture())
    return expose(size, camera, [panel], None, [], light, rng)


def _scattered(rng: Rng, draw: Callable, count: int, width: tuple[float, float], near: float, far: float) -> Callable:
    """`count` pictures at random places before the camera."""

    def place(position: np.ndarray) -> list[Surface]:
        found: list[Surface] = []
        for z in np.sort(rng.uniform(near, far, count)):
            x = rng.uniform(-0.6, 0.6) * z + rng.normal(0, 1)
            found.append(props.facing(position, x, 0, -z, rng.uniform(*width), draw(rng)))
        return found

    return place


def park(rng: Rng) -> np.ndarray:
    """Trees, bushes and a few people on grass."""

    def stand(position):
        trees = _scattered(rng, props.tree, int(rng.integers(6, 14)), (4, 9), 9, 60)(position)
        bushes = _scattered(rng, props.bush, int(rng.integers(1, 6)), (2, 4), 6, 30)(position)
        people = _scattered(rng, props.person, int(rng.integers(0, 4)), (0.9, 1), 5, 25)(position)
        return trees + bushes + people, []

    return _outdoors(
        rng, stand, _flat(rng, ((96, 116, 58), (120, 122, 66), (150, 138, 104))[rng.integers(3)]), upward=2
    )


def beach(rng: Rng) -> np.ndarray:
    """Sand, sea, boats, umbrellas, bathers."""
    sea = f.plain(rng, ((60, 110, 130), (70, 100, 120), (88, 130, 130))[rng.integers(3)], 60, 20)
    for _ in range(90):
        x, y = rng.uniform(0, 60), rng.uniform(0, 20)
        sea.line(x, y, x + rng.uniform(1, 5), y, (206, 216, 216), 0.15)
    water = Panel(vector(-600, 0.05, -28), vector(1200, 0, 0), vector(0, 0, -900), sea.texture())

    def stand(position):
        found: list[Surface] = [water]
        for _ in range(int(rng.integers(0, 6))):
            boat = Canvas(6, 7, (240, 238, 230), 20)
            boat.alpha[:] = 0
            boat.polygon([(0.6, 1), (5.6, 1), (5.0, 0.1), (1.3, 0.1)], _paint(rng), alpha=255)
            boat.polygon([(3.0, 1.3), (3.0, 6.8), (5.4, 1.4)], tone((240, 238, 230), rng.uniform(0.8, 1)), alpha=255)
            x, z = rng.uniform(-60, 60), -rng.uniform(40, 160)
            found.append(props.facing(position, x, 0.05, z, 6, boat.texture()))
        for _ in range(int(rng.integers(1, 8))):
            shade = Canvas(3, 2.5, (90, 80, 70), 30)
            shade.alpha[:] = 0
            shade.box(1.46, 0, 0.08, 2.2, (120, 100, 80), alpha=255)
            paints = _paint(rng), _paint(rng)
            for k in range(6):
                left, right = 0.1 + k * 2.8 / 6, 0.1 + (k + 1) * 2.8 / 6
                rib = [(left, 1.7), (right, 1.7), (1.5, 2.45)]
                shade.polygon(rib, paints[k % 2], alpha=255)
            x, z = rng.uniform(-12, 12), -rng.uniform(8, 26)
            found.append(props.facing(position, x, 0, z, 3, shade.texture()))
        return found + _scattered(rng, props.person, int(rng.integers(0, 7)), (0.9, 1), 5, 26)(position), []

    return _outdoors(rng, stand, _flat(rng, (206, 186, 146)))


def mountains(rng: Rng) -> np.ndarray:
    """Ridge behind ridge, with or without snow, and a meadow before them."""
    layers: list[Surface] = []
    base = ((92, 96, 100), (84, 100, 80), (116, 100, 84))[rng.integers(3)]
    for distance, high in ((140, 34), (320, 110), (700, 280)):
        canvas = Canvas(4 * distance / 10, high / 10, base, 12 if distance < 200 else 600 / distance * 6)
        rows, columns = canvas.alpha.shape
        outline = noise(rng, 1, columns, columns / 5, 7)[0] if columns > 8 else np.zeros(columns)
        top = np.clip(0.5 + 0.2 * outline, 0.08, 0.97)
        height = 1 - np.arange(rows)[:, None] / rows
        rough = noise(rng, rows, columns, rows / 2, 5)
        if rng.random() < 0.6:
            snow = (height + 0.06 * rough > 0.5)[..., None]
            canvas.color = np.where(snow, np.array([226, 230, 236], np.uint8), canvas.color)
        canvas.relief = (rough * np.float32(0.06 * high / 10)).astype(np.float32)
        canvas.multiply(1 + np.float32(0.12) * rough)
        canvas.alpha = np.where(height < top[None, :], np.uint8(255), np.uint8(0))
        wide = 4.0 * distance
        layers.append(Panel(vector(-wide / 2, -2, -distance), vector(wide, 0, 0), vector(0, high, 0), canvas.texture()))

    def stand(position):
        return layers + _scattered(rng, props.tree, int(rng.integers(0, 12)), (5, 8), 20, 110)(position), []

    return _outdoors(rng, stand, _flat(rng, ((98, 118, 60), (130, 124, 80))[rng.integers(2)]), upward=5)


def street(rng: Rng) -> np.ndarray:
    """Plain houses on both sides of a road, cars, lamps, people."""
    place = Building()
    for way in (-1, 1):
        z = -4.0 - rng.uniform(0, 6)
        for _ in range(int(rng.integers(3, 6))):
            x = -15.5 if way < 0 else rng.uniform(6.2, 7.5)
            z -= props.house(rng, place, x, z, turned=True) + rng.choice([0.0, 0.0, 3.0])
    if rng.random() < 0.5:
        props.house(rng, place, rng.uniform(-8, -2), -70)

    def stand(position):
        things: list[Surface] = list(place.surfaces)
        for draw, count, width in (
            (props.car, 3, 4.4),
            (props.lamp, 3, 1.1),
            (props.person, 5, 0.95),
            (props.tree, 2, 5.0),
        ):
            for _ in range(int(rng.integers(0, count + 1))):
                x, z = rng.uniform(-5.5, 5.5), -rng.uniform(9, 45)
                things.append(props.facing(position, x, 0, z, width, draw(rng)))
        return things, place.solids

    return _outdoors(rng, stand, Ground(props.paving(rng), 8), upward=3)


def room(rng: Rng) -> np.ndarray:
    """A room with pictures on its wall, a table and what lies on it."""
    wide, high, deep = rng.uniform(5, 8), rng.uniform(2.8, 3.6), rng.uniform(5, 8)
    paper = tone(f.PLASTERS[rng.integers(len(f.PLASTERS))], rng.uniform(0.7, 1.05))
    back = f.plain(rng, paper, wide, high)
    for _ in range(int(rng.integers(1, 5))):
        x, y, w, h = (
            rng.uniform(0.2, wide - 1.4),
            rng.uniform(1.2, high - 1),
            rng.uniform(0.5, 1.3),
            rng.uniform(0.4, 0.9),
        )
        back.box(x - 0.06, y - 0.06, w + 0.12, h + 0.12, tone((110, 80, 50), rng.uniform(0.5, 1.6)), relief=0.06)
        back.box(x, y, w, h, _paint(rng))
        for _ in range(7):
            spot = x + rng.uniform(0.15, 0.85) * w, y + rng.uniform(0.2, 0.8) * h
            back.ellipse(*spot, 0.2 * h, rng.uniform(0.05, 0.2) * h, rng.uniform(0, 3), tone(_paint(rng), 0.9))
    side = f.plain(rng, tone(paper, 0.9), deep, high)
    side.box(rng.uniform(0.5, deep - 2), 0.9, 1.3, 1.5, (226, 236, 246), glow=120)
    place = Building()
    place.panel(vector(-wide / 2, 0, -deep), vector(wide, 0, 0), vector(0, high, 0), back.texture())
    place.panel(vector(-wide / 2, 0, 0), vector(0, 0, -deep), vector(0, high, 0), side.texture())
    place.panel(vector(wide / 2, 0, -deep), vector(0, 0, deep), vector(0, high, 0), side.texture())
    ceiling = f.plain(rng, (226, 222, 214), wide, deep).texture()
    place.panel(vector(-wide / 2, high, -deep), vector(wide, 0, 0), vector(0, 0, deep), ceiling)
    wood = tone((136, 98, 66), rng.uniform(0.6, 1.3))
    x, z = rng.uniform(-1.2, 0.2), -rng.uniform(0.45, 0.65) * deep
    place.block(rng, (x, x + 1.6), (0.68, 0.75), (z, z + 0.9), wood)
    for leg in (x + 0.05, x + 1.47):
        place.block(rng, (leg, leg + 0.08), (0, 0.68), (z + 0.8, z + 0.88), wood)
    for _ in range(int(rng.integers(1, 6))):
        cup = f.plain(rng, _paint(rng), 0.6, 0.3).texture()
        radius, tall = rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.35)
        spot = x + rng.uniform(0.15, 1.45), z + rng.uniform(0.15, 0.7)
        place.round(
            *spot, (0.75, 0.75 + tall), (radius, radius * rng.uniform(0.8, 1.5), radius * rng.uniform(0.4, 1)), cup
        )
    size = photo_size(rng)
    position = vector(rng.normal(0, 0.5), rng.uniform(1.2, 1.7), -0.1)
    camera = aim(size, rng, position, vector(rng.normal(0, 0.6), rng.uniform(0.9, 1.5), -deep), rng.uniform(0.9, 1.2))
    ground = Ground(f.plain(rng, tone((150, 116, 82), rng.uniform(0.6, 1.2)), 4, 4, 0.2).texture(), 4)
    found = list(place.surfaces)
    if rng.random() < 0.4:
        found.append(props.facing(position, rng.uniform(-1.5, 1.5), 0, -rng.uniform(2, 4), 0.95, props.person(rng)))
    return expose(size, camera, found, ground, [], weather(rng), rng)


def meal(rng: Rng) -> np.ndarray:
    """A laid table from above."""
    canvas = f.plain(
        rng, tone(((150, 110, 76), (222, 214, 200), (96, 90, 86), (170, 60, 54))[rng.integers(4)], 1), 10, 8
    )
    for y in np.arange(0, 8, rng.uniform(0.8, 1.6)):
        canvas.line(0, y, 10, y, tone((120, 96, 70), rng.uniform(0.7, 1.3)), 0.06)
    for _ in range(int(rng.integers(2, 5))):
        x, y, radius = rng.uniform(1.5, 8.5), rng.uniform(1.5, 6.5), rng.uniform(1.0, 2.0)
        plate = tone(((238, 236, 230), (190, 206, 214), (70, 72, 76))[rng.integers(3)], 1)
        canvas.disc(x, y, radius, plate, relief=0.15)
        canvas.disc(x, y, 0.75 * radius, tone(plate, 0.93), relief=0.05)
        food = [_paint(rng) for _ in range(3)]
        for _ in range(int(rng.integers(20, 60))):
            angle, reach = rng.uniform(0, 6.3), 0.65 * radius * np.sqrt(rng.random())
            spot = x + reach * np.cos(angle), y + reach * np.sin(angle)
            a = rng.uniform(0.08, 0.3) * radius
            shade = tone(food[rng.integers(3)], rng.uniform(0.6, 1.2))
            canvas.ellipse(
                *spot, a, a * rng.uniform(0.3, 1), rng.uniform(0, 3), shade, relief=float(rng.uniform(0.1, 0.3))
            )
    for _ in range(3):
        x, y, t = rng.uniform(1, 9), rng.uniform(1, 7), rng.uniform(0, 3)
        canvas.line(x, y, x + 1.8 * np.cos(t), y + 1.8 * np.sin(t), (200, 204, 210), 0.12)
    return _still(rng, canvas)


def company(rng: Rng) -> np.ndarray:
    """A group of people who fill the picture."""

    def stand(position):
        people: list[Surface] = []
        for k in range(int(rng.integers(2, 6))):
            z = -rng.uniform(2.4, 4.0)
            people.append(props.facing(position, -1.2 + 0.6 * k + rng.normal(0, 0.1), 0, z, 1.0, props.person(rng)))
        trees = _scattered(rng, props.tree, int(rng.integers(0, 8)), (5, 9), 12, 40)(position)
        return people + trees, []

    return _outdoors(rng, stand, Ground(props.paving(rng), 8), eye=1.5)


def flowers(rng: Rng) -> np.ndarray:
    """Leaves and blossoms from near by."""
    leaf = tone((70, 100, 48), rng.uniform(0.7, 1.3))
    canvas = f.plain(rng, tone(leaf, 0.5), 10, 8)
    for _ in range(260):
        shade = tone(leaf, rng.uniform(0.5, 1.5))
        x, y, a = rng.uniform(0, 10), rng.uniform(0, 8), rng.uniform(0.3, 0.9)
        canvas.ellipse(x, y, a, 0.35 * a, rng.uniform(0, 3.1), shade, relief=float(rng.uniform(0, 0.4)))
    paint = _paint(rng)
    for _ in range(int(rng.integers(3, 30))):
        x, y, radius, petals = rng.uniform(0, 10), rng.uniform(0, 8), rng.uniform(0.2, 0.7), int(rng.integers(5, 12))
        for t in np.arange(petals) * 2 * np.pi / petals + rng.uniform(0, 1):
            shade = tone(paint, rng.uniform(0.8, 1.2))
            canvas.ellipse(
                x + radius * np.cos(t), y + radius * np.sin(t), 0.7 * radius, 0.3 * radius, t, shade, relief=0.4
            )
        canvas.disc(x, y, 0.4 * radius, (200, 160, 50), relief=0.5)
    return _still(rng, canvas)


def sign(rng: Rng) -> np.ndarray:
    """A poster, a plaque or a menu: lines of text and a picture."""
    paper, ink = ((236, 232, 220), (40, 40, 44)) if rng.random() < 0.6 else (_paint(rng), (240, 238, 230))
    canvas = f.plain(rng, tone(f.STONES[rng.integers(5)], 0.8), 10, 8, 0.5)
    canvas.box(1.2, 0.8, 7.6, 6.4, paper, relief=0.1)
    letters = "abcdefghijklmnoprstuvw "
    y = 6.3
    while y > 1.2:
        size = rng.choice([0.25, 0.35, 0.6])
        words = "".join(letters[rng.integers(len(letters))] for _ in range(int(rng.uniform(0.4, 0.95) * 7 / size)))
        canvas.text(1.5, y, words, size, ink)
        y -= 1.9 * size
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(1.5, 6), rng.uniform(1.2, 4)
        canvas.box(x, y, 2.4, 1.8, _paint(rng))
        for _ in range(9):
            spot = x + rng.uniform(0.3, 2.1), y + rng.uniform(0.3, 1.5)
            canvas.ellipse(
                *spot, rng.uniform(0.1, 0.6), 0.25, rng.uniform(0, 3), tone(_paint(rng), rng.uniform(0.7, 1.1))
            )
    return _still(rng, canvas)


def countryside(rng: Rng) -> np.ndarray:
    """A farm house or two among fields and trees."""
    place = Building()
    x = rng.uniform(-18, 2)
    for _ in range(int(rng.integers(1, 3))):
        x += props.house(rng, place, x, -rng.uniform(30, 50)) + rng.uniform(2, 12)

    def stand(position):
        trees = _scattered(rng, props.tree, int(rng.integers(3, 10)), (4, 8), 18, 70)(position)
        return place.surfaces + trees, place.solids

    return _outdoors(
        rng, stand, _flat(rng, ((150, 142, 76), (104, 120, 60), (140, 112, 80))[rng.integers(3)]), upward=1
    )


KINDS: tuple[Callable[[Rng], np.ndarray], ...] = (
    park,
    beach,
    mountains,
    street,
    room,
    meal,
    company,
    flowers,
    sign,
    countryside,
)


def scene(kind: str, rng: Rng) -> np.ndarray:
    """A photo of the named kind, (h, w, 3) uint8 RGB."""
    return {draw.__name__: draw for draw in KINDS}[kind](rng)
