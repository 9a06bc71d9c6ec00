"""Colour for the built-in renderer: OKLCH, where light and hue move apart, to the screen's sRGB.

Source: https://bottosson.github.io/posts/oklab/ (the two matrices)
"""

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Lch: TypeAlias = tuple[float, float, float]
"""OKLCH: lightness 0-1, chroma 0-0.37, hue in degrees."""
Rgb: TypeAlias = tuple[int, int, int]

_LAB_TO_CONE: Final = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_CONE_TO_RGB: Final = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def blend(a: Lch, *, to: Lch, amount: float) -> Lch:
    """Return the colour ``amount`` (0-1) of the way from ``a`` to ``to``, in a straight line."""
    (la, aa, ba), (lb, ab, bb) = _lab(a), _lab(to)
    across, down = aa + (ab - aa) * amount, ba + (bb - ba) * amount
    hue = math.degrees(math.atan2(down, across)) % 360.0
    return (la + (lb - la) * amount, math.hypot(across, down), hue)


def shown(colour: Lch) -> Lch:
    """Return ``colour`` with no more chroma than the screen can show."""
    lightness = max(0.0, min(1.0, colour[0]))
    share = _most_chroma(np.array([_lab((lightness, *colour[1:]))]))
    return (lightness, colour[1] * float(share[0]), colour[2])


def lighter(colour: Lch, amount: float) -> Lch:
    """Return ``colour`` with its lightness moved by ``amount`` (-1 to 1), kept in range."""
    return (max(0.0, min(1.0, colour[0] + amount)), colour[1], colour[2])


def rgb(colour: Lch) -> Rgb:
    """Return ``colour`` for the screen."""
    red, green, blue = to_rgb(np.array([_lab(colour)]))[0].tolist()
    return (red, green, blue)


def ramp(stops: Sequence[Lch], *, size: int = 256) -> NDArray[np.uint8]:
    """Return ``size`` colours through ``stops`` at even distances: shape (size, 3)."""
    labs = np.array([_lab(stop) for stop in stops])
    at, known = np.linspace(0.0, 1.0, size), np.linspace(0.0, 1.0, len(stops))
    return to_rgb(np.stack([np.interp(at, known, labs[:, k]) for k in range(3)], axis=1))


def _lab(colour: Lch) -> tuple[float, float, float]:
    lightness, chroma, hue = colour
    turn = math.radians(hue)
    return (lightness, chroma * math.cos(turn), chroma * math.sin(turn))


def to_rgb(lab: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return OKLab colours, shape (n, 3), as sRGB bytes of the same shape.

    Chroma that the screen cannot show is taken back, since cutting channels off would turn the hue.
    """
    lab = lab.clip([0.0, -1.0, -1.0], 1.0)
    linear = _linear(lab, np.ones(len(lab)))
    if not _fits(linear).all():
        linear = _linear(lab, _most_chroma(lab))
    linear = linear.clip(0.0, 1.0)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    encoded: NDArray[np.uint8] = np.rint(curved * 255.0).astype(np.uint8)
    return encoded


def _most_chroma(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each colour's chroma that the screen can show: shape (n,)."""
    share, step = np.zeros(len(lab)), 0.5
    for _ in range(8):
        more = share + step
        share = np.where(_fits(_linear(lab, more)), more, share)
        step /= 2
    return share


def _linear(lab: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    faded = lab * np.stack([np.ones_like(share), share, share], axis=1)
    linear: NDArray[np.float64] = (faded @ _LAB_TO_CONE.T) ** 3 @ _CONE_TO_RGB.T
    return linear


def _fits(linear: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(((linear > -0.001) & (linear < 1.001)).all(axis=1))
