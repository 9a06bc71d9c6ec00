"""A worker may end at any call of any port: killed, or stopped as arq stops it.

Whatever the moment, the next worker brings the task to its end, and a slot is bought again only
where a call for it was in flight.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from genonce.domain.task import Job, TaskState
from tests.fakes import Answer, FakeProvider
from tests.service.conftest import BATCHER, FIVE, PAINTER, Shop

TURNS = 8
"""Turns of the loop in which a cancellation reaches whoever it is for."""


class Life:
    """A worker process: counts its calls of ports, and ends at one of them.

    Attributes:
        ends_at: number of the call at which it ends, from 0; -1: it does not.
        is_late: it ends after the call took effect and before the answer came.
        is_kill: kill -9: nothing of it gets through any more. Else the job is cancelled.
        in_flight: slots that were paid and not stored when the job had ended.
    """

    def __init__(
        self, shop: Shop, *, ends_at: int = -1, is_late: bool = False, is_kill: bool = False
    ) -> None:
        self.shop = shop
        self.ends_at, self.is_late, self.is_kill = ends_at, is_late, is_kill
        self.calls: list[str] = []
        self.is_dead = False
        self.in_flight: set[int] = set()
        self.job: asyncio.Task[None] | None = None

    async def run(self, job: Job) -> None:
        """Do a job, to its end or the worker's."""
        self.job = asyncio.create_task(self.shop.generate(self.wrap).generate(job))
        await asyncio.wait([self.job])
        if not self.job.cancelled():
            self.job.result()
        await turns()  # what was under way beside the job
        stored = {index for _, index in self.shop.images.receipts}
        self.in_flight = set(self.shop.provider.accepted) - stored

    def wrap(self, port: Any) -> "Mortal":
        """A port as this process sees it."""
        return Mortal(port, self)

    async def enter(self, name: str) -> bool:
        """Begin a call; true if the process ends when it took effect."""
        if self.is_dead:
            raise asyncio.CancelledError
        self.calls.append(name)
        is_last = len(self.calls) - 1 == self.ends_at
        if is_last and not self.is_late:
            await self.end()
        return is_last and self.is_late

    async def end(self) -> None:
        """Die, or be asked to stop."""
        self.is_dead = self.is_kill
        assert self.job is not None
        self.job.cancel()
        await turns()
        if self.is_kill:
            raise asyncio.CancelledError


async def turns() -> None:
    """Let the loop turn."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Mortal:
    """A port whose calls end with their process."""

    def __init__(self, port: Any, life: Life) -> None:
        self._port, self._life = port, life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name == "make":
            return lambda *arguments: self._make(found, arguments)
        if name == "turn":
            return lambda provider: self._turn(found, provider)
        return self._call(found) if inspect.iscoroutinefunction(found) else found

    def _call(self, method: Any) -> Any:
        async def call(*arguments: Any, **keywords: Any) -> Any:
            ends = await self._life.enter(method.__qualname__)
            answer = await method(*arguments, **keywords)
            if ends:
                await self._life.end()
            return answer

        return call

    async def _make(self, make: Any, arguments: Any) -> AsyncIterator[Any]:
        ends = await self._life.enter("FakeProvider.make")
        async for rendered in make(*arguments):
            if ends:
                await self._life.end()
            yield rendered

    @asynccontextmanager
    async def _turn(self, turn: Any, provider: str) -> AsyncIterator[None]:
        ends = await self._life.enter("FakePace.turn")
        async with turn(provider):
            if ends:
                await self._life.end()
            yield


def shop_of(kind: str) -> tuple[Shop, dict[str, Any]]:
    """A shop whose job makes three pictures, and the draft."""
    shop = Shop(provider=FakeProvider(is_free=kind == "free"), generate_limits=FIVE)
    if kind == "retried":
        shop.provider.answers = [Answer(broken=(1,)), Answer(give=2)]
    model = BATCHER if kind in ("together", "retried") else PAINTER
    return shop, {"n": 3, "model": model.id}


async def calls_of(kind: str) -> list[str]:
    """The calls of a worker that lives."""
    shop, fields = shop_of(kind)
    life = Life(shop)
    await life.run(await shop.queue(**fields))
    return life.calls


@pytest.mark.parametrize("kind", ["one by one", "together", "retried", "free"])
@pytest.mark.parametrize("how", ["kill", "stop"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_worker_may_end_at_any_call(kind: str, how: str, when: str) -> None:
    calls = await calls_of(kind)
    assert len(calls) > 10
    for ends_at, name in enumerate(calls):
        shop, fields = shop_of(kind)
        job = await shop.queue(**fields)
        life = Life(shop, ends_at=ends_at, is_late=when == "after", is_kill=how == "kill")
        await life.run(job)
        bought, failed = dict(shop.provider.accepted), 3 if kind == "retried" else 0
        shop.redis.end_leases()
        await shop.generate().generate(job)
        where = f"{how} {when} call {ends_at} ({name})"
        task = shop.task(job)
        assert (task.state, task.done) == (TaskState.SUCCEEDED, 3), where
        for index, purchases in shop.provider.accepted.items():
            again = purchases - bought.get(index, 0)
            if index not in life.in_flight and bought.get(index):
                assert again == 0 or kind == "retried", where
            assert again <= 1 + failed, where
            assert kind == "retried" or purchases <= 2, where
        series = shop.redis.series[task.images[0].series]
        assert not any(slot.until_s for slot in series.values()), where
        assert len(shop.images.bytes) == 3, where


@pytest.mark.parametrize("kind", ["one by one", "together"])
async def test_a_stopped_worker_gives_its_leases_back_at_once(kind: str) -> None:
    """Where it knows of them: not if it is stopped before the first lease was answered."""
    calls = await calls_of(kind)
    for ends_at, name in enumerate(calls):
        if name.endswith((".lease", ".finish", ".release")):
            continue
        shop, fields = shop_of(kind)
        job = await shop.queue(**fields)
        await Life(shop, ends_at=ends_at).run(job)
        slots = shop.redis.series[shop.identity(**fields).series].values()
        assert not any(slot.until_s for slot in slots), f"stopped at call {ends_at} ({name})"


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_what_a_worker_bought_before_its_end_stays_charged(how: str) -> None:
    calls = await calls_of("one by one")
    ends_at = len(calls) - 1 - calls[::-1].index("FakeSlotStore.fill")
    shop, fields = shop_of("one by one")
    shop.cost_per_image = True
    job = await shop.queue(**fields)
    await Life(shop, ends_at=ends_at, is_late=True, is_kill=how == "kill").run(job)
    shop.redis.end_leases()
    await shop.generate().generate(job)
    assert sum(shop.provider.accepted.values()) == 3
    assert shop.redis.used["generate", "key:anne"] == 3
