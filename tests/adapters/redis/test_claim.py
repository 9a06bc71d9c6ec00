"""The claim: find or make, charge, queue; all or nothing."""

import asyncio

import msgspec
import pytest
from arq.constants import default_queue_name
from arq.jobs import deserialize_job_raw

from genonce.adapters.redis import keys
from genonce.domain.errors import LimitExceeded
from genonce.domain.ports import Outcome, Reader
from genonce.domain.quota import Limit, Meter
from genonce.domain.series import KeyParts, Lease
from genonce.domain.task import (
    Claim,
    Collision,
    Hit,
    Job,
    Join,
    KeyReused,
    New,
    Refused,
    Replayed,
    TaskState,
)
from tests.adapters.redis.conftest import FIVE, Bench, complete, ids


async def test_the_first_claim_is_new_and_queues_one_arq_job(bench: Bench) -> None:
    outcome = await bench.claim(n=2)
    assert isinstance(outcome, New)
    assert (outcome.missing, outcome.task.state, outcome.task.attempt) == (2, TaskState.QUEUED, 1)
    assert outcome.task.position == 1
    job_id = f"{outcome.task.id}:1"
    assert await bench.redis.send("ZRANGE", default_queue_name, 0, -1) == [job_id.encode()]
    body = await bench.redis.send("GET", f"arq:job:{job_id}")
    function, arguments, keywords, job_try, _ = deserialize_job_raw(
        body, deserializer=msgspec.msgpack.decode
    )
    assert (function, tuple(arguments), keywords, job_try) == (
        "generate",
        (outcome.task.id,),
        {},
        None,
    )


async def test_a_claim_while_at_work_joins_and_queues_nothing(bench: Bench) -> None:
    await bench.claim()
    before = await bench.redis.send("ZCARD", default_queue_name)
    outcome = await bench.claim()
    assert isinstance(outcome, Join)
    assert await bench.redis.send("ZCARD", default_queue_name) == before == 1


async def test_a_claim_of_finished_work_hits_and_shows_the_pictures(bench: Bench) -> None:
    await bench.claim(n=2)
    await complete(bench, n=2)
    outcome = await bench.claim(n=2)
    assert isinstance(outcome, Hit)
    assert [image.index for image in outcome.task.images] == [0, 1]
    assert outcome.task.images[1].sha256 == f"{1:064x}"
    assert outcome.task.progress == 1.0


async def test_equal_claims_at_once_make_one_task(bench: Bench) -> None:
    outcomes = await asyncio.gather(*(bench.claim(n=2) for _ in range(200)))
    assert sum(isinstance(outcome, New) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Join) for outcome in outcomes) == 199
    assert await bench.redis.send("ZCARD", default_queue_name) == 1


@pytest.mark.parametrize(
    ("order", "bought"), [((2, 4, 3), [2, 2, 0]), ((4, 2), [4, 0]), ((1, 2, 3), [1, 1, 1])]
)
async def test_a_series_is_bought_up_to_the_largest_n(
    bench: Bench, order: tuple[int, ...], bought: list[int]
) -> None:
    made = []
    for n in order:
        outcome = await bench.claim(n=n)
        made.append(await complete(bench, n=n) if isinstance(outcome, New) else 0)
    assert made == bought


async def test_a_smaller_n_of_a_finished_series_hits_without_a_job(bench: Bench) -> None:
    await bench.claim(n=4)
    await complete(bench, n=4)
    await bench.redis.send("DEL", default_queue_name)
    outcome = await bench.claim(n=3)
    assert isinstance(outcome, Hit)
    assert outcome.task.state is TaskState.SUCCEEDED
    assert await bench.redis.send("ZCARD", default_queue_name) == 0
    [event] = await bench.tasks.events(outcome.task.id, after=0)
    assert event.task.state is TaskState.SUCCEEDED


