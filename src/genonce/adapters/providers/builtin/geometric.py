"""The style "geometric" of the built-in renderer: a poster of tiles, with an emblem a subject."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from genonce.adapters.providers.builtin.canvas import Box, Canvas, Fade
from genonce.adapters.providers.builtin.colour import Lch, lighter
from genonce.adapters.providers.builtin.figures import icon_of
from genonce.adapters.providers.builtin.lexicon import Subject
from genonce.adapters.providers.builtin.shapes import (
    Piece,
    drawing,
    drawn,
    ellipse,
    placed,
)
from genonce.adapters.providers.builtin.sketch import Layer, Sketch

_LEAST_CONTRAST: Final = 0.17
_MOST_EMBLEMS: Final = 6

# Texts in the form of ``DRAWINGS``; what sticks out of the unit square is cut off.
_MOTIFS: Final = (
    "o 0 0 1 1",
    "o 0 0 1 1",
    "o 0 0 1 1 -o 0 0 .5 .5",
    "o 0 0 1 1 -o 0 0 .75 .75 o 0 0 .5 .5 -o 0 0 .25 .25",
    "o .5 0 .5 .5 o .5 1 .5 .5",
    "o 0 .5 1 .5",
    "o .5 .5 .5 .5",
    "o .5 .5 .5 .5 -o .5 .5 .26 .26",
    "o .5 .5 .5 .5 p .5 0 1 0 1 .5 .5 .5",
    "o .5 .5 .3 .3",
    "c 0 0 .38 .06 .74 .26 .94 .62 1 1 .62 .94 .26 .74 .06 .38",
    "p 0 0 1 0 0 1",
    "p 0 0 .5 .5 0 1 p 1 0 .5 .5 1 1",
    "p 0 1 .5 0 1 1",
    "p 0 0 1 0 1 .16 0 .16 p 0 .28 1 .28 1 .44 0 .44 "
    "p 0 .56 1 .56 1 .72 0 .72 p 0 .84 1 .84 1 1 0 1",
    "p 0 0 .25 0 .25 .25 .5 .25 .5 .5 .75 .5 .75 .75 1 .75 1 1 0 1",
    "o .2 .2 .09 .09 o .5 .2 .09 .09 o .8 .2 .09 .09 o .2 .5 .09 .09 o .5 .5 .09 .09 "
    "o .8 .5 .09 .09 o .2 .8 .09 .09 o .5 .8 .09 .09 o .8 .8 .09 .09",
    "p .36 0 .64 0 .64 .36 1 .36 1 .64 .64 .64 .64 1 .36 1 .36 .64 0 .64 0 .36 .36 .36",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One rectangle of the poster, in whole pixels, so that neighbours meet without a seam."""

    name: str
    box: Box

    def quarters(self) -> list["Tile"]:
        """Return the four tiles that fill this one."""
        left, top, right, bottom = self.box
        columns, rows = (left, (left + right) // 2, right), (top, (top + bottom) // 2, bottom)
        return [
            Tile(
                name=f"{self.name}.{row}{column}",
                box=(columns[column], rows[row], columns[column + 1], rows[row + 1]),
            )
            for row, column in np.ndindex(2, 2)
        ]

    def fitted(self, pieces: list[Piece], *, quarter_turns: int) -> list[Piece]:
        """Return ``pieces``, cut off at the unit square, turned and stretched over this tile."""
        left, top, right, bottom = self.box
        c, s = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarter_turns % 4]
        turn = np.array([(c, s), (-s, c)], dtype=float)
        # A polygon's last row and column are painted too: half a pixel less keeps it in the tile.
        size = (right - left - 0.5, bottom - top - 0.5)
        return [
            Piece(((points.clip(0.0, 1.0) - 0.5) @ turn + 0.5) * size + (left, top), hole)
            for points, hole in pieces
        ]


