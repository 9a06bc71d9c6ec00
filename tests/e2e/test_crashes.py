"""kill -9 and SIGSTOP of a worker in each step of its way: another goes on within seconds, at most
the call in flight is bought again, and whoever wakes late changes nothing."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

import pytest

from tests.e2e.lines import Hold, Line
from tests.e2e.site import ARQ_REMOVES_JOB, Api, Site, record_of, script
from tests.harness import Worker, until
from tests.standins.process import FOLDER

RECOVERED_S = 10.0
FACTOR = 1.5
"""What a loaded machine may add."""
N = 2


@dataclass(frozen=True)
class Step:
    """Where a worker is stopped.

    Attributes:
        word: what is held on the line to Redis or to the image store; empty: the provider's gate.
        extra: pictures that are bought again, at most.
        late: pictures that a worker buys at most when it wakes after the end.
    """

    name: str
    word: bytes
    when: Literal["before", "after"] = "before"
    extra: int = 0
    late: int = 0
    n: int = N


STEPS = (
    Step("taken, not leased", script("lease_slots")),
    Step("leased, not known", script("lease_slots"), "after"),
    Step("leased, no intent", script("open_purchase")),
    # Its next move is the call, which no fence holds back: the one that a crash may cost.
    Step("intent written, not known", script("open_purchase"), "after", late=N),
    Step("call in flight", b"", extra=N),
    Step("filled, not known", script("fill_slot"), "after"),
    Step("stored, not filled", script("fill_slot")),
    Step("filled, not finished", script("finish")),
    Step("finished, not known", script("finish"), "after"),
    Step("finished, job not removed", ARQ_REMOVES_JOB),
)
STORE_STEPS = (
    Step("answered, no bytes stored", rb"PUT /pictures/\S+\.jpeg", extra=1, n=1),
    Step("bytes stored, no receipt", rb"PUT /pictures/\S+\.json", extra=1, n=1),
    Step("receipt stored, not known", rb"PUT /pictures/\S+\.json", "after", n=1),
)


def named(steps: tuple[Step, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("step", steps, ids=lambda step: step.name)


@dataclass
class Scene:
    """A worker that stands in a step with its task, and one that could go on."""

    site: Site
    api: Api
    victim: Worker
    prompt: str
    task: str
    wake_next: Callable[[], object]
    hold: Hold | None

    def let_go(self) -> None:
        """Nothing is held any more: neither the line nor the provider."""
        self.site.standin.release()
        if self.hold is not None:
            self.hold.release()


async def stand(site: Site, step: Step, stack: AsyncExitStack) -> Scene:
    """Bring a worker to a step; the shared one is frozen meanwhile."""
    api = await site.web()
    await site.workers(1)
    await site.workers(0)  # it has started, and will only have to wake up
    line = await stack.enter_async_context(Line(site.valkey.port))
    victim = await site.own_worker(
        REDIS_URL=f"redis://127.0.0.1:{line.port}/0", WORKER_CONCURRENCY=1
    )
    hold = line.hold(step.word, step.when) if step.word else None
    site.standin.control(gate=hold is None)
    prompt = site.prompt()
    task = (await api.post(prompt, N)).json()["taskId"]
    if hold is None:
        await site.in_flight(prompt, N)
    else:
        await until(lambda: hold.is_reached, what=step.name)
    return Scene(site, api, victim, prompt, task, site.shared_workers[0].go_on, hold)


async def check_recovery(scene: Scene, step: Step, since: float) -> None:
    """Another worker brings the task to its end, in time and without buying more than it may."""
    done = await scene.api.ended(scene.task, timeout_s=RECOVERED_S * FACTOR)
    took_s = time.monotonic() - since
    bought = scene.site.bought(scene.prompt)
    print(f"{step.name}: went on after {took_s:.1f} s, {bought} pictures bought")
    assert (done["status"], len(done["data"]), done["attempt"]) == ("completed", step.n, 1)
    assert step.n <= bought <= step.n + step.extra
    assert took_s < RECOVERED_S * FACTOR


@named(STEPS)
async def test_after_kill_9_another_worker_goes_on(site: Site, step: Step) -> None:
    async with AsyncExitStack() as stack:
        scene = await stand(site, step, stack)
        scene.wake_next()
        killed = time.monotonic()
        scene.victim.kill()
        site.standin.release()
        await check_recovery(scene, step, killed)
        await site.nothing_is_left()


@named(STEPS)
async def test_a_frozen_worker_is_replaced_and_changes_nothing_when_it_wakes(
    site: Site, step: Step
) -> None:
    async with AsyncExitStack() as stack:
        scene = await stand(site, step, stack)
        scene.wake_next()
        frozen = time.monotonic()
        scene.victim.freeze()
        site.standin.release()
        await check_recovery(scene, step, frozen)
        await site.nothing_is_left()
        await check_wakes_harmless(scene, step)


async def check_wakes_harmless(scene: Scene, step: Step) -> None:
    """The late worker, with all that it still has to say, leaves everything as it is."""
    site = scene.site
    before, bought = record_of(site.valkey, scene.task), site.bought(scene.prompt)
    await site.workers(0)
    scene.let_go()
    scene.victim.go_on()
    # It takes one task at a time: making another one, it has ended with this one.
    await scene.api.made(site.prompt("by the worker that woke"))
    assert record_of(site.valkey, scene.task) == before
    assert bought <= site.bought(scene.prompt) <= bought + step.late


@pytest.fixture(scope="session")
def bucket() -> Iterator[int]:
    """The port of a real S3 server, with a bucket for pictures."""
    server = subprocess.Popen(
        [sys.executable, str(FOLDER / "s3.py"), "pictures"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline().decode().rpartition(":")[2])
    finally:
        server.kill()
        server.communicate()


def stored_at(port: int) -> dict[str, object]:
    """Settings of a worker that reaches the bucket on this port."""
    return {
        "IMAGE_STORE_URL": "s3://pictures/of-the-tests",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "some",
        "AWS_SECRET_ACCESS_KEY": "body",
        "AWS_REGION": "us-east-1",
    }


@pytest.mark.parametrize("way", ["killed", pytest.param("frozen", marks=pytest.mark.slow)])
@named(STORE_STEPS)
async def test_a_worker_stopped_while_it_stores_loses_at_most_that_picture(
    site: Site, bucket: int, step: Step, way: str
) -> None:
    api = await site.web()
    # The bucket is another store than the shared parts agreed on; these two agree on it.
    site.valkey.client.delete("gn:store")
    async with Line(bucket) as line:
        other = await site.own_worker(**stored_at(bucket))
        other.freeze()
        victim = await site.own_worker(**stored_at(line.port), WORKER_CONCURRENCY=1)
        hold, prompt = line.hold(step.word, step.when), site.prompt()
        task = (await api.post(prompt, step.n)).json()["taskId"]
        await until(lambda: hold.is_reached, what=step.name)
        scene = Scene(site, api, victim, prompt, task, other.go_on, hold)
        scene.wake_next()
        stopped = time.monotonic()
        if way == "killed":
            victim.kill()
            await check_recovery(scene, step, stopped)
            return
        victim.freeze()
        await check_recovery(scene, step, stopped)
        await site.nothing_is_left()
        other.freeze()
        await check_wakes_harmless(scene, step)


async def test_a_worker_that_lost_some_of_its_slots_goes_on_with_the_others(site: Site) -> None:
    """Of four slots another worker has the first; frozen while it waits for the provider's turn,
    the worker loses the second too. Awake, it must not wait for the leases that it holds itself.
    """
    api, prompt = await site.web(), site.prompt()
    victim = await site.own_worker()
    victim.freeze()
    await site.workers(1)
    site.standin.control(gate=True)
    one = (await api.post(prompt, 1)).json()["taskId"]
    await site.in_flight(prompt, 1)
    await site.workers(0)
    site.valkey.client.set("gn:pace:together:rest", "1", px=9000)
    victim.go_on()
    four = (await api.post(prompt, 4)).json()["taskId"]
    await until(lambda: len(_leases(site)) == 4, what="the leases of the other three slots")
    leased = _leases(site)
    # Its first heartbeat is heard: it waits for nothing but its turn.
    await until(lambda: _leases(site)[1:] != leased[1:], what="a heartbeat")
    victim.freeze()
    await site.workers(1)
    # The job's mark lives on, as if the freeze had begun a little later: only the next task is
    # to be had.
    site.valkey.client.set(f"arq:in-progress:{four}:1", "1", px=60_000)
    await until(lambda: len(_leases(site)) == 1, what="the end of the three leases")
    two = (await api.post(prompt, 2)).json()["taskId"]
    site.standin.release()
    for task in (one, two):
        assert (await api.ended(task))["status"] == "completed"
    await site.workers(0)
    # It has to wait a little more, so that its first heartbeat comes before its turn.
    site.valkey.client.set("gn:pace:together:rest", "1", px=3000)
    victim.go_on()
    done = await api.ended(four, timeout_s=RECOVERED_S * FACTOR)
    assert (done["status"], len(done["data"])) == ("completed", 4)
    assert site.bought(prompt) == 4


def _leases(site: Site) -> list[bytes]:
    """Slots of the one series that somebody holds now, in order."""
    now_ms = int(time.time() * 1000)
    [series] = site.valkey.client.keys("gn:series:*")
    found = sorted(site.valkey.client.hgetall(series).items())
    slots = [slot for _, slot in found if slot.startswith(b"o|")]
    return [slot for slot in slots if int(slot.split(b"|")[2]) > now_ms]


@pytest.mark.parametrize("calls", [1, 2])
async def test_a_worker_asked_to_stop_finishes_its_calls_in_flight(site: Site, calls: int) -> None:
    api = await site.web()
    worker = await site.own_worker()
    site.standin.control(gate=True)
    prompts = [site.prompt() for _ in range(calls)]
    tasks = [(await api.post(prompt, N)).json()["taskId"] for prompt in prompts]
    for prompt in prompts:
        await site.in_flight(prompt, N)
    worker.terminate()
    later = (await api.post(site.prompt("for the next worker"))).json()["taskId"]
    site.standin.release()
    await until(lambda: not worker.is_alive, what="the worker's end")
    assert worker.process.returncode == 0
    for task, prompt in zip(tasks, prompts, strict=True):
        assert (await api.task(task))["status"] == "completed"
        assert site.bought(prompt) == N
    assert (await api.task(later))["status"] == "pending"
    await site.workers(1)
    assert (await api.ended(later))["status"] == "completed"


async def test_a_worker_that_may_not_finish_in_time_hands_its_task_on_at_once(site: Site) -> None:
    """The call that it leaves behind is the one that is bought again."""
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    await site.workers(0)
    worker = await site.own_worker(WORKER_DRAIN=1)
    site.standin.control(gate=True)
    task = (await api.post(prompt, N)).json()["taskId"]
    await site.in_flight(prompt, N)
    worker.terminate()
    await until(lambda: not worker.is_alive, what="the worker's end")
    left = time.monotonic()
    site.standin.release()
    await site.workers(1)
    assert (await api.ended(task))["status"] == "completed"
    print(f"handed on after {time.monotonic() - left:.1f} s")
    assert time.monotonic() - left < RECOVERED_S / 2 * FACTOR
    assert site.bought(prompt) == 2 * N
