"""The built-in renderer gives every request its own picture, and always the same one."""

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genonce.adapters.providers.builtin.canvas import Canvas
from genonce.adapters.providers.builtin.drawings import DRAWINGS
from genonce.adapters.providers.builtin.flow import flow
from genonce.adapters.providers.builtin.geometric import geometric
from genonce.adapters.providers.builtin.landscape import landscape
from genonce.adapters.providers.builtin.lexicon import Subject, read_scene
from genonce.adapters.providers.builtin.mosaic import mosaic
from genonce.adapters.providers.builtin.noise import dice_for
from genonce.adapters.providers.builtin.palette import palette_for
from genonce.adapters.providers.builtin.render import STYLES, Picture, render
from genonce.adapters.providers.builtin.shapes import drawing
from genonce.adapters.providers.builtin.sketch import Layer, Sketch, completed

every_style = pytest.mark.parametrize("style", STYLES)

SCENERY = (
    "two cats, a dog, a bird, seagulls, a fish, a rabbit, a horse, butterflies, a palm tree",
    "mountain, forest, city, sea, desert and field, snow, rain, fog, lightning, rainbow",
    "a house, a castle, a tower, a boat, a person, a robot, a car, a balloon, fire, night, stars",
    "a big eye and a heart, mushrooms and flowers, stormy, vivid, minimal, autumn, spring",
)


def picture(prompt: str = "a fox by a lake", **changes: object) -> Picture:
    """Return a small picture."""
    fields: dict[str, object] = {"width": 80, "height": 80, "steps": 6, "seed": 7} | changes
    return Picture(prompt=prompt, **fields)  # type: ignore[arg-type]  # the test names the fields


def drawn(what: Picture) -> bytes:
    """Return the file."""
    return render(what, lambda _: None)


def pixels(what: Picture) -> NDArray[np.float64]:
    """Return red, green and blue, 0-255: shape (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(drawn(what))).convert("RGB")).astype(np.float64)


def distance(one: Picture, other: Picture) -> float:
    """Return the mean difference of a channel, 0-255."""
    return float(np.abs(pixels(one) - pixels(other)).mean())


def hue_share(what: Picture, low: float, high: float) -> float:
    """Return how much of the colour in a picture has a hue of ``low`` to ``high`` degrees."""
    hsv = np.asarray(Image.open(io.BytesIO(drawn(what))).convert("HSV")).astype(np.float64)
    hue, weight = hsv[..., 0] * (360 / 255), hsv[..., 1] * hsv[..., 2]
    inside = (hue - low) % 360 <= (high - low) % 360
    return float(weight[inside].sum() / weight.sum())


_PRINT_DIGESTS = """
import hashlib
from genonce.adapters.providers.builtin.render import STYLES, Picture, render
for style in STYLES:
    what = Picture(prompt="星 a fox, unicorns", width=96, height=80, steps=9, seed=5, style=style)
    print(hashlib.sha256(render(what, lambda _: None)).hexdigest())
