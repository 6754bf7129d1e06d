"""Surroundings: trees, people, lamps, cars, plain houses. Flat pictures turned to the camera, and boxes."""

import numpy as np

from lmk.demo import facades as f
from lmk.demo.canvas import Canvas, Color, tone
from lmk.demo.masonry import Building
from lmk.demo.raycast import Panel, Texture, unit, vector

Rng = np.random.Generator
_LEAVES: tuple[Color, ...] = ((74, 98, 50), (92, 112, 58), (60, 88, 60), (120, 116, 56), (108, 88, 50))
_CLOTHES: tuple[Color, ...] = (
    (182, 52, 48),
    (48, 72, 128),
    (226, 224, 218),
    (40, 42, 48),
    (206, 170, 70),
    (92, 124, 88),
    (150, 112, 140),
    (118, 92, 72),
)


def facing(camera: np.ndarray, x: float, y: float, z: float, width: float, texture: Texture) -> Panel:
    """A picture that stands upright at (x, y, z), `width` metres wide, turned to the camera."""
    towards = unit(vector(camera[0] - x, 0, camera[2] - z))
    right = vector(towards[2], 0, -towards[0])
    height = width * texture.height / texture.width
    return Panel(vector(x, y, z) - right * width / 2, right * width, vector(0, height, 0), texture)


def _blank(width: float, height: float, color: Color, scale: float) -> Canvas:
    canvas = Canvas(width, height, color, scale)
    canvas.alpha[:] = 0
    return canvas


def tree(rng: Rng) -> Texture:
    """A leafy tree, a conifer or a palm; 1 metre of the canvas is a sixth of its height."""
    kind, leaf = rng.choice(["leafy", "leafy", "leafy", "conifer", "palm"]), _LEAVES[rng.integers(len(_LEAVES))]
    canvas = _blank(5, 6, tone(leaf, 0.7), 32)
    bark = tone((92, 74, 58), rng.uniform(0.7, 1.2))
    trunk = rng.uniform(0.09, 0.16)
    lean = rng.uniform(-0.3, 0.3)
    canvas.polygon([(2.5 - trunk, 0), (2.5 + trunk, 0), (2.55 + lean, 3.6), (2.45 + lean, 3.6)], bark, alpha=255)
    if kind == "palm":
        canvas.polygon([(2.42, 0), (2.58, 0), (2.55 + lean, 4.9), (2.45 + lean, 4.9)], bark, alpha=255)
        for t in rng.uniform(-0.9, 4.04, 26):
            reach = rng.uniform(1.0, 1.9)
            tip = (2.5 + lean + reach * np.cos(t), 4.9 + 0.6 * reach * np.sin(t) - 0.25 * reach)
            bend = (2.5 + lean + 0.5 * reach * np.cos(t), 5.0 + 0.5 * reach * np.sin(t))
            shade = tone(leaf, rng.uniform(0.6, 1.4))
            canvas.polygon([(2.5 + lean, 4.8), bend, tip, (bend[0], bend[1] - 0.22)], shade, alpha=255)
        return canvas.texture()
    count = 220
    heights = rng.uniform(0, 1, count)
    if kind == "conifer":
        xs = 2.5 + rng.uniform(-1, 1, count) * (1.02 - heights) * 1.2
        ys = 0.7 + 5.1 * heights
    else:
        lobes = rng.normal(0, 0.75, (5, 2)) * (1, 0.7) + (2.5 + lean, 4.0)
        places = lobes[rng.integers(5, size=count)] + rng.normal(0, 0.42, (count, 2))
        xs, ys = np.clip(places[:, 0], 0.3, 4.7), np.clip(places[:, 1], 1.6, 5.7)
    shades = rng.uniform(0.55, 0.95, count) + 0.12 * (ys - 3)  # lower is darker
    sizes, angles, reliefs = (rng.uniform(low, high, count) for low, high in ((0.1, 0.3), (0, 3), (0, 0.3)))
    for x, y, size, angle, relief, shade in np.column_stack([xs, ys, sizes, angles, reliefs, shades]).tolist():
        canvas.ellipse(x, y, size, size * 0.7, angle, tone(leaf, shade), alpha=255, relief=relief)
    return canvas.texture()


