"""What an answer that is no success means: its class, when to come back, and why."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

import httpx
import msgspec

from genonce.adapters.http import FAILURES, UNREADABLE, read_body
from genonce.domain.errors import (
    OutcomeUnknown,
    ProviderError,
    ProviderFailed,
    ProviderLimited,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)

REASON_S = 5.0
REASON_BYTES = 65_536
RETRY_AFTER_MAX_S = 3600.0
REASON_CHARACTERS = 200

_UNFIT = re.compile(
    r"""\b[a-z][a-z0-9+.-]{1,15}://\S+ | \bwww\.\S+        # addresses of pages
      | (?<![\w.])[/\\][\w.~%/\\-]+ | \b[a-z]:\\\S+        # paths
      | \bbearer\s+\S+ | \b(?:tgp|sk|pk|hf|r8|key)[-_][\w-]{6,}
      | \b(?=\w{0,99}\d)(?=\w{0,99}[a-z])\w{20,}           # keys, tokens, ids
      | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b               # machines
      | <[^>]{0,200}>""",
    re.I | re.X,
)


class _Reason(msgspec.Struct):
    message: str


class _Body(msgspec.Struct):
    """The common form of a refusal, OpenAI's; some give the text alone."""

    error: _Reason | str


async def refusal(
    answer: httpx.Response, *, provider: str, key_variable: str, secrets: Sequence[str]
) -> ProviderError:
    """The domain error of a streamed answer other than 2xx, to a call that makes pictures.

    Args:
        answer: its body is read here, within 5 s and 64 KiB.
        provider: its name, for messages.
        key_variable: names the environment variable that the operator has to look at.
        secrets: texts that no message may hold.
    """
    status = answer.status_code
    wait_s = retry_after_s(answer.headers)
    reason = await _reason(answer, secrets)  # also empties the line, so that it is used again
    match status:
        case 429:
            return ProviderLimited(f"{provider} asks for fewer requests.", retry_after_s=wait_s)
        case 503 | 529:
            return ProviderUnavailable(f"{provider} is overloaded.", retry_after_s=wait_s)
        case 401:
            return ProviderMisconfigured(f"{provider} refuses the key: check {key_variable}.")
        case 402:
            why = f"The account of {key_variable} has no credit left at {provider}."
            return ProviderMisconfigured(why)
        case 403:
            why = f"The key in {key_variable} has no permission for this at {provider}."
            return ProviderMisconfigured(why)
        case 500:
            return ProviderFailed(f"{provider} failed to make the pictures (HTTP 500).")
        case _ if status == 408 or status >= 500:
            return OutcomeUnknown(f"{provider} gave no answer in time (HTTP {status}).")
        case _ if status >= 400:
            reason = reason or f"HTTP {status}, without a reason."
            return ProviderRejected(f"{provider} refuses the request: {reason}")
    return ProviderFailed(f"{provider} gave an unexpected answer (HTTP {status}).")


async def _reason(answer: httpx.Response, secrets: Sequence[str]) -> str:
    """The refusal's own words, made safe; "" if there are none to be had."""
    try:
        async with asyncio.timeout(REASON_S):
            body = await read_body(answer, max_bytes=REASON_BYTES)
        error = msgspec.json.decode(body, type=_Body).error
    except (*FAILURES, *UNREADABLE, ProviderFailed):
        return ""
    return safe_reason(error if isinstance(error, str) else error.message, secrets=secrets)


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds that an answer asks to wait, from 0 to 3,600; None if it does not say.

    Reads ``retry-after-ms``, then ``retry-after`` as seconds or as an HTTP date.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if isfinite(seconds) and seconds >= 0:
            return min(seconds, RETRY_AFTER_MAX_S)
    moment = _moment(headers.get("retry-after"))
    if moment is None:
        return None
    # Measured from the peer's clock where it tells: ours may differ.
    now = _moment(headers.get("date")) or datetime.now(UTC)
    return min(max((moment - now).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def safe_reason(text: str, *, secrets: Sequence[str] = ()) -> str:
    """A provider's own words, fit for the caller: one line of at most 200 characters.

    Page addresses, paths, machines, markup and what looks like a key become ``***``, and so
    does every word that shares eight characters with one of ``secrets``.
    """
    words = "".join(c if c.isprintable() else " " for c in text[:4000]).split()
    pieces = {s[i : i + 8] for s in secrets for i in range(max(len(s) - 7, 0))}
    shown = " ".join("***" if any(p in word for p in pieces) else word for word in words)
    shown = _UNFIT.sub("***", shown)
    return shown if len(shown) <= REASON_CHARACTERS else shown[: REASON_CHARACTERS - 1] + "…"
