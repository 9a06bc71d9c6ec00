"""Reading, waiting, streaming and ending: nothing is missed, nothing is told twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from genonce.domain.errors import LimitExceeded, ProviderRejected, StoreUnavailable, TaskNotFound
from genonce.domain.quota import Limit
from genonce.domain.task import Event, Job, New, Task, TaskState
from tests.fakes import Answer
from tests.harness import until
from tests.service.conftest import ANNE, BOB, Shop

UNKNOWN = "0" * 32
TWO = (Limit(2, 60),)


async def waiting(shop: Shop, call: Any) -> asyncio.Task[Any]:
    """A call that has begun to wait for changes."""
    shop.changes.subscribed.clear()
    waiter = asyncio.create_task(call)
    await asyncio.wait_for(shop.changes.subscribed.wait(), 5)
    return waiter


async def collected(shop: Shop, task: Task, *, after: int | None) -> list[Event]:
    """Every event of a stream."""
    return [event async for event in shop.follow.events(task, after=after) if event is not None]


# --- read -----------------------------------------------------------------------------------


async def test_a_read_costs_a_unit_and_tells_what_is_left() -> None:
    shop = Shop(read_limits=TWO)
    job = await shop.queue()
    task, allowance = await shop.follow.read(job.task, ANNE)
    assert task == shop.task(job)
    assert allowance is not None
    assert (allowance.meter, allowance.remaining) == ("read", 1)
    await shop.follow.pay_for_read(ANNE)
    with pytest.raises(LimitExceeded):
        await shop.follow.read(job.task, ANNE)
    with pytest.raises(LimitExceeded):
        await shop.follow.pay_for_read(ANNE)
    await shop.follow.read(job.task, BOB)


async def test_an_unknown_task_is_not_found(shop: Shop) -> None:
    with pytest.raises(TaskNotFound):
        await shop.follow.read(UNKNOWN, ANNE)  # type: ignore[arg-type]
    with pytest.raises(TaskNotFound):
        await shop.follow.delete(UNKNOWN, ANNE, purge=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_shared", [True, False])
async def test_a_task_is_its_owners_where_pictures_are_not_shared(is_shared: bool) -> None:
    shop = Shop(is_shared=is_shared)
    job = await shop.queue(caller=ANNE)
    assert (await shop.follow.read(job.task, ANNE))[0]
    calls: list[Callable[[], Any]] = [
        lambda: shop.follow.read(job.task, BOB),
        lambda: shop.follow.delete(job.task, BOB, purge=True),
    ]
    for call in calls:
        if is_shared:
            await call()
        else:
            with pytest.raises(TaskNotFound):
                await call()
    assert (shop.task(job).state is TaskState.CANCELLED) is is_shared


# --- wait -----------------------------------------------------------------------------------


async def test_a_wait_ends_with_the_task(shop: Shop) -> None:
    job = await shop.queue()
    waiter = await waiting(shop, shop.follow.wait(shop.task(job), timeout_s=30))
    await shop.work(job)
    task = await waiter
    assert (task.state, task.done) == (TaskState.SUCCEEDED, 1)


async def test_a_wait_ends_when_the_time_is_up(shop: Shop) -> None:
    job = await shop.queue()
    task = await shop.follow.wait(shop.task(job), timeout_s=0.02)
    assert task.state is TaskState.QUEUED


async def test_a_wait_for_news_ends_with_the_first(shop: Shop) -> None:
    job = await shop.queue()
    seen = shop.task(job)
    waiter = await waiting(shop, shop.follow.wait(seen, timeout_s=30, seen=seen.event))
    await shop.slots.lease(job)
    assert (await waiter).state is TaskState.RUNNING


async def test_what_happened_before_the_subscription_is_news(shop: Shop) -> None:
    job = await shop.queue()
    seen = shop.task(job)
    await shop.slots.lease(job)
    task = await shop.follow.wait(seen, timeout_s=30, seen=seen.event)
    assert task.state is TaskState.RUNNING


async def test_a_wait_for_a_task_that_vanishes_says_so(shop: Shop) -> None:
    job = await shop.queue()
    task = shop.task(job)
    shop.redis.tasks.clear()
    with pytest.raises(TaskNotFound):
        await shop.follow.wait(task, timeout_s=30)


async def test_a_wait_while_redis_goes_away_says_so(shop: Shop) -> None:
    job = await shop.queue()
    waiter = await waiting(shop, shop.follow.wait(shop.task(job), timeout_s=30))
    shop.redis.is_away = True
    shop.changes.notify(job.task)
    with pytest.raises(StoreUnavailable):
        await waiter


# --- events ---------------------------------------------------------------------------------


async def test_a_stream_begins_with_the_present_and_ends_with_the_end(shop: Shop) -> None:
    job = await shop.queue(2)
    await shop.slots.lease(job)
    shop.redis.end_leases()
    stream = asyncio.create_task(collected(shop, shop.task(job), after=None))
    await until(lambda: shop.changes.watches[job.task], every_s=0)
    await shop.work(job)
    events = await stream
    assert events[0].task.state is TaskState.RUNNING
    numbers = [event.number for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert events[-1].task.state is TaskState.SUCCEEDED


async def test_a_stream_goes_on_at_every_number(shop: Shop) -> None:
    job = await shop.queue(3)
    task = await shop.work(job)
    whole = await collected(shop, task, after=0)
    assert [event.number for event in whole] == list(range(1, task.event + 1))
    for number in range(task.event):
        rest = await collected(shop, task, after=number)
        assert rest == whole[number:]


async def test_a_stream_of_a_finished_task_is_its_end(shop: Shop) -> None:
    task = await shop.make()
    [event] = await collected(shop, task, after=None)
    assert (event.number, event.task) == (task.event, task)


async def test_numbers_go_on_over_attempts(shop: Shop) -> None:
    first = await shop.make(1, Answer(error=ProviderRejected("No.")))
    second = await shop.make()
    events = await collected(shop, second, after=first.event)
    assert [event.number for event in events] == list(range(first.event + 1, second.event + 1))
    assert {event.task.attempt for event in events} == {2}


async def test_a_stream_of_a_task_that_is_gone_says_so(shop: Shop) -> None:
    job = await shop.queue()
    task = shop.task(job)
    shop.redis.tasks.clear()
    with pytest.raises(TaskNotFound):
        await collected(shop, task, after=None)


async def test_a_silence_is_filled_with_signs_of_life(shop: Shop) -> None:
    job = await shop.queue()
    shop.changes.silences = 2
    seen: list[Event | None] = []
    async for event in shop.follow.events(shop.task(job), after=0):
        seen.append(event)
        if len(seen) == 3:
            await shop.work(job)
    assert [event is None for event in seen[:4]] == [False, True, True, False]
    assert None not in seen[3:]


async def test_a_stream_of_a_task_that_is_forgotten_meanwhile_ends(shop: Shop) -> None:
    job = await shop.queue()
    shop.changes.silences = 1
    seen = []
    async for event in shop.follow.events(shop.task(job), after=0):
        seen.append(event)
        shop.redis.tasks.clear()
    assert len(seen) == 1


async def test_all_readers_of_a_stream_see_the_same(shop: Shop) -> None:
    job = await shop.queue(4)
    task = shop.task(job)
    streams = [asyncio.create_task(collected(shop, task, after=0)) for _ in range(5)]
    await until(lambda: len(shop.changes.watches[job.task]) == 5, every_s=0)
    await shop.work(job)
    first, *others = [await stream for stream in streams]
    assert all(other == first for other in others)
    assert not shop.changes.watches[job.task]


# --- delete ---------------------------------------------------------------------------------


async def test_an_unfinished_task_is_cancelled(shop: Shop) -> None:
    job = await shop.queue()
    found, was_active = await shop.follow.delete(job.task, ANNE, purge=False)
    assert (found.state, was_active) == (TaskState.CANCELLED, True)
    assert (shop.task(job).state, shop.redis.queue) == (TaskState.CANCELLED, [])
    again = await shop.claim()
    assert isinstance(again, New)
    assert again.task.attempt == 2


async def test_a_finished_task_is_forgotten_and_its_pictures_stay(shop: Shop) -> None:
    task = await shop.make()
    found, was_active = await shop.follow.delete(task.id, ANNE, purge=False)
    assert (found.state, was_active) == (TaskState.SUCCEEDED, False)
    assert shop.redis.tasks == {}
    assert len(shop.images.bytes) == 1


async def test_a_purge_deletes_slots_receipts_and_bytes(shop: Shop) -> None:
    task = await shop.make(2)
    await shop.follow.delete(task.id, ANNE, purge=True)
    assert (shop.images.bytes, shop.images.receipts) == ({}, {})
    again = await shop.claim(2)
    assert isinstance(again, New)
    assert again.missing == 2


async def test_a_purge_of_an_unfinished_task_deletes_what_it_has(shop: Shop) -> None:
    end = asyncio.Event()
    shop.provider.answers = [Answer(), Answer(until=end)]
    job = await shop.queue(2)
    worker = asyncio.create_task(shop.generate().generate(job))
    await until(lambda: shop.task(job).images, every_s=0)
    await shop.follow.delete(job.task, ANNE, purge=True)
    assert shop.images.bytes == {}
    end.set()
    await worker
    assert shop.task(job).state is TaskState.CANCELLED


async def test_a_delete_costs_the_general_allowance() -> None:
    shop = Shop(general_limits=(Limit(1, 60),))
    job = await shop.queue()
    await shop.follow.delete(job.task, ANNE, purge=False)
    with pytest.raises(LimitExceeded):
        await shop.follow.delete(job.task, ANNE, purge=False)
    assert Job(job.task, 1) not in shop.redis.queue
