"""`TaskStore` and `Limits` on Redis: each method is one script, one round trip."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from genonce.adapters.redis import keys
from genonce.adapters.redis.batching import BatchingRedis
from genonce.adapters.redis.records import (
    US,
    read_allowance,
    read_event,
    read_slot,
    read_task,
    windows_of,
)
from genonce.adapters.redis.scripts import Scripts
from genonce.domain.errors import LimitExceeded, StoreUnavailable
from genonce.domain.identity import Identity, SeriesId, TaskId
from genonce.domain.ports import Reader
from genonce.domain.quota import Allowance, Limit, Meter, limit_exceeded
from genonce.domain.series import Held, Image, KeyParts
from genonce.domain.task import (
    Claim,
    ClaimOutcome,
    Collision,
    Event,
    Hit,
    Join,
    KeyReused,
    New,
    Refused,
    Replayed,
    Task,
)

DAY_MS = 86_400_000
UNFINISHED_MS = 7 * DAY_MS
"""How long a task may wait in the queue."""
JOB_FUNCTION = "generate"
"""Name under which the worker registers its one function."""
_SERIES = keys.series(SeriesId(""))
_windows = lru_cache(maxsize=64)(windows_of)


def job_body(task: TaskId, *, enqueued_ms: int) -> bytes:
    """A job as arq's own `serialize_job` writes it, with MessagePack: the task id alone."""
    return msgspec.msgpack.encode(
        {"t": None, "f": JOB_FUNCTION, "a": (task,), "k": {}, "et": enqueued_ms}
    )


