"""A job comes to its end: what is there is kept, what is missing is bought once."""

import asyncio

import pytest

from genonce.domain.errors import (
    OutcomeUnknown,
    ProviderRejected,
    ProviderUnavailable,
    StoreUnavailable,
)
from genonce.domain.identity import SeriesId, image_seed
from genonce.domain.ports import Inspected
from genonce.domain.request import read_canonical
from genonce.domain.task import Hit, Job, New, TaskState
from genonce.service.run import Backoff
from tests.fakes import Answer, FakeInspector, FakeProvider, FakeRedis
from tests.harness import until
from tests.service.conftest import BATCHER, FIVE, PAINTER, PLAIN, Shop, failure, receipt_of


async def start(shop: Shop, job: Job) -> asyncio.Task[None]:
    """A worker that has called the provider and waits for its answer."""
    shop.provider.called.clear()
    worker = asyncio.create_task(shop.generate().generate(job))
    async with asyncio.timeout(5):
        await shop.provider.called.wait()
    return worker


# --- buying ---------------------------------------------------------------------------------


async def test_every_slot_is_bought_once_stored_and_filled(shop: Shop) -> None:
    task = await shop.make(3)
    assert (task.state, task.progress, task.done) == (TaskState.SUCCEEDED, 1.0, 3)
    assert shop.provider.accepted == {0: 1, 1: 1, 2: 1}
    assert [image.index for image in task.images] == [0, 1, 2]
    for image in task.images:
        assert shop.images.bytes[image.key].startswith(b"picture %d of a cat" % image.index)


async def test_nothing_is_held_or_queued_after_the_end(shop: Shop) -> None:
    job = await shop.queue(2)
    task = await shop.work(job)
    assert all(slot.image for slot in shop.redis.series[task.images[0].series].values())
    assert (shop.redis.queue, shop.pace.turns) == ([], 0)
    assert shop.bought(job) == 2


async def test_a_receipt_tells_what_was_bought_from_whom_and_when(shop: Shop) -> None:
    job = await shop.queue(2, seed=7, width=640)
    await shop.work(job)
    series = shop.redis.tasks[job.task].identity.series
    first, second = shop.receipts(series)
    assert (first.provider, first.model) == ("maker", PAINTER.id)
    assert (first.image.seed, second.image.seed) == (7, 8)
    assert (second.provider_request_id, second.cost_usd) == ("request-1", 0.003)
    assert (first.purchase, first.unknown_before) == (1, 0)
    assert first.bytes == len(shop.images.bytes[first.image.key])
    assert (first.image.format, first.image.width, first.image.height) == ("png", 512, 384)
    assert first.asked_at <= first.stored_at
    request = read_canonical(bytes(first.request))
    assert (request.prompt, request.width, request.seed) == ("a cat", 640, 7)


async def test_a_receipt_counts_purchases_that_came_to_nothing(shop: Shop) -> None:
    task = await shop.make(
        1, Answer(broken=(0,)), Answer(error=OutcomeUnknown("The line was cut."))
    )
    [receipt] = shop.receipts(task.images[0].series)
    assert (receipt.purchase, receipt.unknown_before) == (3, 1)


async def test_derived_seeds_are_sent_where_none_was_asked_for(shop: Shop) -> None:
    task = await shop.make(3)
    series = task.images[0].series
    assert [call.seeds for call in shop.provider.calls] == [
        (image_seed(series, index),) for index in range(3)
    ]


async def test_a_seed_that_was_asked_for_counts_up_from_slot_to_slot(shop: Shop) -> None:
    await shop.make(3, seed=2**31 - 2)
    assert [call.seeds for call in shop.provider.calls] == [(2**31 - 2,), (2**31 - 1,), (0,)]


async def test_a_model_without_seeds_is_sent_none(shop: Shop) -> None:
    task = await shop.make(2, model=PLAIN.id)
    assert [call.seeds for call in shop.provider.calls] == [(None,), (None,)]
    assert task.images[0].seed is None


