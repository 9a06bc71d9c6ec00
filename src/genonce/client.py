"""A small HTTP client of the native surface that retries safely; `genonce batch` stands on it.

    async with GenonceClient("http://127.0.0.1:8000", api_key="...") as client:
        answer = await client.complete({"prompt": "a cat", "n": 2})
        for picture in answer.data:
            content = await client.fetch(picture)

Asking again is safe: equal parameters are one task, paid once. So lost connections, time-outs,
502, 503 and 504 are tried again with full-jitter backoff, 429 when the service says so.
"""

import asyncio
import contextlib
import functools
import hashlib
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Self
from urllib.parse import quote

import httpx
import msgspec
from httpx_aiohttp import HttpxAiohttpClient

from genonce.client_answers import Answer, Event, Health, Picture, Plan, Task, read
from genonce.client_calls import Call, Caller, Wait, address_of, origin_of, within
from genonce.client_errors import UNREADABLE, ServiceError
from genonce.client_events import follow

# Below the 60 s after which common proxies cut a silent connection.
WAIT_S = 50.0
POLL_S = 1.0
"""Shortest time between two polls, should a service not wait as asked."""
# Below the 5 s after which uvicorn closes an idle connection.
KEEPALIVE_S = 4.0
STRANGER_S = 60.0
"""How long a picture is asked for at an address that is not the service's own."""
OUTCOMES = {"hit": "hit", "join": "join", "miss": "new"}
"""X-Cache in the words of ``outcome``."""
JSON = {"Content-Type": "application/json"}


