"""arq as the execution shell: the job function, and a worker that wakes, takes and renews.

What differs from arq's own worker, and why: docs/decisions/0005-arq.md.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import arq.worker
import msgspec
import structlog
from arq.worker import Retry, Worker
from redis.exceptions import RedisError

from genonce.domain.errors import ConfigError, StoreUnavailable
from genonce.domain.identity import TaskId
from genonce.domain.ports import Watch
from genonce.domain.task import Job
from genonce.service.generate import Generate

IDLE_POLL_S = 60.0
"""Look at an empty queue this often, in case a wake-up was lost."""
BUSY_POLL_S = 1.0
"""Look this often while jobs are under way anywhere: one may have lost its worker."""
MARK_S = 5.0
"""An in-progress mark without a heartbeat lives so long."""
BEAT_S = 1.5
HEALTH_S = 300.0
"""arq's own health key, for `arq --check`."""
MAX_TRIES = 1_000_000_000
"""A crash uses up an arq try; our own records end a task, never this."""
_AWAY_S = 0.5

log = structlog.get_logger()
decode_job = msgspec.msgpack.decode


def encode_job(value: dict[str, Any]) -> bytes:
    """MessagePack; what it cannot hold (an exception in a result) becomes its text."""
    return msgspec.msgpack.encode(value, enc_hook=repr)


class Board(Protocol):
    """What the worker needs of Redis besides arq's own pool."""

    async def take(self, wanted: int) -> tuple[int, list[tuple[str, int]]]:
        """Take queued jobs that nobody works on.

        Returns:
            Length of the queue, jobs under way included; (job id, score) of each job taken.
        """
        ...

    async def keep(self, job_ids: list[str]) -> None:
        """Renew the in-progress marks of our jobs."""
        ...

    async def beat(self) -> None:
        """Keep alive what the deployment has agreed on."""
        ...

    def woken(self) -> contextlib.AbstractAsyncContextManager[Watch]:
        """A watch for queued jobs; /health counts the workers that hold one."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker process is made of, once its clients are open."""

    generate: Generate
    board: Board
    aclose: Callable[[], Awaitable[None]]


async def generate(context: dict[str, Any], task: str) -> None:
    """The one arq function: bring one attempt of a task to its end."""
    parts: Parts = context["parts"]
    attempt = int(str(context["job_id"]).rpartition(":")[2])
    job = Job(TaskId(task), attempt)
    try:
        await parts.generate.generate(job)
    except StoreUnavailable:
        # Not an end: the job stays queued and goes on when Redis is back.
        raise Retry(defer=_AWAY_S) from None
    except Exception:
        log.exception("job_broke", task=task, attempt=attempt)
        await parts.generate.give_up(job)


class GenonceWorker(Worker):
    """arq's worker with a blocking wake-up, an atomic take and a heartbeat.

    Overrides private methods of arq 0.28; the pin and tests/e2e hold them in place.
    """

    _wake: asyncio.Event

    async def main(self) -> None:
        """Start the listeners, then arq's own loop."""
        self._wake = asyncio.Event()
        self.poll_delay_s = 0.0
        await super().main()

    async def _poll_iteration(self) -> None:
        if "helpers" not in self.ctx:
            self.ctx["helpers"] = [
                asyncio.create_task(self._listen()),
                asyncio.create_task(self._renew_marks()),
                asyncio.create_task(self._show_health()),
            ]
        self._wake.clear()
        try:
            queued = await self._take_jobs()
            self._reap()
        except (StoreUnavailable, RedisError, OSError):
            log.warning("redis_away")
            await asyncio.sleep(_AWAY_S)
            return
        await self._rest(BUSY_POLL_S if queued else IDLE_POLL_S)

    async def _rest(self, timeout_s: float) -> None:
        """Wait for a queued job, a free place, or the time to look anyway."""
        if self.burst:
            timeout_s = 0.01
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()

    async def _take_jobs(self) -> int:
        free = self.max_jobs - self.job_counter if self.allow_pick_jobs else 0
        if free <= 0:
            return 1  # the end of a job wakes us
        queued, taken = await self._board.take(free)
        for job_id, score in taken:
            self.job_counter += 1
            await self.sem.acquire()
            job = self.loop.create_task(self.run_job(job_id, score))
            job.add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())
            self.tasks[job_id] = job
        return queued

    def _reap(self) -> None:
        for job_id, job in list(self.tasks.items()):
            if job.done():
                del self.tasks[job_id]
                job.result()

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self._wake.set()

    @property
    def _board(self) -> Board:
        parts: Parts = self.ctx["parts"]
        return parts.board

    async def _listen(self) -> None:
        while True:
            try:
                async with self._board.woken() as watch:
                    self._wake.set()
                    while True:
                        await watch.changed(None)
                        self._wake.set()
            except StoreUnavailable:
                await asyncio.sleep(_AWAY_S)

    async def _renew_marks(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            running = [job_id for job_id, job in self.tasks.items() if not job.done()]
            if running:
                with contextlib.suppress(StoreUnavailable):
                    await self._board.keep(running)

    async def _show_health(self) -> None:
        while True:
            try:
                await self._board.beat()
                await self.record_health()
            except ConfigError as error:
                log.error("image_stores_differ", reason=str(error))
            except (StoreUnavailable, RedisError, OSError):
                log.warning("redis_away")
            await asyncio.sleep(HEALTH_S)

    async def close(self) -> None:
        """Stop the listeners, then as arq does."""
        helpers = self.ctx.get("helpers", [])
        for helper in helpers:
            helper.cancel()
        # A second signal cancels what arq still waits for; that is no reason for a traceback.
        await asyncio.gather(*helpers, *self.tasks.values(), return_exceptions=True)
        self.tasks.clear()
        await super().close()


def install_worker() -> None:
    """Let `arq worker.WorkerSettings` build our worker.

    arq's command line builds `arq.worker.Worker` and offers no other way to choose the class.
    """
    arq.worker.Worker = GenonceWorker  # type: ignore[misc]