@pytest.mark.parametrize(("n", "groups"), [(3, [(0, 1, 2)]), (5, [(0, 1, 2), (3, 4)])])
async def test_a_call_takes_as_many_slots_as_the_provider_allows(
    shop: Shop, n: int, groups: list[tuple[int, ...]]
) -> None:
    task = await shop.make(n, model=BATCHER.id)
    assert task.state is TaskState.SUCCEEDED
    assert [call.indexes for call in shop.provider.calls] == groups


async def test_calls_of_one_task_run_at_once(shop: Shop) -> None:
    end = asyncio.Event()
    shop.provider.answers = [Answer(until=end) for _ in range(3)]
    worker = asyncio.create_task(shop.generate().generate(await shop.queue(3)))
    await until(lambda: len(shop.provider.calls) == 3)
    assert shop.pace.turns == 3
    end.set()
    await worker


async def test_only_the_slots_that_are_missing_are_bought(shop: Shop) -> None:
    await shop.make(2)
    task = await shop.make(4)
    assert task.state is TaskState.SUCCEEDED
    assert shop.provider.accepted == {0: 1, 1: 1, 2: 1, 3: 1}


async def test_extra_and_doubled_pictures_are_ignored(shop: Shop) -> None:
    task = await shop.make(2, *(Answer(twice=True, stray=9) for _ in range(2)))
    assert (task.state, task.done) == (TaskState.SUCCEEDED, 2)
    assert sorted(shop.images.puts) == [0, 1]
    assert not any(data.endswith(b"again") for data in shop.images.bytes.values())


# --- the image store knows better -----------------------------------------------------------


async def test_what_the_image_store_has_is_not_bought(shop: Shop) -> None:
    identity = shop.identity(2)
    images = [await shop.store(identity, index) for index in range(2)]
    job = await shop.queue(2)
    task = await shop.work(job)
    assert (task.state, list(task.images)) == (TaskState.SUCCEEDED, images)
    assert shop.provider.calls == []
    assert shop.bought(job) == 0


async def test_only_what_the_image_store_lacks_is_bought(shop: Shop) -> None:
    image = await shop.store(shop.identity(3), 1)
    job = await shop.queue(3)
    task = await shop.work(job)
    assert task.images[1] == image
    assert shop.provider.accepted == {0: 1, 2: 1}
    assert shop.bought(job) == 2


async def test_a_picture_restored_after_a_cut_call_is_not_paid_again(shop: Shop) -> None:
    """A former holder stored the bytes and died before it filled the slot."""
    job = await shop.queue(1)
    work = await shop.slots.lease(job)
    assert work is not None
    await shop.slots.open_purchase(job, work.series, work.slots)  # type: ignore[arg-type]
    image = await shop.store(shop.identity(1), 0)
    shop.redis.end_leases()
    task = await shop.work(job)
    assert (task.images, shop.provider.calls) == ((image,), [])


async def test_the_picture_that_stands_in_the_store_fills_the_slot(shop: Shop) -> None:
    """Two workers made one slot's picture: the first one stored is everybody's."""
    end = asyncio.Event()
    job = await shop.queue(1)
    shop.provider.answers = [Answer(until=end)]
    worker = await start(shop, job)
    image = await shop.store(shop.identity(1), 0)
    end.set()
    await worker
    assert shop.task(job).images == (image,)


# --- what earlier holders left --------------------------------------------------------------


async def intent(shop: Shop, n: int = 1, *, unknowns: int = 0) -> Job:
    """A job whose former holder wrote its intent and was never heard of again."""
    job = await shop.queue(n)
    work = await shop.slots.lease(job)
    assert work is not None
    for slot in shop.redis.series[work.series].values():
        slot.sent, slot.purchases, slot.unknowns = True, 1 + unknowns, unknowns
    shop.redis.end_leases()
    return job


