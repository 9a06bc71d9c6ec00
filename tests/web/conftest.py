"""The application on a real Valkey and a folder; answers are held to the OpenAPI document."""

import json
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from litestar import Litestar
from litestar.exceptions import LitestarDeprecationWarning

from genonce import bootstrap
from genonce.adapters.redis.slots import RedisSlotStore
from genonce.bootstrap import Core, build_core
from genonce.domain.identity import TaskId
from genonce.domain.task import Job
from genonce.service.generate import Generate
from genonce.service.keep import Keeper
from genonce.service.purchase import Purchaser
from genonce.service.run import Backoff
from genonce.settings import Settings
from genonce.web_process import web_app
from tests.fakes import Answer, FakeInspector, FakePace, FakeProvider
from tests.servers import valkey
from tests.web.document import Document

Json = dict[str, Any]
GENERATE, PLAN = "/api/images/generate", "/api/images/plan"
FREE = {
    "RATE_LIMIT_GENERATE": "none",
    "RATE_LIMIT_GENERAL": "none",
    "RATE_LIMIT_READ": "none",
}
PROMPT = {"prompt": "a cat"}


@dataclass
class Site:
    """A web process, seen from outside and from behind.

    Attributes:
        provider: makes the pictures when `work` is called.
        server: Redis, past everything under test.
        folder: of the image store.
    """

    app: Litestar
    http: httpx.AsyncClient
    core: Core
    server: "redis.Redis"
    folder: Path
    provider: FakeProvider = field(default_factory=lambda: FakeProvider(name="builtin"))

    async def post(self, body: Json, path: str = GENERATE, **headers: str) -> httpx.Response:
        """POST a body."""
        return await self.http.post(path, json=body, headers=named(headers))

    async def raw(
        self, data: bytes, content_type: str | None = "application/json", path: str = GENERATE
    ) -> httpx.Response:
        """POST bytes."""
        headers = {} if content_type is None else {"content-type": content_type}
        return await self.http.post(path, content=data, headers=headers)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """GET a path; a task's id is enough."""
        path = path if path.startswith("/") else f"/api/images/{path}"
        return await self.http.get(path, headers=named(headers))

    async def delete(self, task: str, query: str = "", **headers: str) -> httpx.Response:
        """DELETE a task."""
        return await self.http.delete(f"/api/images/{task}{query}", headers=named(headers))

    async def queue(self, **fields: Any) -> str:
        """POST a draft; the task's id."""
        answer = await self.post(PROMPT | fields)
        assert answer.status_code == 202, answer.text
        task: str = answer.json()["taskId"]
        return task

    async def work(self, task: str, *answers: Answer, attempt: int = 1) -> None:
        """Do a task's job as a worker does."""
        self.provider.answers.extend(answers)
        await self.generate().generate(Job(TaskId(task), attempt))
        self.server.zrem("arq:queue", f"{task}:{attempt}")

    def generate(self) -> Generate:
        """A worker."""
        slots = RedisSlotStore(self.core.redis, self.core.scripts, 5000, 86_400_000)
        keeper = Keeper(slots, self.core.images, FakeInspector(), Backoff(0, 0))
        purchaser = Purchaser(
            slots=slots,
            images=self.core.images,
            keeper=keeper,
            pace=FakePace(),
            catalogue=self.core.catalogue,
            providers={self.provider.name: self.provider},
            backoff=Backoff(0, 0),
        )
        return Generate(
            slots=slots,
            images=self.core.images,
            changes=self.core.changes,
            keeper=keeper,
            purchaser=purchaser,
            heartbeat_s=1,
            deadline_s=60,
        )

    async def make(self, **fields: Any) -> str:
        """POST a draft and let a worker do it; the task's id."""
        task = await self.queue(**fields)
        await self.work(task)
        return task

    async def picture(self) -> str:
        """Path of a picture that is stored."""
        task = await self.make()
        url: str = (await self.get(task)).json()["data"][0]["url"]
        return httpx.URL(url).path

    def keys(self) -> int:
        """Keys in Redis."""
        return int(self.server.dbsize())

    def files(self) -> list[Path]:
        """Files in the image store."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


def named(headers: dict[str, str]) -> dict[str, str]:
    """Header names as HTTP writes them."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


Open = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Address of a Valkey of this test process."""
    with valkey() as url:
        yield url


@pytest.fixture(scope="session")
def document() -> Document:
    """The OpenAPI document."""
    return Document()


def settings_of(redis_url: str, folder: Path, given: dict[str, str]) -> Settings:
    """Settings of the tests, limits off unless they are given."""
    own = {"REDIS_URL": redis_url, "IMAGE_STORE_URL": f"file://{folder}"}
    return Settings.from_env(own | FREE | given)


@pytest.fixture
def opened(redis_url: str, document: Document, tmp_path: Path) -> Iterator[Open]:
    """Opens applications with settings of their own, on an empty Redis and store."""
    server = redis.Redis.from_url(redis_url)
    server.flushall()

    @asynccontextmanager
    async def open_site(
        *, peer: str = "127.0.0.1", url: str = redis_url, **given: str
    ) -> AsyncIterator[Site]:
        folder = tmp_path / "images"
        settings = settings_of(url, folder, given)
        with warnings.catch_warnings():
            # Reported: path parameters are declared in a style that Litestar deprecates.
            warnings.simplefilter("ignore", LitestarDeprecationWarning)
            app = web_app(settings)
        core = build_core(settings, timeout_s=bootstrap.WORKER_TIMEOUT_S)
        transport = httpx.ASGITransport(app, client=(peer, 50_000), raise_app_exceptions=False)
        async with (
            app.lifespan(),
            httpx.AsyncClient(
                transport=transport,
                base_url="http://genonce.test",
                event_hooks={"response": [document.check]},
            ) as http,
        ):
            try:
                yield Site(app, http, core, server, folder)
            finally:
                await core.aclose()

    try:
        yield open_site
    finally:
        server.close()


@pytest.fixture
async def site(opened: Open) -> AsyncIterator[Site]:
    """The application without limits."""
    async with opened() as site:
        yield site


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code and field of a refusal, whose shape is checked."""
    body = answer.json()
    assert body["success"] is False
    assert body["statusCode"] == answer.status_code
    assert body["message"] == body["error"]["message"]
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, body["error"]["code"], body["error"].get("field", "")


def events_of(answer: httpx.Response) -> list[tuple[int, Json]]:
    """Number and data of each event of a stream."""
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if "data: " in block]
    return [(int(id_[4:]), json.loads(data[6:])) for id_, data in blocks]