def geometric(canvas: Canvas, sketch: Sketch) -> list[Layer]:
    """Return the layers of a poster: its tiles in any order, then the emblems."""
    return Poster(canvas, sketch, 4 + sketch.steps // 12).layers()


@dataclass(frozen=True, slots=True)
class Poster:
    """A poster of square tiles."""

    canvas: Canvas
    sketch: Sketch
    across: int
    """Tiles along the shorter side."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return how many rows and columns of tiles there are."""
        side = self.canvas.unit / self.across
        return round(self.canvas.height / side), round(self.canvas.width / side)

    def block(self, name: str, *, row: int, column: int, span: int) -> Tile:
        """Return the tile of ``span`` rows and columns at ``row`` and ``column``."""
        rows, columns = self.shape
        w, h = self.canvas.width / columns, self.canvas.height / rows
        edges = (column * w, row * h, (column + span) * w, (row + span) * h)
        left, top, right, bottom = map(round, edges)
        return Tile(name=name, box=(left, top, right, bottom))

    def layers(self) -> list[Layer]:
        """Return one layer a tile; each step splits one more tile in four."""
        emblems, taken = self._emblems()
        rows, columns = self.shape
        free = [(r, c) for r in range(rows) for c in range(columns) if (r, c) not in taken]
        self.sketch.roll(f"order{self.sketch.steps}").shuffle(free)
        tiles = [self.block(f"tile{r}-{c}", row=r, column=c, span=1) for r, c in free]
        split = min(self.sketch.steps, len(tiles) * 2 // 3)
        parts = [part for tile in tiles[:split] for part in tile.quarters()]
        painted = [partial(self._tile, tile) for tile in [*tiles[split:], *parts]]
        return [self._ground, *painted, *emblems]

    def _emblems(self) -> tuple[list[Layer], set[tuple[int, int]]]:
        """Return the layers of the emblems, and the rows and columns they take."""
        taken: set[tuple[int, int]] = set()
        layers: list[Layer] = []
        for k, subject in enumerate(self.sketch.scene.subjects[:_MOST_EMBLEMS]):
            span = max(2, round(self.across * 0.6)) if k == 0 else 2 if self.across > 5 else 1
            spot = self._spot(f"spot{k}", span, taken)
            if spot is not None:
                row, column = spot
                tile = self.block(f"emblem{k}", row=row, column=column, span=span)
                layers.append(partial(self._emblem, tile, subject))
                taken |= {(row + i, column + j) for i in range(span) for j in range(span)}
        return layers, taken

    def _spot(self, name: str, span: int, taken: set[tuple[int, int]]) -> tuple[int, int] | None:
        """Return a free place of ``span`` by ``span`` tiles, if one is found in a few tries."""
        rows, columns = self.shape
        roll = self.sketch.roll(name)
        for _ in range(30):
            row, column = (int(roll.integers(0, n - span + 1)) for n in (rows, columns))
            cells = {(row + i, column + j) for i in range(span) for j in range(span)}
            if not cells & taken:
                return row, column
        return None

    def _pair(self, roll: np.random.Generator) -> tuple[Lch, Lch]:
        """Return a ground and an ink that can be told apart."""
        swatches = self.sketch.palette.swatches
        weights = np.array([0.2, 0.2, 0.22, 0.16, 0.12, 0.1])
        ground, ink = (swatches[int(k)] for k in roll.choice(6, 2, replace=False, p=weights))
        if abs(ground[0] - ink[0]) < _LEAST_CONTRAST:
            ink = lighter(ink, 0.25 if ground[0] < 0.55 else -0.25)
        return ground, ink

    def _ground(self) -> None:
        sky = self.sketch.palette.sky
        self.canvas.rectangle((0, 0, *self.canvas.image.size), Fade(sky[0], sky[3]))

    def _tile(self, tile: Tile) -> None:
        roll = self.sketch.roll(tile.name)
        ground, ink = self._pair(roll)
        self.canvas.rectangle(tile.box, ground)
        calm = "minimal" in self.sketch.scene.moods or "calm" in self.sketch.scene.moods
        if roll.random() < (0.55 if calm else 0.08):
            return
        motif = drawn(_MOTIFS[int(roll.integers(len(_MOTIFS)))])
        self.canvas.stamp(tile.fitted(motif, quarter_turns=int(roll.integers(4))), ink)

    def _emblem(self, tile: Tile, subject: Subject) -> None:
        """Paint a subject on a disc of its own."""
        ground, disc = self._pair(self.sketch.roll(tile.name))
        colour = self.sketch.colour_of(subject)
        if abs(colour[0] - disc[0]) < _LEAST_CONTRAST * 1.5:
            disc = lighter(disc, 0.35 if colour[0] < 0.5 else -0.35)
        left, top, right, bottom = tile.box
        middle, side = ((left + right) / 2, (top + bottom) / 2), min(right - left, bottom - top)
        self.canvas.rectangle(tile.box, ground)
        ring = ellipse(middle, rx=0.46 * side, ry=0.46 * side, corners=90)
        self.canvas.polygons([ring], Fade(lighter(disc, 0.04), lighter(disc, -0.04)))
        foot = (middle[0], middle[1] + 0.3 * side)
        pieces = placed(drawing(icon_of(subject)), foot=foot, size=0.6 * side)
        self.canvas.stamp(pieces, colour)