async def test_an_intent_without_an_end_counts_as_unknown_and_is_bought_once_more(
    shop: Shop,
) -> None:
    job = await intent(shop, 2)
    task = await shop.work(job)
    assert task.state is TaskState.SUCCEEDED
    assert shop.provider.accepted == {0: 1, 1: 1}
    assert [(r.purchase, r.unknown_before) for r in shop.receipts(task.images[0].series)] == [
        (2, 1),
        (2, 1),
    ]
    assert shop.bought(job) == 2


async def test_a_second_unknown_outcome_of_a_slot_ends_the_task(shop: Shop) -> None:
    task = await shop.work(await intent(shop, 1, unknowns=1))
    assert failure(task) == ("failed", "outcome_unknown")
    assert shop.provider.calls == []


async def test_a_free_provider_is_simply_called_again() -> None:
    shop = Shop(provider=FakeProvider(is_free=True))
    job = await intent(shop, 1, unknowns=1)
    task = await shop.work(job)
    assert task.state is TaskState.SUCCEEDED
    assert shop.bought(job) == 1
    assert shop.receipts(task.images[0].series)[0].unknown_before == 1
    assert shop.pace.faults == []


async def test_a_job_that_is_over_does_nothing(shop: Shop) -> None:
    job = await shop.queue(1)
    await shop.work(job)
    await shop.generate().generate(job)
    await shop.generate().generate(Job(job.task, 2))
    assert len(shop.provider.calls) == 1


async def test_a_task_that_only_lacks_its_end_is_ended(shop: Shop) -> None:
    """Its holder died between the last fill and the end."""
    job = await shop.queue(1)
    record = shop.redis.tasks[job.task]
    await shop.work(job)
    record.state, record.progress = TaskState.RUNNING, 0.5
    task = await shop.work(job)
    assert (task.state, task.progress) == (TaskState.SUCCEEDED, 1.0)
    assert len(shop.provider.calls) == 1


# --- leases ---------------------------------------------------------------------------------


async def test_a_lease_lost_before_the_intent_buys_nothing(shop: Shop) -> None:
    """Another holder took the slot over: its picture is the one."""
    job = await shop.queue(1)
    identity = shop.identity(1)

    def overtake(name: str) -> None:
        if name == "open_purchase":
            shop.slots.on_call = lambda _: None
            slot = shop.redis.series[identity.series][0]
            slot.fence += 1
            asyncio.get_running_loop().call_soon(fill, shop, identity.series)

    shop.slots.on_call = overtake
    task = await shop.work(job)
    assert task.state is TaskState.SUCCEEDED
    assert shop.provider.calls == []


def fill(shop: Shop, series: SeriesId) -> None:
    """Fill slot 0 as another holder does."""
    shop.redis.series[series][0].image = receipt_of(series, 0, b"another worker's picture").image
    shop.changes.notify(series)


async def test_a_lease_lost_at_the_fill_keeps_the_other_holders_picture(shop: Shop) -> None:
    job = await shop.queue(1)
    end = asyncio.Event()
    shop.provider.answers = [Answer(until=end)]
    worker = await start(shop, job)
    fill(shop, shop.identity(1).series)
    theirs = shop.task(job).images
    end.set()
    await worker
    task = shop.task(job)
    assert (task.state, task.images) == (TaskState.SUCCEEDED, theirs)
    assert len(shop.provider.calls) == 1


async def test_two_workers_on_one_job_buy_each_slot_once(shop: Shop) -> None:
    job = await shop.queue(4)
    await asyncio.gather(*(shop.generate().generate(job) for _ in range(3)))
    assert shop.task(job).state is TaskState.SUCCEEDED
    assert sum(shop.provider.accepted.values()) == 4


@pytest.mark.parametrize("sizes", [(2, 3, 5), (5, 3, 2)], ids=["rising", "falling"])
async def test_tasks_of_one_series_at_once_buy_the_largest_n(
    shop: Shop, sizes: tuple[int, ...]
) -> None:
    jobs = [await shop.queue(n) for n in sizes]
    await asyncio.gather(*(shop.generate().generate(job) for job in jobs))
    assert {shop.task(job).state for job in jobs} == {TaskState.SUCCEEDED}
    assert shop.provider.accepted == dict.fromkeys(range(5), 1)
    assert sum(shop.bought(job) or 0 for job in jobs) == 5


