"""Thousands of prompts, submitted and done; and what a finished task leaves in Redis."""

import time
from pathlib import Path

import msgspec

from bench.children import ROOT
from bench.figure import Figure
from bench.line import GENERATE, Line, get, post
from bench.load import Plan, run_load
from bench.machine import cpu_s
from bench.service import UNMETERED, Service, service

PROVIDER_MS = 20
ALL_S = 20
TASK_BYTES = 1500
CONNECTIONS = 64
WIDE = {"TOGETHER_CONCURRENCY": "64", "WORKER_CONCURRENCY": "64"}
_PROMPTS = ROOT.parent / "shared" / "data" / "parti-prompts.tsv"


def prompts(count: int, *, source: Path = _PROMPTS) -> list[str]:
    """Distinct prompts: real ones where the file is there, in as many views as it takes."""
    real = ["A lighthouse on a cliff at dusk, waves below, oil on canvas"]
    if source.exists():
        lines = source.read_text(encoding="utf-8").splitlines()[1:]
        real = list(dict.fromkeys(line.partition("\t")[0] for line in lines))
    return [
        real[number % len(real)] + (f", view {number // len(real)}" if number >= len(real) else "")
        for number in range(count)
    ]


def bulk(*, quick: bool) -> list[Figure]:
    """Distinct prompts through one web process and one worker, with a provider of 20 ms.

    The meters are off: what a finished task leaves in Redis is then its own alone.
    """
    count = 200 if quick else 5000
    with service(workers=1, settings=UNMETERED | WIDE) as own:
        own.provider.tell(f"/_latency/{PROVIDER_MS}")
        for number in range(20):
            own.post({"prompt": f"warm up {number}"})
        own.settle(within_s=30)
        own.provider.tell("/_reset")
        before = _used_bytes(own)
        used_s = [cpu_s(pid) or 0.0 for pid in own.workers]
        submitted_s, done_s, ids = _submit(own, prompts(count))
        worker_s = sum(cpu_s(pid) or 0.0 for pid in own.workers) - sum(used_s)
        pictures = own.provider.stats().pictures
        task_bytes = (_used_bytes(own) - before) / count
        _check(own, ids)
    assert pictures == count, pictures
    return [
        Figure(
            name=f"{count:,} distinct prompts done, {PROVIDER_MS} ms provider",
            measured=f"{done_s:.1f} s (submitted after {submitted_s:.1f} s; "
            f"worker {worker_s / count * 1e6:,.0f} us CPU a task)",
            target=f"<= {ALL_S} s",
            ok=done_s <= ALL_S,
            raw={
                "tasks": count,
                "seconds": done_s,
                "submitted_seconds": submitted_s,
                "pictures_bought": pictures,
                "worker_cpu_us": worker_s / count * 1e6,
            },
        ),
        Figure(
            name="Redis memory a finished task",
            measured=f"{task_bytes:,.0f} bytes",
            target=f"< {TASK_BYTES:,} bytes",
            ok=task_bytes < TASK_BYTES,
            raw={"bytes": task_bytes, "tasks": count},
        ),
    ]


def _submit(own: Service, texts: list[str]) -> tuple[float, float, list[str]]:
    """Submit all, wait until all are done: seconds of each, and some task ids."""
    requests = [post(GENERATE, {"prompt": text}).decode() for text in texts]
    plan = Plan(port=own.port, connections=CONNECTIONS, requests=requests)
    outcome = run_load(plan, pid=own.web).expect({202})
    submitted = time.perf_counter()
    own.settle(within_s=300)
    done_s = outcome.seconds + time.perf_counter() - submitted
    return outcome.seconds, done_s, [msgspec.json.decode(b)["taskId"] for b in outcome.bodies]


def _check(own: Service, ids: list[str]) -> None:
    with Line(own.port) as line:
        for task in ids:
            status = line.ask(get(f"/api/images/{task}")).json()["status"]
            assert status == "completed", status


def _used_bytes(own: Service) -> int:
    return int(own.info("memory")["used_memory"])
