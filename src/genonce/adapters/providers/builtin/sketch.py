"""What every style of the built-in renderer starts from: the scene, its colours and its dice."""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import msgspec
import numpy as np

from genonce.adapters.providers.builtin.colour import Lch, lighter
from genonce.adapters.providers.builtin.lexicon import Scene, Subject
from genonce.adapters.providers.builtin.noise import Dice
from genonce.adapters.providers.builtin.palette import NAMED, Palette

Layer: TypeAlias = Callable[[], None]
"""One piece of work on a canvas; a style is a list of them, painted in order."""

# What an unknown word may stand for: things that suit any picture.
_CHANCES: Final = (
    "tree", "house", "boat", "gull", "balloon", "mountain", "sea", "forest", "field", "castle",
    "tower", "flower", "butterfly", "star", "moon", "sun", "cloud", "palm", "city", "desert",
)  # fmt: skip
_MOST_BY_CHANCE: Final = 3
_SHINING: Final = frozenset(("sun", "moon", "star", "cloud", "snow", "bolt", "desert"))
_BRIGHT: Final = frozenset(
    ("flower", "balloon", "heart", "butterfly", "mushroom", "car", "robot", "rainbow")
)


class Sketch(msgspec.Struct, frozen=True, kw_only=True):
    """A picture before it is painted."""

    scene: Scene
    palette: Palette
    dice: Dice
    steps: int

    def roll(self, name: str) -> np.random.Generator:
        """Return the random stream ``name``, from its start."""
        return self.dice.roll(name)

    def colour_of(self, subject: Subject) -> Lch:
        """Return the colour that ``subject`` is painted in."""
        if subject.colour is not None:
            return NAMED[subject.colour]
        if subject.name == "fire":
            return NAMED["orange"]
        if subject.name in _SHINING:
            return self.palette.light
        if subject.name in ("sea", "rain"):
            return lighter(self.palette.sky[0], -0.08)
        if subject.name in _BRIGHT:
            return self.palette.accent
        return lighter(self.palette.near, -0.03)


def completed(scene: Scene, dice: Dice) -> Scene:
    """Return ``scene`` with a subject for each unknown word, or else one by chance."""
    subjects = {subject.name: subject for subject in scene.subjects}
    room = _MOST_BY_CHANCE if not subjects else 1
    for name in list(_by_chance(scene, dice))[:room]:
        subjects.setdefault(name, Subject(name=name))
    return msgspec.structs.replace(scene, subjects=tuple(subjects.values()))


def _by_chance(scene: Scene, dice: Dice) -> Iterator[str]:
    """Yield what each unknown word stands for: the same thing in every prompt."""
    allowed = [name for name in _CHANCES if name not in scene.banned]
    rolls = [Dice(key=word.encode("utf-8", "replace")).roll("") for word in scene.strange]
    if not scene.strange and not scene.subjects:
        rolls = [dice.roll("chance")]
    yield from (str(roll.choice(allowed)) for roll in rolls if allowed)
