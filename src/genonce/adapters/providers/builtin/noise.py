"""Chance for the built-in renderer: named streams of random numbers, and smooth value noise."""

import hashlib
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field: TypeAlias = NDArray[np.float32]
"""One value a pixel: shape (height, width)."""


class Dice(msgspec.Struct, frozen=True, kw_only=True):
    """Random streams by name, so that leaving one part of a picture out moves no other."""

    key: bytes

    def roll(self, name: str) -> np.random.Generator:
        """Return the stream ``name``, from its start."""
        digest = hashlib.sha256(self.key + name.encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16])))


def dice_for(prompt: str, *, seed: int) -> Dice:
    """Return the streams of one prompt and seed."""
    return Dice(key=hashlib.sha256(f"{seed}\x1f{prompt}".encode("utf-8", "replace")).digest())


def octave(
    roll: np.random.Generator, *, width: int, height: int, cells: float, stretch: float = 1.0
) -> Field:
    """Return one layer of smooth noise, about -1 to 1.

    Args:
        roll: where the grid's values come from.
        width: in pixels.
        height: in pixels.
        cells: grid cells along the shorter side.
        stretch: how many times wider than high a cell is.
    """
    cell = min(width, height) / cells
    columns = max(1, min(width, round(width / (cell * stretch))))
    rows = max(1, min(height, round(height / cell)))
    grid = roll.uniform(-1.0, 1.0, size=(rows + 4, columns + 4)).astype(np.float32)
    # The two cells left around the box keep the filter's edges out of the picture.
    box = (2, 2, columns + 2, rows + 2)
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image)


def fractal(
    roll: np.random.Generator,
    *,
    width: int,
    height: int,
    cells: float,
    octaves: int,
    stretch: float = 1.0,
) -> Field:
    """Return ``octaves`` layers of noise, each twice as fine and half as strong: about -1 to 1."""
    total = np.zeros((height, width), np.float32)
    for k in range(octaves):
        layer = octave(roll, width=width, height=height, cells=cells * 2**k, stretch=stretch)
        total += layer * np.float32(0.5**k)
    return total


def profile(roll: np.random.Generator, *, at: Field, octaves: int, ridged: bool = False) -> Field:
    """Return a height for each place of ``at``, about -1 to 1.

    Args:
        roll: where the heights come from.
        at: places along the line, in cells of the first octave.
        octaves: how many layers; each twice as fine.
        ridged: sharp tops in place of round ones.
    """
    total = np.zeros_like(at)
    for k in range(octaves):
        place = (at - at.min()) * 2**k
        cell = np.floor(place).astype(np.intp)
        knots = roll.uniform(-1.0, 1.0, size=int(cell.max()) + 2).astype(np.float32)
        t = place - cell
        layer = knots[cell] + (knots[cell + 1] - knots[cell]) * t * t * (3.0 - 2.0 * t)
        total += (1.0 - 2.0 * np.abs(layer) if ridged else layer) * np.float32(0.48**k)
    return total
