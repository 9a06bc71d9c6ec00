"""`SlotStore` on Redis: leases, purchases and fills, each one script."""

from collections.abc import Sequence
from dataclasses import dataclass

from genonce.adapters.redis import keys
from genonce.adapters.redis.batching import Argument, BatchingRedis
from genonce.adapters.redis.records import filled_record, read_slot
from genonce.adapters.redis.scripts import Scripts
from genonce.domain.identity import SeriesId
from genonce.domain.ports import Outcome, Work
from genonce.domain.request import read_canonical
from genonce.domain.series import Image, Lease, Slot
from genonce.domain.task import Job, TaskState

_SERIES = keys.series(SeriesId(""))


@dataclass(frozen=True, slots=True)
class RedisSlotStore:
    """Slots in Redis.

    Attributes:
        lease_ms: how long a lease lives without a heartbeat.
        result_ttl_ms: how long a finished task's record lives.
    """

    redis: BatchingRedis
    scripts: Scripts
    lease_ms: int
    result_ttl_ms: int

    async def lease(self, job: Job) -> Work | None:
        """See `SlotStore.lease`."""
        reply = await self.redis.run(
            self.scripts.lease_slots,
            (keys.task(job.task), keys.events(job.task)),
            (job.attempt, self.lease_ms, keys.task_channel(job.task), _SERIES),
        )
        if not reply:
            return None
        series = SeriesId(reply[0].decode())
        slots = (read_slot(series, index, record) for index, record in enumerate(reply[4:]))
        return Work(
            series=series,
            request=read_canonical(reply[1]),
            n=int(reply[2]),
            started_s_ago=int(reply[3]) / 1000,
            slots=tuple(slot for slot in slots if slot is not None),
        )

    async def renew(
        self, job: Job, series: SeriesId, leases: Sequence[Lease], *, progress: float
    ) -> bool:
        """See `SlotStore.renew`."""
        reply = await self.redis.run(
            self.scripts.renew_leases,
            (keys.task(job.task), keys.series(series), keys.events(job.task)),
            (
                job.attempt,
                self.lease_ms,
                int(progress * 1000),
                keys.task_channel(job.task),
                *_pairs(leases),
            ),
        )
        return bool(reply)

    async def open_purchase(self, job: Job, series: SeriesId, leases: Sequence[Lease]) -> bool:
        """See `SlotStore.open_purchase`."""
        reply = await self.redis.run(
            self.scripts.open_purchase,
            (keys.task(job.task), keys.series(series)),
            (job.attempt, self.lease_ms, *_pairs(leases)),
        )
        return bool(reply)

    async def close_purchase(
        self, job: Job, series: SeriesId, leases: Sequence[Lease], *, outcome: Outcome
    ) -> list[Lease]:
        """See `SlotStore.close_purchase`."""
        reply = await self.redis.run(
            self.scripts.close_purchase,
            (keys.task(job.task), keys.series(series)),
            (job.attempt, outcome.value, *_pairs(leases)),
        )
        slots: list[Slot | None] = [
            read_slot(series, lease.index, record)
            for lease, record in zip(leases, reply, strict=True)
        ]
        return [slot for slot in slots if isinstance(slot, Lease)]

    async def fill(self, job: Job, lease: Lease, image: Image) -> bool:
        """See `SlotStore.fill`."""
        reply = await self.redis.run(
            self.scripts.fill_slot,
            (keys.task(job.task), keys.series(image.series), keys.events(job.task)),
            (
                job.attempt,
                lease.index,
                lease.fence,
                filled_record(image),
                keys.task_channel(job.task),
                keys.series_channel(image.series),
            ),
        )
        return bool(reply)

    async def finish(
        self,
        job: Job,
        series: SeriesId,
        leases: Sequence[Lease],
        *,
        state: TaskState,
        code: str = "",
        message: str = "",
    ) -> int | None:
        """See `SlotStore.finish`."""
        reply = await self.redis.run(
            self.scripts.finish,
            (
                keys.task(job.task),
                keys.series(series),
                keys.events(job.task),
                keys.durations(),
            ),
            (
                job.attempt,
                state.value,
                code,
                message,
                self.result_ttl_ms,
                keys.task_channel(job.task),
                keys.series_channel(series),
                *_pairs(leases),
            ),
        )
        return None if reply < 0 else int(reply)

    async def release(self, series: SeriesId, leases: Sequence[Lease]) -> None:
        """See `SlotStore.release`."""
        await self.redis.run(
            self.scripts.release,
            (keys.series(series),),
            (keys.series_channel(series), keys.wake_channel(), *_pairs(leases)),
        )


def _pairs(leases: Sequence[Lease]) -> list[Argument]:
    """Index and fence of each lease, in a row."""
    return [part for lease in leases for part in (lease.index, lease.fence)]
