"""`Pace` on Redis: a provider's pace, concurrency and rests, shared by all workers."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import msgspec

from genonce.adapters.redis import keys
from genonce.adapters.redis.batching import BatchingRedis
from genonce.adapters.redis.events import RedisChanges
from genonce.adapters.redis.records import windows_of
from genonce.adapters.redis.scripts import Scripts
from genonce.domain.errors import StoreUnavailable
from genonce.domain.quota import Limit

_FAULT_S = 600


class PaceRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider takes.

    Attributes:
        limits: calls in a time; empty for no limit.
        concurrency: calls at once.
    """

    limits: tuple[Limit, ...] = ()
    concurrency: int = 1_000_000


@dataclass(frozen=True, slots=True)
class RedisPace:
    """Turns at providers.

    Attributes:
        rules: by provider; a provider without one is only rested.
        turn_ms: how long a turn counts without a heartbeat.
    """

    redis: BatchingRedis
    scripts: Scripts
    changes: RedisChanges
    rules: Mapping[str, PaceRule]
    turn_ms: int
    queues: dict[str, asyncio.Lock] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def turn(self, provider: str) -> AsyncIterator[None]:
        """See `Pace.turn`."""
        token = uuid.uuid4().hex
        await self._wait(provider, token)
        beat = asyncio.create_task(self._keep(provider, token))
        try:
            yield
        finally:
            beat.cancel()
            # A turn that cannot be given back now ends by itself.
            with contextlib.suppress(StoreUnavailable):
                await self._give_back(provider, token)

    async def _wait(self, provider: str, token: str) -> None:
        # In one process only the first in line asks Redis.
        async with self.queues.setdefault(provider, asyncio.Lock()):
            if await self._ask(provider, token) == 0:
                return
            async with self.changes.channel(keys.turns_channel(provider)) as ended:
                while wait_ms := await self._ask(provider, token):
                    await ended.changed(wait_ms / 1000)

    async def _ask(self, provider: str, token: str) -> int:
        rule = self.rules.get(provider, PaceRule())
        reply = await self.redis.run(
            self.scripts.pace,
            (keys.rest(provider), keys.pace(provider), keys.turns(provider)),
            (windows_of(rule.limits), rule.concurrency, token, self.turn_ms),
        )
        return int(reply)

    async def _keep(self, provider: str, token: str) -> None:
        while True:
            await asyncio.sleep(self.turn_ms / 3000)
            # A beat that does not get through is made up for by the next.
            with contextlib.suppress(StoreUnavailable):
                await self.redis.run(
                    self.scripts.keep_turn, (keys.turns(provider),), (token, self.turn_ms)
                )

    async def _give_back(self, provider: str, token: str) -> None:
        await asyncio.gather(
            self.redis.send("ZREM", keys.turns(provider), token),
            self.redis.send("PUBLISH", keys.turns_channel(provider), "ended"),
        )

    async def rest(self, provider: str, seconds: float) -> None:
        """See `Pace.rest`."""
        await self.redis.run(
            self.scripts.rest, (keys.rest(provider),), (max(1, int(seconds * 1000)),)
        )

    async def fault(self, provider: str, message: str | None) -> None:
        """See `Pace.fault`."""
        if message is None:
            await self.redis.send("DEL", keys.fault(provider))
        else:
            await self.redis.send("SET", keys.fault(provider), message, "EX", _FAULT_S)
