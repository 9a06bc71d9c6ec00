"""The queue as the worker sees it: arq's own keys, taken and renewed atomically."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from genonce.adapters.redis import keys
from genonce.adapters.redis.batching import BatchingRedis
from genonce.adapters.redis.events import RedisChanges, Signal
from genonce.adapters.redis.scripts import Scripts


@dataclass(frozen=True, slots=True)
class RedisBoard:
    """Jobs in arq's queue.

    Attributes:
        mark_ms: how long an in-progress mark lives without a heartbeat.
        on_beat: kept alive with every sign of life.
    """

    redis: BatchingRedis
    scripts: Scripts
    changes: RedisChanges
    mark_ms: int
    on_beat: Callable[[], Awaitable[None]]

    async def take(self, wanted: int) -> tuple[int, list[tuple[str, int]]]:
        """Take queued jobs that nobody works on: queue length, (job id, score) of each."""
        queued, *taken = await self.redis.run(
            self.scripts.take_jobs, (keys.QUEUE,), (wanted, self.mark_ms, keys.IN_PROGRESS)
        )
        pairs = zip(taken[::2], taken[1::2], strict=True)
        return int(queued), [(job.decode(), int(score)) for job, score in pairs]

    async def keep(self, job_ids: list[str]) -> None:
        """Renew the in-progress marks of our jobs."""
        marks = (keys.IN_PROGRESS + job_id for job_id in job_ids)
        await asyncio.gather(*(self.redis.send("PEXPIRE", m, self.mark_ms) for m in marks))

    async def beat(self) -> None:
        """Keep alive what the deployment has agreed on."""
        await self.on_beat()

    def woken(self) -> contextlib.AbstractAsyncContextManager[Signal]:
        """A watch for queued jobs."""
        return self.changes.channel(keys.wake_channel())
