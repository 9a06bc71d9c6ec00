"""Limits as callers and settings write them, and what a meter decided."""

import re

import msgspec

from genonce.domain.errors import ConfigError, LimitExceeded

PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_LIMIT = re.compile(r"^\s*(\d+)\s*(?:/|per\s)\s*(?:(\d+)\s*)?(second|minute|hour|day)s?\s*$", re.I)


class Limit(msgspec.Struct, frozen=True):
    """At most ``amount`` units in any ``window_s`` seconds."""

    amount: int
    window_s: int


class Meter(msgspec.Struct, frozen=True):
    """A named set of limits for one caller; no limits means unmetered.

    Attributes:
        name: generate, general or read.
        caller: whose log it is.
    """

    name: str
    caller: str
    limits: tuple[Limit, ...]


class Allowance(msgspec.Struct, frozen=True):
    """What a meter says after a request, of its tightest limit.

    Attributes:
        meter: name of the meter.
        remaining: units left now.
        reset_s: seconds until the oldest unit in the window is free again.
    """

    meter: str
    limit: Limit
    remaining: int
    reset_s: float


def parse_limits(text: str, *, variable: str) -> tuple[Limit, ...]:
    """Read a limit string: "5/minute", "100/hour; 2/second", "10 per 5 minutes", "none".

    Raises:
        ConfigError: the text is not of that form; names ``variable``.
    """
    if text.strip().casefold() in ("none", "off", "unlimited"):
        return ()
    return tuple(_parse_limit(part, variable) for part in re.split(r"[;,|]", text))


def _parse_limit(part: str, variable: str) -> Limit:
    match = _LIMIT.match(part)
    if match is None or int(match[1]) < 1:
        raise ConfigError(
            f'{variable}: "{part.strip()}" is not a limit; write e.g. "5/minute", '
            f'"100/hour; 2/second" or "none".'
        )
    return Limit(int(match[1]), int(match[2] or 1) * PERIODS_S[match[3].lower()])


def limit_exceeded(meter: str, limit: Limit, *, retry_after_s: float) -> LimitExceeded:
    """The condition of a meter that has nothing left."""
    return LimitExceeded(
        f"Rate limit of {limit.amount} in {limit.window_s} s is used up; "
        f"come back in {retry_after_s:.1f} s.",
        retry_after_s=retry_after_s,
        meter=meter,
        limit=limit,
    )
