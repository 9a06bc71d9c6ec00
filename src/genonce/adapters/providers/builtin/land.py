"""The built-in renderer's ground: ridges of hills and mountains, woods, towns and water."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from genonce.adapters.providers.builtin.canvas import Canvas, Fade
from genonce.adapters.providers.builtin.colour import Lch, blend, lighter
from genonce.adapters.providers.builtin.noise import Field, octave, profile
from genonce.adapters.providers.builtin.shapes import Points, ellipses
from genonce.adapters.providers.builtin.sketch import Sketch

_PITCH: Final = 2
"""Pixels between two corners of a ridge's crest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ridge:
    """One line of ground across the picture."""

    name: str
    base: float
    """Mean row of its crest, in pixels."""
    rise: float
    """How far its crest goes up and down, in pixels."""
    cells: float
    """Hills along the shorter side of the picture."""
    colour: Lch
    ridged: bool = False
    octaves: int = 4


class Wall(NamedTuple):
    """The front of one building, in pixels."""

    x: float
    top: float
    wide: float
    foot: float


@dataclass(frozen=True, slots=True)
class Land:
    """The ground of one picture."""

    canvas: Canvas
    sketch: Sketch
    horizon: float
    light_x: float
    """Column of the sun or the moon: that side of a mountain is lit."""

    def crest(self, ridge: Ridge) -> Points:
        """Return the top edge of ``ridge`` from left to right, beyond both sides."""
        x = np.arange(-_PITCH, self.canvas.width + 2 * _PITCH, _PITCH, dtype=np.float32)
        at: Field = (x / np.float32(self.canvas.unit) * np.float32(ridge.cells)).astype(np.float32)
        roll = self.sketch.roll(ridge.name)
        up = profile(roll, at=at, octaves=ridge.octaves, ridged=ridge.ridged)
        return np.stack([x, ridge.base - ridge.rise * up], axis=1).astype(np.float64)

    def hill(self, ridge: Ridge) -> None:
        """Paint ``ridge``, paler at its foot where the air is thick."""
        crest = self.crest(ridge)
        haze = blend(ridge.colour, to=self.sketch.palette.sky[3], amount=0.3)
        self._ground(crest, Fade(lighter(ridge.colour, 0.02), haze))

    def mountain(self, ridge: Ridge) -> None:
        """Paint ``ridge`` with a lit and a shaded side, and snow on what is high enough."""
        crest = self.crest(ridge)
        haze = blend(ridge.colour, to=self.sketch.palette.sky[3], amount=0.55)
        self._ground(crest, Fade(ridge.colour, haze))
        peaks = _peaks(crest, reach=max(2, int(0.07 * self.canvas.unit / _PITCH)))
        roll = self.sketch.roll(f"{ridge.name}-rock")
        flanks = [self._flank(crest, peak, roll) for peak in peaks]
        shade = lighter(ridge.colour, -0.10)
        self.canvas.polygons(flanks, Fade(shade, haze), opacity=0.75)
        high = ridge.base - 0.25 * ridge.rise
        caps = [self._cap(crest, peak, roll) for peak in peaks if crest[peak, 1] < high]
        snow = blend((0.98, 0.01, 240.0), to=self.sketch.palette.sky[2], amount=0.35)
        self.canvas.polygons(caps, lighter(snow, 0.02), opacity=0.9)

    def _ground(self, crest: Points, fade: Fade, *, above: Sequence[Points] = ()) -> None:
        """Paint all below ``crest``, and the shapes that stand on it."""
        solid = min(crest[:, 1].max() + 2.0, self.canvas.height)
        closed = np.concatenate([crest, [(crest[-1, 0], solid), (crest[0, 0], solid)]])
        self.canvas.mass([*above, closed], fade, solid=round(solid))

    def _flank(self, crest: Points, peak: int, roll: np.random.Generator) -> Points:
        """Return the shaded side of a peak: along the crest to the valley, back by a jagged one."""
        step = 1 if crest[peak, 0] > self.light_x else -1
        valley = _downhill(crest, peak, step=step)
        side = crest[peak : valley + 1] if step > 0 else crest[valley : peak + 1][::-1]
        drop = max(4.0, side[-1, 1] - side[0, 1]) * 1.5
        down = np.linspace(1.0, 0.0, 9)[:, None]
        jag = roll.uniform(-0.08, 0.08, (9, 1)) * drop * (down > 0) * (down < 1)
        lean = 0.12 * step * drop
        spine = side[0] + down * (lean, drop) + jag * (1.0, 0.0)
        return np.concatenate([side, spine])

    def _cap(self, crest: Points, peak: int, roll: np.random.Generator) -> Points:
        """Return the snow of a peak: the top of the crest, closed by a zigzag below."""
        depth = self.canvas.unit * float(roll.uniform(0.03, 0.055))
        widest = int(0.1 * self.canvas.unit / _PITCH)
        left = max(_until(crest, peak, step=-1, drop=depth), peak - widest)
        right = min(_until(crest, peak, step=1, drop=depth), peak + widest)
        top = crest[left : right + 1]
        t = np.linspace(1.0, 0.0, 9)[1:-1, None]
        zigzag = top[0] + (top[-1] - top[0]) * t
        zigzag[:, 1] += np.where(np.arange(7) % 2, 0.5, -0.5) * depth * roll.uniform(0.4, 1.0, 7)
        return np.concatenate([top, zigzag])

    def wood(self, ridge: Ridge, *, trees: int, size: float) -> None:
        """Paint ``ridge`` with ``trees`` firs of about ``size`` pixels along its crest."""
        crest, roll = self.crest(ridge), self.sketch.roll(f"{ridge.name}-wood")
        places = np.sort(roll.integers(0, len(crest), trees))
        sizes = size * roll.uniform(0.55, 1.25, trees)
        firs = [
            _fir(crest[k], height=height) for k, height in zip(places, sizes.tolist(), strict=True)
        ]
        haze = blend(ridge.colour, to=self.sketch.palette.sky[3], amount=0.3)
        self._ground(crest, Fade(ridge.colour, haze), above=firs)

    def town(self, ridge: Ridge, *, width: float, tallest: float, lit: float) -> None:
        """Paint a row of houses.

        Args:
            ridge: gives name, foot and colour.
            width: of a building, about, in pixels.
            tallest: in pixels.
            lit: share of the windows with a light in them, 0-1.
        """
        roll, x = self.sketch.roll(ridge.name), -width
        foot = ridge.base + 0.15 * self.canvas.unit
        walls: list[Points] = []
        panes: list[Points] = []
        while x < self.canvas.width:
            wide = width * float(roll.uniform(0.6, 1.4))
            top = ridge.base - tallest * float(roll.uniform(0.25, 1.0) ** 1.5)
            walls += _tower(Wall(x, top, wide, foot), roll)
            panes += _windows(Wall(x, top, wide, ridge.base), roll, lit=lit)
            x += wide * float(roll.uniform(0.9, 1.15))
        haze = blend(ridge.colour, to=self.sketch.palette.sky[3], amount=0.5)
        self.canvas.polygons(walls, Fade(ridge.colour, haze))
        self.canvas.polygons(panes, self.sketch.palette.light, opacity=0.85)

    def water(self) -> None:
        """Paint the sea: what stands above the horizon, mirrored, in ripples that widen nearer."""
        image, top = self.canvas.image, int(self.horizon)
        height, width = image.height - top, image.width
        above = np.asarray(image.crop((0, 0, width, top)))
        near = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
        roll = self.sketch.roll("ripple")
        cells = 26 * height / self.canvas.unit
        chop = octave(roll, width=width, height=height, cells=max(4.0, cells), stretch=7.0)
        depth = near * (0.9 * top) + chop * (0.004 + 0.07 * near) * self.canvas.unit
        rows = (top - 1 - depth).clip(0, top - 1).astype(np.intp)
        mirrored = Image.fromarray(above[rows, np.arange(width)])
        image.paste(mirrored, (0, top))
        deep = blend(self.sketch.palette.sky[0], to=self.sketch.palette.near, amount=0.35)
        self.canvas.veil(0.22 + 0.5 * near + 0.16 * chop, deep, top=top)

    def glints(self, batch: int) -> None:
        """Paint light on the water, most of it below the sun or the moon."""
        roll, unit = self.sketch.roll(f"glint{batch}"), self.canvas.unit
        depth = roll.random(26) ** 1.4
        y = self.horizon + 2 + depth * (self.canvas.height - self.horizon)
        spread = roll.normal(0.0, 1.0, 26) * (0.03 + 0.12 * depth) * unit
        long = (0.012 + 0.05 * depth) * unit * roll.uniform(0.4, 1.3, 26)
        thick = np.maximum(0.5, (0.0012 + 0.0045 * depth) * unit)
        streaks = ellipses(x=self.light_x + spread, y=y, rx=long, ry=thick, corners=12)
        self.canvas.polygons(streaks, self.sketch.palette.light, opacity=0.5)


