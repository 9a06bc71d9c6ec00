"""Stores on real servers."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from genonce.adapters.redis.batching import BatchingRedis
from genonce.adapters.redis.events import RedisChanges
from genonce.adapters.redis.scripts import Scripts, load_scripts
from genonce.adapters.redis.slots import RedisSlotStore
from genonce.adapters.redis.tasks import RedisLimits, RedisTaskStore
from genonce.domain.identity import Identity, identify
from genonce.domain.quota import Limit, Meter
from genonce.domain.request import Draft, canonicalise
from genonce.domain.series import Image, Lease
from genonce.domain.task import Claim, ClaimOutcome, Job, TaskState
from tests.painters import CATALOGUE
from tests.servers import docker_redis, valkey

SERVERS = {"valkey": valkey, "redis in docker": docker_redis}
LEASE_MS = 5000
FIVE = (Limit(5, 60),)


@pytest.fixture(scope="session", params=SERVERS)
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a real server."""
    with SERVERS[request.param]() as url:
        yield url


@dataclass(frozen=True)
class Bench:
    """Everything on one empty server."""

    redis: BatchingRedis
    scripts: Scripts
    changes: RedisChanges
    tasks: RedisTaskStore
    slots: RedisSlotStore
    limits: RedisLimits

    async def claim(
        self,
        prompt: str = "a cat",
        *,
        n: int = 1,
        caller: str = "c",
        limits: tuple[Limit, ...] = (),
        read: tuple[Limit, ...] = (),
        key: str | None = None,
        per_image: bool = False,
        covered: bool = False,
        owner: str = "",
    ) -> ClaimOutcome:
        """Claim a task as the service does."""
        return await self.tasks.claim(
            Claim(
                identity=ids(prompt, n=n),
                model="maker/painter",
                owner=owner,
                generate=Meter("generate", caller, limits),
                read=Meter("read", caller, read),
                cost_per_image=per_image,
                idempotency_key=key,
                covered=covered,
            )
        )

    async def keys(self) -> set[str]:
        """Every key in the database."""
        return {key.decode() for key in await self.redis.send("KEYS", "*")}


def ids(prompt: str = "a cat", *, n: int = 1) -> Identity:
    """Identity of a prompt with all defaults."""
    request = canonicalise(Draft(prompt=prompt, n=n), CATALOGUE, max_n=10)
    return identify(request.image.canonical(), n=n)


def picture(lease: Lease, prompt: str = "a cat") -> Image:
    """A picture for a leased slot."""
    return Image(
        series=ids(prompt).series,
        index=lease.index,
        sha256=f"{lease.index:064x}",
        format="png",
        width=512,
        height=512,
        seed=lease.index,
    )


async def complete(bench: Bench, prompt: str = "a cat", *, n: int = 1, attempt: int = 1) -> int:
    """Do a job as a worker does; returns the slots it filled."""
    identity = ids(prompt, n=n)
    job = Job(identity.task, attempt)
    work = await bench.slots.lease(job)
    assert work is not None
    leases = [slot for slot in work.slots if isinstance(slot, Lease)]
    if leases:
        assert await bench.slots.open_purchase(job, identity.series, leases)
    for lease in leases:
        assert await bench.slots.fill(job, lease, picture(lease, prompt))
    bought = await bench.slots.finish(job, identity.series, [], state=TaskState.SUCCEEDED)
    assert bought == len(leases)
    return bought


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    """Stores on an empty database."""
    redis = BatchingRedis(redis_url, timeout_s=10)
    scripts, changes = load_scripts(), RedisChanges(redis_url)
    await redis.send("FLUSHALL")
    try:
        yield Bench(
            redis,
            scripts,
            changes,
            RedisTaskStore(redis, scripts, 86_400_000, 10),
            RedisSlotStore(redis, scripts, LEASE_MS, 86_400_000),
            RedisLimits(redis, scripts),
        )
    finally:
        await changes.aclose()
        await redis.aclose()
