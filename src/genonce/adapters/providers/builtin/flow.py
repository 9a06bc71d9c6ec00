"""The style "flow" of the built-in renderer: brush strokes that follow a field of currents."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from genonce.adapters.providers.builtin.canvas import Canvas
from genonce.adapters.providers.builtin.colour import Lch, lighter, ramp
from genonce.adapters.providers.builtin.figures import icon_of
from genonce.adapters.providers.builtin.noise import Field, fractal
from genonce.adapters.providers.builtin.shapes import Piece, drawing, placed
from genonce.adapters.providers.builtin.sketch import Layer, Sketch

_FINEST: Final = 256
"""Pixels of the field along the shorter side: it is smooth at any size."""
_OVERSAMPLE: Final = 2
_STROKES: Final = 50
"""Strokes a batch, on a square."""
_POINTS: Final = 11
"""Corners along one stroke."""
_SIZES: Final = (0.6, 0.42, 0.34, 0.3)
"""Size of an emblem by how many there are, beside the shorter side."""
_ALOFT: Final = (
    "sun", "moon", "star", "cloud", "gull", "bird", "balloon", "butterfly", "rainbow", "bolt",
    "desert", "snow", "rain",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Emblem:
    """A subject's silhouette in the field; lengths in pixels of the large image."""

    pieces: list[Piece]
    colour: Lch
    x: float
    y: float
    size: float


def flow(canvas: Canvas, sketch: Sketch) -> list[Layer]:
    """Return the layers of a field: broad strokes first, then finer ones, then the emblems."""
    current = Current.of(canvas, sketch)
    batches = 7 + sketch.steps
    return [
        current.ground,
        *(partial(current.strokes, k, batches=batches) for k in range(batches)),
        *(partial(current.emblem, k) for k in range(len(current.emblems))),
        current.finish,
    ]