async def test_a_job_waits_for_slots_that_others_hold(shop: Shop) -> None:
    end = asyncio.Event()
    shop.provider.answers = [Answer(until=end), Answer(until=end)]
    large = await start(shop, await shop.queue(2))
    small = await shop.queue(1)
    shop.changes.subscribed.clear()
    waiter = asyncio.create_task(shop.generate().generate(small))
    await asyncio.wait_for(shop.changes.subscribed.wait(), 5)
    end.set()
    await asyncio.gather(large, waiter)
    assert shop.task(small).state is TaskState.SUCCEEDED
    assert len(shop.provider.calls) == 2
    assert shop.bought(small) == 0


async def test_a_waiting_job_takes_over_what_a_dead_holder_left() -> None:
    shop = Shop(FakeRedis(lease_s=0.05), heartbeat_s=0.01)
    job = await shop.queue(1)
    dead = await shop.slots.lease(job)
    assert dead is not None
    task = await shop.work(job)
    assert task.state is TaskState.SUCCEEDED
    assert len(shop.provider.calls) == 1


async def test_a_waiting_job_takes_over_what_a_failed_task_gave_back(shop: Shop) -> None:
    end = asyncio.Event()
    shop.provider.answers = [Answer(until=end, error=ProviderRejected("Not this."))]
    failing = await shop.queue(1)
    worker = await start(shop, failing)
    other = await shop.queue(2)
    waiter = asyncio.create_task(shop.generate().generate(other))
    await until(lambda: len(shop.provider.calls) == 2)
    end.set()
    await asyncio.gather(worker, waiter)
    assert failure(shop.task(failing)) == ("failed", "provider_rejected")
    assert shop.task(other).state is TaskState.SUCCEEDED


async def test_leases_are_renewed_while_a_call_is_out() -> None:
    shop = Shop(FakeRedis(lease_s=0.1), heartbeat_s=0.02)
    job = await shop.queue(1)
    end = asyncio.Event()
    shop.provider.answers = [Answer(until=end)]
    worker = await start(shop, job)
    await asyncio.sleep(0.25)
    assert (await shop.slots.lease(job)).slots[0].for_s > 0  # type: ignore[union-attr]
    end.set()
    await worker
    assert len(shop.provider.calls) == 1


async def test_a_beat_that_redis_misses_is_made_up_for() -> None:
    shop = Shop(heartbeat_s=0.01)
    end = asyncio.Event()
    shop.provider.answers = [Answer(until=end)]
    job = await shop.queue(1)
    worker = await start(shop, job)
    shop.redis.is_away = True
    await asyncio.sleep(0.08)
    shop.redis.is_away = False
    before = len(shop.slots.progress)
    await until(lambda: len(shop.slots.progress) > before)
    end.set()
    await worker
    assert shop.task(job).state is TaskState.SUCCEEDED


# --- ends -----------------------------------------------------------------------------------


async def test_a_task_cancelled_in_flight_keeps_the_picture_and_buys_no_more() -> None:
    shop = Shop(generate_limits=FIVE)
    end = asyncio.Event()
    shop.pace.free = asyncio.Semaphore(1)
    shop.provider.answers = [Answer(until=end)]
    job = await shop.queue(3)
    worker = await start(shop, job)
    await shop.tasks.cancel(job.task)
    end.set()
    await worker
    task = shop.task(job)
    assert (task.state, [image.index for image in task.images]) == (TaskState.CANCELLED, [0])
    assert len(shop.provider.calls) == 1
    assert not any(slot.until_s for slot in shop.redis.series[task.images[0].series].values())
    assert shop.bought(job) == 1
    again = await shop.claim(3)
    assert isinstance(again, New)
    assert (again.missing, again.task.attempt) == (2, 2)


