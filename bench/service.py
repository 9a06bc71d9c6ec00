"""The service as it runs in production: Valkey, web, workers, and the stand-in provider."""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
from redis import Redis

from bench.children import free_port, plain_environment, read_line, running
from bench.line import GENERATE, Answer, Line, get, post
from bench.provider import Stats
from genonce.adapters.redis.embedded import lock_folder
from genonce.supervisor import embedded

METERED = {
    "RATE_LIMIT_GENERATE": "1000000/minute",
    "RATE_LIMIT_READ": "1000000/minute",
    "RATE_LIMIT_GENERAL": "1000000/minute",
}
"""Meters at work, and never in the way."""
UNMETERED = dict.fromkeys(METERED, "none")
_READY_S = 30.0


@dataclass(frozen=True, slots=True)
class StandIn:
    """The stand-in provider."""

    port: int
    pid: int

    def tell(self, path: str) -> Stats:
        """Change what calls meet (see `bench.provider`); returns what was counted before."""
        with Line(self.port) as line:
            answer = line.ask(post(path, None))
        return msgspec.json.decode(answer.body, type=Stats)

    def stats(self) -> Stats:
        """What was counted."""
        return self.tell("/_stats")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service.

    Attributes:
        web: process id; so are `workers`.
    """

    port: int
    web: int
    workers: tuple[int, ...]
    provider: StandIn
    redis: Redis

    def post(self, body: object, *, wait_s: int = 0) -> Answer:
        """POST a request."""
        with Line(self.port) as line:
            return line.ask(post(GENERATE, body, {"prefer": f"wait={wait_s}"} if wait_s else None))

    def get(self, path: str) -> Answer:
        """GET a path."""
        with Line(self.port) as line:
            return line.ask(get(path))

    def queued(self) -> int:
        """Jobs in the queue, those under way included."""
        return cast("int", self.redis.zcard("arq:queue"))

    def info(self, section: str) -> dict[str, Any]:
        """A section of Redis' INFO."""
        return cast("dict[str, Any]", self.redis.info(section))

    def settle(self, *, within_s: float) -> None:
        """Wait until nothing is queued or under way.

        Raises:
            TimeoutError: that took too long.
        """
        end = time.monotonic() + within_s
        while self.queued():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.queued()} jobs are left after {within_s:g} s.")
            time.sleep(0.005)


@contextlib.contextmanager
def provider_running() -> Iterator[StandIn]:
    """Run a stand-in provider."""
    with running("bench.provider", environ=plain_environment({})) as process:
        yield StandIn(int(read_line(process)), process.pid)


@contextlib.contextmanager
def service(*, workers: int, settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Run a service in a folder of its own, with the stand-in as Together.

    Raises:
        RuntimeError: it is not ready in time.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="genonce-bench-")))
        lock = stack.enter_context(lock_folder(folder))
        url = stack.enter_context(embedded(folder, lock=lock))
        provider = stack.enter_context(provider_running())
        port = free_port()
        environ = plain_environment(
            {
                "DATA_DIR": str(folder),
                "REDIS_URL": url,
                "PORT": str(port),
                "TOGETHER_API_KEY": "bench",
                "TOGETHER_API_URL": f"http://127.0.0.1:{provider.port}",
                "LOG_LEVEL": "warning",
                "WORKER_DRAIN": "0",
                **(METERED if settings is None else settings),
            }
        )
        web = stack.enter_context(running("genonce", "web", "--child", environ=environ))
        hands = [
            stack.enter_context(running("genonce", "worker", "--child", environ=environ))
            for _ in range(workers)
        ]
        redis = stack.enter_context(Redis(unix_socket_path=url.removeprefix("unix://")))
        made = Service(port, web.pid, tuple(hand.pid for hand in hands), provider, redis)
        _wait_ready(made)
        yield made


def _wait_ready(service: Service) -> None:
    """Return when the web process answers and every worker listens."""
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            health = service.get("/api/health")
            if health.status == 200 and health.json()["workers"] >= len(service.workers):
                return
        time.sleep(0.02)
    raise RuntimeError(f"The service was not ready within {_READY_S:g} s; see the lines above.")
