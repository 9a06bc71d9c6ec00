"""Polygons for the built-in renderer: ellipses, curves, strokes and silhouettes."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genonce.adapters.providers.builtin.drawings import DRAWINGS

Points: TypeAlias = NDArray[np.float64]
"""Corners of one polygon: shape (n, 2), x to the right and y down."""
Values: TypeAlias = NDArray[np.float64]
"""One number for each of several shapes: shape (n,)."""
Place: TypeAlias = tuple[float, float]
"""A point: x to the right and y down, in pixels or in a unit square."""


class Piece(NamedTuple):
    """One polygon of a silhouette, added to it or cut out of it."""

    points: Points
    hole: bool = False


def ellipse(
    centre: Place, *, rx: float, ry: float, angle: float = 0.0, corners: int = 40
) -> Points:
    """Return an ellipse as a polygon; ``angle`` in degrees, clockwise."""
    turn = np.linspace(0.0, 2.0 * math.pi, corners, endpoint=False)
    across, down = rx * np.cos(turn), ry * np.sin(turn)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.stack([across * c - down * s, across * s + down * c], axis=1) + centre


def ellipses(*, x: Values, y: Values, rx: Values, ry: Values, corners: int) -> list[Points]:
    """Return one upright ellipse for each place of four lists of equal length."""
    turn = np.linspace(0.0, 2.0 * math.pi, corners, endpoint=False)
    across = x[:, None] + rx[:, None] * np.cos(turn)
    down = y[:, None] + ry[:, None] * np.sin(turn)
    return list(np.stack([across, down], axis=2))


def smooth(points: Points, *, closed: bool, density: int = 6) -> Points:
    """Return a Catmull-Rom curve through ``points``, ``density`` corners for each of them."""
    ends = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    padded = np.concatenate([ends[0], points, ends[1]])
    spans = len(padded) - 3
    p0, p1, p2, p3 = (padded[k : k + spans, None, :] for k in range(4))
    t = np.linspace(0.0, 1.0, density, endpoint=False)[None, :, None]
    curve = p1 + 0.5 * t * (
        p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0))
    )
    flat: Points = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, points[-1:]])


def stroke(path: Points, *, width: float) -> Points:
    """Return the outline of a line along ``path``: ``width`` pixels wide."""
    along = np.gradient(path, axis=0)
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / length[:, None]
    half = normal * (width / 2)
    return np.concatenate([path + half, (path - half)[::-1]])


def drawing(name: str) -> list[Piece]:
    """Return the pieces of the silhouette ``name`` in the unit square.

    Raises:
        KeyError: there is no such drawing.
    """
    return drawn(DRAWINGS[name])


def drawn(text: str) -> list[Piece]:
    """Return the pieces of a drawing's text; its form is that of ``DRAWINGS``."""
    pieces: list[Piece] = []
    for verb, values in _statements(text):
        pieces += [Piece(points, verb[0] == "-") for points in _polygons(verb[-1], values)]
    return pieces


def placed(
    pieces: Iterable[Piece], *, foot: Place, size: float, mirrored: bool = False
) -> list[Piece]:
    """Return ``pieces`` scaled to ``size`` pixels, standing on ``foot``."""
    scale = np.array([-size if mirrored else size, size])
    return [Piece((p - (0.5, 1.0)) * scale + foot, hole) for p, hole in pieces]


def _statements(text: str) -> Iterator[tuple[str, list[float]]]:
    """Yield each statement of a drawing: its verb and its numbers."""
    verb, values = "", list[float]()
    for word in text.split():
        if word.lstrip("-") in ("p", "c", "o", "l"):
            if verb:
                yield verb, values
            verb, values = word, []
        else:
            values.append(float(word))
    yield verb, values


def _polygons(verb: str, values: list[float]) -> list[Points]:
    """Return what one statement draws; a stroke has round ends, so it is three polygons."""
    if verb == "o":
        x, y, rx, ry, *angle = values
        return [ellipse((x, y), rx=rx, ry=ry, angle=angle[0] if angle else 0.0)]
    if verb == "l":
        width, path = values[0], smooth(np.reshape(values[1:], (-1, 2)), closed=False)
        caps = [ellipse((x, y), rx=width / 2, ry=width / 2) for x, y in (path[0], path[-1])]
        return [stroke(path, width=width), *caps]
    points = np.reshape(values, (-1, 2))
    return [smooth(points, closed=True) if verb == "c" else points]
