"""The palette of a picture: a time of day, coloured by the words of the prompt."""

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
import numpy as np

from genonce.adapters.providers.builtin.colour import Lch, shown
from genonce.adapters.providers.builtin.lexicon import Scene

Adjust: TypeAlias = Callable[[Lch], Lch]

NAMED: Final[dict[str, Lch]] = {
    "red": (0.58, 0.22, 26.0),
    "orange": (0.73, 0.18, 55.0),
    "yellow": (0.88, 0.17, 100.0),
    "gold": (0.78, 0.15, 85.0),
    "green": (0.62, 0.17, 147.0),
    "teal": (0.65, 0.11, 192.0),
    "blue": (0.53, 0.18, 258.0),
    "purple": (0.50, 0.20, 307.0),
    "pink": (0.76, 0.15, 355.0),
    "brown": (0.46, 0.08, 55.0),
    "white": (0.97, 0.01, 90.0),
    "grey": (0.62, 0.012, 255.0),
    "black": (0.17, 0.012, 275.0),
}


class Palette(msgspec.Struct, frozen=True, kw_only=True):
    """The colours of one picture."""

    sky: tuple[Lch, ...]
    """From the zenith to the horizon."""
    far: Lch
    """The furthest hills: close to the horizon's colour."""
    near: Lch
    """The nearest ground: the darkest of the large areas."""
    light: Lch
    """The sun, the moon, a lit window."""
    accent: Lch
    """What should be noticed first."""

    @property
    def swatches(self) -> tuple[Lch, ...]:
        """Return the colours for flat shapes, those of large areas first."""
        return (self.sky[1], self.far, self.near, self.accent, self.light, self.sky[2])


def _scheme(*stops: Lch) -> Palette:
    """Return a palette of the sky's four stops, then far, near, light and accent."""
    return Palette(sky=stops[:4], far=stops[4], near=stops[5], light=stops[6], accent=stops[7])


_TIMES: Final[dict[str, Palette]] = {
    "day": _scheme(
        (0.60, 0.13, 252), (0.72, 0.11, 240), (0.85, 0.06, 225), (0.95, 0.035, 95),
        (0.77, 0.06, 235), (0.33, 0.08, 155), (0.98, 0.07, 98), (0.62, 0.19, 32),
    ),
    "sunrise": _scheme(
        (0.47, 0.11, 285), (0.66, 0.12, 335), (0.81, 0.11, 35), (0.93, 0.08, 82),
        (0.70, 0.09, 350), (0.24, 0.07, 295), (0.97, 0.08, 88), (0.70, 0.17, 50),
    ),
    "sunset": _scheme(
        (0.28, 0.10, 285), (0.47, 0.16, 340), (0.68, 0.18, 42), (0.87, 0.14, 78),
        (0.50, 0.13, 8), (0.15, 0.05, 300), (0.94, 0.12, 85), (0.66, 0.21, 38),
    ),
    "night": _scheme(
        (0.13, 0.045, 278), (0.22, 0.075, 268), (0.34, 0.09, 255), (0.50, 0.09, 228),
        (0.33, 0.07, 258), (0.10, 0.03, 268), (0.96, 0.04, 95), (0.80, 0.15, 80),
    ),
}  # fmt: skip

# Where no word sets the time: mostly light, because a first picture should not be gloomy.
_TIME_CHANCES: Final = {"day": 0.30, "sunrise": 0.28, "sunset": 0.27, "night": 0.15}
_TIME_SUBJECTS: Final = {"night": ("moon", "star"), "day": ("rainbow", "snow", "sun")}
_FULL_TURN: Final = 360.0
_NEUTRAL_CHROMA: Final = 0.03
_LIGHT: Final = 0.7
_USUAL_GUIDANCE: Final = 7.0


def time_of_day(scene: Scene, roll: np.random.Generator) -> str:
    """Return the time the words set, or one by chance: a key of the schemes."""
    chance = str(roll.choice(list(_TIME_CHANCES), p=list(_TIME_CHANCES.values())))
    for time in ("night", "sunset", "sunrise", "day"):
        if time in scene.moods:
            return time
    for time, names in _TIME_SUBJECTS.items():
        if scene.shows(*names):
            return time
    if "dark" in scene.moods:
        return "night"
    gloomy = chance == "night" and (scene.colours or scene.moods & {"bright", "calm"})
    return "sunrise" if gloomy else chance


def palette_for(scene: Scene, *, guidance: float, roll: np.random.Generator) -> Palette:
    """Return the palette of a scene: its time of day, coloured by its colour words and moods."""
    base = _TIMES[time_of_day(scene, roll)]
    palette = _worded(base, scene, roll) if _large_colours(scene) else _turned(base, scene, roll)
    palette = _adjusted(palette, _mood(scene.moods))
    return _adjusted(_adjusted(palette, _guided(guidance)), shown)


def _large_colours(scene: Scene) -> list[str]:
    """Return the colours that are for the whole picture: a black cat does not make it black."""
    of_subjects = {subject.colour for subject in scene.subjects}
    neutral = {name for name, (_, chroma, _) in NAMED.items() if chroma < _NEUTRAL_CHROMA}
    return [name for name in scene.colours if name not in of_subjects & neutral]


