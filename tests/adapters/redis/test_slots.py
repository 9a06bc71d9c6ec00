"""Leases, purchases and fills: only the holder of the current fence changes a slot."""

from genonce.adapters.redis.slots import RedisSlotStore
from genonce.domain.ports import Outcome, Work
from genonce.domain.series import Held, Lease
from genonce.domain.task import Job, New, TaskState
from tests.adapters.redis.conftest import Bench, ids, picture
from tests.harness import until


async def start(bench: Bench, *, n: int = 1, lease_ms: int = 5000) -> tuple[Job, Work, list[Lease]]:
    """Claim a task and lease its slots."""
    claimed = await bench.claim(n=n)
    assert isinstance(claimed, New)
    job = Job(claimed.task.id, claimed.task.attempt)
    work = await short(bench, lease_ms).lease(job)
    assert work is not None
    return job, work, leases_of(work)


def short(bench: Bench, lease_ms: int) -> RedisSlotStore:
    """The store of a worker whose leases are short."""
    return RedisSlotStore(bench.redis, bench.scripts, lease_ms, 86_400_000)


def leases_of(work: Work | None) -> list[Lease]:
    """The slots that we hold."""
    assert work is not None
    return [slot for slot in work.slots if isinstance(slot, Lease)]


async def taken_over(bench: Bench, job: Job) -> list[Lease]:
    """The leases of a second worker, as soon as the first one's have run out."""

    async def lease() -> list[Lease]:
        return leases_of(await bench.slots.lease(job))

    return await until(lease)


async def test_a_job_carries_its_whole_request(bench: Bench) -> None:
    _, work, leases = await start(bench, n=3)
    assert work.request.canonical() == ids(n=3).canonical
    assert (work.n, [lease.index for lease in leases]) == (3, [0, 1, 2])


async def test_a_leased_slot_is_held_for_others(bench: Bench) -> None:
    job, _, _ = await start(bench, n=2)
    work = await bench.slots.lease(job)
    assert work is not None
    assert all(isinstance(slot, Held) and 0 < slot.for_s <= 5 for slot in work.slots)


async def test_a_lease_without_heartbeat_ends_and_the_next_fence_is_higher(bench: Bench) -> None:
    job, _, [old] = await start(bench, lease_ms=20)
    [new] = await taken_over(bench, job)
    assert new.fence > old.fence


async def test_a_heartbeat_keeps_a_lease(bench: Bench) -> None:
    job, work, [lease] = await start(bench, lease_ms=300)
    keeper = short(bench, 5000)
    assert await keeper.renew(job, work.series, [lease], progress=0.5)
    again = await bench.slots.lease(job)
    assert again is not None
    [slot] = again.slots
    assert isinstance(slot, Held)
    assert slot.for_s > 1


async def test_a_former_holder_can_neither_buy_nor_fill_nor_report(bench: Bench) -> None:
    job, work, [old] = await start(bench, lease_ms=20)
    [new] = await taken_over(bench, job)
    assert not await bench.slots.open_purchase(job, work.series, [old])
    assert not await bench.slots.fill(job, old, picture(old))
    assert await bench.slots.close_purchase(job, work.series, [old], outcome=Outcome.FAILED) == []
    await bench.slots.release(work.series, [old])
    assert isinstance((await bench.slots.lease(job)).slots[0], Held)  # type: ignore[union-attr]
    assert await bench.slots.fill(job, new, picture(new))


async def test_an_intent_without_an_end_is_told_to_the_next_holder(bench: Bench) -> None:
    job, work, [old] = await start(bench, lease_ms=50)
    assert await short(bench, 20).open_purchase(job, work.series, [old])
    [new] = await taken_over(bench, job)
    assert (new.sent, new.purchases) == (True, 1)


async def test_ends_of_purchases_are_counted(bench: Bench) -> None:
    job, work, leases = await start(bench)
    for outcome, failures, unknowns, purchases in (
        (Outcome.FAILED, 1, 0, 1),
        (Outcome.UNKNOWN, 1, 1, 2),
        (Outcome.REFUSED, 1, 1, 2),
    ):
        assert await bench.slots.open_purchase(job, work.series, leases)
        leases = await bench.slots.close_purchase(job, work.series, leases, outcome=outcome)
        [lease] = leases
        assert (lease.failures, lease.unknowns, lease.purchases) == (failures, unknowns, purchases)
        assert not lease.sent


async def test_a_new_attempt_starts_with_clean_counts_and_keeps_purchases(bench: Bench) -> None:
    job, work, leases = await start(bench)
    assert await bench.slots.open_purchase(job, work.series, leases)
    leases = await bench.slots.close_purchase(job, work.series, leases, outcome=Outcome.FAILED)
    await bench.slots.finish(job, work.series, leases, state=TaskState.FAILED, code="x")
    again = await bench.claim()
    assert isinstance(again, New)
    [lease] = leases_of(await bench.slots.lease(Job(again.task.id, 2)))
    assert (lease.failures, lease.unknowns, lease.purchases) == (0, 0, 1)


async def test_success_needs_every_slot(bench: Bench) -> None:
    job, work, leases = await start(bench, n=2)
    assert await bench.slots.fill(job, leases[0], picture(leases[0]))
    for expected, lease in ((False, leases[1]), (True, None)):
        done = await bench.slots.finish(job, work.series, [], state=TaskState.SUCCEEDED)
        assert (done is not None) is expected
        if lease is not None:
            assert await bench.slots.fill(job, lease, picture(lease))


async def test_filling_twice_with_the_same_picture_is_one_fill(bench: Bench) -> None:
    job, _, [lease] = await start(bench, n=1)
    assert await bench.slots.fill(job, lease, picture(lease))
    assert await bench.slots.fill(job, lease, picture(lease))


async def test_nothing_is_bought_for_a_cancelled_task_and_a_call_in_flight_is_kept(
    bench: Bench,
) -> None:
    job, work, leases = await start(bench, n=2)
    assert await bench.slots.open_purchase(job, work.series, leases[:1])
    cancelled = await bench.tasks.cancel(job.task)
    assert cancelled is not None
    assert cancelled[1]
    assert not await bench.slots.open_purchase(job, work.series, leases[1:])
    assert not await bench.slots.renew(job, work.series, leases, progress=0.9)
    assert await bench.slots.fill(job, leases[0], picture(leases[0]))
    assert await bench.slots.lease(job) is None
    again = await bench.claim(n=2)
    assert [image.index for image in again.task.images] == [0]  # type: ignore[union-attr]


async def test_a_job_of_a_former_attempt_does_nothing(bench: Bench) -> None:
    job, work, leases = await start(bench)
    await bench.slots.finish(job, work.series, leases, state=TaskState.FAILED, code="x")
    await bench.claim()
    assert await bench.slots.lease(job) is None
    assert (
        await bench.slots.finish(job, work.series, [], state=TaskState.FAILED, code="late") is None
    )


async def test_fences_grow_over_a_lost_database(bench: Bench) -> None:
    _, _, [old] = await start(bench)
    await bench.redis.send("FLUSHALL")
    job, _, [new] = await start(bench)
    assert new.fence > old.fence
    assert not await bench.slots.fill(job, old, picture(old))


async def test_a_fill_wakes_those_who_wait_for_the_series(bench: Bench) -> None:
    job, work, [lease] = await start(bench)
    async with bench.changes.series(work.series) as watch:
        await bench.slots.fill(job, lease, picture(lease))
        assert await watch.changed(5)
