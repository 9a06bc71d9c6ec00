"""The built-in renderer's figures: what stands on the ground, floats on water or flies."""

from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from genonce.adapters.providers.builtin.canvas import Canvas, Fade
from genonce.adapters.providers.builtin.colour import Lch, blend, lighter
from genonce.adapters.providers.builtin.drawings import DRAWINGS
from genonce.adapters.providers.builtin.lexicon import Subject
from genonce.adapters.providers.builtin.shapes import Piece, Place, Points, drawing, ellipse, placed
from genonce.adapters.providers.builtin.sketch import Layer, Sketch

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
_FIRELIGHT: Final = (0.78, 0.17, 60.0)
_LEAST_CONTRAST: Final = 0.2
_LIGHT: Final = 0.6
"""A figure lighter than this stands out by a dark halo, any other by a light one."""


class Figure(NamedTuple):
    """One of the figures of a kind, and its place among them."""

    subject: Subject
    copy: int
    """0 for the first of its subject."""
    rank: int
    """0 for the first of its kind: the largest, nearest to the middle."""
    total: int
    """How many figures of its kind there are."""

    @property
    def name(self) -> str:
        """Return the name of its drawing."""
        return self.subject.name


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
        return [
            partial(paint, figure)
            for names, paint in (
                (FLYING, self._fly),
                (AFLOAT, self._float),
                (STANDING, self._stand),
            )
            for figure in reversed(self._of_kind(names))
        ]

    def _of_kind(self, names: tuple[str, ...]) -> list[Figure]:
        few = {"gull": 5, "flower": 5, "butterfly": 2}
        shown = [
            (subject, copy)
            for subject in self.sketch.scene.subjects
            if subject.name in names
            for copy in range(max(subject.count, few.get(subject.name, 1)))
        ]
        return [Figure(*pair, rank, len(shown)) for rank, pair in enumerate(shown)]

    def _size(self, figure: Figure) -> float:
        crowd = 0.40 / (1.0 + 0.13 * (figure.total - 1)) * (1.0 - 0.1 * min(figure.rank, 3))
        return self.canvas.unit * crowd * _SCALE.get(figure.name, 1.0)

    def _column(self, figure: Figure) -> float:
        """Return where the middle of a figure goes, the first one beside the centre."""
        roll = self.sketch.roll(f"place-{figure.name in AFLOAT}{figure.rank}")
        if figure.total > 1:
            order = sorted(range(figure.total), key=lambda k: abs(k - (figure.total - 1) / 2))
            slot = order[figure.rank] + 0.5 + float(roll.uniform(-0.15, 0.15))
            return self.canvas.width * (0.08 + 0.84 * slot / figure.total)
        if figure.name in AFLOAT and self.ground is not None:
            # Not behind what stands in the middle.
            return float(self.canvas.width * roll.choice((0.2, 0.8)))
        return float(self.canvas.width * roll.uniform(0.36, 0.64))

    def _stand(self, figure: Figure) -> None:
        x, size = self._column(figure), self._size(figure)
        foot, palette = self._foot(x) + 0.02 * size, self.sketch.palette
        colour, middle = self.sketch.colour_of(figure.subject), (x, foot - size / 2)
        if figure.name == "fire":
            self.canvas.glow(middle, radius=1.6 * size, colour=_FIRELIGHT, strength=0.75)
        else:
            halo = palette.near if colour[0] > _LIGHT else palette.sky[3]
            self.canvas.glow(middle, radius=0.95 * size, colour=halo, strength=0.55)
        self._paint(figure, (x, foot), size=size, colour=self._seen(colour))

    def _seen(self, colour: Lch) -> Lch:
        """Return ``colour`` away from that of the air behind it, so that the figure can be read."""
        palette = self.sketch.palette
        behind = blend(palette.sky[3], to=palette.far, amount=0.4)[0]
        if abs(colour[0] - behind) >= _LEAST_CONTRAST or colour[0] > _LIGHT:
            return colour
        gap = _LEAST_CONTRAST if behind < 0.5 else -_LEAST_CONTRAST
        return (behind + gap, colour[1], colour[2])

    def _foot(self, x: float) -> float:
        if self.ground is None:
            return 0.93 * self.canvas.height
        return float(np.interp(x, self.ground[:, 0], self.ground[:, 1]))

    def _float(self, figure: Figure) -> None:
        x, size = self._column(figure), self._size(figure) * 0.85
        first, behind = (0.30, 0.12) if self.ground is None else (0.16, 0.08)
        depth = min(0.8, first + behind * figure.copy)
        foot = self.horizon + depth * (self.canvas.height - self.horizon)
        shadow = [
            ellipse((x, foot + k * 0.045 * size), rx=(0.46 - 0.09 * k) * size, ry=0.014 * size)
            for k in range(4)
        ]
        self.canvas.polygons(shadow, lighter(self.sketch.palette.near, -0.05), opacity=0.45)
        colour = self._seen(self.sketch.colour_of(figure.subject))
        self._paint(figure, (x, foot + 0.04 * size), size=size, colour=colour)

    def _fly(self, figure: Figure) -> None:
        roll = self.sketch.roll(f"fly-{figure.name}{figure.copy}")
        x, size = self._column(figure), self._size(figure)
        low, high = (0.80, 1.02) if figure.name == "fish" else (0.40, 0.80)
        foot = max(size, self.horizon * float(roll.uniform(low, high)))
        size *= float(roll.uniform(0.55, 1.0)) if figure.copy else 1.0
        self._paint(figure, (x, foot), size=size, colour=self.sketch.colour_of(figure.subject))

    def _paint(self, figure: Figure, foot: Place, *, size: float, colour: Lch) -> None:
        """Paint one silhouette; a light shines through what is cut out of it."""
        mirrored = bool(self.sketch.roll(f"turn-{figure.name}{figure.copy}").random() < 0.5)
        pieces = placed(drawing(figure.name), foot=foot, size=size, mirrored=mirrored)
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
