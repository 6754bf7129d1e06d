"""Kinds of buildings: each function draws one of its kind, and each seed another one."""

from collections.abc import Callable

import numpy as np

from lmk.data.rendering import facades as f
from lmk.data.rendering.canvas import Canvas, tone
from lmk.data.rendering.facades import Style
from lmk.data.rendering.masonry import Building

Rng = np.random.Generator


def _tower_face(rng: Rng, look: Style, width: float, height: float, storeys: int, dial: bool) -> Canvas:
    """A side of a square tower: a belfry opening on top, windows and bands below."""
    canvas = f.wall(rng, look, width, height)
    step = height / storeys
    for storey in range(storeys):
        y = storey * step
        f.cornice(rng, canvas, look, y + step - 0.45, 0.4, dentils=storey == storeys - 1)
        if storey == storeys - 1:
            f.windows(rng, canvas, look, 0.08 * width, y + 0.2 * step, 0.84 * width, 2, (0.24 * width, 0.55 * step))
        elif dial and storey == storeys - 2:
            f.clock(rng, canvas, look, width / 2, y + 0.47 * step, min(0.28 * width, 0.34 * step))
        elif rng.random() < 0.6:
            f.window(rng, canvas, look, width / 2 - 0.14 * width, y + 0.25 * step, 0.28 * width, 0.45 * step)
        else:
            f.niche(rng, canvas, look, width / 2 - 0.17 * width, y + 0.15 * step, 0.34 * width, 0.6 * step)
    for x in (0.0, width - 0.6):
        for y in np.arange(0, height, 0.9):
            canvas.box(x + rng.uniform(-0.15, 0.1), y, 0.7, 0.6, tone(look.trim, rng.uniform(0.85, 1.1)), relief=0.08)
    return canvas


def church(rng: Rng) -> Building:
    """A gabled front with a rose window, and one or two towers with spires."""
    look, house = f.style(rng), Building()
    wide, high, rise = rng.uniform(9, 13), rng.uniform(10, 14), rng.uniform(4, 7)
    towers = int(rng.integers(1, 3))
    side_width, tower_high = rng.uniform(4, 5.5), rng.uniform(19, 27)
    front = f.wall(rng, look, wide, high + rise)
    f.door(rng, front, look, wide / 2, rng.uniform(2.2, 3.2), rng.uniform(4, 5))
    f.rose(rng, front, look, wide / 2, high - rng.uniform(0.5, 2), rng.uniform(1.6, 2.4))
    for place in (0.16, 0.84):
        f.window(rng, front, look, place * wide - 0.6, 3.0, 1.2, rng.uniform(3, 4.5))
    f.inscription(rng, front, look, 0.12 * wide, 5.9, 0.76 * wide, 0.5)
    for place in (0.25, 0.5, 0.75):
        f.niche(rng, front, look, place * wide - 0.45, high + 0.4 + rise * (0.25 if place == 0.5 else -0.3), 0.9, 1.9)
    f.cornice(rng, front, look, high - 3.6, 0.35)
    front.cut([(0, 0), (wide, 0), (wide, high), (wide / 2, high + rise), (0, high)])
    side = f.wall(rng, look, 18, high)
    f.windows(rng, side, look, 1, 3, 16, 5, (1.2, 4.5))
    house.faces((-wide / 2, wide / 2), (0, high), (-18, 0), None, side.texture())
    house.panel(np.array([-wide / 2, 0, 0]), np.array([wide, 0, 0]), np.array([0, high + rise, 0]), front.texture())
    house.gable_roof(rng, look, (-wide / 2, wide / 2), high, rise, (-18, 0))
    spire, round_hat = rng.uniform(5, 11), rng.random() < 0.35
    first = rng.choice([-1, 1])
    for number in range(towers):
        way = first * (1 - 2 * number)
        middle = way * (wide + side_width) / 2
        x, z = (middle - side_width / 2, middle + side_width / 2), (-side_width + 0.6, 0.6)
        top = tower_high * (1 if number == 0 else rng.choice([1.0, rng.uniform(0.7, 0.9)]))
        storeys = int(rng.integers(3, 6))
        face = _tower_face(rng, look, side_width, top, storeys, number == 0)
        house.faces(x, (0, top), z, face.texture(), _tower_face(rng, look, side_width, top, storeys, False).texture())
        if round_hat:
            house.onion(
                rng, (look.roof, tone(look.roof, 1.25)), middle, 0.6 - side_width / 2, top, side_width / 2, spire
            )
        else:
            house.hipped_roof(rng, look, x, top, spire, z, side_width / 2)
        house.details.append((middle, 0.8 * top))
    house.details += [(0, high - 1.5), (0, 4)]
    return house


