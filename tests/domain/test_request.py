"""A wrong value is refused by name and with a remedy, never clipped."""

from typing import Any

import msgspec
import pytest

from genonce.domain.catalogue import catalogue_of
from genonce.domain.errors import ConfigError, InvalidRequest, ProviderMisconfigured, UnknownModel
from genonce.domain.request import Draft, GenerationRequest, canonicalise
from tests.painters import CATALOGUE, PAINTER


def draft(**fields: Any) -> GenerationRequest:
    """A canonical request with a good prompt unless told otherwise."""
    return canonicalise(Draft(**({"prompt": "a cat"} | fields)), CATALOGUE, max_n=10)


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("prompt", None, "missing"),
        ("prompt", "", "blank"),
        ("prompt", " \n\t\u3000", "blank"),
        ("prompt", 5, "text"),
        ("prompt", "x" * 4001, "4001 characters; at most 4000"),
        ("prompt", "a\x00b", "control characters"),
        ("prompt", "a\x1b[0m", "control characters"),
        ("prompt", "a\x7f", "control characters"),
        ("prompt", "a\x85b", "control characters"),
        ("prompt", "x\ud800y", "surrogate"),
        ("negative_prompt", "a\x07b", "control characters"),
        ("negative_prompt", "x" * 4001, "at most 4000"),
        ("n", 0, "from 1 to 10"),
        ("n", -1, "from 1 to 10"),
        ("n", 11, "from 1 to 10"),
        ("n", 1e9, "from 1 to 10"),
        ("n", 1.5, "whole number"),
        ("n", "2abc", "whole number"),
        ("n", "", "whole number"),
        ("n", float("nan"), "whole number"),
        ("n", float("inf"), "whole number"),
        ("n", True, "whole number"),
        ("n", 10**30, "from 1 to 10"),
        ("width", 0, "from 64 to 2048"),
        ("width", 63, "from 64 to 2048"),
        ("width", 2056, "from 64 to 2048"),
        ("width", 100, "multiple of 8"),
        ("width", "wide", "whole number"),
        ("height", -512, "from 64 to 2048"),
        ("height", 70, "multiple of 8"),
        ("size", "big", "512x512"),
        ("size", "512x", "512x512"),
        ("size", "512x100", "multiple of 8"),
        ("size", "0x0", "from 64 to 2048"),
        ("steps", 0, "from 1 to 50"),
        ("steps", 51, "from 1 to 50"),
        ("guidance", 21, "from 0 to 20"),
        ("guidance", -0.1, "from 0 to 20"),
        ("guidance", float("nan"), "number"),
        ("guidance", 10**400, "number"),
        ("guidance", "strong", "number"),
        ("seed", -1, "from 0 to 2147483647"),
        ("seed", 2**31, "from 0 to 2147483647"),
        ("sampler", "ddim", "one of: euler, heun"),
        ("scheduler", "beta", "one of: normal, karras"),
        ("quality", "low", "one of: standard, hd"),
        ("style", "anime", "one of: vivid, natural"),
        ("format", "gif", "one of: png, webp, jpeg"),
        ("variation", -1, "from 0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(field: str, value: Any, word: str) -> None:
    with pytest.raises(InvalidRequest, match=word) as caught:
        draft(**{field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 4),
        ("guidance", 7),
        ("negative_prompt", "rain"),
        ("seed", 1),
        ("sampler", "euler"),
        ("style", "vivid"),
    ],
)
def test_a_parameter_that_the_model_lacks_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match="not a parameter of the model maker/plain") as caught:
        draft(model="maker/plain", **{field: value})
    assert caught.value.field == field


def test_size_and_sides_that_differ_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="differ"):
        draft(size="512x512", width=1024)


def test_an_unknown_model_names_the_usable_ones() -> None:
    with pytest.raises(UnknownModel, match="maker/painter, maker/plain"):
        draft(model="nobody/knows")


def test_a_model_without_a_key_names_the_variable() -> None:
    with pytest.raises(ProviderMisconfigured, match="OTHER_API_KEY"):
        draft(model="other/model")


def test_the_longest_prompt_is_measured_after_trimming() -> None:
    assert len(draft(prompt=" " * 100 + "x" * 4000).image.prompt) == 4000


def test_line_breaks_and_tabs_inside_a_prompt_stay() -> None:
    assert draft(prompt="a\n\tb").image.prompt == "a\n\tb"


def test_two_models_cannot_have_one_name() -> None:
    twin = msgspec.structs.replace(PAINTER, id="maker/twin")
    with pytest.raises(ConfigError, match="claim the name"):
        catalogue_of((PAINTER, twin), default="maker/twin", missing={})


def test_a_default_model_has_to_exist() -> None:
    with pytest.raises(ConfigError, match="DEFAULT_MODEL"):
        catalogue_of((PAINTER,), default="nobody", missing={})
