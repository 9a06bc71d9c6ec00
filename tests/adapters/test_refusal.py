"""What refusals say: when to come back, and why, without secrets."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from genonce.adapters.refusal import retry_after_s, safe_reason

KEY = "tgp_v1_Zq3kfT9wXyLmNopQr-StUvWx"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0"}, 0.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"retry-after": "99999999"}, 3600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        (
            {
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
                "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT",
            },
            30.0,
        ),
        (
            {
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
                "retry-after": "Wed, 21 Oct 2026 07:27:30 -0000",
            },
            0.0,
        ),
        ({"retry-after": "Wed, 99 Oct 2026 07:28:30 GMT"}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(httpx.Headers(headers)) == expected


def test_a_date_without_the_peers_clock_is_measured_from_ours() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    wait_s = retry_after_s(httpx.Headers({"retry-after": moment}))
    assert wait_s is not None
    assert 97 < wait_s <= 100


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("NSFW content detected", "NSFW content detected"),
        (
            "Unable to access model black-forest-labs/FLUX.1-schnell.",
            "Unable to access model black-forest-labs/FLUX.1-schnell.",
        ),
        ("width must be 256/512 and/or less", "width must be 256/512 and/or less"),
        (f"Invalid API key: {KEY}", "Invalid API key: ***"),
        ("Invalid API key: tgp_v1_Zq3k****vWx", "Invalid API key: ***"),
        ("key ...opQr-StUvWx' is wrong", "key *** is wrong"),
        ("Bearer abc", "***"),
        ("sk-other_key_1234 used", "*** used"),
        ("token 0123456789abcdef0123456789abcdef", "token ***"),
        ("see https://docs.together.ai/key?x=1.", "see ***"),
        ("see www.together.ai/key", "see ***"),
        ("in /srv/app/model.py line 3", "in *** line 3"),
        ("in C:\\srv\\model.py line 3", "in *** line 3"),
        ("from 10.0.0.7:8080", "from ***"),
        ("<html><body>no</body></html>", "******no******"),
        ("two\r\nlines\x00\x1b[31m", "two lines [31m"),
        ("", ""),
    ],
)
def test_reasons_are_shown_without_secrets(said: str, shown: str) -> None:
    assert safe_reason(said, secrets=[KEY, ""]) == shown


def test_reasons_are_short_however_long_the_answer() -> None:
    for text in ("word " * 10_000, "a" * 60_000, "/" * 60_000, "<" * 60_000, "a." * 30_000):
        assert len(safe_reason(text, secrets=[KEY])) <= 200