def bush(rng: Rng) -> Texture:
    """A low shrub, at times in flower."""
    leaf = _LEAVES[rng.integers(len(_LEAVES))]
    canvas = _blank(3, 1.6, leaf, 40)
    for x, y in zip(rng.normal(1.5, 0.55, 110).clip(0.2, 2.8), rng.uniform(0, 1.3, 110), strict=True):
        shade = tone(leaf, rng.uniform(0.55, 1.3))
        canvas.ellipse(x, y, 0.2, 0.12, rng.uniform(0, 3), shade, alpha=255, relief=float(rng.uniform(0, 0.2)))
    if rng.random() < 0.4:
        blossom = ((206, 80, 110), (226, 200, 90), (230, 226, 230), (150, 70, 150))[rng.integers(4)]
        for x, y in zip(rng.normal(1.5, 0.5, 24).clip(0.2, 2.8), rng.uniform(0.2, 1.3, 24), strict=True):
            canvas.disc(x, y, 0.06, blossom)
    return canvas.texture()


def person(rng: Rng) -> Texture:
    """Somebody who stands or walks; the canvas is 1 x 1.9 metres."""
    canvas = _blank(1.0, 1.9, (60, 56, 54), 70)
    skin = tone((224, 178, 146), rng.uniform(0.45, 1.08))
    coat, legs = (_CLOTHES[k] for k in rng.choice(len(_CLOTHES), 2, replace=False))
    hair = ((52, 38, 30), (30, 28, 30), (150, 116, 70), (178, 174, 170), (96, 54, 36))[rng.integers(5)]
    step, high = rng.uniform(0.03, 0.2), rng.uniform(0.9, 1.0)
    for way, shade in ((-1, 0.85), (1, 1.0)):
        foot = 0.5 + way * step
        canvas.polygon(
            [(foot - 0.06, 0.06), (foot + 0.07, 0.06), (0.5 + way * 0.02 + 0.1, 0.9), (0.5 + way * 0.02 - 0.1, 0.9)],
            tone(legs, shade),
            alpha=255,
        )
        canvas.ellipse(foot + 0.03, 0.05, 0.11, 0.05, 0, (40, 36, 36), alpha=255)
    hem = 0.8 if rng.random() < 0.6 else 0.45  # a jacket or a coat
    canvas.polygon(
        [(0.36, hem), (0.64, hem), (0.7, 1.42 * high), (0.58, 1.5 * high), (0.42, 1.5 * high), (0.3, 1.42 * high)],
        coat,
        alpha=255,
        relief=0.05,
    )
    for way in (-1, 1):
        hand = (0.5 + way * rng.uniform(0.22, 0.34), rng.uniform(0.75, 1.2))
        shoulder = 0.5 + way * 0.17
        canvas.polygon(
            [
                (shoulder - 0.06, 1.44 * high),
                (shoulder + 0.06, 1.44 * high),
                (hand[0] + 0.05, hand[1]),
                (hand[0] - 0.05, hand[1]),
            ],
            tone(coat, 0.88),
            alpha=255,
        )
        canvas.disc(*hand, 0.05, skin, alpha=255)
    if rng.random() < 0.3:
        canvas.box(0.34, 0.98, 0.32, 0.42, _CLOTHES[rng.integers(len(_CLOTHES))], relief=0.1)  # a bag
    canvas.ellipse(0.5, 1.62 * high, 0.1, 0.13, 0, hair, alpha=255)
    if rng.random() < 0.55:
        canvas.ellipse(0.5, 1.59 * high, 0.085, 0.1, 0, skin, alpha=255)
    if rng.random() < 0.25:
        canvas.box(0.36, 1.68 * high, 0.28, 0.06, _CLOTHES[rng.integers(len(_CLOTHES))], alpha=255)  # a hat
    return canvas.texture()


