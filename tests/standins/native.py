"""A stand-in for genonce's own native surface, served in the test's process, with faults on demand.

Marks in a prompt: [[slow]] is made when `release` is called, [[fails]] and [[fails 2]] end as
failed after so many pictures, [[fewer]] is completed without its last picture.
"""

import asyncio
import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.standins.native_rules import Fault, Json, Task, ids_of, outcome_of, problem_of, refusal
from tests.standins.native_studio import Studio


class NativeService(Studio):
    """The surface; a context manager that serves it on a free loopback port.

    Args:
        key: the API key that it wants; "" for none.
        port: to serve on; 0 for a free one.
        pictures_at: where it says that pictures are; "" for itself.
    """

    def __init__(self, *, key: str = "", port: int = 0, pictures_at: str = "") -> None:
        super().__init__(pictures_at)
        self.key, self.port = key, port
        self.price: float | None = None
        self.allowance: Json | None = None
        self.event_cuts: deque[int] = deque()
        """After how many events each next connection is cut."""
        self.seen: list[tuple[str, str, Mapping[str, str]]] = []
        self.downloads: Counter[str] = Counter()
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)

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
        for maker in self.makers:
            maker.cancel()
        await self._runner.cleanup()

    def fault(self, route: str, *faults: Fault) -> None:
        """Give the next requests of a route, named by method and last word, these faults."""
        self._faults[route].extend(faults)

    def count(self, route: str) -> int:
        """Requests of a route so far."""
        return sum(name == route for name, _, _ in self.seen)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        word = {"id": "task", "key": "picture"}.get(next(iter(request.match_info), ""), "")
        word = request.path.rpartition("/")[2] if not word or "events" in request.path else word
        route = f"{request.method} {word}"
        self.seen.append((route, request.path, request.headers.copy()))
        self.stir()
        given = request.headers.get("Authorization", "")
        if self.key and word != "health" and given != f"Bearer {self.key}":
            return refusal(401, "A key is needed.", code="not_authenticated")
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
        if problem := problem_of(body):
            return refusal(400, problem[1], code="invalid_request", field=problem[0])
        series, task_id, n = ids_of(body)
        have, making, to_buy = self.split(series, n)
        outcome = outcome_of(have, making, to_buy)
        task = self.tasks.get(task_id)
        if to_buy and (wait_s := self.refusal_s()):
            text = Fault(429, code="rate_limited", ms=round(wait_s * 1000) + 1).body
            return web.Response(status=429, text=text, headers={"Retry-After": "1"})
        if task is None or (task.over and to_buy):
            task = self.tasks[task_id] = Task(task_id, series, body, n)
            self.sharers[series].append(task)
            self.note(task, "completed" if have == n else "pending")
        if to_buy:
            self.start(task)
        waits = re.fullmatch(r"wait=(\d+)", request.headers.get("Prefer", ""))
        await self.wait_for(task, float(waits[1]) if waits else 0.0)
        answer = self.snapshot(task) | {
            "taskId": task_id,
            "cached": outcome == "hit",
            "outcome": outcome,
            "toBuy": to_buy,
        }
        return web.json_response(answer, status=200 if waits and task.over else 202)

    async def _read(self, request: web.Request) -> web.Response:
        task = self.tasks.get(request.match_info["id"])
        if task is None:
            gone = {"success": False, "status": "not_found", "message": "No such task."}
            return web.json_response(gone, status=404)
        await self.wait_for(task, float(request.query.get("wait", 0)))
        return web.json_response(self.snapshot(task))

    async def _cancel(self, request: web.Request) -> web.Response:
        task = self.tasks.get(request.match_info["id"])
        if task is None:
            return refusal(404, "No such task.", code="not_found")
        if task.over:
            del self.tasks[task.id]
        else:
            self.note(task, "cancelled")
        return web.json_response({"success": True})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        task = self.tasks.get(request.match_info["id"])
        if task is None:
            return refusal(404, "No such task.", code="not_found")
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
        if problem := problem_of(body):
            return refusal(400, problem[1], code="invalid_request", field=problem[0])
        series, task_id, n = ids_of(body)
        have, making, to_buy = self.split(series, n)
        total = None if self.price is None else self.price * to_buy
        answer = {
            "success": True,
            "outcome": outcome_of(have, making, to_buy),
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
            return refusal(404, "No such picture.", code="image_not_found")
        self.downloads[key] += 1
        return web.Response(body=content, content_type="image/png")
