"""What goes wrong between client and service, and whether it may pass."""

import email.utils
import random
import time
from http import HTTPStatus

import aiohttp
import httpx
import msgspec

TRANSIENT = frozenset({429, 502, 503, 504})
# The service may have taken a request whose answer a proxy lost; 429 and 503 are said before that.
UNCERTAIN = frozenset({502, 504})
BACKOFF_S = 0.25
BACKOFF_TOP_S = 20.0
UNREADABLE = "unreadable_answer"


class ServiceError(Exception):
    """The service refused, or gave no usable answer; ``str()`` is the message.

    Attributes:
        status: HTTP status; 0 where there was no answer.
        code: the service's stable word for it, or one of this client's: no_answer, deadline,
            unreadable_answer, picture_damaged.
        message: what happened, and where the service says so, what to do.
        field: the request field that is wrong, else "".
    """

    def __init__(self, message: str, *, status: int = 0, code: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.field = field


class Setback(Exception):
    """An attempt failed in a way that may pass.

    Attributes:
        error: what to raise when there is no time left for it to pass.
        retry_after_s: when to come back, where the service says so.
        uncertain: the service may have taken the request all the same.
    """

    def __init__(
        self, error: ServiceError, *, retry_after_s: float | None, uncertain: bool
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry_after_s = retry_after_s
        self.uncertain = uncertain

    @property
    def is_limit(self) -> bool:
        """The service's limit is used up: it works, and says when to come back."""
        return self.error.status == HTTPStatus.TOO_MANY_REQUESTS

    def delay_s(self, attempt: int) -> float:
        """Seconds to rest; a limit's time is exact, anything else gets full jitter on top."""
        if self.is_limit and self.retry_after_s is not None:
            return self.retry_after_s
        return (self.retry_after_s or 0.0) + backoff_s(attempt)


def backoff_s(attempt: int) -> float:
    """Full jitter: anything from 0 to a bound that doubles with each attempt from 0."""
    return random.uniform(0.0, min(BACKOFF_TOP_S, BACKOFF_S * 2 ** min(attempt, 10)))


def unanswered(error: Exception, url: str) -> Setback:
    """What a failed attempt without an answer means."""
    reason = str(error) or type(error).__name__
    # httpx-aiohttp gives a refused connection as a ConnectTimeout.
    never_sent = isinstance(error, httpx.ConnectError) or isinstance(
        error.__cause__, aiohttp.ClientConnectorError
    )
    message = f"No answer from {httpx.URL(url).copy_with(query=None)}: {reason}"
    return Setback(
        ServiceError(message, code="no_answer"),
        retry_after_s=None,
        uncertain=not never_sent,
    )


class _Detail(msgspec.Struct, rename="camel"):
    message: str = ""
    code: str = ""
    field: str = ""
    retry_after_ms: float | None = None


class _ErrorBody(msgspec.Struct):
    message: str = ""
    status: str = ""
    error: _Detail = msgspec.field(default_factory=_Detail)


def failure(response: httpx.Response) -> Setback | ServiceError:
    """What an unsuccessful answer means: to be tried again, or final."""
    try:
        body = msgspec.json.decode(response.content, type=_ErrorBody)
    except msgspec.DecodeError:  # a proxy's page
        body = _ErrorBody()
    error = ServiceError(
        body.error.message or body.message or _plain_message(response),
        status=response.status_code,
        code=body.error.code or body.status or f"http_{response.status_code}",
        field=body.error.field,
    )
    millis = body.error.retry_after_ms
    after_s = _retry_after_s(response) if millis is None else max(0.0, millis / 1000)
    # A limit of the service that names no time can never admit this request.
    never = error.code == "rate_limited" and after_s is None
    if error.status not in TRANSIENT or never:
        return error
    return Setback(error, retry_after_s=after_s, uncertain=error.status in UNCERTAIN)


def _plain_message(response: httpx.Response) -> str:
    if response.has_redirect_location:
        return f"The service sends us to {response.headers['Location']}; use that address."
    return f"The service answers {response.status_code} {response.reason_phrase}."


def _retry_after_s(response: httpx.Response) -> float | None:
    """Retry-After in either form: seconds, or a date."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
