"""The built-in renderer's sky: gradient, clouds, stars, and the sun, the moon or a sign in it."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from PIL import Image

from genonce.adapters.providers.builtin.canvas import Canvas
from genonce.adapters.providers.builtin.colour import Lch, blend, lighter, ramp
from genonce.adapters.providers.builtin.lexicon import Subject
from genonce.adapters.providers.builtin.noise import Field, fractal, octave
from genonce.adapters.providers.builtin.shapes import (
    Place,
    Points,
    drawing,
    ellipse,
    ellipses,
    placed,
    stroke,
)
from genonce.adapters.providers.builtin.sketch import Layer, Sketch

# Clouds and gradients are smooth: this many pixels on the shorter side are enough at any size.
_FINEST: Final = 256
_STARS_A_BATCH: Final = 130
_DARK_SKY: Final = 0.42
_RAINBOW_HUES: Final = (25.0, 55.0, 95.0, 145.0, 220.0, 265.0, 305.0)
_SIGNS: Final = ("heart", "eye")


@dataclass(frozen=True, slots=True)
class Sky:
    """The sky of one picture, above and behind everything else."""

    canvas: Canvas
    sketch: Sketch
    horizon: float
    """Row where the ground begins, in pixels."""
    clouds: Field
    """Height of the clouds so far, at their own scale."""

    @staticmethod
    def over(canvas: Canvas, sketch: Sketch, *, horizon: float) -> "Sky":
        """Return the sky of ``canvas``, without a cloud yet."""
        grain = max(1.0, canvas.unit / _FINEST)
        size = (round(canvas.height / grain), round(canvas.width / grain))
        return Sky(canvas, sketch, horizon, np.zeros(size, np.float32))

    @property
    def is_dark(self) -> bool:
        """Tell whether stars can be seen."""
        return self.sketch.palette.sky[1][0] < _DARK_SKY

    @property
    def sun(self) -> Place:
        """Return where the light comes from, in pixels; low where the horizon is the brightest."""
        roll = self.sketch.roll("sun")
        low = self.sketch.palette.light[1] > 0.075 and not self.is_dark
        height = roll.uniform(0.62, 0.86) if low else roll.uniform(0.24, 0.48)
        return float(self.canvas.width * roll.uniform(0.22, 0.78)), float(self.horizon * height)

    def layers(self) -> list[Layer]:
        """Return the work on the sky, from the back to the front."""
        octaves = 3 + min(3, self.sketch.steps // 8)
        growing = [partial(self._grow, k) for k in range(octaves)]
        lights: list[Layer] = [partial(self._stars, k) for k in range(self._star_batches())]
        if self.is_dark and self.sketch.scene.shows("star"):
            lights.append(self._milky_way)
        if self.sketch.scene.shows("rainbow"):
            lights.append(self._rainbow)
        back: list[Layer] = [self._gradient, *lights, self._shine, self._body]
        return [*back, *growing, self._cover, *self._signs()]

    def _gradient(self) -> None:
        height, width = self.clouds.shape
        down = np.linspace(0.0, self.canvas.height / self.horizon, height, dtype=np.float32)
        waver = octave(
            self.sketch.roll(f"waver{self.sketch.steps}"),
            width=width,
            height=height,
            cells=2,
            stretch=2,
        )
        at = (np.sqrt(down.clip(0.0, 1.0)) ** 1.6)[:, None] + 0.05 * waver
        small = Image.fromarray((at.clip(0.0, 1.0) * 255.0).astype(np.uint8))
        small.putpalette(ramp(self.sketch.palette.sky).tobytes())
        smooth = small.convert("RGB").resize(self.canvas.image.size, Image.Resampling.BICUBIC)
        self.canvas.image.paste(smooth)

    def _star_batches(self) -> int:
        if not self.is_dark or "star" in self.sketch.scene.banned:
            return 0
        return 1 + self.sketch.steps // 10 + 2 * self.sketch.scene.shows("star")

    def _stars(self, batch: int) -> None:
        roll = self.sketch.roll(f"stars{batch}")
        grain = self.canvas.unit / 512.0
        # A star is half a pixel at the least: a small sky has room for fewer.
        count = round(_STARS_A_BATCH * min(1.0, 0.1 + grain))
        places = roll.uniform((0.0, 0.0), (self.canvas.width, self.horizon), (count, 2))
        sizes = np.maximum(0.45, grain * (0.4 + 1.3 * roll.random(count) ** 4))
        dots = ellipses(x=places[:, 0], y=places[:, 1], rx=sizes, ry=sizes, corners=8)
        colour = lighter(self.sketch.palette.light, 0.04)
        self.canvas.polygons(dots, colour, opacity=0.45 + 0.5 * float(roll.random()))
        x, y = places[0].tolist()
        self.canvas.polygons(_sparkle((x, y), size=9.0 * grain), colour, opacity=0.9)

    def _milky_way(self) -> None:
        height, width = self.clouds.shape
        roll = self.sketch.roll("milky")
        down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
        lean = np.float32(roll.uniform(-0.6, 0.6))
        off = across - 0.5 - lean * (down - 0.4)
        dust = fractal(roll, width=width, height=height, cells=4, octaves=4)
        band = np.exp(-((off / 0.16) ** 2)) * (0.34 + 0.3 * dust) * (1.0 - down)
        self.canvas.veil(
            band,
            blend(self.sketch.palette.light, to=self.sketch.palette.sky[3], amount=0.5),
        )

    def _rainbow(self) -> None:
        unit, turn = self.canvas.unit, np.linspace(np.pi, 2.0 * np.pi, 60)
        arc = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        for k, hue in enumerate(_RAINBOW_HUES):
            path = arc * unit * (0.56 - 0.022 * k) + (
                self.canvas.width / 2,
                self.horizon + 0.06 * unit,
            )
            self.canvas.polygons(
                [stroke(path, width=0.023 * unit)], (0.78, 0.16, hue), opacity=0.55
            )

    def _shine(self) -> None:
        x, y = self.sun
        palette, reach = self.sketch.palette, max(self.canvas.width, self.canvas.height)
        strength = 0.35 if self.is_dark else 0.6
        self.canvas.glow((x, y), radius=0.75 * reach, colour=palette.sky[3], strength=strength)
        self.canvas.glow((x, y), radius=0.3 * self.canvas.unit, colour=palette.light, strength=0.75)

    def _signs(self) -> list[Layer]:
        """Return the signs the words ask for: they take the place of the sun and the moon."""
        asked = [subject for subject in self.sketch.scene.subjects if subject.name in _SIGNS]
        return [partial(self._sign, subject) for subject in asked[:1]]

    def _sign(self, subject: Subject) -> None:
        x, _ = self.sun
        size = 0.46 * self.canvas.unit
        foot = max(size * 1.1, self.horizon - 0.04 * self.canvas.unit)
        self.canvas.glow((x, foot - size / 2), radius=size, colour=self.sketch.palette.light)
        sign = placed(drawing(subject.name), foot=(x, foot), size=size)
        self.canvas.stamp(sign, self.sketch.colour_of(subject))

    def _body(self) -> None:
        scene = self.sketch.scene
        if self._signs():
            return
        if self.is_dark and "moon" not in scene.banned:
            self._moon()
        elif not self.is_dark and "sun" not in scene.banned:
            self._sun()

    def _sun(self) -> None:
        x, y = self.sun
        radius = self.canvas.unit * (0.115 if self.sketch.scene.shows("sun") else 0.07)
        disc = ellipse((x, y), rx=radius, ry=radius, corners=80)
        self.canvas.polygons([disc], self._worn(self.sketch.palette.light))

    def _worn(self, colour: Lch) -> Lch:
        """Return the colour of the sun or the moon: its own, unless the prompt names another."""
        found = [s for s in self.sketch.scene.subjects if s.name in ("sun", "moon") and s.colour]
        return self.sketch.colour_of(found[0]) if found else colour

    def _moon(self) -> None:
        roll, (x, y) = self.sketch.roll("moon"), self.sun
        colour = self._worn(self.sketch.palette.light)
        size = self.canvas.unit * (0.22 if self.sketch.scene.shows("moon") else 0.13)
        if roll.random() < 0.4:
            crescent = placed(drawing("moon"), foot=(x, y + size / 2), size=size)
            self.canvas.stamp(crescent, colour)
            return
        radius = size / 2
        self.canvas.polygons([ellipse((x, y), rx=radius, ry=radius, corners=80)], colour)
        spots = roll.uniform(-0.5, 0.5, (6, 2)) * radius * 1.1 + (x, y)
        wide = roll.uniform(0.1, 0.3, 6) * radius
        seas = ellipses(x=spots[:, 0], y=spots[:, 1], rx=wide, ry=0.85 * wide, corners=30)
        self.canvas.polygons(
            seas, blend(colour, to=self.sketch.palette.sky[1], amount=0.4), opacity=0.35
        )

    def _grow(self, k: int) -> None:
        """Add one octave to the clouds; another number of steps has other clouds."""
        height, width = self.clouds.shape
        roll = self.sketch.roll(f"cloud{k}-{self.sketch.steps}")
        layer = octave(roll, width=width, height=height, cells=2.6 * 2**k, stretch=2.6)
        self.clouds[:] += layer * np.float32(0.55**k)

    def _cover(self) -> None:
        """Paint the clouds: bright where they are thick, in shade on the side without light."""
        scene, palette = self.sketch.scene, self.sketch.palette
        if "minimal" in scene.moods or "cloud" in scene.banned:
            return
        asked = 0.34 * scene.shows("cloud", "rain", "snow") + 0.5 * ("stormy" in scene.moods)
        bare = 0.42 - asked + float(self.sketch.roll("bare").uniform(-0.12, 0.2))
        thick = ((self.clouds - bare) / 0.8).clip(0.0, 1.0)
        down = np.linspace(0.0, self.canvas.height / self.horizon, len(thick), dtype=np.float32)
        thick *= (1.15 - down).clip(0.0, 1.0)[:, None] ** 0.7
        shade = np.roll(thick, -max(1, len(thick) // 40), axis=0)
        storm = "stormy" in scene.moods
        lit = blend(palette.light, to=palette.sky[2], amount=0.75 if self.is_dark or storm else 0.3)
        self.canvas.veil(thick * (0.5 if self.is_dark else 0.9), lit)
        dim = blend(palette.sky[0], to=palette.sky[1], amount=0.4 if storm else 0.8)
        self.canvas.veil(shade * thick * (1.0 if storm else 0.55), dim)


def _sparkle(centre: Place, *, size: float) -> list[Points]:
    """Return a four-pointed star as two thin rhombs."""
    (x, y), thin = centre, size * 0.12
    across = np.array([(x - size, y), (x, y - thin), (x + size, y), (x, y + thin)])
    down = np.array([(x - thin, y), (x, y - size), (x + thin, y), (x, y + size)])
    return [across, down]
