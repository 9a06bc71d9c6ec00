"""What a failed call did to the money, and what is done next."""

import asyncio
from dataclasses import dataclass, field

import pytest

from genonce.domain.errors import (
    NotAccepted,
    OutcomeUnknown,
    ProviderError,
    ProviderFailed,
    ProviderLimited,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from genonce.domain.task import New, TaskState
from genonce.service.run import Backoff, Progress
from tests.fakes import Answer, FakeProvider
from tests.harness import until
from tests.service.conftest import BATCHER, FIVE, Shop, failure

CUT = Answer(error=OutcomeUnknown("The line was cut."))
FAILED = Answer(error=ProviderFailed("The job failed."))
REFUSED = Answer(error=ProviderUnavailable("Connection refused."))
FINAL = [
    (ProviderRejected("The prompt is refused."), "provider_rejected"),
    (ProviderMisconfigured("The key is wrong."), "provider_misconfigured"),
    (ProviderError("A kind that we do not know."), "provider_error"),
]


# --- not accepted ---------------------------------------------------------------------------


async def test_a_call_that_was_not_accepted_is_made_again_and_counts_as_no_purchase(
    shop: Shop,
) -> None:
    shop.provider.answers = [REFUSED] * 5
    job = await shop.queue(1)
    task = await shop.work(job)
    assert task.state is TaskState.SUCCEEDED
    assert (len(shop.provider.calls), shop.bought(job)) == (6, 1)
    assert shop.receipts(task.images[0].series)[0].purchase == 1


@dataclass(frozen=True)
class Noted(Backoff):
    """Notes the tries that it was asked for; waits for none."""

    asked: list[int] = field(default_factory=list)

    def delay_s(self, tries: int) -> float:
        self.asked.append(tries)
        return 0.0


async def test_waits_grow_with_the_tries() -> None:
    backoff = Noted()
    shop = Shop(backoff=backoff)
    await shop.make(1, *[REFUSED] * 3)
    assert backoff.asked == [0, 1, 2]


@pytest.mark.parametrize("tries", [0, 3, 50, 10_000])
def test_a_wait_is_at_most_its_bound_which_doubles_up_to_the_cap(tries: int) -> None:
    backoff = Backoff(0.5, 20.0)
    waits = [backoff.delay_s(tries) for _ in range(200)]
    bound = min(20.0, 0.5 * 2 ** min(tries, 16))
    assert all(0 <= wait <= bound for wait in waits)
    assert max(waits) > bound / 2


async def test_retry_after_is_waited_for(shop: Shop) -> None:
    busy = Answer(error=ProviderUnavailable("Overloaded.", retry_after_s=0.05))
    clock = asyncio.get_running_loop().time
    before = clock()
    task = await shop.make(1, busy)
    assert task.state is TaskState.SUCCEEDED
    assert clock() - before >= 0.05
    assert shop.pace.rests == []


@pytest.mark.parametrize(("after", "rest"), [(7.5, 7.5), (None, 0.1), (0.0, 0.1)])
async def test_a_429_rests_the_provider_for_all_workers(
    shop: Shop, after: float | None, rest: float
) -> None:
    task = await shop.make(1, Answer(error=ProviderLimited("Too many.", retry_after_s=after)))
    assert task.state is TaskState.SUCCEEDED
    assert shop.pace.rests == [("maker", rest)]


async def test_pictures_that_came_before_a_refusal_are_kept(shop: Shop) -> None:
    cut_short = Answer(give=1, error=NotAccepted("No more for now."))
    task = await shop.make(3, cut_short, model=BATCHER.id)
    assert task.state is TaskState.SUCCEEDED
    assert [call.indexes for call in shop.provider.calls] == [(0, 1, 2), (1, 2)]


async def test_a_task_cancelled_between_two_tries_makes_no_further_call() -> None:
    shop = Shop(generate_limits=FIVE)
    end = asyncio.Event()
    shop.provider.answers = [Answer(until=end, error=ProviderUnavailable("Refused."))]
    job = await shop.queue(1)
    worker = asyncio.create_task(shop.generate().generate(job))
    await shop.provider.called.wait()
    await shop.tasks.cancel(job.task)
    end.set()
    await worker
    assert len(shop.provider.calls) == 1
    assert shop.task(job).state is TaskState.CANCELLED
    assert shop.bought(job) == 0
    assert shop.redis.used["generate", "key:anne"] == 0


# --- accepted, then failed ------------------------------------------------------------------


@pytest.mark.parametrize("bad", [FAILED, Answer(broken=(0,)), Answer(give=0)])
async def test_a_slot_is_bought_up_to_three_times_in_an_attempt(shop: Shop, bad: Answer) -> None:
    shop.provider.answers = [bad, bad]
    job = await shop.queue(1)
    task = await shop.work(job)
    assert task.state is TaskState.SUCCEEDED
    assert shop.receipts(task.images[0].series)[0].purchase == 3
    assert shop.bought(job) == 3


@pytest.mark.parametrize("bad", [FAILED, Answer(broken=(0,)), Answer(give=0)])
async def test_a_third_failure_ends_the_task(shop: Shop, bad: Answer) -> None:
    shop.provider.answers = [bad] * 9
    job = await shop.queue(1)
    task = await shop.work(job)
    assert failure(task) == ("failed", "provider_failed")
    assert (len(shop.provider.calls), shop.bought(job)) == (3, 3)


async def test_a_new_attempt_has_three_purchases_of_its_own(shop: Shop) -> None:
    await shop.make(1, *[FAILED] * 3)
    task = await shop.make(1, *[FAILED] * 2)
    assert (task.state, task.attempt) == (TaskState.SUCCEEDED, 2)
    assert shop.receipts(task.images[0].series)[0].purchase == 6


async def test_only_the_slots_without_a_picture_are_bought_again(shop: Shop) -> None:
    answers = [Answer(broken=(1,)), Answer(give=0)]
    job = await shop.queue(3, model=BATCHER.id)
    shop.provider.answers = answers
    task = await shop.work(job)
    assert task.state is TaskState.SUCCEEDED
    assert [call.indexes for call in shop.provider.calls] == [(0, 1, 2), (1,), (1,)]
    assert [r.purchase for r in shop.receipts(task.images[0].series)] == [1, 3, 1]
    assert shop.bought(job) == 5


async def test_fewer_pictures_than_asked_are_no_success(shop: Shop) -> None:
    shop.provider.answers = [Answer(give=2), *[Answer(give=0)] * 2]
    task = await shop.make(3, model=BATCHER.id)
    assert failure(task) == ("failed", "provider_failed")
    assert [image.index for image in task.images] == [0, 1]
    assert "fewer" in task.message


async def test_a_failure_after_some_pictures_keeps_them(shop: Shop) -> None:
    task = await shop.make(3, Answer(give=2, error=ProviderFailed("Half.")), model=BATCHER.id)
    assert task.state is TaskState.SUCCEEDED
    assert [call.indexes for call in shop.provider.calls] == [(0, 1, 2), (2,)]


# --- unknown outcome ------------------------------------------------------------------------


async def test_an_unknown_outcome_is_bought_once_more_and_marked(shop: Shop) -> None:
    shop.provider.answers = [CUT]
    job = await shop.queue(1)
    task = await shop.work(job)
    assert task.state is TaskState.SUCCEEDED
    [receipt] = shop.receipts(task.images[0].series)
    assert (receipt.purchase, receipt.unknown_before) == (2, 1)
    assert shop.bought(job) == 2


async def test_a_second_unknown_outcome_ends_the_task(shop: Shop) -> None:
    task = await shop.make(1, CUT, CUT)
    assert failure(task) == ("failed", "outcome_unknown")
    assert len(shop.provider.calls) == 2


async def test_a_new_attempt_may_meet_one_unknown_outcome_again(shop: Shop) -> None:
    await shop.make(1, CUT, CUT)
    task = await shop.make(1, CUT)
    assert task.state is TaskState.SUCCEEDED
    assert shop.receipts(task.images[0].series)[0].unknown_before == 1


async def test_a_line_cut_after_some_pictures_makes_only_the_rest_unknown(shop: Shop) -> None:
    task = await shop.make(3, Answer(give=1, error=OutcomeUnknown("Cut.")), model=BATCHER.id)
    assert task.state is TaskState.SUCCEEDED
    assert [r.unknown_before for r in shop.receipts(task.images[0].series)] == [0, 1, 1]


# --- final ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "code"), FINAL, ids=[code for _, code in FINAL])
async def test_a_final_failure_is_not_retried_and_its_reason_reaches_the_caller(
    shop: Shop, error: ProviderError, code: str
) -> None:
    task = await shop.make(1, Answer(error=error))
    assert failure(task) == ("failed", code)
    assert task.message == str(error)
    assert len(shop.provider.calls) == 1


@pytest.mark.parametrize(("error", "code"), FINAL, ids=[code for _, code in FINAL])
async def test_after_a_final_failure_the_next_post_starts_clean(
    shop: Shop, error: ProviderError, code: str
) -> None:
    await shop.make(1, Answer(error=error))
    task = await shop.make(1)
    assert (task.state, task.attempt) == (TaskState.SUCCEEDED, 2)
    assert shop.receipts(task.images[0].series)[0].unknown_before == 0


async def test_a_key_that_is_refused_is_told_to_health_until_a_success(shop: Shop) -> None:
    await shop.make(1, Answer(error=ProviderMisconfigured("The key is wrong.")))
    assert shop.pace.faults == [("maker", "The key is wrong.")]
    await shop.make(1)
    assert shop.pace.faults[-1] == ("maker", None)


@pytest.mark.parametrize(
    ("error", "left"),
    [(ProviderFailed("Broken."), 1), (ProviderRejected("No."), 0), (ProviderMisconfigured("-"), 0)],
    ids=["a purchase is charged", "refused content is not", "a missing key is not"],
)
async def test_what_a_failed_task_costs(error: ProviderError, left: int) -> None:
    shop = Shop(generate_limits=FIVE)
    await shop.make(1, *[Answer(error=error)] * 3)
    assert shop.redis.used["generate", "key:anne"] == left


async def test_a_worker_without_the_providers_key_says_so(shop: Shop) -> None:
    shop.provider = FakeProvider(name="another")
    job = await shop.queue(2)
    task = await shop.work(job)
    assert failure(task) == ("failed", "provider_misconfigured")
    assert shop.bought(job) == 0


async def test_pictures_that_came_before_a_final_failure_are_kept(shop: Shop) -> None:
    refused = Answer(give=2, error=ProviderRejected("The third shows something."))
    task = await shop.make(3, refused, model=BATCHER.id)
    assert failure(task) == ("failed", "provider_rejected")
    assert [image.index for image in task.images] == [0, 1]
    again = await shop.claim(3, model=BATCHER.id)
    assert isinstance(again, New)
    assert again.missing == 1


async def test_calls_under_way_come_to_their_end_before_a_failure_is_told(shop: Shop) -> None:
    begun, end = asyncio.Event(), asyncio.Event()
    refused = Answer(until=begun, error=ProviderRejected("No."))
    shop.provider.answers = [Answer(until=end), Answer(until=end), refused]
    job = await shop.queue(3)
    worker = asyncio.create_task(shop.generate().generate(job))
    await until(lambda: len(shop.provider.calls) == 3, every_s=0)
    begun.set()
    await until(lambda: shop.pace.turns == 2, every_s=0)
    assert shop.task(job).state is TaskState.RUNNING
    end.set()
    await worker
    task = shop.task(job)
    assert failure(task) == ("failed", "provider_rejected")
    assert [image.index for image in task.images] == [0, 1]


async def test_no_call_is_begun_after_a_final_failure() -> None:
    shop = Shop()
    shop.pace.free = asyncio.Semaphore(1)
    await shop.make(4, Answer(error=ProviderRejected("No.")))
    assert len(shop.provider.calls) == 1


async def test_a_final_failure_does_not_wait_for_a_provider_that_is_away() -> None:
    shop = Shop(deadline_s=0.3, backoff=Backoff(0.01, 0.01))
    shop.provider.answers = [Answer(error=ProviderRejected("No.")), *[REFUSED] * 10_000]
    task = await shop.make(2)
    assert failure(task) == ("failed", "provider_rejected")


async def test_every_slot_of_a_call_is_settled_before_a_failure_is_told(shop: Shop) -> None:
    bad = Answer(broken=(0,), give=1)
    await shop.make(2, *[bad] * 3, model=BATCHER.id)
    slots = shop.redis.series[shop.identity(2, model=BATCHER.id).series]
    assert [(slot.sent, slot.failures) for slot in slots.values()] == [(False, 3), (False, 3)]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProviderUnavailable("Refused.", retry_after_s=3600), "provider_unavailable"),
        (ProviderUnavailable("Refused."), "provider_unavailable"),
        (ProviderLimited("Too many."), "provider_limited"),
    ],
)
async def test_a_provider_away_for_longer_than_the_deadline_is_what_ended_the_task(
    error: ProviderError, code: str
) -> None:
    """As docs/errors.md says."""
    shop = Shop(deadline_s=0.1, backoff=Backoff(0.01, 0.01))
    task = await shop.make(1, *[Answer(error=error)] * 10_000)
    assert failure(task) == ("failed", code)


def test_progress_is_the_mean_over_all_slots_and_never_goes_back() -> None:
    progress = Progress(4)
    for index, ratio in ((0, 0.5), (1, 1.0), (0, 0.2)):
        progress.set(index, ratio)
    assert progress.total == 0.375
