"""What the words of a prompt mean to the built-in renderer."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

Kind: TypeAlias = Literal["colour", "subject", "mood", "count", "filler"]


class Concept(NamedTuple):
    """What one word stands for."""

    kind: Kind
    name: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Something the picture shows."""

    name: str
    colour: str | None = None
    """The colour word just before it, as in "red cat"."""
    count: int = 1
    """From a number before it ("two cats") or a plural; 1 to 9."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt, understood: no word of the negative prompt is left in it."""

    subjects: tuple[Subject, ...] = ()
    colours: tuple[str, ...] = ()
    moods: frozenset[str] = frozenset()
    strange: tuple[str, ...] = ()
    """Words without an entry, in order; each picks something by its digest."""
    banned: frozenset[str] = frozenset()
    """Names of concepts that must not appear, even by chance."""

    def shows(self, *names: str) -> bool:
        """Tell whether one of ``names`` is a subject."""
        return any(subject.name in names for subject in self.subjects)


# name: the words that mean it. A plural in -s, -es or -ies is found by its singular.
_COLOURS: Final[Mapping[str, str]] = {
    "red": "red crimson scarlet ruby vermilion cherry rojo rouge 红 红色 赤 朱 🔴 🟥",
    "orange": "orange tangerine apricot amber rust copper 橙 橙色 橘 🟠 🟧",
    "yellow": "yellow lemon gelb amarillo jaune 黄 黄色 🟡 🟨",
    "gold": "gold golden honey 金 金色",
    "green": "green emerald jade lime olive mint verde grün vert 绿 绿色 翠 🟢 🟩",
    "teal": "teal turquoise cyan aqua aquamarine 青 青色",
    "blue": "blue azure cobalt sapphire indigo navy cerulean azul bleu blau 蓝 蓝色 🔵 🟦",
    "purple": "purple violet lavender lilac magenta plum amethyst 紫 紫色 🟣 🟪",
    "pink": "pink rose rosy coral salmon blush fuchsia 粉 粉色 粉红",
    "brown": "brown bronze chocolate coffee tan sepia wooden 棕 褐 咖啡 🟤 🟫",
    "white": "white ivory pale cream 白 白色 ⚪",
    "grey": "grey gray silver ash slate 灰 灰色 银",
    "black": "black ebony onyx 黑 黑色 ⚫",
}