def lamp(rng: Rng) -> Texture:
    """A street lamp, 1 x 5 metres."""
    canvas = _blank(1, 5, (40, 44, 44), 40)
    canvas.box(0.44, 0, 0.12, 4.3, (44, 50, 48), alpha=255)
    canvas.box(0.38, 0, 0.24, 0.7, (44, 50, 48), alpha=255)
    for x in (0.2, 0.5, 0.8) if rng.random() < 0.5 else (0.5,):
        canvas.line(0.5, 4.0, x, 4.3, (44, 50, 48), 0.06)
        canvas.box(x - 0.12, 4.3, 0.24, 0.45, (226, 214, 180), alpha=255, glow=255)
        canvas.box(x - 0.16, 4.72, 0.32, 0.1, (40, 44, 44), alpha=255)
    return canvas.texture()


def car(rng: Rng) -> Texture:
    """A car from its side, 4.4 x 1.6 metres."""
    canvas = _blank(4.4, 1.6, (40, 40, 44), 40)
    paint = ((176, 40, 40), (200, 202, 206), (44, 62, 104), (52, 54, 58), (230, 230, 226), (84, 110, 96))[
        rng.integers(6)
    ]
    body = [(0.1, 0.3), (4.3, 0.3), (4.35, 0.75), (3.5, 0.95), (2.9, 1.45), (1.3, 1.48), (0.7, 0.98), (0.1, 0.9)]
    canvas.polygon(body, paint, alpha=255)
    canvas.polygon([(0.95, 0.97), (1.4, 1.38), (2.05, 1.4), (2.05, 0.97)], (66, 78, 88))
    canvas.polygon([(2.15, 0.97), (2.15, 1.4), (2.82, 1.37), (3.2, 0.97)], (66, 78, 88))
    canvas.line(0.1, 0.62, 4.3, 0.62, tone(paint, 0.7), 0.05)
    for x in (0.95, 3.45):
        canvas.disc(x, 0.33, 0.33, (28, 28, 30), alpha=255)
        canvas.disc(x, 0.33, 0.18, (150, 152, 156))
    return canvas.texture()


def house(rng: Rng, place: Building, x: float, z: float, turned: bool = False) -> float:
    """Add a plain house whose left front corner stands at (x, z); returns its width. `turned`: it faces +x."""
    look = f.style(rng, rng.choice(["plaster", "plaster", "brick"]))
    storeys, step = int(rng.integers(2, 5)), rng.uniform(2.8, 3.3)
    wide, high, deep = rng.uniform(6, 11), storeys * step, 9.0
    front, side = f.wall(rng, look, wide, high, 14), f.wall(rng, look, deep, high, 14)
    for storey in range(storeys):
        f.windows(rng, front, look, 0.3, storey * step + 0.8, wide - 0.6, int(wide / 2.2), (0.9, 1.5))
        f.windows(rng, side, look, 0.3, storey * step + 0.8, deep - 0.6, 3, (0.9, 1.5))
    f.door(rng, front, look, rng.uniform(0.3, 0.7) * wide, 1.1, 2.1)
    if turned:
        wide, deep, front, side = deep, wide, side, front
    place.faces((x, x + wide), (0, high), (z - deep, z), front.texture(), side.texture())
    place.hipped_roof(rng, look, (x - 0.3, x + wide + 0.3), high, rng.uniform(1.8, 3), (z - deep, z + 0.3), 2.5)
    return deep if turned else wide


def paving(rng: Rng) -> Texture:
    """A tile of ground: slabs, cobbles, gravel, grass, sand or asphalt."""
    kind = rng.choice(["slabs", "cobbles", "gravel", "grass", "asphalt"])
    colors = {
        "slabs": (168, 160, 148),
        "cobbles": (130, 124, 118),
        "gravel": (186, 172, 146),
        "grass": (92, 112, 56),
        "asphalt": (104, 104, 106),
    }
    course = {"slabs": 0.9, "cobbles": 0.3}.get(str(kind), 0.0)
    return f.plain(rng, colors[str(kind)], 8, 8, course).texture()