@dataclass(frozen=True, slots=True)
class RedisTaskStore:
    """Tasks in Redis.

    Attributes:
        result_ttl_ms: how long a finished record lives after its last use.
        places: jobs that run at once in a worker, for estimates.
    """

    redis: BatchingRedis
    scripts: Scripts
    result_ttl_ms: int
    places: int

    async def claim(self, claim: Claim) -> ClaimOutcome:
        """See `TaskStore.claim`."""
        ids = claim.identity
        record = (
            keys.idempotency(claim.generate.caller, claim.idempotency_key)
            if claim.idempotency_key
            else ""
        )
        reply = await self.redis.run(
            self.scripts.claim,
            (
                keys.task(ids.task),
                keys.series(ids.series),
                keys.events(ids.task),
                record,
                keys.meter(claim.generate.name, claim.generate.caller),
                keys.meter(claim.read.name, claim.read.caller),
                keys.QUEUE,
                keys.job(ids.task),
                keys.durations(),
            ),
            (
                ids.task,
                ids.series,
                ids.n,
                ids.digest,
                ids.canonical,
                job_body(ids.task, enqueued_ms=time.time_ns() // 1_000_000),
                _windows(claim.generate.limits),
                _windows(claim.read.limits),
                "1" if claim.cost_per_image else "0",
                "1" if claim.covered else "0",
                self.result_ttl_ms,
                UNFINISHED_MS,
                DAY_MS,
                claim.model,
                claim.owner,
                keys.wake_channel(),
                keys.task_channel(ids.task),
            ),
        )
        return self._outcome(ids, reply)

    def _outcome(self, ids: Identity, reply: list[Any]) -> ClaimOutcome:
        tag = reply[0]
        if tag == b"conflict":
            return KeyReused()
        if tag == b"collision":
            return Collision()
        meter = reply[1].decode()
        if tag == b"refused":
            return _refused(meter, reply[2])
        allowance = read_allowance(meter, reply[2])
        task = self._task(ids.task, ids.series, reply[4])
        if task is None:
            raise StoreUnavailable("The task changed while it was claimed; try again.")
        match tag:
            case b"hit":
                return Hit(task, allowance)
            case b"join":
                return Join(task, allowance)
            case b"replay":
                return Replayed(task, allowance)
            case _:
                return New(task, allowance, int(reply[3]))

    def _task(self, task: TaskId, series: SeriesId, reply: Sequence[bytes]) -> Task | None:
        return read_task(task, series, reply, places=self.places)

    async def read(self, task: TaskId, reader: Reader) -> tuple[Task | None, Allowance | None]:
        """See `TaskStore.read`."""
        meter = reader.meter
        reply = await self.redis.run(
            self.scripts.read_task,
            (
                keys.task(task),
                keys.events(task),
                keys.meter(meter.name, meter.caller) if meter else "",
                keys.QUEUE,
                keys.durations(),
            ),
            (
                task,
                _windows(meter.limits) if meter else "",
                reader.owner,
                self.result_ttl_ms,
                _SERIES,
            ),
        )
        name = meter.name if meter else ""
        if reply[0] == b"refused":
            raise _limit_exceeded(name, reply[1])
        allowance = read_allowance(name, reply[1])
        if reply[0] == b"none":
            return None, allowance
        return self._task(task, SeriesId(reply[2].decode()), reply[3]), allowance

    async def events(self, task: TaskId, *, after: int) -> list[Event]:
        """See `TaskStore.events`."""
        reply = await self.redis.run(
            self.scripts.read_events,
            (keys.task(task), keys.events(task), keys.QUEUE, keys.durations()),
            (task, after, _SERIES),
        )
        if not reply:
            return []
        series, snapshot, first, *entries = reply
        now = self._task(task, SeriesId(series.decode()), snapshot)
        if now is None:
            return []
        return [read_event(now, first + place, entry) for place, entry in enumerate(entries)]

    async def cancel(self, task: TaskId) -> tuple[Task, bool] | None:
        """See `TaskStore.cancel`."""
        reply = await self.redis.run(
            self.scripts.cancel,
            (
                keys.task(task),
                keys.events(task),
                keys.QUEUE,
                keys.job(task),
                keys.durations(),
            ),
            (task, keys.task_channel(task), self.result_ttl_ms, _SERIES),
        )
        if not reply:
            return None
        found = self._task(task, SeriesId(reply[1].decode()), reply[2])
        return None if found is None else (found, reply[0] == b"1")

    async def forget(self, task: TaskId) -> SeriesId | None:
        """See `TaskStore.forget`."""
        reply = await self.redis.run(self.scripts.forget, (keys.task(task), keys.events(task)), ())
        return SeriesId(reply.decode()) if reply else None

    async def slots(self, identity: Identity) -> tuple[Task | None, Sequence[Image | Held | None]]:
        """See `TaskStore.slots`."""
        reply = await self.redis.run(
            self.scripts.read_slots,
            (
                keys.task(identity.task),
                keys.series(identity.series),
                keys.QUEUE,
                keys.durations(),
            ),
            (identity.task, identity.n),
        )
        task = self._task(identity.task, identity.series, reply[0]) if reply[0] else None
        slots = [_plain_slot(identity.series, i, record) for i, record in enumerate(reply[1:])]
        return task, slots

    async def lose(self, lost: KeyParts) -> None:
        """See `TaskStore.lose`."""
        await self.redis.run(
            self.scripts.lose_slot,
            (keys.series(lost.series),),
            (lost.index, lost.sha256, lost.format),
        )


@dataclass(frozen=True, slots=True)
class RedisLimits:
    """Meters outside a claim."""

    redis: BatchingRedis
    scripts: Scripts

    async def take(self, meter: Meter) -> Allowance | None:
        """See `Limits.take`."""
        return await self._ask(meter, cost=1)

    async def peek(self, meter: Meter) -> Allowance | None:
        """See `Limits.peek`."""
        return await self._ask(meter, cost=0)

    async def _ask(self, meter: Meter, *, cost: int) -> Allowance | None:
        if not meter.limits:
            return None
        verdict, reply = await self.redis.run(
            self.scripts.meter,
            (keys.meter(meter.name, meter.caller),),
            (_windows(meter.limits), cost),
        )
        if verdict == b"no":
            raise _limit_exceeded(meter.name, reply)
        return read_allowance(meter.name, reply)


def _plain_slot(series: SeriesId, index: int, record: bytes) -> Image | Held | None:
    match read_slot(series, index, record):
        case Image() | Held() as slot:
            return slot
        case _:
            return None


def _refused(meter: str, reply: Sequence[Any]) -> Refused:
    amount, window, cost, retry_us = (int(part) for part in reply)
    after = None if retry_us < 0 else retry_us / US
    return Refused(meter, Limit(amount, window // US), cost, after)


def _limit_exceeded(meter: str, reply: Sequence[Any]) -> LimitExceeded:
    refused = _refused(meter, reply)
    return limit_exceeded(meter, refused.limit, retry_after_s=refused.retry_after_s or 0.0)
