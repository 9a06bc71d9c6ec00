"""The style "landscape" of the built-in renderer: a view in layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from genonce.adapters.providers.builtin.canvas import Canvas
from genonce.adapters.providers.builtin.colour import Lch, blend, lighter
from genonce.adapters.providers.builtin.figures import AFLOAT, STANDING, Figures
from genonce.adapters.providers.builtin.land import Land, Ridge
from genonce.adapters.providers.builtin.palette import NAMED
from genonce.adapters.providers.builtin.shapes import Points, Values
from genonce.adapters.providers.builtin.sketch import Layer, Sketch
from genonce.adapters.providers.builtin.sky import Sky
from genonce.adapters.providers.builtin.weather import bolt, fog, motes, weather

_TERRAINS: Final = ("mountain", "sea", "forest", "field", "city", "desert")
_TERRAIN_CHANCES: Final = {"mountain": 0.36, "sea": 0.2, "forest": 0.2, "field": 0.24}
_BLADES: Final = 34
"""Blades of grass a batch."""


def landscape(canvas: Canvas, sketch: Sketch) -> list[Layer]:
    """Return the layers of a view: at least one for each step."""
    view = View.of(canvas, sketch)
    layers = [*view.sky.layers(), *view.distance(), *view.middle(), *view.foreground()]
    layers += weather(canvas, sketch, horizon=view.sky.horizon)
    spare = max(3, sketch.steps - len(layers))
    return [*layers, *(view.detail(k) for k in range(spare))]


@dataclass(frozen=True, slots=True)
class View:
    """What a landscape is composed of."""

    canvas: Canvas
    sketch: Sketch
    sky: Sky
    land: Land
    terrains: frozenset[str]

    @staticmethod
    def of(canvas: Canvas, sketch: Sketch) -> "View":
        """Return the composition for ``sketch``."""
        horizon = canvas.height * float(sketch.roll("horizon").uniform(0.56, 0.66))
        sky = Sky.over(canvas, sketch, horizon=horizon)
        land = Land(canvas, sketch, horizon, sky.sun[0])
        return View(canvas, sketch, sky, land, _terrains(sketch))

    def colour(self, nearness: float) -> Lch:
        """Return the colour of ground at ``nearness`` (0 the horizon, 1 the foreground)."""
        palette = self.sketch.palette
        ground = blend(palette.far, to=palette.near, amount=nearness)
        if "desert" in self.terrains and not self.sketch.scene.colours:
            ground = blend(ground, to=(ground[0] + 0.08, 0.11, 65.0), amount=0.75)
        if self.sketch.scene.shows("snow"):
            ground = blend(ground, to=(0.94, 0.015, 240.0), amount=0.55 * nearness + 0.15)
        return ground

    def distance(self) -> Iterator[Layer]:
        """Yield the far ridges, each with mist at its foot, and a bolt behind them."""
        if self.sketch.scene.shows("bolt"):
            yield partial(bolt, self.canvas, self.sketch, horizon=self.sky.horizon)
        high = "mountain" in self.terrains
        if not high and self.terrains & {"city", "sea", "desert"}:
            return
        count = 2 + self.sketch.steps // 16
        for k in range(count):
            yield partial(self._far, k, count=count, high=high)
            if k < count - 1 and high:
                yield partial(fog, self.canvas, self.sketch, f"mist{k}", horizon=self.sky.horizon)

    def _far(self, k: int, *, count: int, high: bool) -> None:
        unit, near = self.canvas.unit, k / count
        ridge = Ridge(
            name=f"far{k}",
            base=self.sky.horizon - unit * (0.13 - 0.12 * near if high else 0.03 - 0.04 * near),
            rise=unit * (0.17 - 0.07 * near if high else 0.045),
            cells=(2.2 if high else 1.6) + 1.2 * near,
            colour=self.colour(0.06 + 0.36 * near),
            ridged=high,
            octaves=4 + min(3, self.sketch.steps // 10),
        )
        (self.land.mountain if high else self.land.hill)(ridge)

    def middle(self) -> Iterator[Layer]:
        """Yield what lies between the horizon and the foreground."""
        if "city" in self.terrains:
            yield from (partial(self._town, k) for k in range(3))
        if "sea" in self.terrains:
            yield self.land.water
            yield from (partial(self.land.glints, k) for k in range(2 + self.sketch.steps // 6))
            return
        count = 2 + self.sketch.steps // 12
        yield from (partial(self._hill, k, count=count) for k in range(count))

    def _town(self, k: int) -> None:
        unit = self.canvas.unit
        base = self.sky.horizon + unit * 0.04 * k
        colour = self.colour(0.1 + 0.32 * k)
        ridge = Ridge(name=f"town{k}", base=base, rise=0.0, cells=1.0, colour=colour)
        lit = (0.0, 0.16, 0.3)[k] * (1.6 if self.sky.is_dark else 0.7)
        width, tallest = unit * (0.045 + 0.022 * k), unit * (0.42 - 0.08 * k)
        self.land.town(ridge, width=width, tallest=tallest, lit=lit)

    def _hill(self, k: int, *, count: int) -> None:
        near = (k + 0.6) / count
        unit, depth = self.canvas.unit, self.canvas.height - self.sky.horizon
        smooth = "desert" in self.terrains
        ridge = Ridge(
            name=f"hill{k}",
            base=self.sky.horizon + depth * 0.62 * (k / count) ** 1.2 + 0.02 * unit,
            rise=unit * (0.03 + 0.02 * near),
            cells=1.3 + 0.5 * (k % 2),
            colour=self.colour(0.3 + 0.5 * near),
            octaves=2 if smooth else 3,
        )
        if "forest" in self.terrains:
            wide = self.canvas.width / unit
            trees = int(wide * (58 - 22 * near) * (0.6 + self.sketch.steps / 50))
            self.land.wood(ridge, trees=trees, size=unit * (0.06 + 0.13 * near))
        else:
            self.land.hill(ridge)

    @property
    def near_ridge(self) -> Ridge | None:
        """Return the ground at the front, or None where the water reaches to the bottom."""
        shows, unit = self.sketch.scene.shows, self.canvas.unit
        if "sea" in self.terrains and not shows(*STANDING):
            return None
        base = 0.875 if shows(*STANDING) else 0.93
        return Ridge(
            name="near",
            base=self.canvas.height * base,
            rise=0.028 * unit,
            cells=1.1,
            colour=self.colour(0.94),
            octaves=2 if "desert" in self.terrains else 5,
        )

    def foreground(self) -> Iterator[Layer]:
        """Yield the nearest ground and the figures."""
        ridge = self.near_ridge
        crest = None
        if ridge is not None:
            yield partial(self.land.hill, ridge)
            crest = self.land.crest(ridge)
        yield from Figures(self.canvas, self.sketch, crest, self.sky.horizon).layers()

    def detail(self, k: int) -> Layer:
        """Return the ``k``-th finishing touch: it is what more steps add."""
        ridge = self.near_ridge
        if "sea" in self.terrains and (ridge is None or k % 2):
            return partial(self.land.glints, 100 + k)
        bare = "desert" in self.terrains or "field" in self.sketch.scene.banned
        if ridge is None or bare or k % 3 == 2:
            return partial(motes, self.canvas, self.sketch, k, top=self.sky.horizon)
        return partial(self._grass, ridge, k)

    def _grass(self, ridge: Ridge, batch: int) -> None:
        """Paint tufts of grass in front of the nearest ground, with flowers in a field."""
        roll, unit = self.sketch.roll(f"grass{batch}"), self.canvas.unit
        crest = self.land.crest(ridge)
        x = roll.uniform(0.0, self.canvas.width, _BLADES)
        top = np.interp(x, crest[:, 0], crest[:, 1])
        foot = top + roll.random(_BLADES) ** 2 * (self.canvas.height - top) * 1.1 + 0.01 * unit
        near = ((foot - top) / (self.canvas.height - top + 1.0)).clip(0.0, 1.0)
        tall = unit * (0.02 + 0.05 * near) * roll.uniform(0.6, 1.3, _BLADES)
        lean = roll.normal(0.0, 0.35, _BLADES) * tall
        blades = list(_blades(np.stack([x, foot], axis=1), tall=tall, lean=lean))
        lift = 0.05 * float(roll.uniform(-1.0, 1.4))
        self.canvas.polygons(blades, lighter(ridge.colour, lift), opacity=0.9)
        if self.sketch.scene.shows("field", "flower") or "spring" in self.sketch.scene.moods:
            tips = np.stack([x + lean, foot - tall], axis=1)[::3]
            self._blooms(tips, unit * 0.011, roll)

    def _blooms(self, tips: Points, size: float, roll: np.random.Generator) -> None:
        kinds = (self.sketch.palette.accent, self.sketch.palette.light, NAMED["pink"])
        colour = kinds[int(roll.integers(2 if self.sketch.scene.colours else 3))]
        turn = np.linspace(0.0, 2.0 * np.pi, 11)[:-1]
        petals = np.stack([np.cos(turn), np.sin(turn)], axis=1) * np.tile([1.0, 0.45], 5)[:, None]
        self.canvas.polygons([petals * size + tip for tip in tips], colour)


def _blades(foot: Points, *, tall: Values, lean: Values) -> NDArray[np.float64]:
    """Return blades of grass, thin and bent to one side: shape (n, 5, 2)."""
    across = np.array([-0.09, -0.054, 0.0, 0.054, 0.09]) * tall[:, None]
    bent = np.array([0.0, 0.35, 1.0, 0.35, 0.0]) * lean[:, None]
    up = np.array([0.0, -0.55, -1.0, -0.55, 0.0]) * tall[:, None]
    return foot[:, None, :] + np.stack([across + bent, up], axis=2)


def _terrains(sketch: Sketch) -> frozenset[str]:
    """Return what the ground is: what the words say, or one by chance."""
    scene = sketch.scene
    named = {name for name in _TERRAINS if scene.shows(name)}
    if scene.shows("fish", *AFLOAT) or (scene.shows("palm") and not named):
        named.add("sea")
    if named or "minimal" in scene.moods:
        return frozenset(named or {"field"})
    banned = scene.banned | ({"forest"} if "tree" in scene.banned else set())
    order = sketch.roll("terrain").choice(
        list(_TERRAIN_CHANCES),
        len(_TERRAIN_CHANCES),
        replace=False,
        p=list(_TERRAIN_CHANCES.values()),
    )
    return frozenset({next((name for name in order.tolist() if name not in banned), "field")})
