"""The built-in renderer's figures: what stands on the ground, floats on water or flies."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from genonce.adapters.providers.builtin_canvas import Canvas, Fade
from genonce.adapters.providers.builtin_colour import Lch, blend, lighter
from genonce.adapters.providers.builtin_drawings import DRAWINGS
from genonce.adapters.providers.builtin_lexicon import Subject
from genonce.adapters.providers.builtin_shapes import Piece, Points, drawing, ellipse, placed
from genonce.adapters.providers.builtin_sketch import Layer, Sketch

FLYING: Final = ("gull", "balloon", "butterfly", "fish")
AFLOAT: Final = ("boat",)
STANDING: Final = (
    "cat", "dog", "bird", "rabbit", "horse", "tree", "palm", "flower", "mushroom", "house",
    "castle", "tower", "person", "robot", "car", "fire",
)  # fmt: skip

# Size of the drawing's square beside the first figure's.
_SCALE: Final = {
    "tree": 1.25, "palm": 1.3, "castle": 1.3, "tower": 1.35, "house": 1.05, "horse": 1.15,
    "bird": 0.7, "rabbit": 0.8, "flower": 0.75, "mushroom": 0.7, "butterfly": 0.55, "gull": 0.5,
    "fish": 0.75, "balloon": 0.9,
}  # fmt: skip
_LEAST_CONTRAST: Final = 0.2
_LIGHT: Final = 0.6
"""A figure lighter than this stands out by a dark halo, any other by a light one."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one picture."""

    canvas: Canvas
    sketch: Sketch
    ground: Points | None
    """Crest of the nearest ground, left to right; None where there is only water."""
    horizon: float

    def layers(self) -> list[Layer]:
        """Return one layer for each figure, those behind first."""
        kinds = ((FLYING, self._fly), (AFLOAT, self._float), (STANDING, self._stand))
        layers: list[Layer] = []
        for names, paint in kinds:
            shown = [
                (subject, copy)
                for subject in self.sketch.scene.subjects
                if subject.name in names
                for copy in range(self._copies(subject))
            ]
            layers += [
                partial(paint, subject, copy, place, len(shown))
                for place, (subject, copy) in enumerate(shown)
            ][::-1]
        return layers

    def _copies(self, subject: Subject) -> int:
        few = {"gull": 5, "flower": 5, "butterfly": 2}
        return max(subject.count, few.get(subject.name, 1))

    def _size(self, subject: Subject, place: int, total: int) -> float:
        crowd = 0.40 / (1.0 + 0.13 * (total - 1))
        return (
            self.canvas.unit * crowd * (1.0 - 0.1 * min(place, 3)) * _SCALE.get(subject.name, 1.0)
        )

    def _column(self, name: str, place: int, total: int) -> float:
        """Return where the middle of a figure goes, the first one beside the centre."""
        roll = self.sketch.roll(f"place-{name}{place}")
        if total == 1 and name == "afloat" and self.ground is not None:
            # Not behind what stands in the middle.
            return float(self.canvas.width * roll.choice((0.2, 0.8)))
        if total == 1:
            return float(self.canvas.width * roll.uniform(0.36, 0.64))
        order = sorted(range(total), key=lambda k: abs(k - (total - 1) / 2))
        slot = (order[place] + 0.5) / total
        jitter = float(roll.uniform(-0.15, 0.15)) / total
        return self.canvas.width * (0.08 + 0.84 * (slot + jitter))

    def _stand(self, subject: Subject, copy: int, place: int, total: int) -> None:
        x, size = self._column("on", place, total), self._size(subject, place, total)
        foot = self._foot(x) + 0.02 * size
        name = subject.name
        colour = self.sketch.colour_of(subject)
        if name == "fire":
            warm = (0.78, 0.17, 60.0)
            self.canvas.glow(x, foot - size / 2, radius=1.6 * size, colour=warm, strength=0.75)
        else:
            halo = self.sketch.palette.near if colour[0] > _LIGHT else self.sketch.palette.sky[3]
            self.canvas.glow(x, foot - size / 2, radius=0.95 * size, colour=halo, strength=0.55)
        self._figure(subject, x=x, foot=foot, size=size, colour=self._seen(colour, name), copy=copy)

    def _seen(self, colour: Lch, name: str) -> Lch:
        """Return ``colour`` away from that of the air behind it, so that the figure can be read."""
        behind = blend(self.sketch.palette.sky[3], self.sketch.palette.far, 0.4)[0]
        if abs(colour[0] - behind) >= _LEAST_CONTRAST or colour[0] > _LIGHT or name == "fire":
            return colour
        gap = _LEAST_CONTRAST if behind < 0.5 else -_LEAST_CONTRAST
        return (behind + gap, colour[1], colour[2])

    def _foot(self, x: float) -> float:
        if self.ground is None:
            return 0.93 * self.canvas.height
        return float(np.interp(x, self.ground[:, 0], self.ground[:, 1]))

    def _float(self, subject: Subject, copy: int, place: int, total: int) -> None:
        x, size = self._column("afloat", place, total), self._size(subject, place, total) * 0.85
        depth = 0.30 + 0.12 * copy if self.ground is None else 0.16 + 0.08 * copy
        foot = self.horizon + depth * (self.canvas.height - self.horizon)
        dark = lighter(self.sketch.palette.near, -0.05)
        shadow = [
            ellipse(x, foot + k * 0.045 * size, (0.46 - 0.09 * k) * size, 0.014 * size)
            for k in range(4)
        ]
        self.canvas.polygons(shadow, dark, opacity=0.45)
        colour = self._seen(self.sketch.colour_of(subject), subject.name)
        self._figure(subject, x=x, foot=foot + 0.04 * size, size=size, colour=colour, copy=copy)

    def _fly(self, subject: Subject, copy: int, place: int, total: int) -> None:
        roll = self.sketch.roll(f"fly-{subject.name}{copy}")
        x, size = self._column("fly", place, total), self._size(subject, place, total)
        low, high = (0.80, 1.02) if subject.name == "fish" else (0.40, 0.80)
        foot = max(size, self.horizon * float(roll.uniform(low, high)))
        size *= float(roll.uniform(0.55, 1.0)) if copy else 1.0
        colour = self.sketch.colour_of(subject)
        self._figure(subject, x=x, foot=foot, size=size, colour=colour, copy=copy)

    def _figure(
        self, subject: Subject, *, x: float, foot: float, size: float, colour: Lch, copy: int
    ) -> None:
        """Paint one silhouette; a light shines through what is cut out of it."""
        mirrored = bool(self.sketch.roll(f"turn-{subject.name}{copy}").random() < 0.5)
        pieces = placed(drawing(subject.name), x=x, foot=foot, size=size, mirrored=mirrored)
        if subject.name not in ("moon", "gull"):
            lights = [Piece(piece.points) for piece in pieces if piece.hole]
            self.canvas.stamp(lights, self.sketch.palette.light)
        self.canvas.stamp(pieces, Fade(lighter(colour, 0.05), lighter(colour, -0.04)))


def icon_of(subject: Subject) -> str:
    """Return the drawing that stands for ``subject`` on its own."""
    others = {
        "forest": "pine", "city": "building", "sea": "wave", "rain": "drop", "desert": "sun",
        "field": "flower",
    }  # fmt: skip
    name = others.get(subject.name, subject.name)
    return name if name in DRAWINGS else "star"