def _pediment(rng: Rng, look: Style, width: float, rise: float) -> Canvas:
    """A triangle full of figures."""
    canvas = f.plain(rng, look.trim, width, rise)
    f.sculpture(rng, canvas, tone(look.trim, 0.95), 0.24 * width, 0.1 * rise, 0.52 * width, 0.62 * rise)
    for a, b in (((0, 0.0), (width / 2, rise)), ((width, 0.0), (width / 2, rise))):
        canvas.line(*a, *b, tone(look.trim, 1.08), 0.7)
        canvas.line(a[0], -0.45, b[0], rise - 0.45, tone(look.trim, 0.6), 0.1)
    canvas.box(0, 0, width, 0.3, tone(look.trim, 1.05), relief=0.3)
    canvas.cut([(0, 0), (width, 0), (width / 2, rise)])
    return canvas


def temple(rng: Rng) -> Building:
    """Columns before a dark wall, a frieze with an inscription, a pediment with figures, steps."""
    look, house = f.style(rng, "stone"), Building()
    count = int(rng.choice([4, 6, 8]))
    wide, tall, rise = count * rng.uniform(2.3, 2.9), rng.uniform(6.5, 9.5), rng.uniform(2.4, 3.8)
    deep = rng.uniform(12, 18)
    for step in range(4):
        out = 1.6 - 0.4 * step
        x = (-wide / 2 - out, wide / 2 + out)
        house.block(rng, x, (0.35 * step, 0.35 * (step + 1)), (-deep - out, out), tone(look.trim, 0.95), 0.5)
    y = 1.4
    back = f.wall(rng, look, wide - 1, tall)
    f.door(rng, back, look, back.width / 2, 2.6, 0.62 * tall)
    for place in (0.2, 0.8):
        f.niche(rng, back, look, place * back.width - 0.7, 1.5, 1.4, 3.2)
    side = f.wall(rng, look, deep - 3, tall)
    f.windows(rng, side, look, 1, 2, deep - 5, 4, (1.2, 3))
    house.faces((-wide / 2 + 0.5, wide / 2 - 0.5), (y, y + tall), (-deep, -3), back.texture(), side.texture())
    for x in np.linspace(-wide / 2 + 0.7, wide / 2 - 0.7, count):
        house.column(rng, look, x, -0.8, y, tall, rng.uniform(0.48, 0.6))
    top = y + tall
    frieze = f.wall(rng, look, wide, 1.8)
    f.inscription(rng, frieze, look, 0.06 * wide, 0.5, 0.88 * wide, 0.7)
    f.cornice(rng, frieze, look, 1.5, 0.3)
    house.faces(
        (-wide / 2, wide / 2), (top, top + 1.8), (-deep, 0), frieze.texture(), f.wall(rng, look, deep, 1.8).texture()
    )
    corner = np.array([-wide / 2, top + 1.8, 0.0])
    house.panel(corner, np.array([wide, 0, 0]), np.array([0, rise, 0]), _pediment(rng, look, wide, rise).texture())
    house.gable_roof(rng, look, (-wide / 2, wide / 2), top + 1.8, rise, (-deep, 0))
    if rng.random() < 0.4:
        radius = 0.3 * wide
        drum = f.wall(rng, look, 2 * np.pi * radius, 4)
        f.windows(rng, drum, look, 0, 0.8, drum.width, 14, (0.9, 2.2))
        house.round(0, -deep / 2, (top + rise, top + rise + 4), (radius, radius, radius), drum.texture())
        house.dome(rng, look.roof, 0, -deep / 2, top + rise + 4, radius, radius, 14)
        house.details.append((0, top + rise + 4))
    house.details += [(0, top + 1.5), (0, 4), (-wide / 3, top)]
    return house


