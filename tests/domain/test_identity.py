"""One meaning, one id; different meanings, different ids."""

import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genonce.domain.identity import SEED_END, Identity, SeriesId, identify, image_seed
from genonce.domain.request import Draft, canonicalise, read_canonical
from tests.painters import CATALOGUE


def ids(fields: dict[str, Any], *, caller: str = "") -> Identity:
    """The ids of a draft."""
    request = canonicalise(Draft(**fields), CATALOGUE, max_n=10, caller=caller)
    return identify(request.image.canonical(), n=request.n)


# A change of a line here is a new identity version: bump CANONICAL_VERSION and say so in
# docs/decisions. Pictures that are paid for would be bought again.
GOLDEN: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": "a cat"}, "15e51b15e9f231da25b15a6b3dc1317b", "da53b9ca7a1adf906b67e3ff87538890"),
    (
        {"prompt": "a cat", "n": 4},
        "15e51b15e9f231da25b15a6b3dc1317b",
        "453900ee6d3ccd47b036cc6bd12798b0",
    ),
    (
        {"prompt": "一只猫", "width": 1024, "height": 1024},
        "dd4f1149b7f4296fc24a913cae813daa",
        "4542e3235f813e5a23a29c7b9b497aed",
    ),
    (
        {
            "prompt": 'a "fox"\nin snow',
            "negative_prompt": "blur",
            "steps": 4,
            "guidance": 3.5,
            "seed": 42,
            "sampler": "heun",
            "scheduler": "karras",
            "quality": "hd",
            "style": "natural",
            "format": "webp",
            "variation": 2,
            "n": 3,
        },
        "20cd7ced59cad110f738b78369aead19",
        "9c30999ad5771b32764e37ced7ba250c",
    ),
    (
        {"prompt": "a cat", "model": "maker/plain"},
        "8e8aa3791d55192de800f01769f57ed6",
        "b0632da118843c96bc38314de785a762",
    ),
    (
        {"prompt": "é \U0001f98a /\\", "guidance": 0},
        "9692e3db983b75786961dcd21eaef45c",
        "8b351dff5e8457bf413edfee6be2edb5",
    ),
]


@pytest.mark.parametrize(("fields", "series", "task"), GOLDEN)
def test_ids_of_the_golden_table_never_change(
    fields: dict[str, Any], series: str, task: str
) -> None:
    found = ids(fields)
    assert (found.series, found.task) == (series, task)


ONE: dict[str, Any] = {"prompt": "a café in\nthe snow", "n": 2}
SPELLINGS: list[dict[str, Any]] = [
    {},
    {"prompt": "  a café in\nthe snow"},
    {"prompt": "a café in\nthe snow \n\t"},
    {"prompt": "\u3000a café in\nthe snow\u00a0"},
    {"prompt": "a café in\r\nthe snow"},
    {"prompt": "a café in\rthe snow"},
    {"prompt": "a cafe\u0301 in\nthe snow"},
    {"prompt": " a cafe\u0301 in\r\nthe snow\r\n"},
    {"model": None},
    {"model": ""},
    {"model": "maker/painter"},
    {"model": "MAKER/Painter"},
    {"model": "painter"},
    {"model": "alias-one"},
    {"model": " Alias-One "},
    {"negative_prompt": ""},
    {"negative_prompt": "  \n"},
    {"width": 512},
    {"width": "512"},
    {"width": 512.0, "height": " 512 "},
    {"width": "512.0", "height": "+512"},
    {"height": 512},
    {"size": "512x512"},
    {"size": "512X512"},
    {"size": "512*512"},
    {"size": "512×512"},
    {"size": " 512 x 512 ", "width": 512},
    {"size": "auto"},
    {"steps": 20},
    {"steps": "20"},
    {"guidance": 7},
    {"guidance": 7.0},
    {"guidance": "7"},
    {"guidance": "7.00"},
    {"sampler": "Euler", "scheduler": "NORMAL"},
    {"quality": "standard", "style": "Vivid"},
    {"format": "PNG"},
    {"variation": 0},
    {"variation": "0", "seed": None},
    {"n": "2"},
    {"n": 2.0},
]
NEAR_MISSES: list[dict[str, Any]] = [
    {},
    {"prompt": "A café in\nthe snow"},
    {"prompt": "a cafe in\nthe snow"},
    {"prompt": "a café in the snow"},
    {"prompt": "a café in\n\nthe snow"},
    {"prompt": "a café in\n the snow"},
    {"prompt": "a café in\nthe snow."},
    {"prompt": "a café in\nthe snow\u200b"},
    {"prompt": "a café in\nthe ѕnow"},
    {"prompt": "a café in\\nthe snow"},
    {"model": "maker/plain", "prompt": "a café in\nthe snow"},
    {"negative_prompt": "snow"},
    {"negative_prompt": "Snow"},
    {"width": 520},
    {"height": 520},
    {"width": 520, "height": 512},
    {"width": 512, "height": 528},
    {"size": "520x520"},
    {"size": "1024x512"},
    {"size": "512x1024"},
    {"steps": 19},
    {"steps": 21},
    {"guidance": 7.5},
    {"guidance": 0},
    {"guidance": 7.000001},
    {"seed": 0},
    {"seed": 1},
    {"seed": 2147483647},
    {"sampler": "heun"},
    {"scheduler": "karras"},
    {"quality": "hd"},
    {"style": "natural"},
    {"format": "webp"},
    {"format": "jpg"},
    {"variation": 1},
    {"variation": 2},
    {"variation": 1, "seed": 1},
    {"n": 1},
    {"n": 3},
    {"n": 10},
]


