"""Limit strings."""

import pytest

from genonce.domain.errors import ConfigError
from genonce.domain.quota import Limit, parse_limits


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("5/minute", (Limit(5, 60),)),
        ("5 / Minutes", (Limit(5, 60),)),
        ("100/hour; 2/second", (Limit(100, 3600), Limit(2, 1))),
        ("100/hour, 2/second", (Limit(100, 3600), Limit(2, 1))),
        ("10 per 5 minutes", (Limit(10, 300),)),
        ("10/5minute", (Limit(10, 300),)),
        ("7/day", (Limit(7, 86400),)),
        ("none", ()),
    ],
)
def test_limits_are_read_as_slowapi_writes_them(text: str, limits: tuple[Limit, ...]) -> None:
    assert parse_limits(text, variable="X") == limits


@pytest.mark.parametrize("text", ["", "5", "five/minute", "5/fortnight", "0/minute", "-1/minute"])
def test_a_wrong_limit_names_the_variable(text: str) -> None:
    with pytest.raises(ConfigError, match="RATE_LIMIT_READ"):
        parse_limits(text, variable="RATE_LIMIT_READ")
