"""The built-in renderer's canvas: smooth-edged shapes, gradients and glows on one RGB image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from genonce.adapters.providers.builtin.colour import Lch, Rgb, ramp, rgb
from genonce.adapters.providers.builtin.shapes import Piece, Place, Points

Box: TypeAlias = tuple[int, int, int, int]

_OVERSAMPLE: Final = 2


class Fade(NamedTuple):
    """A vertical gradient over what is filled."""

    top: Lch
    bottom: Lch


Fill: TypeAlias = Lch | Fade


@dataclass(frozen=True, slots=True)
class Canvas:
    """An RGB image that is painted in place."""

    image: Image.Image

    @property
    def width(self) -> int:
        """Return the width in pixels."""
        return self.image.width

    @property
    def height(self) -> int:
        """Return the height in pixels."""
        return self.image.height

    @property
    def unit(self) -> float:
        """Return the length that drawings are measured by: the shorter side, in pixels."""
        return float(min(self.image.size))

    def rectangle(self, box: Box, fill: Fill) -> None:
        """Paint the pixels of ``box``: left, top, right and bottom, the last two not included."""
        self.image.paste(_filling(fill, box), box)

    def stamp(self, pieces: Sequence[Piece], fill: Fill, *, opacity: float = 1.0) -> None:
        """Paint the union of ``pieces``, edges smooth; what lies outside the image is cut off."""
        box = self._box([piece.points for piece in pieces])
        if box is not None:
            mask = _mask(pieces, box, level=round(255 * opacity))
            self.image.paste(_filling(fill, box), box, mask)

    def polygons(self, shapes: Sequence[Points], fill: Fill, *, opacity: float = 1.0) -> None:
        """Paint the union of ``shapes``."""
        self.stamp([Piece(shape) for shape in shapes], fill, opacity=opacity)

    def mass(self, shapes: Sequence[Points], fade: Fade, *, solid: int) -> None:
        """Paint the union of ``shapes`` and of every row from ``solid`` down, in one gradient."""
        shown = self._box(shapes)
        first = min(solid, shown[1]) if shown else solid
        if first >= self.height:
            return
        filling = _gradient(fade, (self.width, self.height - first))
        # Only the rows above need a mask: half of the time of a landscape went into masks.
        upper = (0, first, self.width, solid)
        if first < solid:
            mask = _mask([Piece(shape) for shape in shapes], upper, level=255)
            self.image.paste(filling.crop((0, 0, self.width, solid - first)), upper, mask)
        self.image.paste(filling.crop((0, solid - first, *filling.size)), (0, solid))

    def veil(self, strength: NDArray[np.floating[Any]], colour: Lch, *, top: int = 0) -> None:
        """Paint ``colour`` over everything from row ``top`` down.

        Args:
            strength: 0-1, any shape: it is stretched over the area.
            colour: what is painted.
            top: first row; rows from the image's height on paint nothing.
        """
        area = (self.width, self.height - top)
        if area[1] > 0:
            levels = Image.fromarray((strength.clip(0.0, 1.0) * 255.0).astype(np.uint8))
            mask = levels.resize(area, Image.Resampling.BICUBIC)
            self.image.paste(rgb(colour), (0, top, self.width, self.height), mask)

    def glow(self, centre: Place, *, radius: float, colour: Lch, strength: float = 0.8) -> None:
        """Paint a soft light about ``centre`` that ends ``radius`` pixels away."""
        box = _cover(np.add.outer((-radius, radius), centre))
        side = np.linspace(-1.0, 1.0, 64, dtype=np.float32)
        fall = np.clip(1.0 - np.hypot(side[:, None], side[None]), 0.0, 1.0) ** 2
        mask = Image.fromarray((fall * (255.0 * strength)).astype(np.uint8))
        size = (box[2] - box[0], box[3] - box[1])
        self.image.paste(rgb(colour), box, mask.resize(size, Image.Resampling.BICUBIC))

    def _box(self, shapes: Sequence[Points]) -> Box | None:
        """Return the pixels that ``shapes`` may touch, or None where there are none."""
        if not shapes:
            return None
        return self._visible(_cover(np.concatenate(shapes)))

    def _visible(self, box: Box) -> Box | None:
        left, top = max(0, box[0]), max(0, box[1])
        right, bottom = min(self.width, box[2]), min(self.height, box[3])
        return (left, top, right, bottom) if left < right and top < bottom else None


def _cover(corners: Points) -> Box:
    """Return the whole pixels around ``corners``, with one to spare."""
    left, top = np.floor(corners.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(corners.max(axis=0)).astype(int).tolist()
    return (left, top, right + 1, bottom + 1)


def _mask(pieces: Sequence[Piece], box: Box, *, level: int) -> Image.Image:
    """Return how much of each pixel of ``box`` the pieces cover, at most ``level`` (0-255)."""
    size = ((box[2] - box[0]) * _OVERSAMPLE, (box[3] - box[1]) * _OVERSAMPLE)
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    for piece in pieces:
        corners = (piece.points - box[:2]) * _OVERSAMPLE
        pen.polygon(corners.ravel().tolist(), fill=0 if piece.hole else level)
    return mask.reduce(_OVERSAMPLE)


def _filling(fill: Fill, box: Box) -> Image.Image | Rgb:
    """Return what to paste into ``box``: a colour, or an image of its size."""
    if isinstance(fill, Fade):
        return _gradient(fill, (box[2] - box[0], box[3] - box[1]))
    return rgb(fill)


def _gradient(fade: Fade, size: tuple[int, int]) -> Image.Image:
    column = Image.fromarray(ramp(fade, size=size[1])[:, None, :])
    return column.resize(size, Image.Resampling.NEAREST)