async def test_a_task_cancelled_while_others_hold_a_slot_gives_its_own_back(shop: Shop) -> None:
    other = await shop.queue(1)
    await shop.slots.lease(other)
    end = asyncio.Event()
    shop.pace.free = asyncio.Semaphore(1)
    shop.provider.answers = [Answer(until=end)]
    job = await shop.queue(3)
    worker = await start(shop, job)
    await shop.tasks.cancel(job.task)
    end.set()
    await worker
    slots = shop.redis.series[shop.identity(3).series]
    assert [slot.until_s > 0 for slot in slots.values()] == [True, False, False]
    assert (shop.bought(job), shop.task(job).state) == (1, TaskState.CANCELLED)


async def test_a_task_cancelled_before_a_worker_came_buys_nothing(shop: Shop) -> None:
    job = await shop.queue(1)
    await shop.tasks.cancel(job.task)
    await shop.generate().generate(job)
    assert shop.provider.calls == []
    assert shop.task(job).state is TaskState.CANCELLED


async def test_the_deadline_ends_a_task_and_keeps_what_is_done() -> None:
    shop = Shop(deadline_s=0.1)
    never = asyncio.Event()
    job = await shop.queue(2)
    shop.provider.answers = [Answer(), Answer(until=never)]
    task = await shop.work(job)
    assert failure(task) == ("failed", "deadline_exceeded")
    assert [image.index for image in task.images] == [0]
    assert shop.bought(job) == 2
    assert isinstance(await shop.claim(2), New)


async def test_the_deadline_counts_over_all_workers() -> None:
    shop = Shop(deadline_s=5)
    job = await shop.queue(1)
    await shop.slots.lease(job)
    shop.redis.end_leases()
    shop.redis.tasks[job.task].started_s = asyncio.get_running_loop().time() - 6
    task = await shop.work(job)
    assert failure(task) == ("failed", "deadline_exceeded")
    assert shop.provider.calls == []


async def test_the_deadline_ends_the_wait_for_a_provider_that_is_away() -> None:
    shop = Shop(deadline_s=0.1, backoff=Backoff(0.01, 0.01))
    shop.provider.answers = [Answer(error=ProviderUnavailable("Refused.")) for _ in range(10_000)]
    job = await shop.queue(1)
    task = await shop.work(job)
    assert failure(task)[0] == "failed"
    assert shop.bought(job) == 0


async def test_a_defect_of_ours_fails_the_task_and_tells_no_detail(shop: Shop) -> None:
    job = await shop.queue(2)
    await shop.generate().give_up(job)
    task = shop.task(job)
    assert failure(task) == ("failed", "internal_error")
    assert "log" in task.message
    assert isinstance(await shop.claim(2), New)
    await shop.generate().give_up(job)


async def test_a_failed_task_is_made_by_the_next_post(shop: Shop) -> None:
    task = await shop.make(2, Answer(), Answer(error=ProviderRejected("Not this.")))
    assert (task.state, task.done) == (TaskState.FAILED, 1)
    task = await shop.make(2)
    assert (task.state, task.attempt, task.code) == (TaskState.SUCCEEDED, 2, "")
    assert isinstance(await shop.claim(2), Hit)


# --- Redis and the image store go away ------------------------------------------------------


@pytest.mark.parametrize("name", ["lease", "open_purchase", "fill", "finish"])
async def test_redis_away_is_told_to_the_queue_and_the_leases_are_given_back(
    shop: Shop, name: str
) -> None:
    job = await shop.queue(2)

    def hurt(called: str) -> None:
        if called == name:
            shop.slots.on_call = lambda _: None
            raise StoreUnavailable("Redis is away.")

    shop.slots.on_call = hurt
    with pytest.raises(StoreUnavailable):
        await shop.generate().generate(job)
    series = shop.identity(2).series
    assert not any(slot.until_s for slot in shop.redis.series[series].values())
    assert not shop.task(job).state.is_terminal
    await shop.work(job)
    assert shop.task(job).state is TaskState.SUCCEEDED
    assert shop.provider.accepted == {0: 1, 1: 1}