async def test_a_smaller_n_joins_while_all_its_slots_are_being_made(bench: Bench) -> None:
    new = await bench.claim(n=4)
    await bench.slots.lease(_job(new))
    outcome = await bench.claim(n=2, limits=(Limit(1, 60),))
    assert isinstance(outcome, Join)
    assert outcome.task.id != new.task.id  # type: ignore[union-attr]
    # It has a job of its own, for the case that the other one fails.
    assert await bench.redis.send("ZCARD", default_queue_name) == 2


def _job(outcome: object) -> Job:
    assert isinstance(outcome, New | Join)
    return Job(outcome.task.id, outcome.task.attempt)


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELLED])
async def test_a_claim_after_a_bad_end_is_a_new_attempt_for_the_missing_slots(
    bench: Bench, state: TaskState
) -> None:
    first = await bench.claim(n=1)
    await complete(bench, n=1)
    second = await bench.claim(n=3)
    assert isinstance(first, New)
    assert isinstance(second, New)
    job = _job(second)
    work = await bench.slots.lease(job)
    assert work is not None
    leases = [slot for slot in work.slots if isinstance(slot, Lease)]
    await bench.slots.finish(job, work.series, leases, state=state, code="x", message="y")
    third = await bench.claim(n=3)
    assert isinstance(third, New)
    assert (third.task.id, third.task.attempt, third.missing) == (second.task.id, 2, 2)
    assert third.task.code == ""
    assert third.task.event > second.task.event
    assert await complete(bench, n=3, attempt=2) == 2


async def test_a_lost_queue_entry_is_made_again_by_the_next_claim(bench: Bench) -> None:
    await bench.claim()
    await bench.redis.send("DEL", default_queue_name)
    assert isinstance(await bench.claim(), Join)
    assert await bench.redis.send("ZCARD", default_queue_name) == 1


async def test_one_fingerprint_for_two_requests_is_refused(bench: Bench) -> None:
    await bench.claim()
    identity = msgspec.structs.replace(ids(), digest="0" * 64)
    meter = Meter("generate", "c", ())
    claim = Claim(
        identity=identity,
        model="m",
        owner="",
        generate=meter,
        read=meter,
        cost_per_image=False,
        idempotency_key=None,
    )
    assert isinstance(await bench.tasks.claim(claim), Collision)


# --- limits ---------------------------------------------------------------------------------


async def test_only_new_work_costs_the_generate_allowance(bench: Bench) -> None:
    new = await bench.claim("one", limits=FIVE)
    assert isinstance(new, New)
    assert new.allowance is not None
    assert (new.allowance.meter, new.allowance.remaining) == ("generate", 4)
    for _ in range(10):
        assert isinstance(await bench.claim("one", limits=FIVE), Join)
    await complete(bench, "one")
    for _ in range(10):
        assert isinstance(await bench.claim("one", limits=FIVE), Hit)
    another = await bench.claim("two", limits=FIVE)
    assert isinstance(another, New)
    assert another.allowance is not None
    assert another.allowance.remaining == 3


async def test_hits_and_joins_cost_the_read_allowance(bench: Bench) -> None:
    await bench.claim(limits=FIVE, read=(Limit(2, 60),))
    await bench.claim(read=(Limit(2, 60),))
    joined = await bench.claim(read=(Limit(2, 60),))
    assert isinstance(joined, Join)
    assert joined.allowance is not None
    assert (joined.allowance.meter, joined.allowance.remaining) == ("read", 0)
    refused = await bench.claim(read=(Limit(2, 60),))
    assert isinstance(refused, Refused)
    assert refused.meter == "read"


async def test_a_refused_claim_changes_nothing_and_says_when(bench: Bench) -> None:
    for number in range(5):
        await bench.claim(f"p{number}", limits=FIVE)
    before = await bench.keys()
    refused = await bench.claim("p5", limits=FIVE, key="k")
    assert isinstance(refused, Refused)
    assert refused.retry_after_s is not None
    assert 55 < refused.retry_after_s <= 60
    assert await bench.keys() == before


