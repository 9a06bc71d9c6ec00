"""A stand-in for genonce's own native surface, served in the test's process, with faults on demand.

Marks in a prompt: [[slow]] is made when `release` is called, [[fails]] and [[fails 2]] end as
failed after so many pictures, [[fewer]] is completed without its last picture.
"""

import asyncio
import hashlib
import json
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]
FIELDS = frozenset(
    {"prompt", "model", "negativePrompt", "width", "height", "size", "steps", "guidance", "seed"}
    | {"sampler", "scheduler", "quality", "style", "format", "variation", "n"}
)
FAILS = re.compile(r"\[\[fails ?(\d*)\]\]")


class Fault:
    """What happens to one request instead of, or after, what it asked for."""

    def __init__(
        self,
        status: int = 0,
        *,
        code: str = "",
        ms: int | None = None,
        headers: dict[str, str] | None = None,
        body: str | None = None,
        accept: bool = False,
    ) -> None:
        self.status = status
        """0: the line is cut."""
        self.accept = accept
        """Do what was asked for, and then cut the line."""
        self.headers = headers or {}
        error = {"message": f"Fault {status}.", "code": code, "future": 1}
        self.body = body or json.dumps(
            {
                "success": False,
                "error": error if ms is None else error | {"retryAfterMs": ms},
            }
        )


class Task:
    """A task and the log of its events."""

    def __init__(self, task_id: str, series: str, body: Json, n: int) -> None:
        self.id, self.series, self.body, self.n = task_id, series, body, n
        self.status = "pending"
        self.log: list[Json] = []
        self.news = asyncio.Event()

    @property
    def over(self) -> bool:
        return self.status in {"completed", "failed", "cancelled"}


