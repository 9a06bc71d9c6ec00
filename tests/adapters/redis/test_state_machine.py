"""Random walks of a series through claims, leases, purchases, deaths and ends.

Whatever the order: a slot is filled once, a fence never goes back, states follow
queued -> running -> terminal, progress and event numbers never go back within an attempt, the
log has no holes, and success means every slot.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from genonce.adapters.redis.batching import BatchingRedis
from genonce.adapters.redis.scripts import load_scripts
from genonce.adapters.redis.slots import RedisSlotStore
from genonce.adapters.redis.tasks import RedisTaskStore
from genonce.domain.identity import TaskId
from genonce.domain.ports import Outcome, Reader
from genonce.domain.quota import Limit, Meter
from genonce.domain.series import Image, Lease
from genonce.domain.task import Claim, Hit, Job, Join, New, Refused, Task, TaskState
from tests.adapters.redis.conftest import ids
from tests.servers import valkey

T = TypeVar("T")
SIZES = st.sampled_from([1, 2, 3])
PICKS = st.integers(0, 10_000)
LIMIT = (Limit(1000, 3600),)
ORDER = [TaskState.QUEUED, TaskState.RUNNING]


class SeriesMachine(RuleBasedStateMachine):
    """Tasks of one series, and workers that may die."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = BatchingRedis(self.url, timeout_s=10)
        scripts = load_scripts()
        self.tasks = RedisTaskStore(self.redis, scripts, 86_400_000, 10)
        self.slots = RedisSlotStore(self.redis, scripts, 60_000, 86_400_000)
        self.jobs: list[Job] = []
        self.leases: list[tuple[Job, Lease]] = []
        self.filled: dict[int, str] = {}
        self.fences: dict[int, int] = {}
        self.seen: dict[TaskId, Task] = {}
        self.pictures = 0
        self.run(self.redis.send("FLUSHALL"))

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.runner.close()

    @rule(n=SIZES)
    def claim(self, n: int) -> None:
        meter = Meter("generate", "c", LIMIT)
        identity = ids(n=n)
        outcome = self.run(
            self.tasks.claim(
                Claim(
                    identity=identity,
                    model="m",
                    owner="",
                    generate=meter,
                    read=Meter("read", "c", ()),
                    cost_per_image=True,
                    idempotency_key=None,
                )
            )
        )
        assert not isinstance(outcome, Refused)
        assert isinstance(outcome, Hit | Join | New)
        assert isinstance(outcome, Hit) == (len([i for i in self.filled if i < n]) == n)
        if not outcome.task.state.is_terminal:
            job = Job(outcome.task.id, outcome.task.attempt)
            if job not in self.jobs:
                self.jobs.append(job)

    @precondition(lambda self: self.jobs)
    @rule(pick=PICKS)
    def lease(self, pick: int) -> None:
        job = self.jobs[pick % len(self.jobs)]
        work = self.run(self.slots.lease(job))
        for slot in work.slots if work else ():
            if isinstance(slot, Image):
                assert self.filled[slot.index] == slot.sha256
            if isinstance(slot, Lease):
                assert slot.fence > self.fences.get(slot.index, 0)
                self.fences[slot.index] = slot.fence
                self.leases.append((job, slot))

    @precondition(lambda self: self.leases)
    @rule(pick=PICKS)
    def die(self, pick: int) -> None:
        """The holder is gone and its lease has run out; it may come back as a ghost."""
        _, lease = self.leases[pick % len(self.leases)]
        if self.fences[lease.index] == lease.fence:
            series = ids().series
            self.run(self.slots.release(series, [lease]))

    @precondition(lambda self: self.leases)
    @rule(pick=PICKS)
    def fill(self, pick: int) -> None:
        job, lease = self.leases[pick % len(self.leases)]
        self.pictures += 1
        image = Image(
            series=ids().series,
            index=lease.index,
            sha256=f"{self.pictures:064x}",
            format="png",
            width=64,
            height=64,
            seed=1,
        )
        accepted = self.run(self.slots.fill(job, lease, image))
        may = lease.index not in self.filled and self.fences[lease.index] == lease.fence
        assert accepted is may
        if accepted:
            self.filled[lease.index] = image.sha256

    @precondition(lambda self: self.leases)
    @rule(pick=PICKS, outcome=st.sampled_from(Outcome))
    def buy_in_vain(self, pick: int, outcome: Outcome) -> None:
        job, lease = self.leases[pick % len(self.leases)]
        series = ids().series
        if self.run(self.slots.open_purchase(job, series, [lease])):
            assert lease.index not in self.filled
            assert self.fences[lease.index] == lease.fence
            assert (
                len(self.run(self.slots.close_purchase(job, series, [lease], outcome=outcome))) == 1
            )

    @precondition(lambda self: self.jobs)
    @rule(pick=PICKS, ratio=st.floats(0, 1))
    def beat(self, pick: int, ratio: float) -> None:
        job = self.jobs[pick % len(self.jobs)]
        held = [lease for owner, lease in self.leases if owner == job]
        self.run(self.slots.renew(job, ids().series, held, progress=ratio))

    @precondition(lambda self: self.jobs)
    @rule(pick=PICKS, state=st.sampled_from([TaskState.SUCCEEDED, TaskState.FAILED]))
    def finish(self, pick: int, state: TaskState) -> None:
        job = self.jobs[pick % len(self.jobs)]
        held = [lease for owner, lease in self.leases if owner == job]
        before = self.read(job.task)
        done = self.run(self.slots.finish(job, ids().series, held, state=state, code="c"))
        if done is not None:
            assert before is not None
            assert not before.state.is_terminal
            assert state is TaskState.FAILED or before.done == before.n

    @precondition(lambda self: self.jobs)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        self.run(self.tasks.cancel(self.jobs[pick % len(self.jobs)].task))

    def read(self, task: TaskId) -> Task | None:
        return self.run(self.tasks.read(task, Reader(None, "")))[0]

    @invariant()
    def nothing_goes_back(self) -> None:
        for task_id in {job.task for job in self.jobs}:
            now = self.read(task_id)
            assert now is not None
            assert {image.index: image.sha256 for image in now.images} == {
                index: sha for index, sha in self.filled.items() if index < now.n
            }
            before = self.seen.get(task_id)
            if before is not None:
                assert (now.attempt, now.event) >= (before.attempt, before.event)
                if now.attempt == before.attempt:
                    assert now.progress >= before.progress
                    assert not before.state.is_terminal or now.state is before.state
            self.seen[task_id] = now

    @invariant()
    def the_log_has_no_holes(self) -> None:
        for task_id, now in self.seen.items():
            log = self.run(self.tasks.events(task_id, after=0))
            assert [event.number for event in log] == list(
                range(now.event - len(log) + 1, now.event + 1)
            )
            assert log[-1].task.state is now.state
            states = [event.task.state for event in log]
            ranks = [ORDER.index(s) if s in ORDER else 2 for s in states]
            assert ranks == sorted(ranks)
            assert sum(state.is_terminal for state in states) <= 1
            progress = [event.task.progress for event in log]
            assert progress == sorted(progress)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own."""
    with valkey() as url:
        yield url


def test_a_series_keeps_its_promises_whatever_happens(server: str) -> None:
    SeriesMachine.url = server
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        SeriesMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
