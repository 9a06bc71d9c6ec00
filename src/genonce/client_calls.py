"""One call of the native surface, sent until there is an answer that time will not change."""

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Literal, NamedTuple

import aiohttp
import httpx
import msgspec

from genonce.client_errors import ServiceError, Setback, failure, unanswered

ANSWER_S = 30.0
"""Seconds that an answer may take beyond the time that was asked to wait."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """A pause before the same call is sent again."""

    seconds: float
    error: ServiceError
    """Why: status 429 is the service's limit and normal; 0 means that nobody answered."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What to send."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    content: bytes | None = None
    wait_s: float = 0.0
    """Seconds that the service was asked to wait with its answer."""
    prefer: bool = False
    """Ask so by a Prefer header; else the URL does."""
    stream: bool = False
    """Leave the body of a success unread."""
    meter: Literal["generate", "read"] = "read"
    """The service's limit that a 429 most likely speaks of."""


class Answered(NamedTuple):
    """A success, and whether an earlier sending of the same call may have been taken too."""

    response: httpx.Response
    resent: bool


class _Patience:
    """How long setbacks are borne: until the deadline, and outages only so long in a row."""

    def __init__(self, *, end: float | None, outage_s: float | None) -> None:
        self._end = math.inf if end is None else end
        self._outage_s = math.inf if outage_s is None else outage_s
        self._quiet_since: float | None = None

    def due(self, setback: Setback, *, attempt: int, now: float) -> float:
        """When to try again, or raise the setback's error if that would be too late."""
        due, end = now + setback.delay_s(attempt), self._end
        if setback.is_limit:
            self._quiet_since = None
        else:
            if self._quiet_since is None:
                self._quiet_since = now
            end = min(end, self._quiet_since + self._outage_s)
        if due > end:
            raise setback.error
        return due


class Caller:
    """Sends calls: waits as the service says, and gives the key to its own origin only.

    Callers that a limit turned away form a line, one for each meter: only the first of them
    waits and asks again, so that N of them do not knock at the same instant for one free place.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        origin: tuple[str, str, int | None],
        api_key: str,
        outage_s: float | None,
        on_wait: Callable[[Wait], None] | None,
    ) -> None:
        self._http = http
        self._origin = origin
        self._api_key = api_key
        self._outage_s = outage_s
        self._on_wait = on_wait
        self._lines: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def answer(self, call: Call, *, deadline_s: float | None = None) -> Answered:
        """Send until there is a final answer.

        Raises:
            ServiceError: a final refusal, or time is over.
        """
        loop = asyncio.get_running_loop()
        end = None if deadline_s is None else loop.time() + deadline_s
        patience = _Patience(end=end, outage_s=self._outage_s)
        async with within(deadline_s), contextlib.AsyncExitStack() as line:
            resent, queued, attempt = False, False, 0
            while True:
                try:
                    return Answered(await self._attempt(call, prefer=not queued), resent)
                except Setback as caught:
                    setback = caught
                resent = resent or setback.uncertain
                due = patience.due(setback, attempt=attempt, now=loop.time())
                if setback.is_limit and not queued:
                    await line.enter_async_context(self._lines[call.meter])
                    queued = True
                await self._rest(due - loop.time(), setback.error)
                attempt += 1

    async def _rest(self, seconds: float, error: ServiceError) -> None:
        if seconds > 0:
            if self._on_wait is not None:
                self._on_wait(Wait(seconds=seconds, error=error))
            await asyncio.sleep(seconds)

    async def _attempt(self, call: Call, *, prefer: bool) -> httpx.Response:
        """Send once.

        Args:
            call: what to send.
            prefer: False at the head of a line: an answer that waits for the pictures would
                keep the others standing.
        """
        try:
            response = await self._http.send(self._request(call, prefer=prefer), stream=call.stream)
            if call.stream and not response.is_success:
                async with contextlib.aclosing(response):
                    await response.aread()
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.DecodingError) as error:
            raise ServiceError(str(error), code="no_answer") from error
        except (httpx.RequestError, aiohttp.ClientError) as error:
            raise unanswered(error, call.url) from error
        if response.is_success:
            return response
        raise failure(response)

    def _request(self, call: Call, *, prefer: bool) -> httpx.Request:
        url = httpx.URL(call.url)
        headers = dict(call.headers)
        if self._api_key and origin_of(url) == self._origin:
            headers["Authorization"] = f"Bearer {self._api_key}"
        if prefer and call.prefer and call.wait_s:
            headers["Prefer"] = f"wait={math.ceil(call.wait_s)}"
        timeout = httpx.Timeout(ANSWER_S, read=ANSWER_S + call.wait_s, pool=None)
        return self._http.build_request(
            call.method, url, headers=headers, content=call.content, timeout=timeout
        )


@contextlib.asynccontextmanager
async def within(deadline_s: float | None) -> AsyncIterator[None]:
    """Bound a block in time; a ServiceError says that it was not enough."""
    try:
        async with asyncio.timeout(deadline_s) as scope:
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise ServiceError(
            f"There was no final answer within {deadline_s:g} s.", code="deadline"
        ) from error


def address_of(text: str) -> httpx.URL:
    """Read the address of a service, or raise ValueError."""
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL as error:
        raise ValueError(f"{text!r} is no address: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"{text!r} is no address; it has to look like http://127.0.0.1:8000")
    return url.copy_with(query=None, fragment=None)


def origin_of(url: httpx.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port, the port None where it is the scheme's own."""
    return url.scheme, url.host, url.port
