"""Memory after load, and the time of a start."""

import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

from bench.bulk import prompts
from bench.children import free_port, plain_environment, stop
from bench.figure import Figure
from bench.line import GENERATE, get, post
from bench.load import Plan, run_load
from bench.machine import Memory, memory
from bench.service import Service, service

WEB_MB = 90
START_S = 2.0
CONNECTIONS = 64


def memory_after_load(*, quick: bool) -> list[Figure]:
    """Memory of web and worker after new tasks, hits and reads at 64 connections."""
    count, seconds = (100, 0.2) if quick else (2000, 3.0)
    new = [post(GENERATE, {"prompt": text}).decode() for text in prompts(count)]
    with service(workers=1) as own:
        task = own.post({"prompt": "a first task"}).json()["taskId"]
        _load(own, new, seconds=None)
        own.settle(within_s=120)
        _load(own, new[:1], seconds=seconds)
        _load(own, [get(f"/api/images/{task}").decode()], seconds=seconds)
        web, worker = memory(own.web), memory(own.workers[0])
    if web is None or worker is None:
        return []  # this system does not tell
    return [
        _memory_figure("web process", web, most_mb=WEB_MB),
        _memory_figure("worker process", worker, most_mb=None),
    ]


def _load(own: Service, requests: list[str], *, seconds: float | None) -> None:
    plan = Plan(
        port=own.port,
        connections=CONNECTIONS,
        requests=requests,
        seconds=seconds,
        is_repeated=seconds is not None,
    )
    run_load(plan, pid=own.web).expect({200, 202})


def _memory_figure(name: str, found: Memory, *, most_mb: int | None) -> Figure:
    return Figure(
        name=f"memory of the {name} after load",
        measured=f"{found.rss_mb:.0f} MB (proportional {found.pss_mb:.0f} MB)",
        target="" if most_mb is None else f"< {most_mb} MB",
        ok=most_mb is None or found.rss_mb < most_mb,
        raw={"rss_mb": found.rss_mb, "pss_mb": found.pss_mb},
    )


def second_start(*, quick: bool) -> list[Figure]:
    """From `genonce serve`, not the first in its folder, to its being ready."""
    count = 1 if quick else 5
    with tempfile.TemporaryDirectory(prefix="genonce-bench-") as folder:
        arguments = ("--data-dir", folder, "--port", str(free_port()))
        environ = plain_environment({"LOG_LEVEL": "warning"})
        times_s = [_start(arguments, environ) for _ in range(count + 1)][1:]
    median_s = statistics.median(times_s)
    return [
        Figure(
            name="second start of `genonce serve` to ready",
            measured=f"{median_s:.2f} s (worst of {count}: {max(times_s):.2f} s)",
            target=f"< {START_S:g} s",
            ok=median_s < START_S,
            raw={"seconds": median_s, "worst_seconds": max(times_s), "starts": count},
        )
    ]


def _start(arguments: tuple[str, ...], environ: Mapping[str, str]) -> float:
    """Seconds until one `serve` says that it is ready; then it is stopped."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "genonce", "serve", *arguments],
        env=dict(environ),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
        if b"ready" not in line:
            raise RuntimeError("`genonce serve` did not start; see the lines above.")
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(40)
        stop(process)
    return seconds
