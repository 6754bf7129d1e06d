"""Details of walls by masons, carpenters and sculptors; each piece comes out different from its neighbours."""

from dataclasses import dataclass

import numpy as np

from lmk.demo.canvas import Canvas, Color, tone

STONES: tuple[Color, ...] = (
    (214, 196, 164),
    (196, 172, 138),
    (182, 178, 170),
    (226, 218, 204),
    (176, 132, 106),
    (150, 146, 136),
)
PLASTERS: tuple[Color, ...] = (
    (232, 214, 176),
    (226, 178, 96),
    (222, 222, 214),
    (214, 142, 116),
    (166, 186, 200),
    (222, 172, 164),
    (170, 188, 154),
    (196, 104, 74),
)
BRICKS: tuple[Color, ...] = ((166, 100, 80), (140, 92, 80), (188, 148, 112), (196, 124, 84))
ROOFS: tuple[Color, ...] = (
    (84, 90, 108),
    (160, 92, 66),
    (104, 150, 132),
    (108, 90, 80),
    (66, 70, 78),
    (178, 150, 82),
)
DARK: Color = (38, 38, 44)
_LETTERS = "AEIOUAEIOUBCDLMNRSTVPGQFXM"


@dataclass(frozen=True)
class Style:
    """Style that the parts of one building share.

    Attributes:
        wall, trim, roof: colours.
        course: height of the courses of stone in metres; 0 for plaster.
        arched: windows end in an arch; `pointed` ends it in a point.
        shutters: colour of the shutters, None for none.
    """

    wall: Color
    trim: Color
    roof: Color
    course: float
    arched: bool
    pointed: bool
    shutters: Color | None


def style(rng: np.random.Generator, matter: str | None = None) -> Style:
    """Draw a style from the few colours that all buildings share; `matter`: "stone", "plaster" or "brick"."""
    matter = matter or str(rng.choice(["stone", "plaster", "plaster", "brick"]))
    wall = {"stone": STONES, "plaster": PLASTERS, "brick": BRICKS}[matter]
    shutters = ((86, 106, 92), (110, 74, 58), (96, 110, 130))[rng.integers(3)]
    return Style(
        wall=tone(wall[rng.integers(len(wall))], rng.uniform(0.8, 1.08)),
        trim=tone(STONES[rng.integers(4)], rng.uniform(0.85, 1.08)),
        roof=ROOFS[rng.integers(len(ROOFS))],
        course={"stone": rng.uniform(0.38, 0.6), "plaster": 0.0, "brick": 0.24}[matter],
        arched=bool(rng.random() < 0.5),
        pointed=bool(rng.random() < 0.3),
        shutters=shutters if matter == "plaster" and rng.random() < 0.8 else None,
    )


def wall(rng: np.random.Generator, look: Style, width: float, height: float, scale: float = 24) -> Canvas:
    """A bare wall of the style's matter."""
    canvas = Canvas(width, height, look.wall, scale)
    if look.course:
        canvas.blocks(rng, look.course, 0.09 if look.course > 0.3 else 0.06, 0.04 if look.course > 0.3 else 0.015)
    canvas.weather(rng, 0.08 if look.course else 0.06)
    if not look.course:  # here and there the plaster has come off
        for _ in range(int(width * height / 60)):
            x, y, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.2, 0.9)
            patch = zip(x + size * rng.standard_normal(7), y + 0.6 * size * rng.standard_normal(7), strict=True)
            canvas.polygon(patch, tone(look.wall, rng.uniform(0.72, 0.95)), relief=-0.03)
    return canvas


def plain(rng: np.random.Generator, color: Color, width: float, height: float, course: float = 0.0) -> Canvas:
    """A surface of one colour with stains; in courses if `course` is not 0."""
    canvas = Canvas(width, height, color)
    if course:
        canvas.blocks(rng, course, 0.08, 0.03)
    canvas.weather(rng, 0.07)
    return canvas


def tiles(rng: np.random.Generator, color: Color, width: float, height: float) -> Canvas:
    """A roof in rows of tiles, some of them newer than others."""
    canvas = Canvas(width, height, color, 18)
    canvas.blocks(rng, 0.35, 0.13, 0.05)
    canvas.weather(rng, 0.1)
    return canvas


