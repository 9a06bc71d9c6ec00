"""The requests that come most often, each beside a bare handler that gives the same answers.

They come from many callers, each well within its limits, so the meters work as they do in earnest.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import msgspec

from bench.bare import Specimen
from bench.children import free_port, plain_environment, running
from bench.figure import Figure
from bench.line import GENERATE, Answer, Line, get, post
from bench.load import Outcome, Plan, run_load
from bench.service import Service, service

CONNECTIONS = 64
CALLERS = [{"x-forwarded-for": f"10.9.{n // 250}.{n % 250}"} for n in range(2000)]
LIMITS = {
    "RATE_LIMIT_GENERATE": "600/minute",
    "RATE_LIMIT_READ": "600/minute",
    "TRUSTED_PROXIES": "loopback",
}
_OWN_HEADERS = ("content-length", "content-type", "date")
_MOST_PER_SECOND = 15_000
"""More distinct requests a second than any server here answers."""

Requests = Callable[[int], list[str]]
"""Requests of a round, by its number."""
Ask = Callable[[Mapping[str, str]], bytes]
"""A request with a caller's headers."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is loaded."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Rounds:
    """How long and how often to measure."""

    count: int
    seconds: float


def rounds(*, quick: bool) -> Rounds:
    """Rounds of a run."""
    return Rounds(2, 0.2) if quick else Rounds(7, 1.5)


def cached_posts(*, quick: bool) -> list[Figure]:
    """POST of a request whose picture is there."""
    body = _body(0)
    with service(workers=1, settings=LIMITS) as own:
        own.post(body, wait_s=30)
        assert own.post(body).json()["cached"] is True
        ask = partial(post, GENERATE, body)
        return [_compare("cached-hit POST", own, ask, at_least=0.6, quick=quick)]


def distinct_posts(*, quick: bool) -> list[Figure]:
    """POST of ever new requests; no worker is there, so the queue only grows within a round."""
    how = rounds(quick=quick)
    count = int(how.seconds * _MOST_PER_SECOND)

    def requests(number: int) -> list[str]:
        first = (number + 1) * count
        return [
            post(GENERATE, _body(first + i), CALLERS[i % len(CALLERS)]).decode()
            for i in range(count)
        ]

    with service(workers=0, settings=LIMITS) as own:
        # A first job has a queue position of one digit; five are what most have.
        for number in range(10_000):
            own.redis.zadd("arq:queue", {f"filler:{number}": 1})
        with Line(own.port) as line:
            answer = line.ask(post(GENERATE, _body(0), CALLERS[0]))
        own.redis.flushall()
        with bare(answer) as target:
            pairs = _alternate(own, target, requests, how, is_growing=True)
    return [_figure("distinct POST", pairs, at_least=0.4)]


def done_gets(*, quick: bool) -> list[Figure]:
    """GET of a finished task."""
    with service(workers=1, settings=LIMITS) as own:
        task = own.post(_body(0), wait_s=30).json()
        assert task["status"] == "completed", task
        ask = partial(get, f"/api/images/{task['taskId']}")
        return [_compare("GET done", own, ask, at_least=0.7, quick=quick)]


def running_gets(*, quick: bool) -> list[Figure]:
    """GET of a task whose provider takes its time."""
    with service(workers=1, settings=LIMITS) as own:
        own.provider.tell("/_hold")
        task = own.post(_body(0)).json()["taskId"]
        _wait_for(lambda: own.get(f"/api/images/{task}").json()["status"] == "processing")
        ask = partial(get, f"/api/images/{task}")
        return [_compare("GET running", own, ask, at_least=0.7, quick=quick)]


def _body(number: int) -> dict[str, object]:
    return {"prompt": f"A lighthouse on a cliff at dusk, waves below, oil on canvas {number:09d}"}


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("The service did not come to where a figure begins.")
        time.sleep(0.02)


def _compare(name: str, own: Service, ask: Ask, *, at_least: float, quick: bool) -> Figure:
    """Measure one request, sent again and again."""
    request, texts = ask(CALLERS[0]), [ask(caller).decode() for caller in CALLERS]
    with Line(own.port) as line:
        line.ask(request)
        answer = line.ask(request)
    with bare(answer) as target:
        with Line(target.port) as line:
            beside = line.ask(request)
        assert (beside.status, beside.body) == (answer.status, answer.body), beside
        assert len(beside.headers) == len(answer.headers), (beside.headers, answer.headers)
        pairs = _alternate(own, target, lambda _: texts, rounds(quick=quick), is_growing=False)
    return _figure(name, pairs, at_least=at_least)


@contextlib.contextmanager
def bare(answer: Answer) -> Iterator[Target]:
    """Run a bare handler that gives an answer of the service."""
    specimen = Specimen(
        status=answer.status,
        headers={name: value for name, value in answer.headers if name not in _OWN_HEADERS},
        body=answer.body.decode(),
    )
    port = free_port()
    with running("bench.bare", str(port), environ=plain_environment({})) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(specimen) + b"\n")
        process.stdin.flush()
        _wait_for(lambda: _answers(port))
        yield Target(port, process.pid)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), Line(port) as line:
        return line.ask(get("/api/images/0")).status > 0
    return False


def _alternate(
    own: Service, target: Target, requests: Requests, how: Rounds, *, is_growing: bool
) -> list[tuple[Outcome, Outcome]]:
    """Load the service and the bare handler in turn: what else the machine does meets both.

    Args:
        is_growing: each request is sent once, and what a round left in Redis is removed after it.
    """
    pairs = []
    for number in range(-1, how.count):  # the first round warms up
        texts = requests(number)
        pair = []
        for one in (Target(own.port, own.web), target):
            plan = Plan(
                port=one.port,
                connections=CONNECTIONS,
                requests=texts,
                seconds=how.seconds,
                is_repeated=not is_growing,
            )
            pair.append(run_load(plan, pid=one.pid).expect({200, 202}))
        if is_growing:
            own.redis.flushall()
        if number >= 0:
            pairs.append((pair[0], pair[1]))
    return pairs


def _figure(name: str, pairs: list[tuple[Outcome, Outcome]], *, at_least: float) -> Figure:
    own = statistics.median(mine.per_second for mine, _ in pairs)
    beside = statistics.median(other.per_second for _, other in pairs)
    ratio = statistics.median(mine.per_second / other.per_second for mine, other in pairs)
    own_us, beside_us = _cpu([mine for mine, _ in pairs]), _cpu([other for _, other in pairs])
    cpu_ratio = None if not own_us or not beside_us else beside_us / own_us
    return Figure(
        name=name,
        measured=f"{own:,.0f}/s" + (f", {own_us:.0f} us CPU" if own_us else ""),
        target=f">= {at_least:g} of bare",
        beside_bare=f"{ratio:.2f} of {beside:,.0f}/s"
        + (f"; CPU {cpu_ratio:.2f} ({beside_us:.0f} us)" if cpu_ratio else ""),
        ok=ratio >= at_least,
        raw={
            "per_second": own,
            "cpu_us": own_us,
            "bare_per_second": beside,
            "bare_cpu_us": beside_us,
            "ratio": ratio,
            "cpu_ratio": cpu_ratio,
            "answers": sum(mine.answers for mine, _ in pairs),
            "rounds_per_second": [[mine.per_second, other.per_second] for mine, other in pairs],
        },
    )


def _cpu(outcomes: list[Outcome]) -> float | None:
    values = [outcome.cpu_us for outcome in outcomes if outcome.cpu_us is not None]
    return statistics.median(values) if values else None
