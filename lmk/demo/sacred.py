"""Churches, temples and towers: each function draws one of its kind, and each seed another one."""

import numpy as np

from lmk.demo import facades as f
from lmk.demo.canvas import Canvas, tone
from lmk.demo.masonry import Building
from lmk.demo.raycast import vector

Rng = np.random.Generator


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
    house.panel(vector(-wide / 2, 0, 0), vector(wide, 0, 0), vector(0, high + rise, 0), front.texture())
    house.gable_roof(rng, look, (-wide / 2, wide / 2), high, rise, (-18, 0))
    spire, round_hat = rng.uniform(5, 11), rng.random() < 0.35
    first = rng.choice([-1, 1])
    for number in range(towers):
        way = first * (1 - 2 * number)
        middle = way * (wide + side_width) / 2
        x, z = (middle - side_width / 2, middle + side_width / 2), (-side_width + 0.6, 0.6)
        top = tower_high * (1 if number == 0 else rng.choice([1.0, rng.uniform(0.7, 0.9)]))
        storeys = int(rng.integers(3, 6))
        face = f.tower_face(rng, look, side_width, top, storeys, number == 0)
        house.faces(x, (0, top), z, face.texture(), f.tower_face(rng, look, side_width, top, storeys, False).texture())
        if round_hat:
            house.onion(
                rng, (look.roof, tone(look.roof, 1.25)), middle, 0.6 - side_width / 2, top, side_width / 2, spire
            )
        else:
            house.hipped_roof(rng, look, x, top, spire, z, side_width / 2)
        house.details.append((middle, 0.8 * top))
    house.details += [(0, high - 1.5), (0, 4)]
    return house


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
    corner = vector(-wide / 2, top + 1.8, 0.0)
    house.panel(corner, vector(wide, 0, 0), vector(0, rise, 0), f.pediment(rng, look, wide, rise).texture())
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
    house.panel(vector(-wide / 2, high, 0), vector(wide, 0, 0), vector(0, 1.5, -deep), roof)
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


def bell_tower(rng: Rng) -> Building:
    """A tower that stands alone, square or round, with galleries."""
    look, house = f.style(rng), Building()
    high = rng.uniform(22, 32)
    if rng.random() < 0.5:
        wide = rng.uniform(5.5, 7.5)
        x, z = (-wide / 2, wide / 2), (-wide, 0)
        storeys = int(rng.integers(5, 8))
        face, side = (f.tower_face(rng, look, wide, high, storeys, True) for _ in range(2))
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
    house.panel(vector(-wide / 2, 0, 0), vector(wide, 0, 0), vector(0, high + 1.5, 0), front.texture())
    for x, z, way in ((wide / 2, 0.0, -1), (-wide / 2, -wide, 1)):
        house.panel(vector(x, 0, z), vector(0, 0, way * wide), vector(0, high + 1.5, 0), side.texture())
    house.panel(vector(-wide / 2, high, 0), vector(wide, 0, 0), vector(0, 0.5, -wide), roof)
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
            vector(ledge.width, 0, 0),
            vector(0, 0.3, 0),
            ledge.texture(),
        )
        y, wide = y + part + rise * 0.65, wide * rng.uniform(0.76, 0.86)
    house.lantern(rng, look, 0, z, y, 0.3, 2.8)
    house.details += [(0, 3), (0, 0.5 * y), (0, 0.85 * y)]
    return house