async def test_redis_away_for_long_leaves_the_leases_to_end_by_themselves(shop: Shop) -> None:
    job = await shop.queue(1)

    def hurt(called: str) -> None:
        shop.redis.is_away = shop.redis.is_away or called == "fill"

    shop.slots.on_call = hurt
    with pytest.raises(StoreUnavailable):
        await shop.generate().generate(job)
    shop.slots.on_call = lambda _: None
    shop.redis.is_away = False
    shop.redis.end_leases()
    await shop.work(job)
    assert shop.provider.accepted == {0: 1}


@pytest.mark.parametrize("method", ["find", "check"])
async def test_an_image_store_that_is_away_before_the_purchase_buys_nothing(
    shop: Shop, method: str
) -> None:
    shop.images.failures[method] = -1
    job = await shop.queue(2)
    task = await shop.work(job)
    assert failure(task) == ("failed", "images_unavailable")
    assert shop.provider.calls == []
    assert shop.bought(job) == 0
    shop.images.failures.clear()
    assert (await shop.make(2)).state is TaskState.SUCCEEDED


async def test_paid_bytes_wait_for_an_image_store_that_comes_back(shop: Shop) -> None:
    shop.images.failures["put"] = 5
    task = await shop.make(1)
    assert task.state is TaskState.SUCCEEDED
    assert len(shop.provider.calls) == 1


class OutOfPatience(Backoff):
    """Three short waits, then one over the whole patience."""

    def delay_s(self, tries: int) -> float:
        return 0.0 if tries < 3 else 3600.0


async def test_paid_bytes_do_not_wait_for_ever() -> None:
    """The task fails, and the next attempt buys its slot again."""
    shop = Shop(backoff=OutOfPatience())
    shop.images.failures["put"] = -1
    job = await shop.queue(1)
    task = await shop.work(job)
    assert failure(task) == ("failed", "images_unavailable")
    assert shop.bought(job) == 1
    shop.images.failures.clear()
    task = await shop.make(1)
    assert task.state is TaskState.SUCCEEDED
    assert shop.receipts(task.images[0].series)[0].purchase == 2


# --- progress -------------------------------------------------------------------------------


async def test_progress_never_goes_back_and_reaches_one_only_at_the_end(shop: Shop) -> None:
    steps = (0.1, 0.5, 0.3, 0.9)
    shop.heartbeat_s = 0.001
    answers = [Answer(steps=steps), Answer(steps=steps, broken=(1,)), Answer(steps=steps)]
    job = await shop.queue(2)
    shop.provider.answers = answers
    await shop.work(job)
    assert shop.slots.progress == sorted(shop.slots.progress)
    log = [event.task.progress for event in shop.redis.tasks[job.task].log]
    assert log == sorted(log)
    assert log.count(1.0) == 1
    assert log[-1] == 1.0


class SlowInspector(FakeInspector):
    """Takes until it is let go."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def inspect(self, data: bytes) -> Inspected:
        await self.end.wait()
        return await super().inspect(data)


async def test_progress_is_told_before_the_heartbeat_is_due() -> None:
    inspector = SlowInspector()
    shop = Shop(heartbeat_s=3600, inspector=inspector)
    shop.provider.answers = [Answer(steps=(0.4,))]
    worker = asyncio.create_task(shop.generate().generate(await shop.queue(1)))
    await until(lambda: shop.slots.progress)
    assert shop.slots.progress == [0.4]
    inspector.end.set()
    await worker


async def test_pictures_are_shown_as_soon_as_they_are_filled(shop: Shop) -> None:
    end = asyncio.Event()
    shop.provider.answers = [Answer(), Answer(until=end)]
    job = await shop.queue(2)
    worker = await start(shop, job)
    await until(lambda: shop.task(job).images)
    task = shop.task(job)
    assert (task.state, task.progress, task.done) == (TaskState.RUNNING, 0.5, 1)
    end.set()
    await worker