def test_forty_spellings_of_one_meaning_have_one_id() -> None:
    assert len(SPELLINGS) >= 40
    assert {ids(ONE | spelling) for spelling in SPELLINGS} == {ids(ONE)}


def test_forty_near_misses_have_forty_ids() -> None:
    assert len(NEAR_MISSES) >= 40
    found = [ids(ONE | near) for near in NEAR_MISSES]
    twice = {"{'width': 520, 'height': 512}"}  # the same meaning as {"width": 520}
    assert len({each.task for each in found}) == len(NEAR_MISSES) - len(twice)
    assert len({each.digest for each in found}) == len({each.task for each in found})


def test_n_changes_the_task_and_not_the_series() -> None:
    two, four = ids(ONE), ids(ONE | {"n": 4})
    assert two.series == four.series
    assert two.task != four.task


def test_a_caller_has_ids_of_its_own_where_pictures_are_not_shared() -> None:
    assert len({ids(ONE).series, ids(ONE, caller="a").series, ids(ONE, caller="b").series}) == 3


def test_a_variation_of_zero_is_absent_from_the_canonical_form() -> None:
    assert b"variation" not in ids(ONE | {"variation": 0}).canonical
    assert b'"variation":1' in ids(ONE | {"variation": 1}).canonical


def test_the_canonical_form_is_sorted_carries_a_version_and_is_json() -> None:
    canonical = ids(ONE).canonical
    fields = msgspec.json.decode(canonical)
    assert list(fields) == sorted(fields)
    assert fields["v"] == 1
    assert "n" not in fields


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=200).filter(
    lambda text: bool(text.strip())
)
drafts = st.fixed_dictionaries(
    {"prompt": texts},
    optional={
        "negative_prompt": texts,
        "width": st.integers(8, 256).map(lambda side: side * 8),
        "height": st.integers(8, 256).map(lambda side: side * 8),
        "steps": st.integers(1, 50),
        "guidance": st.floats(0, 20),
        "seed": st.integers(0, SEED_END - 1),
        "sampler": st.sampled_from(["euler", "heun"]),
        "style": st.sampled_from(["vivid", "natural"]),
        "format": st.sampled_from(["png", "webp", "jpeg", "jpg"]),
        "variation": st.integers(0, 9),
        "n": st.integers(1, 10),
    },
)


@given(drafts)
def test_the_canonical_form_is_a_fixed_point(fields: dict[str, Any]) -> None:
    first = canonicalise(Draft(**fields), CATALOGUE, max_n=10)
    shown = msgspec.structs.asdict(first.image)
    shown.pop("version")
    shown.pop("caller")
    again = canonicalise(Draft(**shown, n=first.n), CATALOGUE, max_n=10)
    assert again == first
    assert read_canonical(first.image.canonical()) == first.image


@given(drafts, st.sampled_from(["NFC", "NFD"]), st.sampled_from(["\n", "\r\n", "\r"]))
def test_spelling_never_changes_the_id(fields: dict[str, Any], form: Any, line_end: str) -> None:
    fields = fields | {"prompt": fields["prompt"] + "\nand more"}
    respelt = unicodedata.normalize(form, fields["prompt"]).replace("\n", line_end)
    assert ids(fields | {"prompt": f" {respelt}\t"}) == ids(fields)


@given(st.integers(0, 99))
def test_image_seeds_are_derived_and_in_range(index: int) -> None:
    series = SeriesId("0" * 32)
    seed = image_seed(series, index)
    assert 0 <= seed < SEED_END
    assert seed == image_seed(series, index)
    assert image_seed(series, index, asked=SEED_END - 1) == (SEED_END - 1 + index) % SEED_END


def test_a_request_s_own_seed_goes_to_slot_0_as_it_is() -> None:
    assert image_seed(SeriesId("0" * 32), 0, asked=42) == 42


def test_a_negative_slot_has_no_seed() -> None:
    with pytest.raises(ValueError, match="negative"):
        image_seed(SeriesId("0" * 32), -1)