"""


def test_two_processes_give_the_same_bytes() -> None:
    """Neither the hash seed of a process nor its age shows in the bytes."""
    digests = []
    for hash_seed in ("1", "2"):
        environ = os.environ | {
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        run = subprocess.run(
            [sys.executable, "-c", _PRINT_DIGESTS],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(run.stdout.split())
    here = [
        hashlib.sha256(
            drawn(picture("星 a fox, unicorns", width=96, height=80, steps=9, seed=5, style=style))
        ).hexdigest()
        for style in STYLES
    ]
    assert digests == [here, here]
    assert len(set(here)) == len(STYLES)


@every_style
def test_threads_give_the_same_bytes(style: str) -> None:
    """Eight threads that draw the same pictures at once do not disturb one another."""
    wanted = [picture(f"{k} moons over a castle", seed=k, style=style) for k in range(2)] * 4
    alone = [drawn(what) for what in wanted[:2]] * 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(drawn, wanted)) == alone


@every_style
@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"prompt": "a fox by a river at night"},
        {"prompt": "a red fox by a lake"},
        {"prompt": "a fox by a lake, quietly"},
        {"prompt": "一只狗"},
        {"steps": 30},
    ],
    ids=str,
)
def test_a_change_can_be_seen(style: str, changes: dict[str, object]) -> None:
    """Another seed, another word or other steps give another picture."""
    changed = {"prompt": "a fox by a lake"} | changes | {"style": style}
    assert distance(picture(style=style), picture(**changed)) > 2.0  # type: ignore[arg-type]


@every_style
def test_one_more_step_can_be_seen(style: str) -> None:
    """Steps are not only counted."""
    assert distance(picture(style=style), picture(style=style, steps=7)) > 0.5


def test_styles_differ() -> None:
    """No two styles look alike."""
    seen = [pixels(picture("a cat under the moon", style=style)) for style in STYLES]
    gaps = [np.abs(a - b).mean() for k, a in enumerate(seen) for b in seen[:k]]
    assert len(STYLES) >= 4
    assert min(gaps) > 10.0


@every_style
@pytest.mark.parametrize(
    ("word", "low", "high"),
    [
        ("red", 335, 25),
        ("green", 85, 165),
        ("blue", 195, 260),
        ("purple", 255, 320),
        ("golden", 25, 65),
        ("teal", 150, 205),
        ("蓝", 195, 260),
        ("绿色", 85, 165),
    ],
)
def test_a_colour_word_gives_the_colour(style: str, word: str, low: float, high: float) -> None:
    """Most of the colour has the hue that the prompt names."""
    named = [picture(f"{word} waves", style=style, seed=seed) for seed in range(2)]
    assert min(hue_share(what, low, high) for what in named) > 0.6


@every_style
def test_guidance_strengthens_colour(style: str) -> None:
    """More guidance, more colour."""

    def spread(guidance: float) -> float:
        seen = pixels(picture("a green hill", style=style, guidance=guidance))
        return float(np.ptp(seen, axis=2).mean())

    assert spread(0.0) < spread(7.0) < spread(14.0)


@every_style
def test_night_is_darker_than_day(style: str) -> None:
    """A word for the time sets the light."""
    day, night = (pixels(picture(f"a house, {word}", style=style)) for word in ("day", "夜"))
    assert day.mean() > night.mean() + 15.0


@every_style
@pytest.mark.parametrize(("width", "height"), [(64, 64), (65, 131), (640, 64), (64, 640)])
def test_size_is_exact(style: str, width: int, height: int) -> None:
    """Any whole number of pixels works."""
    file = io.BytesIO(drawn(picture(style=style, width=width, height=height)))
    assert Image.open(file).size == (width, height)


@pytest.mark.parametrize(
    ("style", "width", "height", "steps"),
    [
        ("landscape", 2048, 2048, 1),
        ("geometric", 2048, 64, 12),
        ("flow", 2048, 64, 12),
        ("flow", 64, 2048, 1),
        ("mosaic", 64, 2048, 50),
        ("mosaic", 2048, 64, 1),
        ("landscape", 64, 2048, 50),
        ("landscape", 2048, 64, 50),
        ("geometric", 64, 2048, 1),
    ],
)
def test_extremes(style: str, width: int, height: int, steps: int) -> None:
    """The largest, the narrowest and the shortest work leave no part of a picture empty."""
    what = picture(SCENERY[2], style=style, width=width, height=height, steps=steps, media="jpeg")
    seen = pixels(what)
    assert seen.shape == (height, width, 3)
    strips = np.array_split(seen, 8, axis=int(width > height))
    assert all(strip.std() > 1.0 for strip in strips)


@pytest.mark.parametrize(
    ("media", "magic", "name"),
    [("png", b"\x89PNG\r\n", "PNG"), ("webp", b"RIFF", "WEBP"), ("jpeg", b"\xff\xd8\xff", "JPEG")],
)
def test_media(media: str, magic: bytes, name: str) -> None:
    """Each kind of file is what it says."""
    data = drawn(picture(media=media))
    assert data.startswith(magic)
    image = Image.open(io.BytesIO(data))
    image.load()
    assert (image.format, image.mode) == (name, "RGB")


@every_style
@pytest.mark.parametrize("steps", [1, 2, 19, 50])
def test_steps_are_told_in_order(style: str, steps: int) -> None:
    """The caller hears of every step once."""
    told: list[int] = []
    render(picture(style=style, steps=steps), told.append)
    assert told == list(range(1, steps + 1))


@pytest.mark.parametrize("steps", [1, 20, 50])
@pytest.mark.parametrize("paint", [landscape, geometric, flow, mosaic])
@pytest.mark.parametrize("prompt", ["", "minimal", "a boat", *SCENERY])
def test_every_step_has_work(
    paint: Callable[[Canvas, Sketch], list[Layer]], prompt: str, steps: int
) -> None:
    """Progress is real: there are at least as many layers as steps."""
    dice = dice_for(prompt, seed=1)
    scene = completed(read_scene(prompt, negative_prompt=""), dice)
    palette = palette_for(scene, guidance=7.0, roll=dice.roll("palette"))
    sketch = Sketch(scene=scene, palette=palette, dice=dice, steps=steps)
    assert len(paint(Canvas(Image.new("RGB", (64, 64))), sketch)) >= steps


@every_style
@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "🎉",
        "😀🎈🚀👨‍👩‍👧🏽",
        "?!… -- ,",
        "word " * 800,
        "山" * 4000,
        "a\x00b\ud800",
        "1234 99",
        "red green blue yellow black white grey",
        *SCENERY,
    ],
    ids=lambda prompt: ascii(prompt[:12]),
)
def test_any_prompt_gives_a_picture(style: str, prompt: str) -> None:
    """No text is refused, and none gives a blank picture."""
    assert pixels(picture(prompt, style=style)).std() > 5.0


def test_prompts_of_unknown_words_have_their_own_pictures() -> None:
    """A word that is in no list still counts."""
    words = ("quokka", "sonata", "bureaucracy", "🎉", "🧿", "龘", "ʘ", "")
    seen = [pixels(picture(word)) for word in words]
    gaps = [np.abs(a - b).mean() for k, a in enumerate(seen) for b in seen[:k]]
    assert min(gaps) > 4.0


@every_style
def test_a_negative_prompt_takes_a_subject_out(style: str) -> None:
    """What it names is gone; what it names in vain changes nothing."""
    prompt = "a house and a cat and a red moon"
    whole = picture(prompt, style=style)
    assert distance(whole, picture(prompt, style=style, negative_prompt="kitten")) > 1.0
    assert drawn(whole) == drawn(picture(prompt, style=style, negative_prompt="blurry, ugly text"))
    no_colour = picture(prompt, style=style, negative_prompt="red")
    assert hue_share(no_colour, 335, 25) < hue_share(whole, 335, 25) / 2


def test_a_negative_prompt_leaves_the_rest_where_it_is() -> None:
    """Taking the rain away moves no hill."""
    prompt = "a castle in the rain at night"
    wet, dry = (picture(prompt, negative_prompt=words) for words in ("", "rain"))
    same = np.abs(pixels(wet) - pixels(dry)).max(axis=2) < 2
    assert 0.3 < same.mean() < 0.99


def test_words_are_read() -> None:
    """Colours belong to the subject they precede, numbers and plurals count."""
    scene = read_scene(
        "Two red Cats, a golden moon over mountains; 夜 a wug", negative_prompt="mountain 树"
    )
    assert scene.subjects == (
        Subject(name="cat", colour="red", count=2),
        Subject(name="moon", colour="gold"),
    )
    assert scene.colours == ("red", "gold")
    assert scene.moods == {"night"}
    assert scene.strange == ("wug",)
    assert scene.banned == {"mountain", "tree"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("一只猫和一条狗在山上", ["cat", "dog", "mountain"]),
        ("太阳下的大海", ["sun", "sea"]),
        ("樱花树", ["flower", "tree"]),
        ("🐱🌙", ["cat", "moon"]),
        ("cities and butterflies and foxes", ["city", "butterfly", "dog"]),
        ("SUNFLOWERS in the ＳＮＯＷ", ["flower", "snow"]),
    ],
)
def test_subjects_are_found(text: str, names: list[str]) -> None:
    """Chinese, emoji, plurals and wide letters are understood."""
    assert [subject.name for subject in read_scene(text, negative_prompt="").subjects] == names


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_fit_their_square(name: str) -> None:
    """A silhouette stays near the unit square and is not empty."""
    added = np.concatenate([piece.points for piece in drawing(name) if not piece.hole])
    assert added.min() > -0.2
    assert added.max() < 1.6
    assert np.ptp(added, axis=0).min() > 0.3


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 63},
        {"height": 2049},
        {"steps": 0},
        {"steps": 51},
        {"seed": -1},
        {"seed": 2**31},
        {"style": "cubist"},
        {"media": "gif"},
    ],
    ids=str,
)
def test_values_out_of_bounds_are_refused(changes: dict[str, object]) -> None:
    """The error names the field."""
    with pytest.raises(ValueError, match=next(iter(changes))):
        drawn(picture(**changes))  # type: ignore[arg-type]  # the test names the fields