def basilica(rng: Rng) -> Building:
    """A broad body with a portal, a drum and a dome, and small domes or turrets beside it."""
    look, house = f.style(rng, rng.choice(["stone", "plaster"])), Building()
    wide, high, deep = rng.uniform(18, 26), rng.uniform(9, 13), 20.0
    front = f.wall(rng, look, wide, high + 1.2)
    portals = int(rng.choice([1, 3, 5]))
    for k in range(portals):
        x = wide * (0.5 + (k - portals // 2) * 0.16)
        f.door(rng, front, look, x, 2.4 if k == portals // 2 else 1.7, 4.6 if k == portals // 2 else 3.8)
        f.mosaic(rng, front, x - 1.2, 6.1, 2.4, 1.6)
    for x in np.linspace(0.05, 0.95, 2 * int(rng.integers(2, 5))) * wide:
        f.pilaster(rng, front, look, x, 0.4, 0.8, high - 1.4)
    f.windows(rng, front, look, 0.06 * wide, high - 3.2 + 0.5, 0.88 * wide, int(rng.integers(5, 9)), (0.9, 1.5))
    f.cornice(rng, front, look, high - 0.9, 0.6)
    f.balustrade(rng, front, look, high, 1.2)
    side = f.wall(rng, look, deep, high)
    f.windows(rng, side, look, 1, 3, deep - 2, 5, (1.2, 3.5))
    roof = f.tiles(rng, look.roof, wide, deep).texture()
    house.faces((-wide / 2, wide / 2), (0, high + 1.2), (-deep, 0), front.texture(), side.texture())
    house.panel(np.array([-wide / 2, high, 0]), np.array([wide, 0, 0]), np.array([0, 1.5, -deep]), roof)
    radius, drum_high = rng.uniform(4.6, 6.8), rng.uniform(3.5, 5.5)
    drum = f.wall(rng, look, 2 * np.pi * radius, drum_high)
    f.windows(rng, drum, look, 0, 0.9, drum.width, int(rng.integers(12, 20)), (1.0, drum_high - 2))
    f.cornice(rng, drum, look, drum_high - 0.5, 0.5)
    z = -radius - rng.uniform(1, 3)
    house.round(0, z, (high, high + drum_high), (radius, radius, radius), drum.texture())
    dome_high = radius * rng.uniform(0.9, 1.4)
    house.dome(rng, look.roof, 0, z, high + drum_high, radius * 1.02, dome_high, int(rng.integers(10, 22)))
    house.lantern(rng, look, 0, z, high + drum_high + 0.97 * dome_high, 0.17 * radius, 3.6)
    small = rng.uniform(1.6, 2.4)
    for way in (-1, 1) if rng.random() < 0.7 else ():
        x = way * (wide / 2 - small - 0.5)
        turret = f.wall(rng, look, 2 * np.pi * small, 4.2)
        f.windows(rng, turret, look, 0, 0.8, turret.width, 7, (0.8, 2.2))
        house.round(x, -small - 0.6, (high, high + 4.2), (small, small, small), turret.texture())
        house.dome(rng, look.roof, x, -small - 0.6, high + 4.2, small * 1.05, small * 1.2, 8)
    house.details += [(0, high + drum_high), (0, 5), (wide / 4, high - 1), (-wide / 4, 5)]
    return house


def palace(rng: Rng) -> Building:
    """Storeys of windows, a middle part with pilasters and a pediment, a high roof."""
    look, house = f.style(rng, rng.choice(["stone", "plaster"])), Building()
    storeys, step = int(rng.integers(3, 5)), rng.uniform(3.4, 4.2)
    wide, high, deep = rng.uniform(22, 32), storeys * step + 0.8, 12.0
    columns = int(rng.integers(7, 12))
    size = (0.36 * wide / columns, 0.52 * step)
    front = f.wall(rng, look, wide, high)
    for storey in range(storeys):
        f.windows(rng, front, look, 0, storey * step + 0.28 * step, wide, columns, size)
        f.cornice(rng, front, look, (storey + 1) * step - 0.35, 0.28, dentils=False)
    f.cornice(rng, front, look, high - 0.6, 0.6)
    f.inscription(rng, front, look, 0.05 * wide, step - 0.3, 0.24 * wide, 0.4)
    f.niche(rng, front, look, rng.uniform(0.1, 0.9) * wide, step + 0.4, 1.0, 2.2)
    side = f.wall(rng, look, deep, high)
    for storey in range(storeys):
        f.windows(rng, side, look, 0, storey * step + 0.28 * step, deep, 4, size)
    house.faces((-wide / 2, wide / 2), (0, high), (-deep, 0), front.texture(), side.texture())
    house.hipped_roof(rng, look, (-wide / 2, wide / 2), high, rng.uniform(2.5, 5), (-deep, 0), rng.uniform(2.5, 4))
    part, out = wide * rng.uniform(0.24, 0.36), rng.uniform(0.8, 1.6)
    middle = f.wall(rng, look, part, high)
    f.door(rng, middle, look, part / 2, rng.uniform(1.8, 2.6), 0.8 * step)
    for x in np.linspace(0.5, part - 0.5, 4):
        f.pilaster(rng, middle, look, x, step, 0.7, high - step - 1.2)
    for storey in range(1, storeys):
        f.windows(rng, middle, look, 0.6, storey * step + 0.28 * step, part - 1.2, 3, (0.13 * part, 0.5 * step))
    f.sculpture(rng, middle, tone(look.trim, 0.95), 0.1 * part, step + 0.02, 0.8 * part, 0.7)
    f.cornice(rng, middle, look, high - 0.7, 0.7)
    x = (-part / 2, part / 2)
    house.faces(x, (0, high), (-2, out), middle.texture(), f.wall(rng, look, out + 2, high).texture())
    rise = rng.uniform(2.4, 3.6)
    if rng.random() < 0.6:
        gable = _pediment(rng, look, part, rise).texture()
        house.panel(np.array([-part / 2, high, out]), np.array([part, 0, 0]), np.array([0, rise, 0]), gable)
        house.gable_roof(rng, look, x, high, rise, (-4, out))
    else:
        house.dome(rng, look.roof, 0, -part / 2 + out, high, part / 2, part * 0.55, 12)
        house.lantern(rng, look, 0, -part / 2 + out, high + 0.53 * part, 0.07 * part, 2.8)
    house.details += [(0, high), (0, step), (-wide / 3, high / 2), (wide / 3, high / 2)]
    return house


def town_hall(rng: Rng) -> Building:
    """An arcade, a great storey above it, a stepped gable or battlements, and a clock tower."""
    look, house = f.style(rng), Building()
    wide, high, deep = rng.uniform(16, 24), rng.uniform(10, 13), 12.0
    stepped = rng.random() < 0.5
    front = f.wall(rng, look, wide, high + (5 if stepped else 1.4))
    arches = int(rng.integers(4, 8))
    for k in range(arches):
        left = (k + 0.12) * wide / arches
        front.polygon(
            f.arch(left - 0.2, 0, 0.76 * wide / arches + 0.4, 4.0), tone(look.trim, rng.uniform(0.9, 1.1)), relief=0.1
        )
        front.polygon(f.arch(left, 0, 0.76 * wide / arches, 3.7), f.DARK, relief=-0.6, glow=50)
    f.cornice(rng, front, look, 4.3, 0.4)
    f.windows(rng, front, look, 0.3, 5.4, wide - 0.6, int(rng.integers(5, 9)), (1.2, rng.uniform(2.4, 3.2)))
    for k in range(3):
        field = (0.1 + 0.3 * k) * wide
        f.mosaic(rng, front, field, 8.9, 0.2 * wide, 1.0)
    if stepped:
        f.windows(rng, front, look, 0.25 * wide, high + 0.4, 0.5 * wide, 3, (0.8, 1.6))
        edge = np.linspace(0, wide / 2, 6)
        stairs = [(x, high + 0.95 * (k + d)) for k, x in enumerate(edge) for d in (0, 1)][:-1]
        front.cut([(0, 0), *stairs, *[(wide - x, y) for x, y in reversed(stairs)], (wide, 0)])
        house.gable_roof(rng, look, (-wide / 2, wide / 2), high - 0.5, 4.2, (-deep, -0.3))
    else:
        f.battlements(front, high + 0.2, 1.2, rng.uniform(0.7, 1.2))
    side = f.wall(rng, look, deep, high)
    f.windows(rng, side, look, 0.5, 5.4, deep - 1, 4, (1.2, 2.6))
    house.faces((-wide / 2, wide / 2), (0, high), (-deep, 0), None, side.texture())
    house.panel(np.array([-wide / 2, 0, 0]), np.array([wide, 0, 0]), np.array([0, front.height, 0]), front.texture())
    thick, top = rng.uniform(4, 5.5), rng.uniform(20, 28)
    middle = rng.choice([-1, 0, 1]) * (wide / 2 - thick / 2)
    x, z = (middle - thick / 2, middle + thick / 2), (-thick + 0.4, 0.4)
    face, other = (_tower_face(rng, look, thick, top, 5, True).texture() for _ in range(2))
    house.faces(x, (0, top), z, face, other)
    house.hipped_roof(rng, look, x, top, rng.uniform(3, 8), z, thick / 2)
    house.details += [(middle, 0.72 * top), (0, 7), (-wide / 4, 6), (0, high)]
    return house


def castle(rng: Rng) -> Building:
    """Round towers with pointed hats or battlements, and a wall with a gate between them."""
    look, house = f.style(rng, rng.choice(["stone", "stone", "brick"])), Building()
    wide, high = rng.uniform(14, 20), rng.uniform(8, 12)
    front = f.wall(rng, look, wide, high)
    f.door(rng, front, look, wide / 2, 3, 4.6)
    f.mosaic(rng, front, wide / 2 - 1.2, 5.6, 2.4, 2)
    for _ in range(5):
        f.window(rng, front, look, rng.uniform(0.08, 0.9) * wide - 0.4, rng.uniform(2, high - 3.4), 0.7, 1.4)
    for x in np.arange(0.3, wide, 1.0):
        front.box(x, high - 2.1, 0.45, 0.7, tone(look.trim, rng.uniform(0.6, 1.05)), relief=0.25)
    f.battlements(front, high - 1.2, 1.2, 0.8)
    roof = f.plain(rng, tone(look.wall, 0.8), wide, 8).texture()
    house.faces((-wide / 2, wide / 2), (0, high), (-8, 0), front.texture(), None, None)
    house.panel(np.array([-wide / 2, high - 1.2, 0]), np.array([wide, 0, 0]), np.array([0, 0, -8.0]), roof)
    places = [
        (-wide / 2, 0.3),
        (wide / 2, 0.3),
        (rng.uniform(-0.3, 0.3) * wide, -7.0),
        (rng.uniform(-0.4, 0.4) * wide, -12.0),
    ]
    for number, (x, z) in enumerate(places[: int(rng.integers(3, 5))]):
        radius, top = rng.uniform(2.2, 3.4), high * rng.uniform(1.1, 1.5) + (5 if number > 1 else 0)
        canvas = f.wall(rng, look, 2 * np.pi * radius, top)
        for _ in range(9):
            f.window(rng, canvas, look, rng.uniform(0.2, 0.8) * canvas.width, rng.uniform(2, top - 3), 0.6, 1.3)
        f.inscription(rng, canvas, look, 0.42 * canvas.width, top * 0.55, 0.16 * canvas.width, 0.4)
        f.cornice(rng, canvas, look, top - 1.4, 0.5)
        house.round(x, z, (0, top), (radius * 1.12, radius, radius), canvas.texture())
        if rng.random() < 0.7:
            hat_high = rng.uniform(3.5, 6.5)
            hat = f.tiles(rng, look.roof, 2 * np.pi * radius, hat_high).texture()
            house.round(x, z, (top, top + hat_high), (1.2 * radius, 0.58 * radius, 0.02), hat)
        else:
            crown = f.wall(rng, look, 2 * np.pi * radius * 1.15, 1.8)
            f.battlements(crown, 0.8, 1.0, 0.6)
            house.round(x, z, (top, top + 1.8), (1.15 * radius, 1.15 * radius, 1.15 * radius), crown.texture())
        house.details.append((x, 0.8 * top))
    house.details.append((0, 5))
    return house


def gate(rng: Rng) -> Building:
    """A triumphal arch: one or three openings, columns, reliefs, an attic with an inscription."""
    look, house = f.style(rng, "stone"), Building()
    wide, high, deep = rng.uniform(13, 19), rng.uniform(12, 16), rng.uniform(4, 6)
    middle, rise = wide * rng.uniform(0.24, 0.34), high * rng.uniform(0.5, 0.6)
    three = rng.random() < 0.5
    openings = [(0.0, middle, rise)] + [(way * 0.31 * wide, 0.5 * middle, 0.55 * rise) for way in (-1, 1) if three]
    front = f.wall(rng, look, wide, high)
    for y in (0.63 * high, 0.8 * high):
        f.cornice(rng, front, look, y, 0.5)
    f.inscription(rng, front, look, 0.18 * wide, 0.87 * high, 0.64 * wide, 0.055 * high)
    f.sculpture(rng, front, tone(look.trim, 0.95), 0.06 * wide, 0.68 * high, 0.88 * wide, 0.1 * high)
    for way in (-1, 1):
        x = wide / 2 + way * 0.31 * wide
        f.sculpture(rng, front, tone(look.trim, 0.95), x - 0.09 * wide, 0.42 * high, 0.18 * wide, 0.16 * high)
        if not three:
            f.niche(rng, front, look, x - 0.8, 0.12 * high, 1.6, 0.26 * high)
        for edge in (-0.13, 0.13):
            f.pilaster(rng, front, look, x + edge * wide, 0.05 * high, 0.7, 0.58 * high)
    for x, span, top in openings:
        left = wide / 2 + x - span / 2
        front.polygon(f.arch(left - 0.5, 0, span + 1.0, top + 0.5), tone(look.trim, 1.05), relief=0.15)
        outline = f.arch(left, 0, span, top)
        front.polygon(outline, alpha=0, relief=0)
        around = np.array(outline[1:]) - (wide / 2, 0)
        lining = f.wall(rng, look, deep, 3).texture()
        for a, b in zip(around[:-1], around[1:], strict=True):
            house.panel(np.array([a[0], a[1], -deep]), np.array([0, 0, deep]), np.array([*(b - a), 0.0]), lining)
        edge = np.array([x - span / 2, 0, 0])
        house.panel(edge, np.array([0, 0, -deep]), np.array([0, top - span / 2, 0]), lining)
    house.panel(np.array([-wide / 2, 0, 0]), np.array([wide, 0, 0]), np.array([0, high, 0]), front.texture())
    house.faces((-wide / 2, -middle / 2), (0, high), (-deep, 0), None, None)
    house.faces((middle / 2, wide / 2), (0, high), (-deep, 0), None, None)
    side = f.wall(rng, look, deep, high)
    f.sculpture(rng, side, tone(look.trim, 0.95), 0.6, 0.4 * high, deep - 1.2, 0.2 * high)
    house.faces((-wide / 2, wide / 2), (rise, high), (-deep, 0), None, None)
    for way, depth in ((-1, 1), (1, -1)):
        origin = np.array([way * wide / 2, 0, -deep if way < 0 else 0.0])
        house.panel(origin, np.array([0, 0, depth * deep]), np.array([0, high, 0]), side.texture())
    if rng.random() < 0.5:
        for x in np.linspace(-0.3, 0.3, 3) * wide:
            statue = Canvas(1.6, 3, look.roof)
            statue.alpha[:] = 0
            f.figure(rng, statue, look.roof, 0.8, 0, 2.9)
            statue.alpha[(statue.color != look.roof).any(axis=2) | (statue.relief > 0)] = 255
            house.panel(np.array([x - 0.8, high, -1]), np.array([1.6, 0, 0]), np.array([0, 3.0, 0]), statue.texture())
        house.reach(house.low, house.high + (0, 2.6, 0))
    house.details += [(0, 0.85 * high), (-0.3 * wide, 0.5 * high), (0.3 * wide, 0.5 * high)]
    return house


def bell_tower(rng: Rng) -> Building:
    """A tower that stands alone, square or round, with galleries."""
    look, house = f.style(rng), Building()
    high = rng.uniform(22, 32)
    if rng.random() < 0.5:
        wide = rng.uniform(5.5, 7.5)
        x, z = (-wide / 2, wide / 2), (-wide, 0)
        storeys = int(rng.integers(5, 8))
        face, side = (_tower_face(rng, look, wide, high, storeys, True) for _ in range(2))
        f.door(rng, face, look, wide / 2, 1.8, 3)
        f.inscription(rng, face, look, 0.1 * wide, 3.5, 0.8 * wide, 0.4)
        house.faces(x, (0, high), z, face.texture(), side.texture())
        house.hipped_roof(
            rng, look, (x[0] - 0.3, x[1] + 0.3), high, rng.uniform(3, 8), (z[0] - 0.3, 0.3), wide / 2 + 0.3
        )
        z_middle = -wide / 2
    else:
        radius, z_middle, y = rng.uniform(3, 4.2), -4.0, 0.0
        storeys = int(rng.integers(4, 7))
        for storey in range(storeys):
            part = high / storeys
            canvas = f.wall(rng, look, 2 * np.pi * radius, part)
            f.windows(rng, canvas, look, 0, 0.22 * part, canvas.width, int(rng.integers(9, 16)), (0.8, 0.5 * part))
            f.cornice(rng, canvas, look, part - 0.5, 0.5)
            if storey == 1:
                f.inscription(rng, canvas, look, 0.3 * canvas.width, 0.1 * part, 0.4 * canvas.width, 0.4)
            narrow = radius * rng.uniform(0.86, 0.98)
            house.round(0, z_middle, (y, y + part), (radius, (radius + narrow) / 2, narrow), canvas.texture())
            radius, y = narrow, y + part
        house.dome(rng, look.roof, 0, z_middle, y, radius, radius * rng.uniform(0.9, 1.6), 10)
        house.lantern(rng, look, 0, z_middle, y + radius * 0.9, 0.3 * radius, 3)
    low = rng.uniform(7, 10)
    hall = f.wall(rng, look, low * 1.3, 5)
    f.windows(rng, hall, look, 0, 1.2, hall.width, 4, (1, 2.2))
    x = (3.6, 3.6 + hall.width) if rng.random() < 0.5 else (-3.6 - hall.width, -3.6)
    house.faces(x, (0, 5), (-8, -1), hall.texture(), f.wall(rng, look, 7, 5).texture())
    house.hipped_roof(rng, look, x, 5, 2.2, (-8, -1), 2)
    house.low[0], house.high[0] = max(house.low[0], -7), min(house.high[0], 7)  # the tower is what is photographed
    house.details += [(0, 0.85 * high), (0, 0.6 * high), (0, 0.3 * high)]
    return house


def onion_church(rng: Rng) -> Building:
    """A painted cube under striped onion domes."""
    look, house = f.style(rng, rng.choice(["plaster", "brick"])), Building()
    wide, high = rng.uniform(12, 16), rng.uniform(9, 12)
    front, side = (f.wall(rng, look, wide, high + 1.5) for _ in range(2))
    for canvas in (front, side):
        for k in range(3):
            left = (k + 0.04) * wide / 3
            canvas.polygon(f.arch(left, high - 3, 0.92 * wide / 3, 4.3), tone(look.trim, 1.05), relief=0.2)
            f.mosaic(rng, canvas, left + 0.18 * wide / 3, high - 2.4, 0.56 * wide / 3, 1.6)
            f.window(rng, canvas, look, left + 0.46 * wide / 3 - 0.5, 3.4, 1.0, rng.uniform(2.2, 3))
            f.pilaster(rng, canvas, look, left, 0.3, 0.6, high - 3)
        canvas.cut(
            [(0, 0), (wide, 0), *[p for k in (2, 1, 0) for p in f.arch(k * wide / 3, high - 3, wide / 3, 4.5)[2:]]]
        )
    f.door(rng, front, look, wide / 2, 2, 3)
    roof = f.plain(rng, look.roof, wide, wide).texture()
    house.faces((-wide / 2, wide / 2), (0, high), (-wide, 0), None, None)
    house.panel(np.array([-wide / 2, 0, 0]), np.array([wide, 0, 0]), np.array([0, high + 1.5, 0]), front.texture())
    for x, z, way in ((wide / 2, 0.0, -1), (-wide / 2, -wide, 1)):
        house.panel(np.array([x, 0, z]), np.array([0, 0, way * wide]), np.array([0, high + 1.5, 0]), side.texture())
    house.panel(np.array([-wide / 2, high, 0]), np.array([wide, 0, 0]), np.array([0, 0.5, -wide]), roof)
    paints = ((196, 160, 70), (64, 112, 92), (62, 84, 132), (150, 62, 54), (214, 206, 190))
    corners = [(0.0, -wide / 2, 1.0)] + [
        (a * wide * 0.31, -wide / 2 + b * wide * 0.31, 0.6) for a in (-1, 1) for b in (-1, 1)
    ]
    for x, z, share in corners:
        radius, top = 0.2 * wide * share, rng.uniform(4, 6) * share + 2
        drum = f.wall(rng, look, 2 * np.pi * radius, top)
        f.windows(rng, drum, look, 0, 0.3 * top, drum.width, 8, (0.5, 0.45 * top))
        f.cornice(rng, drum, look, top - 0.4, 0.4)
        house.round(x, z, (high, high + top), (radius, radius, radius), drum.texture())
        first, second = rng.choice(len(paints), 2, replace=False)
        house.onion(rng, (paints[first], paints[second]), x, z, high + top, 1.25 * radius, 3.4 * radius)
    house.details += [(0, high + 6), (0, high - 2), (0, 3)]
    return house


def merchant_houses(rng: Rng) -> Building:
    """A row of narrow houses with gables, each of its own colour, some half-timbered."""
    house, x = Building(), 0.0
    fronts = [rng.uniform(5, 7.5) for _ in range(int(rng.integers(3, 5)))]
    x = -sum(fronts) / 2
    for wide in fronts:
        look = f.style(rng, rng.choice(["plaster", "brick"]))
        storeys, step = int(rng.integers(3, 5)), rng.uniform(2.7, 3.2)
        high, rise = storeys * step, rng.uniform(3.2, 5)
        canvas = f.wall(rng, look, wide, high + rise)
        if rng.random() < 0.45:
            f.timber(rng, canvas, 0, step, wide, high - step)
        f.door(rng, canvas, look, rng.uniform(0.3, 0.7) * wide, 1.3, 2.2)
        f.inscription(rng, canvas, look, 0.1 * wide, step - 0.1, 0.8 * wide, 0.4)
        for storey in range(1, storeys):
            f.windows(rng, canvas, look, 0.2, storey * step + 0.6, wide - 0.4, int(rng.integers(2, 5)), (0.85, 1.5))
        f.window(rng, canvas, look, wide / 2 - 0.45, high + 0.5, 0.9, 1.3)
        if rng.random() < 0.5:
            f.mosaic(rng, canvas, 0.15 * wide, 2 * step - 0.15, 0.7 * wide, 0.5)
        shape = rng.integers(3)
        slope = [(wide, high), (wide / 2, high + rise), (0, high)]
        steps = [(wide * k / 10, high + rise * min(k + d, 5) / 5) for k in range(5) for d in (0, 1)]
        curve = [
            (wide / 2 * (1 - np.cos(t)), high + rise * np.sin(t) ** (2 + np.sin(6 * t)))
            for t in np.linspace(0.05, 1.57, 12)
        ]
        left = (slope[1:], steps, curve)[shape]
        outline = slope if shape == 0 else [*[(wide - a, b) for a, b in left], *reversed(left)]
        canvas.cut([(0, 0), (wide, 0), *outline])
        side = f.wall(rng, look, 9, high)
        house.faces((x, x + wide), (0, high), (-9, 0), None, side.texture())
        house.panel(np.array([x, 0, 0]), np.array([wide, 0, 0]), np.array([0, high + rise, 0]), canvas.texture())
        house.gable_roof(rng, look, (x, x + wide), high - 0.1, rise * 0.8, (-9, -0.2))
        house.details.append((x + wide / 2, 0.75 * high))
        x += wide
    return house


def pagoda(rng: Rng) -> Building:
    """Storeys that shrink upwards, each under a wide roof."""
    look, house = f.style(rng, rng.choice(["plaster", "brick"])), Building()
    wide, y, storeys = rng.uniform(10, 14), 1.2, int(rng.integers(3, 7))
    z = -wide / 2
    house.block(rng, (-wide * 0.65, wide * 0.65), (0, 1.2), (z - wide * 0.65, z + wide * 0.65), look.trim, 0.5)
    part = rng.uniform(3, 3.8)
    post = ((140, 52, 44), (92, 66, 50), (60, 84, 76))[rng.integers(3)]
    for storey in range(storeys):
        half = wide / 2
        faces = []
        for _ in range(2):
            canvas = f.wall(rng, look, wide, part)
            f.windows(rng, canvas, look, 0.5, 0.7, wide - 1, int(max(3, wide // 2)), (0.9, 0.5 * part))
            for x in np.linspace(0.2, wide - 0.2, int(max(3, wide // 2)) + 1):
                canvas.box(x - 0.17, 0, 0.34, part, tone(post, rng.uniform(0.8, 1.15)), relief=0.15)
            f.mosaic(rng, canvas, 0.3 * wide, part - 0.85, 0.4 * wide, 0.6)
            canvas.box(0, 0, wide, 0.5, tone(post, 0.9), relief=0.1)
            faces.append(canvas)
        if storey == 0:
            f.door(rng, faces[0], look, wide / 2, 1.8, 2.3)
        house.faces((-half, half), (y, y + part), (z - half, z + half), faces[0].texture(), faces[1].texture())
        out, rise = rng.uniform(1.3, 1.7), 1.5 if storey < storeys - 1 else 3.4
        inset = out + 1.0 if storey < storeys - 1 else half + out
        box = (-half - out, half + out)
        house.hipped_roof(rng, look, box, y + part - 0.2, rise, (z - half - out, z + half + out), inset)
        ledge = Canvas(2 * (half + out), 0.3, post)
        for x in np.arange(0, ledge.width, 0.5):
            ledge.box(x, 0.05, 0.25, 0.2, tone(((200, 168, 84), post)[rng.integers(2)], rng.uniform(0.6, 1.2)))
        house.panel(
            np.array([box[0], y + part - 0.45, z + half + out]),
            np.array([ledge.width, 0, 0]),
            np.array([0, 0.3, 0]),
            ledge.texture(),
        )
        y, wide = y + part + rise * 0.65, wide * rng.uniform(0.76, 0.86)
    house.lantern(rng, look, 0, z, y, 0.3, 2.8)
    house.details += [(0, 3), (0, 0.5 * y), (0, 0.85 * y)]
    return house


def library(rng: Rng) -> Building:
    """A modern block: slabs set at odd depths, an uneven grid of glass, a mural."""
    look, house = f.style(rng, rng.choice(["plaster", "stone"])), Building()
    wide, storeys, step = rng.uniform(18, 26), int(rng.integers(4, 7)), rng.uniform(3, 3.6)
    y = 0.0
    for _ in range(storeys):
        shift, out = rng.uniform(-2.5, 2.5), rng.uniform(-1.5, 2.5)
        span = wide * rng.uniform(0.75, 1.0)
        front, side = (f.wall(rng, look, length, step) for length in (span, 12 + out))
        for canvas in (front, side):
            x = rng.uniform(0.2, 0.8)
            while x < canvas.width - 1.2:
                pane = rng.uniform(0.5, 2.6)
                pane = min(pane, canvas.width - x - 0.4)
                glass = tone(
                    ((70, 92, 108), (54, 62, 74), (96, 116, 120), (150, 120, 70))[rng.integers(4)],
                    rng.uniform(0.6, 1.3),
                )
                lit = int(rng.choice([0, 90, 220]))
                canvas.box(x, 0.5, pane, step - 1.0, glass, relief=-0.2, glow=lit)
                canvas.line(x + pane / 2, 0.5, x + pane / 2, step - 0.5, tone(glass, 0.5), 0.06)
                x += pane + rng.choice([0.2, 0.4, 1.4])
        if rng.random() < 0.4:
            f.mosaic(rng, front, rng.uniform(0.1, 0.5) * span, 0.3, 0.35 * span, step - 0.6)
        top = f.plain(rng, tone(look.wall, 0.85), span, 12 + out).texture()
        box = (shift - span / 2, shift + span / 2)
        house.faces(box, (y, y + step), (-12, out), front.texture(), side.texture(), top)
        house.details.append((shift, y + step / 2))
        y += step
    sign = f.plain(rng, look.trim, 0.6 * wide, 1.6)
    f.inscription(rng, sign, look, 0.3, 0.45, 0.6 * wide - 0.6, 0.8)
    house.faces((-0.3 * wide, 0.3 * wide), (y, y + 1.6), (-2, -1), sign.texture(), None)
    return house


KINDS: tuple[Callable[[Rng], Building], ...] = (
    church,
    temple,
    basilica,
    palace,
    town_hall,
    castle,
    gate,
    bell_tower,
    onion_church,
    merchant_houses,
    pagoda,
    library,
)


def build(kind: int, rng: Rng) -> Building:
    """A building of the kind with that index in `KINDS`."""
    return KINDS[kind](rng)
