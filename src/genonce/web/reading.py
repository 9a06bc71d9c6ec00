"""Reads what clients send: bodies, waits, keys; every refusal names what is wrong."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import Request

from genonce.domain.errors import InvalidRequest, MalformedBody, UnsupportedMediaType

T = TypeVar("T")
AnyRequest = Request[Any, Any, Any]
Headers = Mapping[bytes, bytes]
"""Header fields as sent, names in lower case; of a repeated field the last."""

_UNKNOWN = re.compile(r"unknown field `(.*)`")
_WHERE = re.compile(r" - at `\$\.?([^`]*)`$")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*(?:=\s*([^,;]*))?(?=[,;]|$)", re.I)
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
_NUMBER = re.compile(r"[0-9]{1,15}")


def headers_of(request: AnyRequest) -> Headers:
    """The header fields of a request; cheaper than the framework's, and enough."""
    return dict(request.scope["headers"])


def field(headers: Headers, name: bytes) -> str | None:
    """One header field as text."""
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


async def json_body(request: AnyRequest, headers: Headers, decoder: msgspec.json.Decoder[T]) -> T:
    """The body of a request.

    Raises:
        UnsupportedMediaType: it is not said to be JSON.
        MalformedBody: it is not a JSON object.
        InvalidRequest: a field is unknown or of the wrong type; names it.
    """
    media_type = headers.get(b"content-type", b"")
    if media_type.partition(b";")[0].strip().lower() != b"application/json":
        raise UnsupportedMediaType("Send the body with Content-Type: application/json.")
    body = await request.body()
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody("The body is not valid JSON in UTF-8.") from error


def _invalid(reason: str) -> InvalidRequest:
    unknown = _UNKNOWN.search(reason)
    if unknown:
        return InvalidRequest(
            f"Unknown field {unknown[1]}; remove it or check its spelling.", field=unknown[1]
        )
    where = _WHERE.search(reason)
    field = where[1] if where else ""
    reason = _WHERE.sub("", reason).replace("`", "")
    if not field:
        return MalformedBody(f"The body has to be a JSON object: {reason}.")
    return InvalidRequest(f"{field} has the wrong type: {reason}.", field=field)


def idempotency_key(headers: Headers) -> str | None:
    """The Idempotency-Key, if there is one.

    Raises:
        InvalidRequest: it is empty, too long, or not printable ASCII.
    """
    key = field(headers, b"idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key has to be 1 to 255 printable ASCII characters.",
            field="Idempotency-Key",
        )
    return key


def preferred_wait(headers: Headers, *, limit_s: int) -> float | None:
    """Seconds of `Prefer: wait=N`, at most ``limit_s``; None without it.

    Raises:
        InvalidRequest: N is not a number of seconds.
    """
    prefer = field(headers, b"prefer")
    match = _WAIT.search(prefer) if prefer else None
    if match is None:
        return None
    return _seconds(match[1] or str(limit_s), "Prefer: wait", limit_s)


def asked_wait(request: AnyRequest, *, limit_s: int) -> float | None:
    """Seconds of `?wait=N`, at most ``limit_s``; None without it.

    Raises:
        InvalidRequest: N is not a number of seconds.
    """
    if not request.scope["query_string"]:
        return None
    value = request.query_params.get("wait")
    return None if value is None else _seconds(value, "wait", limit_s)


def _seconds(text: str, field: str, limit_s: int) -> float:
    text = text.strip().strip('"')
    if not _SECONDS.fullmatch(text):
        raise InvalidRequest(
            f"{field} has to be a number of seconds from 0 to {limit_s}.", field=field
        )
    return min(float(text), float(limit_s))


def last_event_id(request: AnyRequest) -> int | None:
    """The number of the last event that a client has seen; None if it says nothing.

    Raises:
        InvalidRequest: it is not a number.
    """
    value = field(headers_of(request), b"last-event-id")
    value = value or request.query_params.get("lastEventId")
    if value is None:
        return None
    if not _NUMBER.fullmatch(value):
        raise InvalidRequest(
            "Last-Event-ID has to be the number of an event.", field="Last-Event-ID"
        )
    return int(value)


def flag(request: AnyRequest, name: str) -> bool:
    """A query parameter that is true or false.

    Raises:
        InvalidRequest: it is something else.
    """
    value = request.query_params.get(name, "false").casefold()
    if value in ("true", "1"):
        return True
    if value in ("false", "0"):
        return False
    raise InvalidRequest(f"{name} has to be true or false.", field=name)