def _worded(base: Palette, scene: Scene, roll: np.random.Generator) -> Palette:
    """Return ``base`` in the prompt's colours: the first for the sky, the last for the ground."""
    names = _large_colours(scene)
    lean = float(roll.uniform(-6.0, 6.0))
    first, last = (NAMED[name] for name in (names[0], names[-1]))
    sky = tuple(_tinted(stop, name=first, anchor=base.sky[1][2], lean=lean) for stop in base.sky)
    return Palette(
        sky=sky,
        far=_tinted(base.far, name=last, anchor=base.far[2], lean=lean),
        near=_tinted(base.near, name=last, anchor=base.near[2], lean=lean),
        light=_pale(_tinted(base.light, name=first, anchor=base.light[2], lean=lean)),
        accent=_against(NAMED[names[len(names) // 2]], ground=base.near),
    )


def _tinted(colour: Lch, *, name: Lch, anchor: float, lean: float) -> Lch:
    """Return ``colour`` with the hue of ``name``; a trace of its own hue keeps the area alive."""
    lightness, chroma, hue = colour
    drift = (hue - anchor + _FULL_TURN / 2) % _FULL_TURN - _FULL_TURN / 2
    if name[1] < _NEUTRAL_CHROMA:
        return (0.45 * lightness + 0.55 * name[0], 0.25 * chroma, hue)
    pull = 0.46 if name[0] > _LIGHT else 0.28
    lightness = (1.0 - pull) * lightness + pull * name[0]
    # Yellow in the shade looks like olive unless it leans to red, as gold does.
    warm = 42.0 * max(0.0, name[0] - lightness) * (60.0 < name[2] < 120.0)
    turned = (name[2] - warm + max(-10.0, min(10.0, 0.15 * drift)) + lean) % _FULL_TURN
    return (lightness, max(0.6 * name[1], 0.4 * chroma), turned)


def _pale(colour: Lch) -> Lch:
    """Return ``colour`` as a light: nearly white, whatever the words colour."""
    return (max(0.955, colour[0]), min(0.06, colour[1]), colour[2])


def _against(colour: Lch, *, ground: Lch) -> Lch:
    """Return ``colour`` light enough, or dark enough, to be seen on ``ground``."""
    lightness, chroma, hue = colour
    gap = 0.3
    if abs(lightness - ground[0]) >= gap:
        return colour
    return (ground[0] + (gap if ground[0] < 0.55 else -gap), chroma, hue)


def _turned(base: Palette, scene: Scene, roll: np.random.Generator) -> Palette:
    """Return ``base`` with all hues turned a little, away from the colours that are banned."""
    turn = float(roll.uniform(-28.0, 28.0))
    seasons = {"autumn": 42.0, "spring": 140.0}
    ground = next((hue for mood, hue in seasons.items() if mood in scene.moods), None)
    banned = [NAMED[name][2] for name in scene.banned if name in NAMED]

    def adjust(colour: Lch) -> Lch:
        lightness, chroma, hue = colour
        hue = (hue + turn) % _FULL_TURN
        near = any(abs((hue - b + 180.0) % _FULL_TURN - 180.0) < 35.0 for b in banned)
        return (lightness, chroma, (hue + 120.0 * near) % _FULL_TURN)

    palette = _adjusted(base, adjust)
    if ground is None:
        return palette
    far, near = ((stop[0], stop[1] + 0.04, ground) for stop in (palette.far, palette.near))
    return msgspec.structs.replace(palette, far=far, near=near)


def _mood(moods: frozenset[str]) -> Adjust:
    """Return what the mood words do to a colour."""
    light = 1.0 - 0.26 * ("dark" in moods) - 0.22 * ("stormy" in moods)
    lift = 0.22 * ("bright" in moods) + 0.08 * ("foggy" in moods)
    strength = 1.0 + 0.45 * ("vivid" in moods) - 0.25 * ("calm" in moods)
    strength *= (1.0 - 0.45 * ("stormy" in moods)) * (1.0 - 0.35 * ("foggy" in moods))
    return lambda lch: ((lch[0] + lift * (1.0 - lch[0])) * light, lch[1] * strength, lch[2])


def _guided(guidance: float) -> Adjust:
    """Return what ``guidance`` does to a colour: more of it, more contrast and chroma."""
    pull = max(-1.0, min(1.6, (guidance - _USUAL_GUIDANCE) / _USUAL_GUIDANCE))
    contrast, strength = 1.0 + 0.22 * pull, 1.0 + 0.5 * pull
    return lambda lch: (0.55 + (lch[0] - 0.55) * contrast, lch[1] * strength, lch[2])


def _adjusted(palette: Palette, adjust: Adjust) -> Palette:
    far, near, light, accent = map(
        adjust, (palette.far, palette.near, palette.light, palette.accent)
    )
    sky = tuple(adjust(stop) for stop in palette.sky)
    return Palette(sky=sky, far=far, near=near, light=light, accent=accent)