def _opening(x: float, y: float, width: float, height: float, look: Style) -> list[tuple[float, float]]:
    """The outline of a window or door whose bottom left is (x, y)."""
    if not look.arched:
        return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    angles = np.linspace(0, np.pi, 13)
    radius, spring = width / 2, y + height - width / 2
    rise = 1.5 if look.pointed else 1.0
    arch = [(x + radius + radius * np.cos(t), spring + radius * rise * np.sin(t) ** (1 / rise)) for t in angles]
    return [(x, y), (x + width, y), *arch]


def arch(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    """The outline of a round arch whose bottom left is (x, y)."""
    angles = np.linspace(0, np.pi, 15)
    radius = width / 2
    curve = [(x + radius + radius * np.cos(t), y + height - radius + radius * np.sin(t)) for t in angles]
    return [(x, y), (x + width, y), *curve]


def window(rng: np.random.Generator, canvas: Canvas, look: Style, x: float, y: float, width: float, height: float):
    """A window with frame, bars and what hangs behind it; (x, y) is its bottom left."""
    edge = 0.14 * width
    shade = rng.uniform(0.9, 1.1)
    frame = _opening(x - edge, y - edge / 2, width + 2 * edge, height + 1.5 * edge, look)
    canvas.polygon(frame, tone(look.trim, shade), relief=0.1)
    glass = tone((58, 68, 82), rng.uniform(0.55, 1.25))
    lit = int(rng.choice([0, 40, 150, 255], p=[0.35, 0.2, 0.25, 0.2]))
    canvas.polygon(_opening(x, y, width, height, look), glass, relief=-0.22, glow=lit)
    behind = rng.random()
    if behind < 0.35:  # a blind, drawn to some height
        part = rng.uniform(0.15, 0.75) * height
        canvas.box(
            x, y + height - part - width * 0.3 * look.arched, width, part, tone((196, 188, 172), rng.uniform(0.6, 1))
        )
    elif behind < 0.55:  # curtains
        canvas.box(x, y, width * rng.uniform(0.15, 0.4), height * 0.9, tone((190, 180, 170), rng.uniform(0.5, 1)))
    elif behind < 0.62:  # a flower box
        for _ in range(8):
            blossom = ((176, 52, 60), (208, 96, 130), (220, 180, 70))[rng.integers(3)]
            canvas.disc(x + rng.uniform(0, width), y + rng.uniform(0, 0.3), 0.1, blossom, relief=0.2)
    bar = tone((222, 218, 208), rng.uniform(0.5, 1))
    canvas.line(x + width / 2, y, x + width / 2, y + height * 0.97, bar, 0.07)
    for part in np.arange(1, int(height / 0.7) + 1) / (int(height / 0.7) + 1):
        canvas.line(x, y + part * height, x + width, y + part * height, bar, 0.06)
    canvas.box(x - 1.5 * edge, y - edge, width + 3 * edge, edge, tone(look.trim, 1.05 * shade), relief=0.25)
    if look.shutters is not None and rng.random() < 0.8:
        color = tone(look.shutters, rng.uniform(0.85, 1.15))
        closed = rng.random() < 0.15
        for place in (x, x + width / 2) if closed else (x - width / 2 - 0.05, x + width + 0.05):
            canvas.box(place, y, width / 2, height, color, relief=0.08, glow=0)
            for row in np.arange(0.15, height, 0.25):
                canvas.line(place, y + row, place + width / 2, y + row, tone(color, 0.75), 0.05)


def windows(
    rng, canvas: Canvas, look: Style, x: float, y: float, width: float, columns: int, size: tuple[float, float]
):
    """A row of `columns` windows over `width` metres from x."""
    step = width / columns
    for column in range(columns):
        window(rng, canvas, look, x + (column + 0.5) * step - size[0] / 2, y, *size)


def cornice(rng: np.random.Generator, canvas: Canvas, look: Style, y: float, high: float = 0.5, dentils: bool = True):
    """A ledge right across, with teeth below it."""
    canvas.box(0, y, canvas.width, high, tone(look.trim, rng.uniform(0.95, 1.08)), relief=0.35)
    canvas.box(0, y + high * 0.6, canvas.width, high * 0.15, tone(look.trim, 0.7), relief=0.2)
    if dentils:
        for x in np.arange(0, canvas.width, 0.55):
            shade = tone(look.trim, rng.uniform(0.7, 1.1))
            canvas.box(x, y - high * 0.45, 0.3, high * 0.45, shade, relief=0.22)


def pilaster(rng: np.random.Generator, canvas: Canvas, look: Style, x: float, y: float, width: float, height: float):
    """A flat column with base, flutes and capital, its middle at x."""
    canvas.box(x - width / 2, y, width, height, tone(look.trim, rng.uniform(0.93, 1.07)), relief=0.2)
    for flute in np.linspace(-0.3, 0.3, 4):
        canvas.line(x + flute * width, y + width, x + flute * width, y + height - width, tone(look.trim, 0.78), 0.06)
    for place in (y, y + height - 0.6 * width):
        canvas.box(
            x - 0.65 * width, place, 1.3 * width, 0.6 * width, tone(look.trim, rng.uniform(0.9, 1.1)), relief=0.3
        )
    for _ in range(6):  # leaves of the capital
        leaf = x + rng.uniform(-0.55, 0.55) * width
        shade = tone(look.trim, rng.uniform(0.6, 1.1))
        canvas.ellipse(leaf, y + height - 0.3 * width, 0.12 * width, 0.25 * width, rng.uniform(-0.5, 0.5), shade)


def sculpture(rng: np.random.Generator, canvas: Canvas, color: Color, x: float, y: float, width: float, height: float):
    """Carved figures, garlands and scrolls that fill the box at (x, y); no two are alike."""
    for _ in range(int(14 + 10 * width * height)):
        size = rng.uniform(0.05, 0.22) * min(width, height)
        px, py = x + rng.uniform(0.05, 0.95) * width, y + rng.uniform(0.08, 0.92) * height
        shade = tone(color, rng.uniform(0.45, 1.15))
        a, b, angle = size, size * rng.uniform(0.25, 0.9), rng.uniform(0, np.pi)
        canvas.ellipse(px, py, a, b, angle, shade, relief=float(rng.uniform(-0.05, 0.35)))
    for _ in range(int(2 + width)):
        px = x + rng.uniform(0.1, 0.9) * width
        figure(rng, canvas, tone(color, rng.uniform(0.7, 1.15)), px, y + 0.06 * height, 0.8 * height)


def figure(rng: np.random.Generator, canvas: Canvas, color: Color, x: float, y: float, height: float):
    """A statue that stands at (x, y)."""
    lean = rng.uniform(-0.06, 0.06) * height
    canvas.polygon(
        [
            (x - 0.14 * height, y),
            (x + 0.14 * height, y),
            (x + 0.1 * height + lean, y + 0.8 * height),
            (x - 0.1 * height + lean, y + 0.8 * height),
        ],
        color,
        relief=0.3,
    )
    canvas.disc(x + lean, y + 0.89 * height, 0.085 * height, tone(color, 1.1), relief=0.35)
    hand = x + rng.choice([-1, 1]) * rng.uniform(0.15, 0.3) * height
    canvas.line(x + lean, y + 0.74 * height, hand, y + rng.uniform(0.4, 1.0) * height, color, 0.07 * height)
    for fold in rng.uniform(-0.1, 0.1, 4) * height:
        canvas.line(x + fold, y, x + fold * 0.6 + lean, y + 0.6 * height, tone(color, rng.uniform(0.5, 0.8)), 0.04)


def niche(rng: np.random.Generator, canvas: Canvas, look: Style, x: float, y: float, width: float, height: float):
    """A statue in a recess with an arch above."""
    canvas.polygon(arch(x - 0.12 * width, y, 1.24 * width, 1.1 * height), tone(look.trim, 1.03), relief=0.15)
    canvas.polygon(arch(x, y, width, height), tone(look.wall, 0.5), relief=-0.4)
    figure(rng, canvas, tone(look.trim, rng.uniform(0.9, 1.15)), x + width / 2, y, 0.85 * height)


def inscription(rng: np.random.Generator, canvas: Canvas, look: Style, x: float, y: float, width: float, size: float):
    """A line of capital letters on a smooth slab."""
    canvas.box(x, y - 0.35 * size, width, 1.8 * size, tone(look.trim, 1.06), relief=0.08)
    count = int(width / size / 1.05)
    words = "".join(" " if rng.random() < 0.13 else _LETTERS[rng.integers(len(_LETTERS))] for _ in range(count))
    canvas.text(x + 0.2 * size, y, words, size, tone(look.trim, 0.35))


def clock(rng: np.random.Generator, canvas: Canvas, look: Style, x: float, y: float, radius: float):
    """A clock that stopped long ago."""
    face = ((236, 232, 220), (40, 52, 84), (224, 206, 150))[rng.integers(3)]
    ink = (34, 32, 34) if sum(face) > 400 else (226, 196, 96)
    canvas.disc(x, y, 1.2 * radius, tone(look.trim, 0.9), relief=0.2)
    canvas.disc(x, y, radius, face, relief=0.05, glow=120)
    for hour in range(12):
        s, c = np.sin(hour * np.pi / 6), np.cos(hour * np.pi / 6)
        canvas.line(
            x + 0.74 * radius * s, y + 0.74 * radius * c, x + 0.92 * radius * s, y + 0.92 * radius * c, ink, 0.1
        )
    for length, angle in ((0.5, rng.uniform(0, 6.3)), (0.8, rng.uniform(0, 6.3))):
        canvas.line(x, y, x + length * radius * np.sin(angle), y + length * radius * np.cos(angle), ink, 0.12)


def rose(rng: np.random.Generator, canvas: Canvas, look: Style, x: float, y: float, radius: float):
    """A round window with tracery and coloured glass."""
    petals = int(rng.integers(6, 15))
    canvas.disc(x, y, 1.18 * radius, tone(look.trim, 1.0), relief=0.2)
    canvas.disc(x, y, radius, tone(look.trim, 0.8), relief=0.0)
    for ring, size, count in ((0.7, 0.75 / petals * 2.4, petals), (0.38, 0.2, petals // 2)):
        for k in range(count):
            t = 2 * np.pi * (k + 0.5 * (ring > 0.5)) / count
            glass = tone(
                ((60, 70, 120), (120, 52, 56), (70, 96, 84), (130, 110, 60))[rng.integers(4)], rng.uniform(0.4, 1)
            )
            center = x + ring * radius * np.cos(t), y + ring * radius * np.sin(t)
            canvas.ellipse(*center, 0.24 * radius, size * radius * 0.55, t, glass, relief=-0.2, glow=150)
    canvas.disc(x, y, 0.16 * radius, tone((90, 60, 110), rng.uniform(0.5, 1)), relief=-0.1, glow=150)


def mosaic(rng: np.random.Generator, canvas: Canvas, x: float, y: float, width: float, height: float):
    """A painted field: patches of colour with figures on them."""
    canvas.box(x - 0.15, y - 0.15, width + 0.3, height + 0.3, (120, 100, 78), relief=0.1)
    canvas.box(x, y, width, height, ((196, 164, 84), (92, 112, 140), (178, 160, 132))[rng.integers(3)], relief=0.02)
    for _ in range(int(10 + 5 * width * height)):
        color = ((150, 60, 52), (62, 84, 120), (206, 176, 96), (84, 108, 76), (226, 214, 190))[rng.integers(5)]
        px, py, size = x + rng.uniform(0, width), y + rng.uniform(0, height), rng.uniform(0.06, 0.2) * height
        patch = zip(px + size * rng.standard_normal(5), py + size * rng.standard_normal(5), strict=True)
        inside = [(min(max(a, x), x + width), min(max(b, y), y + height)) for a, b in patch]
        canvas.polygon(inside, tone(color, rng.uniform(0.8, 1.1)))
    for place in np.arange(x + 0.12 * width, x + 0.95 * width, max(0.22 * height, 0.2 * width)):
        figure(rng, canvas, ((226, 206, 170), (130, 52, 60), (60, 72, 112))[rng.integers(3)], place, y, 0.9 * height)


def door(rng: np.random.Generator, canvas: Canvas, look: Style, x: float, width: float, height: float, y: float = 0.0):
    """A portal with its middle at x: stepped jambs, wings, and carving above."""
    for step, shade in ((0.4, 1.05), (0.25, 0.85), (0.1, 1.0)):
        outline = _opening(x - width / 2 - step, y, width + 2 * step, height + step, look)
        canvas.polygon(outline, tone(look.trim, shade * rng.uniform(0.95, 1.05)), relief=0.25 * step)
    wood = ((84, 58, 40), (58, 70, 58), (70, 46, 42), (60, 62, 76))[rng.integers(4)]
    canvas.polygon(_opening(x - width / 2, y, width, height, look), wood, relief=-0.35)
    for column in (0.06, 0.53):
        for row in np.arange(0.3, 0.68 * height, 0.7):
            panel = tone(wood, rng.uniform(0.7, 1.5))
            canvas.box(x + (column - 0.5) * width, y + row, 0.41 * width, 0.55, panel, relief=-0.3)
    canvas.line(x, y, x, y + 0.95 * height, tone(wood, 0.4), 0.07)
    if width > 2:
        sculpture(rng, canvas, tone(look.trim, 0.95), x - 0.36 * width, y + 0.72 * height, 0.72 * width, 0.2 * height)


def balustrade(rng: np.random.Generator, canvas: Canvas, look: Style, y: float, high: float = 1.0):
    """A parapet of little columns, see-through between them."""
    canvas.box(0, y, canvas.width, high, tone(look.trim, 0.45), relief=-0.2, alpha=0)
    for x in np.arange(0.15, canvas.width, 0.42):
        canvas.box(x, y, 0.2, high, tone(look.trim, rng.uniform(0.8, 1.08)), relief=0.1, alpha=255)
    for place, size in ((y, 0.15), (y + high - 0.2, 0.2)):
        canvas.box(0, place, canvas.width, size, tone(look.trim, 1.02), relief=0.2, alpha=255)


def battlements(canvas: Canvas, y: float, high: float = 1.2, tooth: float = 1.1):
    """Cut gaps out of the top of a wall from y upwards."""
    for x in np.arange(tooth * 0.7, canvas.width, 2 * tooth):
        canvas.box(x, y, tooth, high + 0.1, alpha=0)


def timber(rng: np.random.Generator, canvas: Canvas, x: float, y: float, width: float, height: float):
    """Beams of a half-timbered storey; the braces lean as the carpenter liked."""
    wood = tone((84, 62, 48), rng.uniform(0.8, 1.2))
    step = rng.uniform(1.1, 1.7)
    for place in (y + 0.1, y + height * 0.5, y + height - 0.1):
        canvas.line(x, place, x + width, place, tone(wood, rng.uniform(0.8, 1.1)), 0.24)
    for place in np.arange(x + 0.1, x + width, step):
        canvas.line(place, y, place, y + height, tone(wood, rng.uniform(0.8, 1.1)), 0.22)
        if rng.random() < 0.6:
            low, high = (y, y + height / 2) if rng.random() < 0.5 else (y + height / 2, y + height)
            ends = (low, high) if rng.random() < 0.5 else (high, low)
            canvas.line(place, ends[0], min(place + step, x + width), ends[1], wood, 0.18)


def tower_face(rng: np.random.Generator, look: Style, width: float, height: float, storeys: int, dial: bool) -> Canvas:
    """A side of a square tower: a belfry opening on top, windows and bands below."""
    canvas = wall(rng, look, width, height)
    step = height / storeys
    for storey in range(storeys):
        y = storey * step
        cornice(rng, canvas, look, y + step - 0.45, 0.4, dentils=storey == storeys - 1)
        if storey == storeys - 1:
            windows(rng, canvas, look, 0.08 * width, y + 0.2 * step, 0.84 * width, 2, (0.24 * width, 0.55 * step))
        elif dial and storey == storeys - 2:
            clock(rng, canvas, look, width / 2, y + 0.47 * step, min(0.28 * width, 0.34 * step))
        elif rng.random() < 0.6:
            window(rng, canvas, look, width / 2 - 0.14 * width, y + 0.25 * step, 0.28 * width, 0.45 * step)
        else:
            niche(rng, canvas, look, width / 2 - 0.17 * width, y + 0.15 * step, 0.34 * width, 0.6 * step)
    for x in (0.0, width - 0.6):
        for y in np.arange(0, height, 0.9):
            canvas.box(x + rng.uniform(-0.15, 0.1), y, 0.7, 0.6, tone(look.trim, rng.uniform(0.85, 1.1)), relief=0.08)
    return canvas


def pediment(rng: np.random.Generator, look: Style, width: float, rise: float) -> Canvas:
    """A triangle full of figures."""
    canvas = plain(rng, look.trim, width, rise)
    sculpture(rng, canvas, tone(look.trim, 0.95), 0.24 * width, 0.1 * rise, 0.52 * width, 0.62 * rise)
    for x in (0.0, width):
        canvas.line(x, 0, width / 2, rise, tone(look.trim, 1.08), 0.7)
        canvas.line(x, -0.45, width / 2, rise - 0.45, tone(look.trim, 0.6), 0.1)
    canvas.box(0, 0, width, 0.3, tone(look.trim, 1.05), relief=0.3)
    canvas.cut([(0, 0), (width, 0), (width / 2, rise)])
    return canvas