@dataclass(frozen=True, slots=True)
class Current:
    """A field of directions and shades, and the large image that strokes are drawn on."""

    canvas: Canvas
    sketch: Sketch
    large: Canvas
    """The picture at twice its size: strokes get smooth edges when it is reduced."""
    emblems: tuple[Emblem, ...]
    direction: NDArray[np.float32]
    """Unit vector (x, y) a cell of the field: shape (rows, columns, 2)."""
    shade: Field
    """0 dark to 1 light, a cell of the field."""
    shades: NDArray[np.uint8]
    """The colours of ``shade``: shape (256, 3)."""

    @staticmethod
    def of(canvas: Canvas, sketch: Sketch) -> "Current":
        """Return the field for ``sketch``."""
        size = (canvas.width * _OVERSAMPLE, canvas.height * _OVERSAMPLE)
        large = Canvas(Image.new("RGB", size))
        emblems = tuple(_emblems(large, sketch))
        grain = max(1.0, canvas.unit / _FINEST)
        shape = (round(canvas.height / grain), round(canvas.width / grain))
        stream = _stream(sketch, shape, emblems, cell=large.height / shape[0])
        down, across = np.gradient(stream)
        along = np.stack([down, -across], axis=2)
        along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-6)
        palette = sketch.palette
        stops = sorted((palette.near, palette.far, *palette.sky, palette.light))
        shade = _shade(sketch, stream)
        return Current(canvas, sketch, large, emblems, along, shade, ramp(stops))

    def ground(self) -> None:
        """Paint the shades alone, soft."""
        small = Image.fromarray((self.shade * 255.0).astype(np.uint8))
        small.putpalette(self.shades.tobytes())
        # Smooth to the picture's own size, and only then to the large one's: four times as fast.
        soft = small.convert("RGB").resize(self.canvas.image.size, Image.Resampling.BILINEAR)
        self.large.image.paste(soft.resize(self.large.image.size, Image.Resampling.NEAREST))

    def strokes(self, batch: int, *, batches: int) -> None:
        """Paint one batch of strokes, finer the later it comes."""
        roll, late = self.sketch.roll(f"strokes{batch}"), batch / batches
        unit, size = self.large.unit, self.large.image.size
        count = round(_STROKES * max(size) / min(size) * (0.7 + 0.6 * late))
        starts = roll.uniform((0.0, 0.0), size, (count, 2))
        paths = self._paths(starts, length=unit * (0.20 - 0.10 * late))
        widths = unit * (0.020 - 0.0155 * late**0.7) * roll.uniform(0.5, 1.3, count)
        level = self._at(self.shade, starts) * 255.0 + roll.normal(0.0, 22.0, count)
        colours = self.shades[level.clip(0, 255).astype(np.intp)]
        bright = roll.random(count) < 0.05
        colours[bright] = ramp((self.sketch.palette.accent,) * 2, size=1)[0]
        self._draw(self.large.image, _outlines(paths, widths=widths), colours)

    def emblem(self, k: int) -> None:
        """Paint one subject: its silhouette, filled with strokes of its own colour."""
        emblem = self.emblems[k]
        dark = emblem.colour[0] < 0.6
        halo = self.sketch.palette.light if dark else self.sketch.palette.near
        self.large.glow((emblem.x, emblem.y), radius=0.85 * emblem.size, colour=halo, strength=0.9)
        roll, half = self.sketch.roll(f"emblem{k}"), emblem.size / 2
        centre, count = (emblem.x, emblem.y), 40 + round(110 * emblem.size / self.large.unit)
        paths = self._paths(
            roll.uniform(-half, half, (count, 2)) + centre, length=0.22 * emblem.size
        )
        tones = ramp((lighter(emblem.colour, -0.09), lighter(emblem.colour, 0.13)), size=32)
        colours = tones[roll.integers(0, 32, count)]
        widths = emblem.size * roll.uniform(0.01, 0.036, count)
        box = (
            round(emblem.x - half),
            round(emblem.y - half),
            round(emblem.x + half),
            round(emblem.y + half),
        )
        filled = Image.new("RGB", (box[2] - box[0], box[3] - box[1]), tuple(tones[14].tolist()))
        corner = np.array(box[:2])
        self._draw(filled, _outlines(paths - corner, widths=widths), colours)
        self.large.image.paste(filled, box, _mask(emblem.pieces, corner, filled.size))

    def finish(self) -> None:
        """Bring the large image down to the size of the picture."""
        self.canvas.image.paste(self.large.image.reduce(_OVERSAMPLE))

    def _at(self, field: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the values of ``field`` at ``places`` of the large image: shape (n, ...)."""
        rows, columns = field.shape[:2]
        column = (places[:, 0] * (columns / self.large.width)).clip(0, columns - 1)
        row = (places[:, 1] * (rows / self.large.height)).clip(0, rows - 1)
        values: NDArray[np.float32] = field[row.astype(np.intp), column.astype(np.intp)]
        return values

    def _paths(self, starts: NDArray[np.float64], *, length: float) -> NDArray[np.float64]:
        """Return where the current carries each start: shape (n, points, 2)."""
        places = [starts]
        for _ in range(_POINTS - 1):
            here = places[-1]
            places.append(here + self._at(self.direction, here) * (length / _POINTS))
        return np.stack(places, axis=1)

    def _draw(
        self, image: Image.Image, outlines: NDArray[np.float64], colours: NDArray[np.uint8]
    ) -> None:
        pen = ImageDraw.Draw(image)
        flat = outlines.reshape(len(outlines), -1)
        for corners, colour in zip(flat.tolist(), colours.tolist(), strict=True):
            pen.polygon(corners, fill=tuple(colour))


def _emblems(large: Canvas, sketch: Sketch) -> list[Emblem]:
    """Return where the subjects go: side by side, what flies above what stands."""
    shown = sketch.scene.subjects[: len(_SIZES)]
    emblems: list[Emblem] = []
    for k, subject in enumerate(shown):
        roll, share = sketch.roll(f"at{k}"), 0.75 * max(large.image.size) / len(shown)
        size = max(large.unit * _SIZES[len(shown) - 1], min(large.unit * _SIZES[0], share))
        level = 0.5 if len(shown) == 1 else 0.32 if subject.name in _ALOFT else 0.66
        along = 0.08 + 0.84 * (k + 0.5) / len(shown)
        place = (0.5, along) if large.height > 1.4 * large.width else (along, level)
        x, y = (place + roll.uniform(-0.04, 0.04, 2)) * large.image.size
        pieces = placed(drawing(icon_of(subject)), foot=(x, y + size / 2), size=size)
        colour = sketch.colour_of(subject)
        emblems.append(Emblem(pieces=pieces, colour=colour, x=x, y=y, size=size))
    return emblems


def _stream(
    sketch: Sketch, shape: tuple[int, int], emblems: tuple[Emblem, ...], *, cell: float
) -> Field:
    """Return the stream function: strokes run along its contours, and around every emblem."""
    height, width = shape
    roll = sketch.roll("stream")
    stream = fractal(roll, width=width, height=height, cells=1.7, octaves=3)
    down = np.arange(height, dtype=np.float32)[:, None] * np.float32(cell)
    across = np.arange(width, dtype=np.float32) * np.float32(cell)
    for emblem in emblems:
        off = np.hypot(across - emblem.x, down - emblem.y) / (0.7 * emblem.size)
        stream += 1.6 * np.exp(-off * off)
    return stream


def _shade(sketch: Sketch, stream: Field) -> Field:
    """Return noise bent by the stream, darker towards the top or the bottom, from 0 to 1."""
    height, width = stream.shape
    roll = sketch.roll("shade")
    noise = fractal(roll, width=width, height=height, cells=1.5, octaves=4)
    reach = 0.16 * min(stream.shape)
    down, across = np.ogrid[0:height, 0:width]
    row = (down + reach * stream).astype(np.intp).clip(0, height - 1)
    column = (across - reach * stream).astype(np.intp).clip(0, width - 1)
    slope = np.linspace(-0.5, 0.5, height)[:, None] * roll.choice((-1.0, 1.0))
    bent = noise[row, column] + slope
    shade: Field = ((bent - bent.min()) / (np.ptp(bent) + 1e-6)).astype(np.float32)
    return shade


def _outlines(paths: NDArray[np.float64], *, widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each path as a tapered stroke: shape (n, 2 * points, 2)."""
    along = np.gradient(paths, axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-9)
    normal = np.stack([-along[..., 1], along[..., 0]], axis=2)
    taper = np.sin(np.linspace(0.05, np.pi - 0.05, paths.shape[1])) ** 0.7
    half = normal * (widths[:, None] * taper / 2)[..., None]
    return np.concatenate([paths + half, (paths - half)[:, ::-1]], axis=1)


def _mask(pieces: list[Piece], corner: NDArray[np.int_], size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    for piece in pieces:
        pen.polygon((piece.points - corner).ravel().tolist(), fill=0 if piece.hole else 255)
    return mask
