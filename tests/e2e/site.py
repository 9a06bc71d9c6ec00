"""What a fault test stands on: a running service, its client, and what must hold at the end."""

import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.harness import SCRIPTS, Part, Parts, Valkey, Web, Worker, environ_of, until
from tests.standins.process import StandIn

Json = dict[str, Any]
OWNED = {b"arq:queue", b"gn:durations"}
"""Keys that have an owner instead of an end."""
ENDED = ("completed", "failed", "cancelled")


@dataclass
class Api:
    """The native surface of one web process."""

    http: httpx.AsyncClient
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    async def post(self, prompt: str, n: int = 1, **more: Any) -> httpx.Response:
        """POST a prompt; ``headers`` go along, all else is a field."""
        headers = {**self.headers, **more.pop("headers", {})}
        body = {"prompt": prompt, "n": n, "width": 256, "height": 256, **more}
        return await self.http.post(f"{self.url}/api/images/generate", json=body, headers=headers)

    async def plan(self, prompt: str, n: int = 1) -> Json:
        """What a POST would do."""
        body = {"prompt": prompt, "n": n, "width": 256, "height": 256}
        answer = await self.http.post(f"{self.url}/api/images/plan", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def get(self, task: str, query: str = "", **headers: str) -> httpx.Response:
        """GET a task."""
        given = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return await self.http.get(f"{self.url}/api/images/{task}{query}", headers=given)

    async def delete(self, task: str, query: str = "") -> httpx.Response:
        """DELETE a task."""
        return await self.http.delete(f"{self.url}/api/images/{task}{query}", headers=self.headers)

    async def task(self, task: str) -> Json:
        """A task as it stands."""
        answer = await self.get(task)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def ended(self, task: str, *, timeout_s: float = 30.0) -> Json:
        """A task when it has ended."""

        async def look() -> Json | None:
            found = await self.task(task)
            return found if found["status"] in ENDED else None

        found = await until(look, timeout_s=timeout_s, what=f"the end of {task}", every_s=0.05)
        assert found is not None
        return found

    async def made(self, prompt: str, n: int = 1, **more: Any) -> Json:
        """POST a prompt and wait until all is there."""
        answer = await self.post(prompt, n, **more)
        assert answer.status_code == 202, answer.text
        found = await self.ended(answer.json()["taskId"])
        assert found["status"] == "completed", found
        assert [image["index"] for image in found["data"]] == list(range(n))
        return found

    async def bytes_of(self, image: Json) -> bytes:
        """A picture's bytes, through this web process."""
        path = httpx.URL(image["url"]).path
        answer = await self.http.get(self.url + path)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def events(self, task: str, last: int | None = None) -> list[tuple[int, Json]]:
        """A task's events until the stream ends."""
        return [event async for event in self.stream(task, last)]

    async def stream(self, task: str, last: int | None = None) -> AsyncIterator[tuple[int, Json]]:
        """A task's events as they come."""
        headers = {**self.headers, **({} if last is None else {"Last-Event-ID": str(last)})}
        url = f"{self.url}/api/images/{task}/events"
        async with self.http.stream("GET", url, headers=headers) as answer:
            assert answer.status_code == 200, answer.status_code
            assert answer.headers["content-type"].startswith("text/event-stream")
            number = 0
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    number = int(line[4:])
                elif line.startswith("data: "):
                    yield number, json.loads(line[6:])


@dataclass
class Site:
    """One test's service: shared parts, and parts of its own that end with it.

    Shared workers are frozen but for those that a test asks for, so that a test knows who works.
    """

    parts: Parts
    valkey: Valkey
    standin: StandIn
    store: str
    http: httpx.AsyncClient
    shared_webs: list[Web]
    shared_workers: list[Worker]
    name: str
    own: list[Part] = field(default_factory=list)

    def environ(self, **settings: object) -> dict[str, str]:
        return environ_of(
            valkey_url=self.valkey.url,
            store=self.store,
            together_url=self.standin.url,
            settings=settings,
        )

    def prompt(self, marks: str = "") -> str:
        """A prompt that nobody had before."""
        return f"{self.name} {uuid.uuid4().hex[:12]} {marks}".strip()

    async def web(self, index: int = 0) -> Api:
        """A shared web process, by number."""
        while len(self.shared_webs) <= index:
            self.shared_webs.append(await self.parts.web(self.environ()))
        return Api(self.http, self.shared_webs[index].url)

    async def webs(self, count: int) -> list[Api]:
        """The first shared web processes."""
        return [await self.web(index) for index in range(count)]

    async def own_web(self, **settings: object) -> Api:
        """A web process with settings of its own."""
        web = await self.parts.web(self.environ(**settings))
        self.own.append(web)
        return Api(self.http, web.url)

    async def workers(self, count: int) -> list[Worker]:
        """Let so many of the shared workers work."""
        while len(self.shared_workers) < count:
            environ = self.environ()
            self.shared_workers.append(await self.parts.worker(environ, self.valkey))
        for worker in self.shared_workers[:count]:
            worker.go_on()
        for worker in self.shared_workers[count:]:
            worker.freeze()
        return self.shared_workers[:count]

    async def own_worker(self, **settings: object) -> Worker:
        """A worker with settings of its own."""
        worker = await self.parts.worker(self.environ(**settings), self.valkey)
        self.own.append(worker)
        return worker

    def bought(self, prompt: str) -> int:
        """Pictures that the provider accepted for a prompt: what is paid."""
        return int(self.standin.stats()["by_prompt"].get(prompt, 0))

    def calls(self, prompt: str) -> int:
        """Calls that the provider had for a prompt, the refused ones too."""
        return int(self.standin.stats()["calls_by_prompt"].get(prompt, 0))

    async def in_flight(self, prompt: str, images: int) -> None:
        """Wait until the provider has accepted so many pictures of a prompt."""
        await until(lambda: self.bought(prompt) >= images, what=f"{images} pictures in flight")

    def taken(self) -> list[int]:
        """When units of the generate meter were taken, in us, over all callers."""
        client = self.valkey.client
        logs = client.keys("gn:meter:generate:*")
        return sorted(int(stamp) for log in logs for stamp in client.lrange(log, 0, -1))

    async def nothing_is_left(self, *, timeout_s: float = 15.0) -> None:
        """No job, mark, lease or turn is left behind, and no key without an end or an owner."""

        def look() -> bool:
            left = leftovers(self.valkey)
            assert not left, left
            return True

        await until(look, timeout_s=timeout_s, what="a clean end")


def leftovers(valkey: Valkey) -> list[str]:
    """What a service at rest must not have in Redis."""
    client = valkey.client
    now_ms = int(time.time() * 1000)
    found = [f"queued {job!r}" for job in client.zrange("arq:queue", 0, -1)]
    for pattern in ("arq:in-progress:*", "arq:job:*", "arq:retry:*", "arq:abort*", "arq:result:*"):
        found += [f"{key!r}" for key in client.keys(pattern)]
    for key in client.keys("gn:series:*"):
        found += [
            f"lease {key!r} {name!r} {slot!r}"
            for name, slot in client.hgetall(key).items()
            if name != b"request" and slot.startswith(b"o|") and int(slot.split(b"|")[2]) > now_ms
        ]
    for key in client.keys("gn:pace:*:turns"):
        found += [f"turn {turn!r}" for turn in client.zrange(key, 0, -1)]
    for key in client.keys("*"):
        if client.ttl(key) == -1 and key not in OWNED:
            found.append(f"{key!r} has no end")
    return found


def record_of(valkey: Valkey, task: str) -> Json:
    """Everything that Redis has of a task and its series, times of life aside."""
    client = valkey.client
    record = client.hgetall(f"gn:task:{task}")
    series = record[b"series"].decode()
    return {
        "task": record,
        "events": client.lrange(f"gn:events:{task}", 0, -1),
        "series": client.hgetall(f"gn:series:{series}"),
    }


def script(name: str) -> bytes:
    """The word by which a line knows a call of a script."""
    sha: str = getattr(SCRIPTS, name).sha
    return re.escape(sha.encode())


ARQ_REMOVES_JOB = rb"DEL\r\n\$\d+\r\narq:in-progress:"
"""The word by which a line knows that arq takes a finished job from its queue."""