class GenonceClient:
    """Asks one service.

    Its calls take ``deadline_s``, seconds for everything, retries included (None: no bound),
    and raise `ServiceError` for a final refusal or when the time is over.

    Args:
        base_url: the service's address; a path in front of its routes is kept.
        api_key: sent as a Bearer token, to the origin of ``base_url`` only.
        transport: an httpx transport instead of aiohttp's.
        connections: most connections at once.
        outage_s: give up when for so long in a row nobody answers but 502, 503 or 504.
        on_wait: called before each pause.

    Raises:
        ValueError: the address or the key cannot be one.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
        connections: int = 100,
        outage_s: float | None = None,
        on_wait: Callable[[Wait], None] | None = None,
    ) -> None:
        base = address_of(base_url)
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("an API key consists of printable ASCII characters")
        # aiohttp's pool takes a tenth of the CPU time of httpx's own at 50 calls in flight.
        self._http = HttpxAiohttpClient(
            transport=transport,
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=KEEPALIVE_S),
        )
        self._base = str(base).rstrip("/")
        self._origin = origin_of(base)
        self._caller = Caller(
            self._http, origin=self._origin, api_key=api_key, outage_s=outage_s, on_wait=on_wait
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def health(self, *, deadline_s: float | None = None) -> None:
        """Return once the service says that it is well."""
        call = Call(method="GET", url=f"{self._base}/api/health")
        read((await self._caller.answer(call, deadline_s=deadline_s)).response.content, Health)

    async def generate(
        self,
        fields: Mapping[str, object],
        *,
        wait_s: float = 0.0,
        idempotency_key: str = "",
        deadline_s: float | None = None,
    ) -> Answer:
        """Ask for pictures.

        Args:
            fields: of the request as the native surface names them: prompt, model, n, ...
            wait_s: how long the service may wait for the pictures before it answers (it does
                not where the limit made us stand in line); at most the service's WAIT_LIMIT.
            idempotency_key: tells a second call from the first one sent twice.
            deadline_s: see the class.

        Returns:
            The task, perhaps unfinished.
        """
        call = Call(
            method="POST",
            url=f"{self._base}/api/images/generate",
            headers=JSON | ({"Idempotency-Key": idempotency_key} if idempotency_key else {}),
            content=msgspec.json.encode(fields),
            wait_s=wait_s,
            prefer=True,
            meter="generate",
        )
        response, resent = await self._caller.answer(call, deadline_s=deadline_s)
        answer = read(response.content, Answer)
        outcome = answer.outcome or OUTCOMES.get(response.headers.get("X-Cache", ""), "new")
        return msgspec.structs.replace(answer, outcome=outcome, resent=resent)

    async def complete(
        self, fields: Mapping[str, object], *, deadline_s: float | None = None
    ) -> Answer:
        """Ask for pictures and follow their task to its end.

        Returns:
            The finished task: completed, failed or cancelled.
        """
        loop = asyncio.get_running_loop()
        async with within(deadline_s):
            answer = await self.generate(fields, wait_s=WAIT_S, deadline_s=deadline_s)
            while not answer.is_terminal:
                rest = loop.time() + POLL_S
                answer = await self._follow(answer, fields, deadline_s=deadline_s)
                if not answer.is_terminal:
                    await asyncio.sleep(rest - loop.time())
        return answer

    async def _follow(
        self, answer: Answer, fields: Mapping[str, object], *, deadline_s: float | None
    ) -> Answer:
        """The answer as its task stands after a long poll."""
        try:
            task = await self.task(answer.task_id, wait_s=WAIT_S, deadline_s=deadline_s)
        except ServiceError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            # The service lost or forgot the record, not the pictures: the same request finds them.
            again = await self.generate(fields, wait_s=WAIT_S, deadline_s=deadline_s)
            resent = answer.resent or again.resent
            if again.to_buy:
                return msgspec.structs.replace(again, resent=resent)
            return msgspec.structs.replace(
                again, outcome=answer.outcome, to_buy=answer.to_buy, resent=resent
            )
        news = msgspec.structs.asdict(task) | {"n": task.n or answer.n}
        return msgspec.structs.replace(answer, **news)

    async def task(
        self, task_id: str, *, wait_s: float = 0.0, deadline_s: float | None = None
    ) -> Task:
        """Read a task; with ``wait_s`` once it has ended, or after that time as it stands."""
        call = Call(
            method="GET",
            url=self._task_url(task_id) + (f"?wait={math.ceil(wait_s)}" if wait_s else ""),
            wait_s=wait_s,
        )
        task = read((await self._caller.answer(call, deadline_s=deadline_s)).response.content, Task)
        return msgspec.structs.replace(task, task_id=task_id)

    async def plan(self, fields: Mapping[str, object], *, deadline_s: float | None = None) -> Plan:
        """Say what `generate` would start and cost; starts nothing."""
        url = f"{self._base}/api/images/plan"
        call = Call(method="POST", url=url, headers=JSON, content=msgspec.json.encode(fields))
        return read((await self._caller.answer(call, deadline_s=deadline_s)).response.content, Plan)

    async def cancel(self, task_id: str, *, deadline_s: float | None = None) -> None:
        """Cancel an unfinished task, whose pictures so far stay; forget a finished or unknown one.

        Where the answer is lost it is sent again, and the cancelled task is forgotten.
        """
        call = Call(method="DELETE", url=self._task_url(task_id))
        try:
            await self._caller.answer(call, deadline_s=deadline_s)
        except ServiceError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise

    async def fetch(self, picture: Picture, *, deadline_s: float | None = None) -> bytes:
        """Return a picture's bytes, checked against its ``sha256``.

        They are asked of the service itself, whatever name it gave itself in the URL (proxies
        mislead it); then at the URL as it is, where that is another origin, without the key.
        """
        *first, last = self._places(picture.url)
        async with within(deadline_s):
            for place in first:
                with contextlib.suppress(ServiceError):
                    return await self._fetch(place, picture, deadline_s=deadline_s)
            return await self._fetch(last, picture, deadline_s=deadline_s)

    async def _fetch(self, url: httpx.URL, picture: Picture, *, deadline_s: float | None) -> bytes:
        if origin_of(url) != self._origin:
            deadline_s = min(deadline_s or STRANGER_S, STRANGER_S)
        call = Call(method="GET", url=str(url))
        content = (await self._caller.answer(call, deadline_s=deadline_s)).response.content
        if picture.sha256 and hashlib.sha256(content).hexdigest() != picture.sha256:
            raise ServiceError(f"The bytes of {url} are not the picture's.", code="picture_damaged")
        return content

    def _places(self, given: str) -> list[httpx.URL]:
        """Where a picture may be, its own service first."""
        try:
            url = httpx.URL(self._base).join(given)
        except httpx.InvalidURL as error:
            raise ServiceError(f"{given!r} is no address.", code=UNREADABLE) from error
        _, mark, key = str(url).rpartition("/images/")
        own = httpx.URL(f"{self._base}/images/{key}") if mark else url
        return [own] if own == url else [own, url]

    def events(self, task_id: str, *, after: int | None = None) -> AsyncGenerator[Event, None]:
        """Follow a task event by event until it has ended; a cut line is taken up where it broke.

        Args:
            task_id: of the task.
            after: only events with a greater number; 0 for the whole log, None for the present
                state and what follows.

        Raises:
            ServiceError: there is no such task, or another final refusal.
        """
        read_task = functools.partial(self.task, task_id)
        return follow(self._caller, self._task_url(task_id), after=after, read_task=read_task)

    def _task_url(self, task_id: str) -> str:
        return f"{self._base}/api/images/{quote(task_id, safe='')}"