_SUBJECTS: Final[Mapping[str, str]] = {
    "cat": "cat kitten kitty feline tiger lion leopard panther 猫 小猫 虎 狮 🐱 🐈 🐯 🦁",
    "dog": "dog puppy hound wolf fox corgi retriever animal 狗 小狗 犬 狼 狐 🐶 🐕 🦊 🐺",
    "bird": "bird sparrow robin owl parrot crow raven duck penguin 鸟 小鸟 🐦 🦉 🐧",
    "gull": "gull seagull swallow flock eagle hawk crane goose 雁 鹰 鹤 🦅",
    "fish": "fish goldfish koi shark whale dolphin 鱼 鲸 🐟 🐠 🐳 🐬",
    "rabbit": "rabbit bunny hare 兔 兔子 🐰 🐇",
    "horse": "horse pony unicorn stallion donkey zebra deer 马 鹿 🐴 🐎 🦄 🦌",
    "butterfly": "butterfly moth dragonfly 蝴蝶 蝶 🦋",
    "tree": "tree oak maple willow orchard 树 大树 🌳",
    "forest": "forest wood woodland jungle pine fir spruce 森林 林 树林 松 🌲",
    "palm": "palm tropical island coconut 棕榈 椰 岛 🌴 🏝",
    "flower": "flower blossom rose tulip daisy lily sunflower garden bouquet 花 花朵 花园 樱花 "
    "🌸 🌼 🌷 🌹",
    "mushroom": "mushroom fungus toadstool 蘑菇 🍄",
    "house": "house cottage cabin hut home barn village 房子 房 屋 家 村 🏠 🏡",
    "castle": "castle palace fortress temple church cathedral 城堡 宫 庙 寺 🏰",
    "tower": "tower lighthouse windmill pagoda 塔 灯塔 🗼",
    "city": "city building skyline skyscraper town street downtown cyberpunk 城市 城 楼 街 🏙 🌆",
    "boat": "boat ship sailboat yacht sail vessel canoe 船 帆 舟 ⛵ 🚢",
    "person": "person man woman girl boy human people portrait child king queen knight wizard "
    "astronaut samurai warrior princess 人 女孩 男孩 女 男 🧑 👩 👨 👧 👦",
    "robot": "robot android mech cyborg machine 机器人 🤖",
    "car": "car automobile truck taxi vehicle 车 汽车 🚗 🚙",
    "balloon": "balloon airship 气球 🎈",
    "fire": "fire flame campfire bonfire burning 火 火焰 🔥",
    "heart": "heart love valentine 心 爱 ❤ 💖 💙 💚 💛 💜",
    "eye": "eye eyeball gaze 眼 眼睛 👁",
    "sun": "sun sunny sunlight sunshine sunrise sunset dawn dusk 太阳 日出 日落 阳光 日 ☀ 🌞 🌅 🌇",
    "moon": "moon moonlight moonlit lunar crescent 月 月亮 明月 🌙 🌕 🌛",
    "star": "star starry galaxy cosmos space nebula constellation milky 星 星星 星空 银河 ⭐ 🌟 ✨",
    "cloud": "cloud cloudy overcast 云 白云 ☁",
    "rainbow": "rainbow 彩虹 🌈",
    "mountain": "mountain peak alps hill cliff summit volcano canyon everest 山 山脉 峰 ⛰ 🏔 🗻",
    "sea": "sea ocean water wave lake river beach coast harbor harbour shore underwater "
    "海 大海 水 湖 河 江 浪 🌊 🏖",
    "desert": "desert dune sand sahara mars 沙漠 沙 🏜",
    "field": "field meadow grass grassland prairie farm valley 草 草地 草原 田 🌾",
    "rain": "rain rainy raining drizzle downpour umbrella 雨 🌧 ☔",
    "snow": "snow snowy winter ice icy frozen blizzard arctic frost 雪 冬 冰 ❄ ⛄",
    "bolt": "lightning thunder thunderstorm bolt 闪电 雷 ⚡ ⛈",
}

_MOODS: Final[Mapping[str, str]] = {
    "night": "night midnight nocturnal evening 夜 夜晚 晚上 夜景 🌃 🌌",
    "sunset": "sunset dusk twilight 日落 黄昏 夕阳 🌇",
    "sunrise": "sunrise dawn morning 日出 早晨 晨 🌅",
    "day": "day daylight noon afternoon summer 白天 夏",
    "dark": "dark gloomy shadow shadowy noir gothic 黑暗 暗",
    "bright": "bright light luminous radiant shiny 明亮 亮",
    "foggy": "foggy fog mist misty haze hazy smoke 雾 烟 🌫",
    "stormy": "stormy storm tempest dramatic lightning thunder thunderstorm ⚡ ⛈ 暴风 风暴",
    "calm": "calm peaceful serene quiet tranquil soft gentle pastel 平静 宁静",
    "vivid": "vivid vibrant colorful colourful neon saturated psychedelic 鲜艳 多彩",
    "minimal": "minimal minimalist minimalism simple clean empty 简约 极简",
    "autumn": "autumn fall 秋 🍁 🍂",
    "spring": "spring 春",
}

_COUNTS: Final[Mapping[str, str]] = {
    "1": "one single 一 1", "2": "two pair couple both 两 二 2", "3": "three trio 三 3",
    "4": "four 四 4", "5": "five several 五 5", "7": "many lots seven 多 6 7", "9": "nine ten 8 9",
}  # fmt: skip

_FILLERS: Final = (
    "a an the of in on at by to with and or over under near into from above below behind between "
    "is are it its this that as for very some through beside style picture image photo painting "
    "的 只 个 在 和 与 了 是 有 里 上 下 朵 座 条 棵 片 着 幅 张"
)

_ENTRIES: Final[tuple[tuple[Kind, Mapping[str, str]], ...]] = (
    ("filler", {"": _FILLERS}),
    ("count", _COUNTS),
    ("mood", _MOODS),
    ("colour", _COLOURS),
    ("subject", _SUBJECTS),
)


