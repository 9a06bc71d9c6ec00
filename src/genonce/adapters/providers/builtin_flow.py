"""The style "flow" of the built-in renderer: brush strokes that follow a field of currents."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from genonce.adapters.providers.builtin_canvas import Canvas
from genonce.adapters.providers.builtin_colour import Lch, blend, lighter, ramp, rgb
from genonce.adapters.providers.builtin_figures import icon_of
from genonce.adapters.providers.builtin_noise import Field, fractal
from genonce.adapters.providers.builtin_shapes import Piece, drawing, placed, stroke
from genonce.adapters.providers.builtin_sketch import Layer, Sketch

_FINEST: Final = 256
"""Pixels of the field along the shorter side: it is smooth at any size."""
_OVERSAMPLE: Final = 2
_STROKES: Final = 64
"""Strokes a batch, on a square."""
_POINTS: Final = 14
"""Corners along one stroke."""
_MOST_EMBLEMS: Final = 4
_NOWHERE: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Emblem:
    """A subject's silhouette in the field."""

    pieces: list[Piece]
    colour: Lch
    x: float
    y: float
    size: float


def flow(canvas: Canvas, sketch: Sketch) -> list[Layer]:
    """Return the layers of a field: broad strokes first, then finer ones, then the emblems."""
    current = Current.of(canvas, sketch)
    batches = max(8, sketch.steps)
    return [
        current.ground,
        *(partial(current.strokes, k, batches) for k in range(batches)),
        *(partial(current.emblem, k) for k in range(len(current.emblems))),
        current.finish,
    ]
