"""The style "mosaic" of the built-in renderer: a view laid in stones of uneven shape."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genonce.adapters.providers.builtin.canvas import Canvas
from genonce.adapters.providers.builtin.colour import blend, rgb
from genonce.adapters.providers.builtin.landscape import landscape
from genonce.adapters.providers.builtin.noise import Field
from genonce.adapters.providers.builtin.sketch import Layer, Sketch

_SCOUT: Final = 224
"""Shorter side, in pixels, of the view that gives the stones their colours."""
_MARGIN: Final = 2
"""Stones around the picture, so that every pixel has its neighbours."""
_GROUT: Final = 0.05
"""Width of the joints, beside a stone's."""


def mosaic(canvas: Canvas, sketch: Sketch) -> list[Layer]:
    """Return the layers of a mosaic: first the view, then its stones row by row."""
    scale = min(1.0, _SCOUT / canvas.unit)
    size = (max(8, round(canvas.width * scale)), max(8, round(canvas.height * scale)))
    view = Canvas(Image.new("RGB", size))
    floor = Floor.of(canvas, sketch, view)
    bands = min(canvas.height, max(12, sketch.steps))
    edges = [canvas.height * k // bands for k in range(bands + 1)]
    laid = [partial(floor.lay, range(*rows)) for rows in pairwise(edges)]
    return [*landscape(view, sketch), floor.choose, *laid]


@dataclass(frozen=True, slots=True)
class Floor:
    """The stones of one mosaic: one in each cell of a grid, anywhere in its cell."""

    canvas: Canvas
    view: Canvas
    side: float
    """Of a cell, in pixels."""
    x: Field
    """Middle of each stone in pixels: shape (rows, columns) of cells, the margin included."""
    y: Field
    tone: Field
    """How much lighter or darker each stone is than the view: about -0.1 to 0.1."""
    grout: NDArray[np.float32]
    """Colour of the joints: red, green and blue, 0-255."""
    colours: NDArray[np.float32]
    """Colour of each stone, in the grid's order, once it is chosen: shape (n, 3)."""

    @staticmethod
    def of(canvas: Canvas, sketch: Sketch, view: Canvas) -> "Floor":
        """Return the stones for ``sketch``: smaller ones for more steps."""
        across = min(26.0 + 1.3 * sketch.steps, canvas.unit / 4.5)
        side = canvas.unit / across
        shape = (int(canvas.height / side) + 2 * _MARGIN, int(canvas.width / side) + 2 * _MARGIN)
        roll = sketch.roll("stones")
        row, column = np.mgrid[0 : shape[0], 0 : shape[1]] - _MARGIN + 0.5
        x, y = (
            ((place + roll.uniform(-0.42, 0.42, shape)) * side).astype(np.float32)
            for place in (column, row)
        )
        tone = roll.normal(0.0, 0.045, shape).astype(np.float32)
        joint = blend(sketch.palette.near, to=(0.34, 0.02, 60.0), amount=0.5)
        grout = np.array(rgb(joint), np.float32)
        colours = np.zeros((x.size, 3), np.float32)
        return Floor(canvas, view, side, x, y, tone, grout, colours)

    def choose(self) -> None:
        """Give every stone the colour that the view shows at its middle."""
        seen = np.asarray(self.view.image)
        scale = self.view.width / self.canvas.width
        row = (self.y.ravel() * scale).astype(np.intp).clip(0, seen.shape[0] - 1)
        column = (self.x.ravel() * scale).astype(np.intp).clip(0, seen.shape[1] - 1)
        self.colours[:] = seen[row, column] * (1.0 + self.tone.ravel()[:, None])

    def lay(self, rows: range) -> None:
        """Paint some rows of pixels."""
        nearest, second, stone = self._nearest(rows)
        gap = np.sqrt(second) - np.sqrt(nearest)
        joint = np.float32(max(0.8, _GROUT * self.side * 2.0))
        # One pixel of slope on both sides of the joint's edge keeps it smooth.
        cover = ((gap - joint) * np.float32(0.5) + np.float32(0.5)).clip(0.0, 1.0)
        painted = self.colours.take(stone, axis=0)
        painted *= (self._relief(stone, rows) * cover)[..., None]
        painted += self.grout * (1.0 - cover)[..., None]
        band = Image.fromarray(painted.clip(0.0, 255.0).astype(np.uint8))
        self.canvas.image.paste(band, (0, rows.start))

    def _nearest(self, rows: range) -> tuple[Field, Field, NDArray[np.int32]]:
        """Return the squared distance to the two nearest stones, and the index of the nearest."""
        py, px = self._pixels(rows)
        row = (py[:, 0] / self.side).astype(np.intp) + _MARGIN
        column = (px[0] / self.side).astype(np.intp) + _MARGIN
        nearest = np.full((len(row), len(column)), np.inf, np.float32)
        second, stone = nearest.copy(), np.zeros(nearest.shape, np.int32)
        grid = np.arange(self.x.size, dtype=np.int32).reshape(self.x.shape)
        for dy, dx in np.ndindex(3, 3):
            x, y, index = (
                values.take(row + dy - 1, axis=0).take(column + dx - 1, axis=1)
                for values in (self.x, self.y, grid)
            )
            distance = (px - x) ** 2 + (py - y) ** 2
            np.copyto(stone, index, where=distance < nearest)
            np.minimum(second, np.maximum(nearest, distance), out=second)
            np.minimum(nearest, distance, out=nearest)
        return nearest, second, stone

    def _relief(self, stone: NDArray[np.int32], rows: range) -> Field:
        """Return how light falls on each pixel: brighter on a stone's upper left."""
        py, px = self._pixels(rows)
        off = px + py - (self.x + self.y).ravel().take(stone)
        relief: Field = np.float32(1.0) - off * np.float32(0.11 / self.side)
        return relief

    def _pixels(self, rows: range) -> tuple[Field, Field]:
        """Return the middle of each pixel: its rows as a column, its columns as a row."""
        py = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5)
        px = np.arange(self.canvas.width, dtype=np.float32)[None] + np.float32(0.5)
        return py, px
