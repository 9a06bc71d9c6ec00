"""The built-in renderer: a picture composed from the words of its prompt, the same on every run."""

import io
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec
from PIL import Image

from genonce.adapters.providers.builtin.canvas import Canvas
from genonce.adapters.providers.builtin.flow import flow
from genonce.adapters.providers.builtin.geometric import geometric
from genonce.adapters.providers.builtin.landscape import landscape
from genonce.adapters.providers.builtin.lexicon import read_scene
from genonce.adapters.providers.builtin.mosaic import mosaic
from genonce.adapters.providers.builtin.noise import dice_for
from genonce.adapters.providers.builtin.palette import palette_for
from genonce.adapters.providers.builtin.sketch import Layer, Sketch, completed

_Style: TypeAlias = Callable[[Canvas, Sketch], list[Layer]]

_PAINTERS: Final[Mapping[str, _Style]] = {
    "landscape": landscape,
    "geometric": geometric,
    "flow": flow,
    "mosaic": mosaic,
}

STYLES: Final[tuple[str, ...]] = tuple(_PAINTERS)
"""What ``Picture.style`` may be; the first is the default."""

_ENCODINGS: Final[Mapping[str, Mapping[str, int]]] = {
    # The fast end of each encoder: a picture is encoded once and read a few times.
    "png": {"compress_level": 1},
    "webp": {"quality": 90, "method": 1},
    "jpeg": {"quality": 90},
}


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What to render."""

    prompt: str
    negative_prompt: str = ""
    width: int
    """64 to 2048 pixels."""
    height: int
    """64 to 2048 pixels."""
    steps: int
    """1 to 50; more of them add detail."""
    seed: int
    """In [0, 2**31)."""
    style: str = STYLES[0]
    guidance: float = 7.0
    """Strength of contrast and colour; 0 is pale, 7 is plain, 15 is strong."""
    media: str = "png"
    """png, webp or jpeg."""


def render(picture: Picture, on_step: Callable[[int], None]) -> bytes:
    """Return ``picture``, encoded; equal pictures give equal bytes with the same libraries.

    Args:
        picture: what to render.
        on_step: called with 1, 2, ... ``picture.steps``, each after that step's work.

    Returns:
        The bytes of an image file of ``picture.media``.

    Raises:
        ValueError: a field of ``picture`` is out of its bounds.
    """
    _check(picture)
    canvas = Canvas(Image.new("RGB", (picture.width, picture.height)))
    layers = _PAINTERS[picture.style](canvas, _sketch(picture))
    for step in range(1, picture.steps + 1):
        share = slice(
            len(layers) * (step - 1) // picture.steps, len(layers) * step // picture.steps
        )
        for paint in layers[share]:
            paint()
        on_step(step)
    return _encoded(canvas.image, picture.media)


def _check(picture: Picture) -> None:
    bounds = {
        "width": (picture.width, 64, 2048),
        "height": (picture.height, 64, 2048),
        "steps": (picture.steps, 1, 50),
        "seed": (picture.seed, 0, 2**31 - 1),
    }
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise ValueError(f"{name} must be {least} to {most}")
    if picture.style not in _PAINTERS:
        raise ValueError(f"style must be one of {', '.join(STYLES)}")
    if picture.media not in _ENCODINGS:
        raise ValueError(f"media must be one of {', '.join(_ENCODINGS)}")


def _sketch(picture: Picture) -> Sketch:
    """Return what the words of ``picture`` ask for; its negative prompt moves nothing else."""
    dice = dice_for(picture.prompt, seed=picture.seed)
    words = read_scene(picture.prompt, negative_prompt=picture.negative_prompt)
    scene = completed(words, dice)
    palette = palette_for(scene, guidance=picture.guidance, roll=dice.roll("palette"))
    return Sketch(scene=scene, palette=palette, dice=dice, steps=picture.steps)


def _encoded(image: Image.Image, media: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, media, **_ENCODINGS[media])
    return buffer.getvalue()
