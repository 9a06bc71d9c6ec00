"""How long a task waits for what is not the provider."""

import time

from bench.figure import Figure, quantile
from bench.line import GENERATE, Line, get, post
from bench.service import service

PICK_UP_MS = 20
OVERHEAD_MS = 25
PROVIDER_MS = 300


def pick_up(*, quick: bool) -> list[Figure]:
    """From a POST's answer to the provider's call, with an idle worker."""
    count = 20 if quick else 200
    with service(workers=1) as own, Line(own.port) as line:
        delays_ms = []
        for number in range(count + 5):  # the first open connections
            answer = line.ask(post(GENERATE, {"prompt": f"pick-up {number}"}))
            answered_ns = time.time_ns()
            line.ask(get(f"/api/images/{answer.json()['taskId']}?wait=10"))
            own.settle(within_s=10)
            delays_ms.append((own.provider.stats().arrivals_ns[-1] - answered_ns) / 1e6)
    # A call that came before the answer was read took no time.
    delays_ms = [max(0.0, delay) for delay in delays_ms[5:]]
    p50, p95 = quantile(delays_ms, 0.5), quantile(delays_ms, 0.95)
    return [
        Figure(
            name=f"pick-up, {count} tasks, idle worker",
            measured=f"p50 {p50:.1f} ms, p95 {p95:.1f} ms",
            target=f"p95 < {PICK_UP_MS} ms",
            ok=p95 < PICK_UP_MS,
            raw={"p50_ms": p50, "p95_ms": p95, "max_ms": max(delays_ms), "tasks": count},
        )
    ]


def four_pictures(*, quick: bool) -> list[Figure]:
    """A task of four pictures, over what the provider takes."""
    count = 5 if quick else 40
    with service(workers=1) as own, Line(own.port) as line:
        own.provider.tell(f"/_latency/{PROVIDER_MS}")
        overheads_ms = []
        for number in range(count + 2):
            request = post(GENERATE, {"prompt": f"four {number}", "n": 4}, {"prefer": "wait=30"})
            began = time.perf_counter()
            answer = line.ask(request)
            overheads_ms.append((time.perf_counter() - began) * 1000 - PROVIDER_MS)
            assert len(answer.json()["data"]) == 4, answer
            own.settle(within_s=10)
        pictures = own.provider.stats().pictures
    assert pictures == 4 * (count + 2), pictures
    p50, p95 = quantile(overheads_ms[2:], 0.5), quantile(overheads_ms[2:], 0.95)
    return [
        Figure(
            name=f"n=4 over the provider's {PROVIDER_MS} ms",
            measured=f"p50 {p50:.1f} ms, p95 {p95:.1f} ms",
            target=f"p50 < {OVERHEAD_MS} ms",
            ok=p50 < OVERHEAD_MS,
            raw={"p50_ms": p50, "p95_ms": p95, "tasks": count, "pictures": pictures},
        )
    ]