async def test_claims_at_once_are_admitted_up_to_the_limit(bench: Bench) -> None:
    outcomes = await asyncio.gather(*(bench.claim(f"p{i}", limits=FIVE) for i in range(100)))
    assert sum(isinstance(outcome, New) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 95


async def test_callers_have_allowances_of_their_own(bench: Bench) -> None:
    one = (Limit(1, 60),)
    assert isinstance(await bench.claim("a", caller="x", limits=one), New)
    assert isinstance(await bench.claim("b", caller="y", limits=one), New)
    assert isinstance(await bench.claim("c", caller="x", limits=one), Refused)


async def test_a_cost_by_image_counts_the_slots_to_buy(bench: Bench) -> None:
    ten = (Limit(10, 60),)
    first = await bench.claim("a", n=4, limits=ten, per_image=True)
    assert isinstance(first, New)
    assert first.allowance is not None
    assert first.allowance.remaining == 6
    await complete(bench, "a", n=4)
    more = await bench.claim("a", n=6, limits=ten, per_image=True)
    assert isinstance(more, New)
    assert more.allowance is not None
    assert more.allowance.remaining == 4


async def test_a_cost_above_the_limit_is_never_admitted(bench: Bench) -> None:
    refused = await bench.claim(n=8, limits=FIVE, per_image=True)
    assert isinstance(refused, Refused)
    assert refused.retry_after_s is None


async def test_an_allowance_that_bought_nothing_comes_back(bench: Bench) -> None:
    one = (Limit(1, 60),)
    new = await bench.claim("a", limits=one)
    job = _job(new)
    work = await bench.slots.lease(job)
    assert work is not None
    await bench.slots.finish(job, work.series, [], state=TaskState.FAILED)
    assert isinstance(await bench.claim("b", limits=one), New)


async def test_an_allowance_that_bought_something_does_not_come_back(bench: Bench) -> None:
    """Whoever ends the attempt: the record knows what was bought, not the worker."""
    one = (Limit(1, 60),)
    new = await bench.claim("a", limits=one)
    job = _job(new)
    work = await bench.slots.lease(job)
    assert work is not None
    leases = [slot for slot in work.slots if isinstance(slot, Lease)]
    assert await bench.slots.open_purchase(job, work.series, leases)
    await bench.slots.close_purchase(job, work.series, leases, outcome=Outcome.FAILED)
    assert await bench.slots.finish(job, work.series, leases, state=TaskState.FAILED) == 1
    assert isinstance(await bench.claim("b", limits=one), Refused)


async def test_a_purchase_that_was_not_accepted_is_none(bench: Bench) -> None:
    one = (Limit(1, 60),)
    new = await bench.claim("a", limits=one)
    job = _job(new)
    work = await bench.slots.lease(job)
    assert work is not None
    leases = [slot for slot in work.slots if isinstance(slot, Lease)]
    assert await bench.slots.open_purchase(job, work.series, leases)
    await bench.slots.close_purchase(job, work.series, leases, outcome=Outcome.REFUSED)
    assert await bench.slots.finish(job, work.series, leases, state=TaskState.FAILED) == 0
    assert isinstance(await bench.claim("b", limits=one), New)


async def test_a_claim_that_the_store_covers_is_not_charged(bench: Bench) -> None:
    one = (Limit(1, 60),)
    await bench.claim("a", limits=one)
    assert isinstance(await bench.claim("b", limits=one), Refused)
    assert isinstance(await bench.claim("b", limits=one, covered=True), New)


async def test_several_windows_hold_at_once(bench: Bench) -> None:
    limits = (Limit(100, 3600), Limit(2, 60))
    outcomes = [await bench.claim(f"p{i}", limits=limits) for i in range(3)]
    refused = outcomes[2]
    assert isinstance(refused, Refused)
    assert refused.limit == Limit(2, 60)


# --- idempotency keys -------------------------------------------------------------------------


async def test_a_key_replays_its_task_and_starts_nothing(bench: Bench) -> None:
    first = await bench.claim(key="k")
    job = _job(first)
    work = await bench.slots.lease(job)
    assert work is not None
    leases = [slot for slot in work.slots if isinstance(slot, Lease)]
    await bench.slots.finish(job, work.series, leases, state=TaskState.FAILED, code="x")
    again = await bench.claim(key="k")
    assert isinstance(again, Replayed)
    assert (again.task.attempt, again.task.state) == (1, TaskState.FAILED)
    assert isinstance(await bench.claim(key="another"), New)


async def test_a_key_of_another_request_is_refused(bench: Bench) -> None:
    await bench.claim("a", key="k")
    assert isinstance(await bench.claim("b", key="k"), KeyReused)
    assert isinstance(await bench.claim("b", key="k", caller="someone else"), New)


# --- reading ----------------------------------------------------------------------------------


async def test_a_read_is_paid_by_its_meter(bench: Bench) -> None:
    new = await bench.claim()
    assert isinstance(new, New)
    reader = Reader(Meter("read", "c", (Limit(2, 60),)), "")
    for left in (1, 0):
        task, allowance = await bench.tasks.read(new.task.id, reader)
        assert task is not None
        assert allowance is not None
        assert allowance.remaining == left
    with pytest.raises(LimitExceeded) as caught:
        await bench.tasks.read(new.task.id, reader)
    assert 55 < caught.value.retry_after_s <= 60


async def test_only_the_owner_reads_a_task_that_has_one(bench: Bench) -> None:
    new = await bench.claim(owner="me")
    assert isinstance(new, New)
    assert (await bench.tasks.read(new.task.id, Reader(None, "me")))[0] is not None
    assert (await bench.tasks.read(new.task.id, Reader(None, "you")))[0] is None


async def test_a_succeeded_task_with_a_lost_picture_is_gone_and_claimed_anew(bench: Bench) -> None:
    new = await bench.claim(n=2)
    assert isinstance(new, New)
    await complete(bench, n=2)
    await bench.tasks.lose(KeyParts(ids().series, 1, f"{1:064x}"[:32], "png"))
    assert (await bench.tasks.read(new.task.id, Reader(None, "")))[0] is None
    again = await bench.claim(n=2)
    assert isinstance(again, New)
    assert (again.missing, again.task.attempt) == (1, 2)


async def test_another_picture_s_slot_is_not_lost(bench: Bench) -> None:
    await bench.claim()
    await complete(bench)
    await bench.tasks.lose(KeyParts(ids().series, 0, "f" * 32, "png"))
    await bench.tasks.lose(KeyParts(ids().series, 0, f"{0:064x}"[:32], "webp"))
    assert isinstance(await bench.claim(), Hit)


async def test_every_key_expires_or_has_a_named_owner(bench: Bench) -> None:
    await bench.claim("a", n=2, limits=FIVE, read=FIVE, key="k")
    await bench.claim("b", limits=FIVE)
    await complete(bench, "a", n=2)
    forever = {k for k in await bench.keys() if await bench.redis.send("TTL", k) < 0}
    # The queue is arq's; the averages are the deployment's, one field a model.
    assert forever <= {default_queue_name, keys.durations()}


async def test_a_hit_lengthens_the_life_of_what_it_uses(bench: Bench) -> None:
    new = await bench.claim()
    assert isinstance(new, New)
    await complete(bench)
    names = (keys.task(new.task.id), keys.events(new.task.id), keys.series(ids().series))
    for name in names:
        await bench.redis.send("PEXPIRE", name, 1000)
    await bench.claim()
    for name in names:
        assert await bench.redis.send("PTTL", name) > 80_000_000
