"""The built-in renderer's weather: rain, snow, fog, lightning and lights in the air."""

from functools import partial
from typing import Final

import numpy as np

from genonce.adapters.providers.builtin.canvas import Canvas
from genonce.adapters.providers.builtin.colour import blend, lighter
from genonce.adapters.providers.builtin.noise import fractal
from genonce.adapters.providers.builtin.shapes import Points, ellipses
from genonce.adapters.providers.builtin.sketch import Layer, Sketch

_FOG_GRAIN: Final = 4
_DROPS: Final = 130
_WHITE: Final = (0.98, 0.005, 240.0)


def weather(canvas: Canvas, sketch: Sketch, *, horizon: float) -> list[Layer]:
    """Return what falls or floats in front of the whole picture."""
    scene, batches = sketch.scene, 1 + sketch.steps // 10
    layers: list[Layer] = []
    if "foggy" in scene.moods:
        layers += [partial(fog, canvas, sketch, f"fog{k}", horizon=horizon) for k in range(2)]
    if scene.shows("rain"):
        layers += [partial(_rain, canvas, sketch, k) for k in range(batches)]
    if scene.shows("snow"):
        layers += [partial(_snow, canvas, sketch, k) for k in range(batches)]
    return layers


def fog(canvas: Canvas, sketch: Sketch, name: str, *, horizon: float) -> None:
    """Paint a bank of mist around the horizon."""
    width, height = (max(16, side // _FOG_GRAIN) for side in canvas.image.size)
    drift = fractal(sketch.roll(name), width=width, height=height, cells=3, octaves=4, stretch=3.5)
    at = np.linspace(0.0, canvas.height / horizon, height, dtype=np.float32)[:, None]
    bank = np.exp(-(((at - 1.05) / 0.42) ** 2))
    canvas.veil(bank * (0.36 + 0.34 * drift), lighter(sketch.palette.sky[3], 0.02))


def bolt(canvas: Canvas, sketch: Sketch, *, horizon: float) -> None:
    """Paint a flash of lightning from the clouds to the horizon."""
    roll, turns = sketch.roll("bolt"), 14
    down = np.linspace(0.02, 1.0, turns) * horizon
    start = float(roll.uniform(0.2, 0.8)) * canvas.width
    across = start + np.cumsum(roll.normal(0.0, 0.032, turns)) * canvas.unit
    half = np.linspace(0.006, 0.0015, turns) * canvas.unit
    left, right = (np.stack([across + side * half, down], axis=1) for side in (-1.0, 1.0))
    canvas.glow((start, horizon / 2), radius=0.6 * canvas.unit, colour=_WHITE, strength=0.5)
    canvas.polygons([np.concatenate([left, right[::-1]])], _WHITE)


def motes(canvas: Canvas, sketch: Sketch, batch: int, *, top: float) -> None:
    """Paint small lights between row ``top`` and the bottom: pollen by day, fireflies at night."""
    roll = sketch.roll(f"motes{batch}")
    x, y = roll.uniform((0.0, top), (canvas.width, canvas.height), (9, 2)).T
    radius = np.maximum(0.6, roll.uniform(0.0012, 0.0045, 9) * canvas.unit)
    for size, opacity in ((2.6, 0.16), (1.0, 0.75)):
        dots = ellipses(x=x, y=y, rx=size * radius, ry=size * radius, corners=14)
        canvas.polygons(dots, sketch.palette.light, opacity=opacity)


def _rain(canvas: Canvas, sketch: Sketch, batch: int) -> None:
    roll, unit = sketch.roll(f"rain{batch}"), canvas.unit
    x, y = roll.uniform((-0.1, -0.1), (1.1, 1.0), (_DROPS, 2)).T * [[canvas.width], [canvas.height]]
    long = roll.uniform(0.03, 0.09, _DROPS) * unit
    thin, lean = max(0.7, 0.0022 * unit), 0.22
    drops: list[Points] = [
        np.array([(u, v), (u + thin, v), (u - lean * d + thin, v + d), (u - lean * d, v + d)])
        for u, v, d in zip(x, y, long, strict=True)
    ]
    canvas.polygons(drops, blend(_WHITE, to=sketch.palette.sky[2], amount=0.3), opacity=0.42)


def _snow(canvas: Canvas, sketch: Sketch, batch: int) -> None:
    roll, count = sketch.roll(f"snow{batch}"), 100
    x, y = roll.uniform((0, 0), (canvas.width, canvas.height), (count, 2)).T
    radius = np.maximum(0.6, (0.0015 + 0.008 * roll.random(count) ** 3) * canvas.unit)
    flakes = ellipses(x=x, y=y, rx=radius, ry=radius, corners=14)
    canvas.polygons(flakes, _WHITE, opacity=0.8)
