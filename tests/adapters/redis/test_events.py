"""Signals between processes, and the log that they point to."""

import asyncio
import contextlib

import pytest

from genonce.adapters.redis.events import RedisChanges
from genonce.domain.errors import StoreUnavailable
from genonce.domain.identity import TaskId
from genonce.domain.task import Job, New, TaskState
from tests.adapters.redis.conftest import Bench, complete
from tests.harness import until


async def test_many_first_waiters_at_once_all_hear(bench: Bench) -> None:
    async def wait(number: int) -> bool:
        async with bench.changes.channel(f"c{number}") as watch:
            arrived.release()
            return await watch.changed(10)

    arrived = asyncio.Semaphore(0)
    waiters = [asyncio.create_task(wait(number)) for number in range(50)]
    for _ in waiters:
        await arrived.acquire()
    for number in range(50):
        await bench.redis.send("PUBLISH", f"c{number}", "x")
    assert all(await asyncio.gather(*waiters))


async def test_waiters_of_one_channel_share_one_subscription(bench: Bench) -> None:
    async with contextlib.AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(bench.changes.channel("c")) for _ in range(20)]
        assert await bench.redis.send("PUBLISH", "c", "x") == 1
        assert all(await asyncio.gather(*(watch.changed(10) for watch in watches)))


async def test_a_channel_is_left_with_its_last_waiter_and_can_be_entered_again(
    bench: Bench,
) -> None:
    for _ in range(3):
        async with bench.changes.channel("c") as watch:
            await bench.redis.send("PUBLISH", "c", "x")
            assert await watch.changed(10)
    async with bench.changes.channel("other"):

        async def is_left() -> bool:
            return (await bench.redis.send("PUBSUB", "NUMSUB", "c"))[1] == 0

        await until(is_left)


async def test_a_signal_before_the_wait_is_not_lost(bench: Bench) -> None:
    async with bench.changes.channel("c") as watch:
        await bench.redis.send("PUBLISH", "c", "x")
        async with bench.changes.channel("d") as later:
            await bench.redis.send("PUBLISH", "d", "x")
            assert await later.changed(10)
        assert await watch.changed(0.0) or await watch.changed(10)
        assert not await watch.changed(0.0)


async def test_after_a_lost_connection_waiters_look_again_and_hear_on(bench: Bench) -> None:
    async with bench.changes.channel("c") as watch:
        await bench.redis.send("CLIENT", "KILL", "TYPE", "pubsub")
        assert await watch.changed(10)
        await until(lambda: bench.redis.send("PUBLISH", "c", "x"))
        assert await watch.changed(10)


async def test_a_server_that_is_away_is_said_so() -> None:
    changes = RedisChanges("unix:///tmp/there-is-no-such-socket")
    with pytest.raises(StoreUnavailable):
        async with changes.channel("c"):
            pass
    await changes.aclose()


async def test_the_log_is_resumed_without_holes_from_every_event(bench: Bench) -> None:
    claimed = await bench.claim(n=3)
    assert isinstance(claimed, New)
    await complete(bench, n=3)
    log = await bench.tasks.events(claimed.task.id, after=0)
    assert [event.number for event in log] == list(range(log[0].number, log[0].number + 5))
    assert [event.task.state for event in log] == [
        TaskState.QUEUED, TaskState.RUNNING, TaskState.RUNNING, TaskState.RUNNING,
        TaskState.SUCCEEDED,
    ]  # fmt: skip
    assert [event.task.done for event in log] == [0, 0, 1, 2, 3]
    for event in log:
        rest = await bench.tasks.events(claimed.task.id, after=event.number)
        assert rest == log[event.number - log[0].number + 1 :]


async def test_numbers_go_on_over_attempts_and_an_old_reader_gets_the_new_attempt(
    bench: Bench,
) -> None:
    claimed = await bench.claim()
    assert isinstance(claimed, New)
    job = Job(claimed.task.id, 1)
    work = await bench.slots.lease(job)
    assert work is not None
    await bench.slots.finish(job, work.series, [], state=TaskState.FAILED, code="x")
    last = (await bench.tasks.events(job.task, after=0))[-1]
    assert last.task.state is TaskState.FAILED
    again = await bench.claim()
    assert not isinstance(again, New) or again.task.attempt == 2
    fresh = await bench.tasks.events(job.task, after=last.number - 1)
    assert [event.number for event in fresh] == [last.number + 1]
    assert fresh[0].task.attempt == 2


async def test_an_unknown_task_has_no_events(bench: Bench) -> None:
    assert await bench.tasks.events(TaskId("0" * 32), after=0) == []