def _peaks(crest: Points, *, reach: int) -> list[int]:
    """Return the corners of ``crest`` that are the highest for ``reach`` corners on both sides."""
    rows = np.pad(crest[:, 1], reach, constant_values=np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(rows, 2 * reach + 1).min(axis=1)
    return [int(k) for k in np.flatnonzero(crest[:, 1] <= highest)][:40]


def _downhill(crest: Points, start: int, *, step: int) -> int:
    """Return the corner where a walk down from ``start`` meets ground that stays higher."""
    rows = crest[start:, 1] if step > 0 else crest[: start + 1, 1][::-1]
    lowest = np.maximum.accumulate(rows)
    rising = np.flatnonzero(lowest - rows > 0.3 * (lowest - rows[0]) + 2.0)
    end = int(rising[0]) if len(rising) else len(rows) - 1
    return start + step * int(rows[: end + 1].argmax())


def _until(crest: Points, start: int, *, step: int, drop: float) -> int:
    """Return the first corner from ``start`` that is ``drop`` pixels lower, or the last one."""
    rows = crest[start:, 1] if step > 0 else crest[: start + 1, 1][::-1]
    below = np.flatnonzero(rows > rows[0] + drop)
    return start + step * (int(below[0]) if len(below) else len(rows) - 1)


_FIR: Final = np.array(
    [(0.0, -1.0), (0.1, -0.72), (0.06, -0.72), (0.17, -0.42), (0.1, -0.42), (0.24, -0.06),
     (0.03, -0.06), (0.03, 0.1), (-0.03, 0.1), (-0.03, -0.06), (-0.24, -0.06), (-0.1, -0.42),
     (-0.17, -0.42), (-0.06, -0.72), (-0.1, -0.72)]
)  # fmt: skip


def _fir(foot: Points, *, height: float) -> Points:
    return _FIR * height + foot + (0.0, 0.05 * height)


def _rectangle(box: tuple[float, float, float, float]) -> Points:
    left, top, right, bottom = box
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _tower(wall: Wall, roll: np.random.Generator) -> list[Points]:
    """Return one building: a block, at times with a step, a spire or a roof on it."""
    x, top, wide, foot = wall
    parts = [_rectangle((x, top, x + wide, foot))]
    style, middle = roll.random(), x + wide / 2
    if style < 0.3:
        parts.append(_rectangle((x + 0.2 * wide, top - 0.3 * wide, x + 0.8 * wide, top + 1)))
    if style < 0.18:
        thin = 0.035 * wide
        parts.append(_rectangle((middle - thin, top - 1.1 * wide, middle + thin, top)))
    if style > 0.8:
        parts.append(np.array([(x, top + 1), (middle, top - 0.5 * wide), (x + wide, top + 1)]))
    return parts


def _windows(wall: Wall, roll: np.random.Generator, *, lit: float) -> list[Points]:
    """Return the lit windows of one building, in rows and columns."""
    pitch = wall.wide / 5.0
    rows = max(0, int((wall.foot - wall.top) / (1.5 * pitch)) - 1)
    bright = np.argwhere(roll.random((rows, 4)) < lit)
    corners = (bright[:, ::-1] * (1.0, 1.5) + (0.8, 1.0)) * pitch + (wall.x, wall.top)
    size = 0.5 * pitch
    return [_rectangle((x, y, x + size, y + 1.5 * size)) for x, y in corners.tolist()]