def _concepts() -> dict[str, tuple[Concept, ...]]:
    """Return every known word with its meanings; "sunset" is both a time and a sun."""
    concepts: dict[str, tuple[Concept, ...]] = {}
    for kind, table in _ENTRIES:
        for name, words in table.items():
            for word in words.split():
                concepts[word] = (*concepts.get(word, ()), Concept(kind, name))
    return concepts


_CONCEPTS: Final = _concepts()
_CJK: Final = "\u3040-\u30ff\u3400-\u9fff"
_TOKEN: Final = re.compile(rf"[{_CJK}]+|(?:(?![{_CJK}])[^\W\d_])+|\d+|[^\w\s]")
_LONGEST_CJK: Final = 3
_MOST_SUBJECTS: Final = 8
_MOST_STRANGE: Final = 12


class _Reading:
    """The scene so far, while one prompt is read word by word."""

    def __init__(self, banned: frozenset[str]) -> None:
        self.banned = banned
        self.subjects: dict[str, Subject] = {}
        self.colours: list[str] = []
        self.moods: set[str] = set()
        self.strange: list[str] = []
        self._colour: str | None = None
        self._count = 1

    def word(self, word: str) -> None:
        """Take the next word in."""
        known, plural = _meanings(word)
        if not known and word not in self.banned:
            self.strange.append(word)
        for kind, name in known:
            if name not in self.banned:
                self._concept(kind, name, plural=plural)

    def _concept(self, kind: Kind, name: str, *, plural: bool) -> None:
        match kind:
            case "colour":
                self.colours.append(name)
                self._colour = name
            case "mood":
                self.moods.add(name)
            case "count":
                self._count = int(name)
            case "subject":
                self._subject(name, plural=plural)
            case "filler":
                pass

    def _subject(self, name: str, *, plural: bool) -> None:
        count = self._count if self._count > 1 else 3 if plural else 1
        subject = Subject(name=name, colour=self._colour, count=count)
        self.subjects.setdefault(name, subject)
        self._colour, self._count = None, 1


def read_scene(prompt: str, *, negative_prompt: str) -> Scene:
    """Return the scene that ``prompt`` describes, without what ``negative_prompt`` names."""
    banned = frozenset(_banned(negative_prompt))
    reading = _Reading(banned)
    for word in _words(prompt):
        reading.word(word)
    return Scene(
        subjects=tuple(reading.subjects.values())[:_MOST_SUBJECTS],
        colours=tuple(dict.fromkeys(reading.colours)),
        moods=frozenset(reading.moods),
        strange=tuple(dict.fromkeys(reading.strange))[:_MOST_STRANGE],
        banned=banned,
    )


def _banned(text: str) -> Iterator[str]:
    """Yield each word of ``text`` that is unknown, and the name of each concept in it."""
    for word in _words(text):
        known, _ = _meanings(word)
        yield from (name for _, name in known) if known else (word,)


def _words(text: str) -> Iterator[str]:
    """Yield the lower-case words, Chinese words and symbols of ``text``, without punctuation."""
    for token in _TOKEN.findall(unicodedata.normalize("NFKC", text).lower()):
        if re.match(f"[{_CJK}]", token):
            yield from _segments(token)
        elif token[0].isalnum() or unicodedata.category(token) == "So":
            yield token


def _segments(run: str) -> Iterator[str]:
    """Yield the words of a run of Chinese: the longest known at each place, else one character."""
    while run:
        sizes: Iterable[int] = range(_LONGEST_CJK, 0, -1)
        size = next((size for size in sizes if run[:size] in _CONCEPTS), 1)
        yield run[:size]
        run = run[size:]


def _meanings(word: str) -> tuple[tuple[Concept, ...], bool]:
    """Return what ``word`` means, and whether only its singular was known."""
    singulars = (word[:-1], word[:-2], word[:-3] + "y") if word.endswith("s") else ()
    for plural, form in enumerate((word, *singulars)):
        if form in _CONCEPTS:
            return _CONCEPTS[form], plural > 0
    return (), False
