"""Who is alive, what is broken, and whether all processes see the same image store."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from genonce.adapters.redis import keys
from genonce.adapters.redis.batching import BatchingRedis
from genonce.adapters.redis.scripts import Scripts
from genonce.domain.errors import ConfigError
from genonce.domain.ports import Vitals

AGREEMENT_S = 86_400


@dataclass(frozen=True, slots=True)
class RedisPresence:
    """What the processes of a deployment know of one another."""

    redis: BatchingRedis
    scripts: Scripts

    async def agree_store(self, store_id: str) -> None:
        """Agree on the image store, or keep the agreement alive.

        Raises:
            ConfigError: other processes of this Redis see another image store.
        """
        agreed = await self.redis.run(
            self.scripts.agree_store, (keys.store_id(),), (store_id, AGREEMENT_S)
        )
        if agreed.decode() != store_id:
            raise ConfigError(
                "IMAGE_STORE_URL: this process sees another image store than the other processes "
                "on this Redis. Web and worker need one shared store (two Render services share "
                "no disk: use an S3-compatible bucket). If the store was moved on purpose, stop "
                f"all processes and delete the Redis key {keys.store_id()}."
            )

    async def vitals(self, providers: Iterable[str]) -> Vitals:
        """Who is alive and what is broken."""
        names = list(providers)
        listeners, queued, faults = await asyncio.gather(
            self.redis.send("PUBSUB", "NUMSUB", keys.wake_channel()),
            self.redis.send("ZCARD", keys.QUEUE),
            self.redis.send("MGET", *(keys.fault(name) for name in names)),
        )
        return Vitals(
            workers=int(listeners[1]),
            queued=int(queued),
            faults={n: f.decode() for n, f in zip(names, faults, strict=True) if f},
        )

    async def check_policy(self) -> None:
        """Make sure that Redis forgets nothing to make room.

        Raises:
            ConfigError: its maxmemory-policy evicts keys.
        """
        info = await self.redis.send("INFO", "memory")
        text = info.decode() if isinstance(info, bytes) else str(info)
        for line in text.splitlines():
            name, _, policy = line.strip().partition(":")
            if name == "maxmemory_policy" and policy != "noeviction":
                raise ConfigError(
                    f"REDIS_URL: this server's maxmemory-policy is {policy}; it would drop queued "
                    "work to make room. Set it to noeviction."
                )
