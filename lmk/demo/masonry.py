"""Boxes, roofs, towers, columns and domes from which buildings are put together."""

from dataclasses import dataclass, field

import numpy as np

from lmk.demo.canvas import Canvas, Color, tone
from lmk.demo.facades import Style, plain, tiles
from lmk.demo.light import Box
from lmk.demo.raycast import Panel, Revolved, Surface, Texture, vector


@dataclass
class Building:
    """Surfaces in metres, the front towards +z at z = 0, its middle at x = 0.

    Attributes:
        surfaces: what is drawn.
        solids: what casts shadows.
        details: (x, y) of places on the front that a photographer picks out.
    """

    surfaces: list[Surface] = field(default_factory=list)
    solids: list[Box] = field(default_factory=list)
    details: list[tuple[float, float]] = field(default_factory=list)
    low: np.ndarray = field(default_factory=lambda: vector(1e9, 0, 1e9))
    high: np.ndarray = field(default_factory=lambda: vector(-1e9, 0, -1e9))

    @property
    def width(self) -> float:
        return float(self.high[0] - self.low[0])

    @property
    def height(self) -> float:
        return float(self.high[1])

    def reach(self, low: np.ndarray, high: np.ndarray) -> None:
        """Let the building's bounds hold a box."""
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    def solid(self, low: np.ndarray, high: np.ndarray) -> None:
        """Add a box that casts a shadow; slightly smaller, so that it does not darken its own faces."""
        self.reach(low, high)
        self.solids.append((low + vector(0.15, 0, 0.15), high - vector(0.15, 0.1, 0.15)))

    def panel(self, origin: np.ndarray, across: np.ndarray, upward: np.ndarray, texture: Texture) -> None:
        self.surfaces.append(Panel(origin, across, upward, texture))

    def faces(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        front: Texture | None,
        side: Texture | None,
        top: Texture | None = None,
    ) -> None:
        """The faces of a box: front, both sides, and a flat top where one is given."""
        wide, high, deep = x[1] - x[0], y[1] - y[0], z[1] - z[0]
        if front is not None:
            self.panel(vector(x[0], y[0], z[1]), vector(wide, 0, 0), vector(0, high, 0), front)
        if side is not None:
            self.panel(vector(x[1], y[0], z[1]), vector(0, 0, -deep), vector(0, high, 0), side)
            self.panel(vector(x[0], y[0], z[0]), vector(0, 0, deep), vector(0, high, 0), side)
        if top is not None:
            self.panel(vector(x[0], y[1], z[1]), vector(wide, 0, 0), vector(0, 0, -deep), top)
        self.solid(vector(x[0], y[0], z[0]), vector(x[1], y[1], z[1]))

    def block(self, rng, x, y, z, color: Color, course: float = 0.0) -> None:
        """A box of one plain matter: steps, plinths, beams."""
        front = plain(rng, color, x[1] - x[0], y[1] - y[0], course).texture()
        side = plain(rng, color, z[1] - z[0], y[1] - y[0], course).texture()
        top = plain(rng, tone(color, 0.95), x[1] - x[0], z[1] - z[0]).texture()
        self.faces(x, y, z, front, side, top)

    def gable_roof(
        self, rng, look: Style, x: tuple[float, float], y: float, rise: float, z: tuple[float, float]
    ) -> None:
        """Two slopes whose ridge runs from front to back; the gable wall is not part of it."""
        deep, half = z[1] - z[0], (x[1] - x[0]) / 2
        slope = float(np.hypot(half, rise))
        left = tiles(rng, look.roof, deep, slope).texture()
        right = tiles(rng, look.roof, deep, slope).texture()
        self.panel(vector(x[0], y, z[0]), vector(0, 0, deep), vector(half, rise, 0), left)
        self.panel(vector(x[1], y, z[1]), vector(0, 0, -deep), vector(-half, rise, 0), right)
        middle = (x[0] + x[1]) / 2
        self.solid(vector(middle - half / 2, y, z[0]), vector(middle + half / 2, y + 0.5 * rise, z[1]))
        self.reach(vector(x[0], y, z[0]), vector(x[1], y + rise, z[1]))

    def hipped_roof(
        self, rng, look: Style, x: tuple[float, float], y: float, rise: float, z: tuple[float, float], inset: float
    ) -> None:
        """A roof that leans in on all sides by `inset` metres; inset of half the width makes a spire."""
        wide, deep = x[1] - x[0], z[1] - z[0]
        for length, run, origin, across, upward in (
            (wide, inset, (x[0], y, z[1]), (wide, 0, 0), (0, rise, -min(inset, deep / 2))),
            (deep, min(inset, deep / 2), (x[1], y, z[1]), (0, 0, -deep), (-inset, rise, 0)),
            (deep, min(inset, deep / 2), (x[0], y, z[0]), (0, 0, deep), (inset, rise, 0)),
        ):
            slope = float(np.hypot(rise, inset))
            canvas = tiles(rng, look.roof, length, slope)
            canvas.cut([(0, 0), (length, 0), (length - run, slope), (run, slope)])
            self.panel(vector(*origin), vector(*across), vector(*upward), canvas.texture())
        under = plain(rng, tone(look.roof, 0.6), wide, deep).texture()  # seen from below where the roof juts out
        self.panel(vector(x[0], y, z[0]), vector(wide, 0, 0), vector(0, 0, deep), under)
        margin = inset * 0.6
        self.solid(
            vector(x[0] + margin, y, z[0] + min(margin, 0.3 * deep)),
            vector(x[1] - margin, y + 0.6 * rise, z[1] - min(margin, 0.3 * deep)),
        )
        self.reach(vector(x[0], y, z[0]), vector(x[1], y + rise, z[1]))

    def round(
        self, x: float, z: float, y: tuple[float, float], radii: tuple[float, float, float], texture: Texture
    ) -> None:
        """A surface of revolution from y[0] to y[1]; radii at its bottom, half way and top."""
        self.surfaces.append(Revolved(x, z, y[0], y[1], radii, texture))
        wide = 0.8 * sum(radii) / 3
        self.solid(vector(x - wide, y[0], z - wide), vector(x + wide, y[1] - 0.15 * (y[1] - y[0]), z + wide))
        self.reach(vector(x - max(radii), y[0], z - max(radii)), vector(x + max(radii), y[1], z + max(radii)))

    def column(self, rng, look: Style, x: float, z: float, y: float, height: float, radius: float) -> None:
        """A column with base and capital, fluted, with the damage of its years."""
        shaft = Canvas(2 * np.pi * radius, height * 0.84, look.trim)
        shaft.weather(rng, 0.1)
        for flute in np.arange(0, shaft.width, shaft.width / 14):
            shaft.line(flute, 0, flute, shaft.height, tone(look.trim, 0.72), 0.05)
        for _ in range(3):
            band = rng.uniform(0, height * 0.8)
            shaft.line(0, band, shaft.width, band + rng.uniform(-0.1, 0.1), tone(look.trim, 0.6), 0.05)
        foot, head = y + 0.06 * height, y + 0.9 * height
        self.round(x, z, (foot, head), (radius, 0.97 * radius, 0.85 * radius), shaft.texture())
        base = plain(rng, look.trim, 2 * np.pi * radius, 0.06 * height).texture()
        self.round(x, z, (y, foot), (1.3 * radius, 1.25 * radius, 1.05 * radius), base)
        capital = Canvas(2 * np.pi * radius, 0.1 * height, look.trim)
        for _ in range(24):
            place = rng.uniform(0, capital.width), rng.uniform(0, capital.height)
            shade = tone(look.trim, rng.uniform(0.5, 1.15))
            capital.ellipse(*place, 0.12, 0.06, rng.uniform(0.8, 2.4), shade, relief=float(rng.uniform(0, 0.15)))
        self.round(x, z, (head, y + height), (0.9 * radius, 1.05 * radius, 1.45 * radius), capital.texture())

    def dome(self, rng, color: Color, x: float, z: float, y: float, radius: float, height: float, ribs: int) -> None:
        """A dome with ribs between plates of metal or tile that have weathered unevenly."""
        canvas = Canvas(2 * np.pi * radius, height * 1.25, color, 18)
        canvas.blocks(rng, 0.6, 0.08, 0.02)
        canvas.weather(rng, 0.14)
        for rib in (np.arange(ribs) + 0.5) / ribs * canvas.width:
            canvas.box(rib - 0.12, 0, 0.24, canvas.height, tone(color, rng.uniform(0.6, 1.25)), relief=0.2)
        for hole in np.arange(ribs) / ribs * canvas.width:
            canvas.ellipse(hole, 0.25 * canvas.height, 0.35, 0.5, 0, tone(color, rng.uniform(0.3, 0.6)), relief=-0.2)
        self.round(x, z, (y, y + height), (radius, 0.87 * radius, 0.06 * radius), canvas.texture())

    def lantern(self, rng, look: Style, x: float, z: float, y: float, radius: float, height: float) -> None:
        """A little round house with openings and a pointed hat: the end of a dome or a tower."""
        canvas = plain(rng, look.trim, 2 * np.pi * radius, 0.55 * height)
        for place in (np.arange(6) + 0.25) / 6 * canvas.width:
            canvas.box(
                place, 0.12 * height, canvas.width / 12, 0.34 * height, tone(look.trim, 0.3), relief=-0.2, glow=120
            )
        self.round(x, z, (y, y + 0.55 * height), (radius, radius, radius), canvas.texture())
        hat = plain(rng, look.roof, 2 * np.pi * radius, 0.45 * height, 0.4).texture()
        self.round(x, z, (y + 0.55 * height, y + height), (1.25 * radius, 0.4 * radius, 0.03 * radius), hat)

    def onion(
        self, rng, colors: tuple[Color, Color], x: float, z: float, y: float, radius: float, height: float
    ) -> None:
        """A bulging dome that ends in a tip, striped in two colours."""
        low, high = 0.62 * height, 0.38 * height
        for part, (bottom, size, radii) in enumerate(
            (
                (y, low, (0.75 * radius, 1.06 * radius, 0.5 * radius)),
                (y + low, high, (0.5 * radius, 0.17 * radius, 0.01)),
            )
        ):
            canvas = Canvas(2 * np.pi * radius, size * 1.2, colors[0])
            stripe = canvas.width / 12
            lean = (0.5 if part == 0 else 0.3) * stripe * 4
            for k in range(-6, 14):
                left = k * 2 * stripe
                edge = [
                    (left, 0),
                    (left + stripe, 0),
                    (left + stripe + lean, canvas.height),
                    (left + lean, canvas.height),
                ]
                canvas.polygon(edge, tone(colors[1], rng.uniform(0.85, 1.1)), relief=0.12)
            canvas.weather(rng, 0.1)
            self.round(x, z, (bottom, bottom + size), radii, canvas.texture())