class NativeService:
    """The surface; a context manager that serves it on a free loopback port.

    Args:
        key: the API key that it wants; "" for none.
        port: to serve on; 0 for a free one.
        pictures_at: where it says that pictures are; "" for itself.
    """

    def __init__(self, *, key: str = "", port: int = 0, pictures_at: str = "") -> None:
        self.key, self.port, self.pictures_at = key, port, pictures_at
        self.url = ""
        self.wait_cap_s = 60.0
        self.limit: tuple[int, float] | None = None
        """Tasks that buy in a window of so many seconds."""
        self.price: float | None = None
        self.allowance: Json | None = None
        self.event_cuts: deque[int] = deque()
        """After how many events each next connection is cut."""
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.bought: Counter[str] = Counter()
        self.downloads: Counter[str] = Counter()
        self.tasks: dict[str, Task] = {}
        self.slots: defaultdict[str, dict[int, bytes]] = defaultdict(dict)
        self.leased: defaultdict[str, set[int]] = defaultdict(set)
        self._sharers: defaultdict[str, list[Task]] = defaultdict(list)
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._admitted: deque[float] = deque()
        self._gate = asyncio.Event()
        self._stirred = asyncio.Event()
        self._makers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._middleware])
        app.add_routes(
            [
                web.get("/api/health", self._health),
                web.post("/api/images/generate", self._generate),
                web.post("/api/images/plan", self._plan),
                web.get("/api/images/{id}", self._read),
                web.delete("/api/images/{id}", self._cancel),
                web.get("/api/images/{id}/events", self._events),
                web.get("/images/{key}", self._picture),
            ]
        )
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for maker in self._makers:
            maker.cancel()
        await self._runner.cleanup()

    def fault(self, route: str, *faults: Fault) -> None:
        """Give the next requests of a route, named by method and last word, these faults."""
        self._faults[route].extend(faults)

    def count(self, route: str) -> int:
        """Requests of a route so far."""
        return sum(name == route for name, _, _ in self.seen)

    def release(self) -> None:
        """Let the [[slow]] ones be made."""
        self._gate.set()

    def forget(self) -> None:
        """Lose every task record, as a flushed Redis does; the pictures stay."""
        self.tasks.clear()

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a fact that a request or an event makes."""
        while not fact():
            await self._stirred.wait()

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = asyncio.Event()

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        word = {"id": "task", "key": "picture"}.get(next(iter(request.match_info), ""), "")
        word = request.path.rpartition("/")[2] if not word or "events" in request.path else word
        route = f"{request.method} {word}"
        self.seen.append((route, request.path, dict(request.headers)))
        self._stir()
        given = request.headers.get("Authorization", "")
        if self.key and word != "health" and given != f"Bearer {self.key}":
            return _error(401, "A key is needed.", code="not_authenticated")
        if not self._faults[route]:
            answer: web.StreamResponse = await handler(request)
            return answer
        fault = self._faults[route].popleft()
        if fault.status:
            return web.Response(status=fault.status, text=fault.body, headers=fault.headers)
        if fault.accept:
            await handler(request)
        assert request.transport is not None
        request.transport.abort()
        raise asyncio.CancelledError

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"success": True, "message": "Service is healthy"})

    async def _generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        if problem := _problem(body):
            return _error(400, problem[1], code="invalid_request", field=problem[0])
        series, task_id, n = _ids(body)
        have, making, to_buy = self._split(series, n)
        outcome = _outcome(have, making, to_buy)
        task = self.tasks.get(task_id)
        if to_buy and (wait_s := self._refusal_s()):
            text = Fault(429, code="rate_limited", ms=round(wait_s * 1000) + 1).body
            return web.Response(status=429, text=text, headers={"Retry-After": "1"})
        if task is None or (task.over and to_buy):
            task = self.tasks[task_id] = Task(task_id, series, body, n)
            self._sharers[series].append(task)
            self._note(task, "completed" if have == n else "pending")
        if to_buy:
            self._start(task)
        waits = re.fullmatch(r"wait=(\d+)", request.headers.get("Prefer", ""))
        await self._wait(task, float(waits[1]) if waits else 0.0)
        answer = self._snapshot(task) | {
            "taskId": task_id,
            "cached": outcome == "hit",
            "outcome": outcome,
            "toBuy": to_buy,
        }
        return web.json_response(answer, status=200 if waits and task.over else 202)

    def _refusal_s(self) -> float:
        """0 if one more task is admitted now, else when to come back."""
        if self.limit is None:
            return 0.0
        limit, window_s = self.limit
        now = time.monotonic()
        while self._admitted and self._admitted[0] <= now - window_s:
            self._admitted.popleft()
        if len(self._admitted) >= limit:
            return self._admitted[0] + window_s - now
        self._admitted.append(now)
        return 0.0

    def _split(self, series: str, n: int) -> tuple[int, int, int]:
        have = sum(index < n for index in self.slots[series])
        making = sum(index < n for index in self.leased[series])
        return have, making, n - have - making

    def _start(self, task: Task) -> None:
        free = set(range(task.n)) - self.leased[task.series] - self.slots[task.series].keys()
        self.leased[task.series] |= free
        maker = asyncio.create_task(self._make(task, sorted(free)))
        self._makers.add(maker)
        maker.add_done_callback(self._makers.discard)

    async def _make(self, task: Task, free: list[int]) -> None:
        prompt = task.body["prompt"]
        fails = FAILS.search(prompt)
        if "[[slow]]" in prompt:
            await self._gate.wait()
        self._note(task, "processing")
        for index in free:
            self.leased[task.series].discard(index)
            if fails and index >= int(fails[1] or 0):
                continue
            self.bought[task.series] += 1
            self.slots[task.series][index] = f"{task.series} {index} ".encode() * 100
            self._note(task, "processing")
        if "[[fewer]]" in prompt:
            self.slots[task.series].popitem()
        for other in self._sharers[task.series]:
            mine = other is task or self._split(task.series, other.n)[2] == 0
            if mine and not other.over:
                self._note(other, "failed" if fails else "completed")

    def _note(self, task: Task, status: str) -> None:
        """Add an event to a task's log and wake who waits."""
        task.status = status
        task.log.append(self._snapshot(task))
        self._stir()
        task.news.set()
        task.news = asyncio.Event()

    async def _wait(self, task: Task, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, self.wait_cap_s)):
                while not task.over and seconds:
                    await task.news.wait()
        except TimeoutError:
            return

    def _snapshot(self, task: Task) -> Json:
        filled = sorted(self.slots[task.series].items())
        data = [self._entry(task.series, i, content) for i, content in filled if i < task.n]
        return {
            "success": True,
            "status": task.status,
            "progress": 100 * len(data) // task.n,
            "data": data,
            "message": "The provider failed." if task.status == "failed" else "",
            "code": "provider_failed" if task.status == "failed" else None,
            "attempt": 1,
            "n": task.n,
            "queuePosition": None,
            "estimatedSeconds": None,
            "futureField": {"x": 1},
        }

    def _entry(self, series: str, index: int, content: bytes) -> Json:
        digest = hashlib.sha256(content).hexdigest()
        url = f"{self.pictures_at or self.url}/images/{series}-{index}-{digest[:32]}.png"
        facts = {"width": 512, "height": 512, "seed": index, "sha256": digest}
        return {"url": url, "index": index} | facts

    async def _read(self, request: web.Request) -> web.Response:
        task = self.tasks.get(request.match_info["id"])
        if task is None:
            gone = {"success": False, "status": "not_found", "message": "No such task."}
            return web.json_response(gone, status=404)
        await self._wait(task, float(request.query.get("wait", 0)))
        return web.json_response(self._snapshot(task))

    async def _cancel(self, request: web.Request) -> web.Response:
        task = self.tasks.get(request.match_info["id"])
        if task is None:
            return _error(404, "No such task.", code="not_found")
        if task.over:
            del self.tasks[task.id]
        else:
            self._note(task, "cancelled")
        return web.json_response({"success": True})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        task = self.tasks.get(request.match_info["id"])
        if task is None:
            return _error(404, "No such task.", code="not_found")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        last = request.headers.get("Last-Event-ID")
        sent = int(last) if last is not None else len(task.log) - 1
        cut_at = sent + self.event_cuts.popleft() if self.event_cuts else None
        while True:
            news = task.news
            for number, snapshot in list(enumerate(task.log, start=1))[sent:]:
                text = f": comment\n\nid: {number}\ndata: {json.dumps(snapshot)}\n\n"
                if cut_at == number - 1:
                    await response.write(text[: len(text) // 2].encode())
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                await response.write(text.encode())
                sent = number
            if task.over:
                return response
            await news.wait()

    async def _plan(self, request: web.Request) -> web.Response:
        body = await request.json()
        if problem := _problem(body):
            return _error(400, problem[1], code="invalid_request", field=problem[0])
        series, task_id, n = _ids(body)
        have, making, to_buy = self._split(series, n)
        total = None if self.price is None else self.price * to_buy
        answer = {
            "success": True,
            "outcome": _outcome(have, making, to_buy),
            "taskId": task_id,
            "seriesId": series,
            "slots": {"have": have, "making": making, "toBuy": to_buy},
            "price": {"perImage": self.price, "total": total, "currency": "USD"},
            "allowance": self.allowance,
            "request": body,
        }
        return web.json_response(answer)

    async def _picture(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        series, index, _ = key.split("-")
        content = self.slots.get(series, {}).get(int(index))
        if content is None:
            return _error(404, "No such picture.", code="image_not_found")
        self.downloads[key] += 1
        return web.Response(body=content, content_type="image/png")


def _problem(body: Json) -> tuple[str, str] | None:
    """The wrong field and what is wrong."""
    if unknown := body.keys() - FIELDS:
        name = sorted(unknown)[0]
        return name, f"{name} is not a field of a request."
    if not str(body.get("prompt", "")).strip():
        return "prompt", "prompt is missing: say what the picture shows."
    if not 1 <= int(body.get("n", 1)) <= 10:
        return "n", "n has to be from 1 to 10."
    return None


def _ids(body: Json) -> tuple[str, str, int]:
    """Series, task and ``n`` of a request."""
    n = int(body.get("n", 1))
    series = json.dumps({k: v for k, v in body.items() if k != "n"}, sort_keys=True).encode()
    return hashlib.md5(series).hexdigest(), hashlib.md5(series + b"%d" % n).hexdigest(), n


def _outcome(have: int, making: int, to_buy: int) -> str:
    if not to_buy:
        return "join" if making else "hit"
    return "extended" if have or making else "new"


def _error(status: int, message: str, *, code: str, field: str = "") -> web.Response:
    detail = {"message": message, "code": code} | ({"field": field} if field else {})
    body = {"success": False, "statusCode": status, "message": message, "error": detail}
    return web.json_response(body, status=status)
