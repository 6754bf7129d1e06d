"""Palaces, gates and houses: each function draws one of its kind, and each seed another one."""

import itertools

import numpy as np

from lmk.demo import facades as f
from lmk.demo.canvas import Canvas, tone
from lmk.demo.masonry import Building
from lmk.demo.raycast import vector

Rng = np.random.Generator


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
        gable = f.pediment(rng, look, part, rise).texture()
        house.panel(vector(-part / 2, high, out), vector(part, 0, 0), vector(0, rise, 0), gable)
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
    house.panel(vector(-wide / 2, 0, 0), vector(wide, 0, 0), vector(0, front.height, 0), front.texture())
    thick, top = rng.uniform(4, 5.5), rng.uniform(20, 28)
    middle = rng.choice([-1, 0, 1]) * (wide / 2 - thick / 2)
    x, z = (middle - thick / 2, middle + thick / 2), (-thick + 0.4, 0.4)
    face, other = (f.tower_face(rng, look, thick, top, 5, True).texture() for _ in range(2))
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
    house.panel(vector(-wide / 2, high - 1.2, 0), vector(wide, 0, 0), vector(0, 0, -8.0), roof)
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
        for a, b in itertools.pairwise(around):
            house.panel(np.array([a[0], a[1], -deep]), vector(0, 0, deep), np.array([*(b - a), 0.0]), lining)
        corner = vector(x - span / 2, 0, 0)
        house.panel(corner, vector(0, 0, -deep), vector(0, top - span / 2, 0), lining)
    house.panel(vector(-wide / 2, 0, 0), vector(wide, 0, 0), vector(0, high, 0), front.texture())
    house.faces((-wide / 2, -middle / 2), (0, high), (-deep, 0), None, None)
    house.faces((middle / 2, wide / 2), (0, high), (-deep, 0), None, None)
    side = f.wall(rng, look, deep, high)
    f.sculpture(rng, side, tone(look.trim, 0.95), 0.6, 0.4 * high, deep - 1.2, 0.2 * high)
    house.faces((-wide / 2, wide / 2), (rise, high), (-deep, 0), None, None)
    for way, depth in ((-1, 1), (1, -1)):
        origin = np.array([way * wide / 2, 0, -deep if way < 0 else 0.0])
        house.panel(origin, vector(0, 0, depth * deep), vector(0, high, 0), side.texture())
    if rng.random() < 0.5:
        for x in np.linspace(-0.3, 0.3, 3) * wide:
            statue = Canvas(1.6, 3, look.roof)
            statue.alpha[:] = 0
            f.figure(rng, statue, look.roof, 0.8, 0, 2.9)
            statue.alpha[(statue.color != look.roof).any(axis=2) | (statue.relief > 0)] = 255
            house.panel(vector(x - 0.8, high, -1), vector(1.6, 0, 0), vector(0, 3.0, 0), statue.texture())
        house.reach(house.low, house.high + vector(0, 2.6, 0))
    house.details += [(0, 0.85 * high), (-0.3 * wide, 0.5 * high), (0.3 * wide, 0.5 * high)]
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
        house.panel(vector(x, 0, 0), vector(wide, 0, 0), vector(0, high + rise, 0), canvas.texture())
        house.gable_roof(rng, look, (x, x + wide), high - 0.1, rise * 0.8, (-9, -0.2))
        house.details.append((x + wide / 2, 0.75 * high))
        x += wide
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
