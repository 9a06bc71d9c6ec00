"""A whole service on fakes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from genonce.domain.catalogue import catalogue_of
from genonce.domain.identity import Identity, SeriesId
from genonce.domain.quota import Limit
from genonce.domain.request import Draft
from genonce.domain.series import Image, Receipt
from genonce.domain.task import Job, Task
from genonce.service.follow import Follow
from genonce.service.generate import Generate
from genonce.service.keep import Keeper
from genonce.service.plan import Plan
from genonce.service.purchase import Purchaser
from genonce.service.run import Backoff
from genonce.service.submit import Caller, Claimed, Submit
from tests.fakes import (
    Answer,
    FakeChanges,
    FakeImageStore,
    FakeInspector,
    FakeLimits,
    FakePace,
    FakeProvider,
    FakeRedis,
    FakeSlotStore,
    FakeTaskStore,
)
from tests.painters import ABSENT, PAINTER, PLAIN

BATCHER = msgspec.structs.replace(PAINTER, id="maker/batcher", aliases=(), images_per_call=3)
CATALOGUE = catalogue_of(
    (PAINTER, PLAIN, BATCHER, ABSENT), default=PAINTER.id, missing={"other": "OTHER_API_KEY"}
)
ANNE, BOB = Caller("key:anne"), Caller("key:bob")
FIVE = (Limit(5, 60),)
NO_WAIT = Backoff(0.0, 0.0)


@dataclass
class Shop:
    """Every use case over one set of fakes."""

    redis: FakeRedis = field(default_factory=FakeRedis)
    images: FakeImageStore = field(default_factory=FakeImageStore)
    pace: FakePace = field(default_factory=FakePace)
    provider: FakeProvider = field(default_factory=FakeProvider)
    inspector: FakeInspector = field(default_factory=FakeInspector)
    backoff: Backoff = NO_WAIT
    heartbeat_s: float = 30.0
    deadline_s: float = 60.0
    cost_per_image: bool = False
    is_shared: bool = True
    generate_limits: tuple[Limit, ...] = ()
    read_limits: tuple[Limit, ...] = ()
    general_limits: tuple[Limit, ...] = ()
    tasks: FakeTaskStore = field(init=False)
    slots: FakeSlotStore = field(init=False)
    limits: FakeLimits = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = FakeTaskStore(self.redis)
        self.slots = FakeSlotStore(self.redis)
        self.limits = FakeLimits(self.redis)

    @property
    def changes(self) -> FakeChanges:
        return self.redis.changes

    @property
    def submit(self) -> Submit:
        return Submit(
            tasks=self.tasks,
            images=self.images,
            limits=self.limits,
            catalogue=CATALOGUE,
            max_n=10,
            generate_limits=self.generate_limits,
            read_limits=self.read_limits,
            cost_per_image=self.cost_per_image,
            is_shared=self.is_shared,
        )

    @property
    def follow(self) -> Follow:
        return Follow(
            tasks=self.tasks,
            images=self.images,
            changes=self.changes,
            limits=self.limits,
            read_limits=self.read_limits,
            general_limits=self.general_limits,
            is_shared=self.is_shared,
        )

    @property
    def plan(self) -> Plan:
        return Plan(self.submit, self.tasks, self.images, self.limits)

    def generate(self, wrap: Callable[[Any], Any] = lambda port: port) -> Generate:
        """A worker.

        Args:
            wrap: put around every port, for a worker that dies.
        """
        keeper = Keeper(wrap(self.slots), wrap(self.images), wrap(self.inspector), self.backoff)
        purchaser = Purchaser(
            slots=wrap(self.slots),
            images=wrap(self.images),
            keeper=keeper,
            pace=wrap(self.pace),
            catalogue=CATALOGUE,
            providers={self.provider.name: wrap(self.provider)},
            backoff=self.backoff,
        )
        return Generate(
            slots=wrap(self.slots),
            images=wrap(self.images),
            changes=self.changes,
            keeper=keeper,
            purchaser=purchaser,
            heartbeat_s=self.heartbeat_s,
            deadline_s=self.deadline_s,
        )

    async def claim(self, n: int = 1, *, caller: Caller = ANNE, **fields: Any) -> Claimed:
        """POST a draft."""
        return await self.submit.submit(draft(n, **fields), caller)

    async def queue(self, n: int = 1, **fields: Any) -> Job:
        """POST a draft; the job that it queued."""
        task = (await self.claim(n, **fields)).task
        return Job(task.id, task.attempt)

    async def work(self, job: Job) -> Task:
        """Let a worker do a job to its end."""
        await self.generate().generate(job)
        if job in self.redis.queue:
            self.redis.queue.remove(job)
        return self.task(job)

    async def make(self, n: int = 1, *answers: Answer, **fields: Any) -> Task:
        """POST a draft and let a worker do it; the provider answers so."""
        self.provider.answers.extend(answers)
        return await self.work(await self.queue(n, **fields))

    def task(self, job: Job) -> Task:
        """A job's task as it stands."""
        return self.redis.task(self.redis.tasks[job.task])

    def bought(self, job: Job) -> int | None:
        """What the job's last `finish` said that it bought."""
        return self.redis.tasks[job.task].bought

    def identity(self, n: int = 1, *, caller: Caller = ANNE, **fields: Any) -> Identity:
        """The ids of a draft."""
        return self.submit.identify(draft(n, **fields), caller)[1]

    def receipts(self, series: SeriesId) -> list[Receipt]:
        """Receipts of a series, by slot."""
        found = sorted(self.images.receipts.items(), key=lambda item: item[0][1])
        return [receipt for (owner, _), receipt in found if owner == series]

    async def store(self, identity: Identity, index: int) -> Image:
        """Put a picture into the image store, as a worker that is gone did."""
        data = f"picture {index} from before".encode()
        receipt = receipt_of(identity.series, index, data)
        await self.images.put(data, receipt)
        return receipt.image


def draft(n: int = 1, **fields: Any) -> Draft:
    """A good draft."""
    return Draft(**({"prompt": "a cat", "n": n} | fields))


def receipt_of(series: SeriesId, index: int, data: bytes) -> Receipt:
    """A receipt for bytes."""
    image = Image(
        series=series,
        index=index,
        sha256=hashlib.sha256(data).hexdigest(),
        format="png",
        width=512,
        height=384,
    )
    return Receipt(
        image=image,
        request=msgspec.Raw(b"{}"),
        provider="maker",
        model=PAINTER.id,
        purchase=1,
        bytes=len(data),
        asked_at="2026-11-20T10:00:00Z",
        stored_at="2026-11-20T10:00:01Z",
    )


def failure(task: Task) -> tuple[str, str]:
    """State and code of a task that ended badly."""
    return task.state.value, task.code


@pytest.fixture
def shop() -> Shop:
    """A service that is empty."""
    return Shop()
