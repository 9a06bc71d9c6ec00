"""Composition root: opens clients, builds every port, closes in reverse; no policy.

What only one kind of process needs is in `web_process.py` and `worker_process.py`, so that a web
process loads no numpy and no Pillow.
"""

from dataclasses import dataclass

from genonce.adapters.image_store import ObjectImageStore, open_image_store
from genonce.adapters.providers import together
from genonce.adapters.providers.builtin import provider as builtin
from genonce.adapters.redis.batching import BatchingRedis
from genonce.adapters.redis.events import RedisChanges
from genonce.adapters.redis.presence import RedisPresence
from genonce.adapters.redis.scripts import Scripts, load_scripts
from genonce.adapters.redis.tasks import RedisLimits, RedisTaskStore
from genonce.domain.catalogue import Catalogue, catalogue_of
from genonce.domain.errors import ConfigError
from genonce.domain.quota import Limit, parse_limits
from genonce.settings import Settings

WEB_TIMEOUT_S = 0.2
"""A Redis that does not answer is told to the caller within 300 ms."""
WORKER_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Core:
    """What web and worker share."""

    redis: BatchingRedis
    scripts: Scripts
    changes: RedisChanges
    presence: RedisPresence
    images: ObjectImageStore
    catalogue: Catalogue

    async def check(self) -> None:
        """Make sure that Redis keeps what it is given, and that all see one image store.

        Raises:
            ConfigError: says what to set.
            StoreUnavailable: Redis or the image store is away.
        """
        await self.presence.check_policy()
        await self.presence.agree_store(await self.images.store_id())

    async def aclose(self) -> None:
        """Close what is open."""
        await self.changes.aclose()
        await self.redis.aclose()


def catalogue(settings: Settings) -> Catalogue:
    """Every model, and which providers lack a key."""
    missing = {} if settings.TOGETHER_API_KEY else {"together": "TOGETHER_API_KEY"}
    default = settings.DEFAULT_MODEL or (builtin.MODELS[0].id if missing else together.MODELS[0].id)
    return catalogue_of((*builtin.MODELS, *together.MODELS), default=default, missing=missing)


def build_core(settings: Settings, *, timeout_s: float) -> Core:
    """Build the clients of Redis and the image store; they connect at first use.

    Raises:
        ConfigError: a setting is missing or wrong.
    """
    if not settings.REDIS_URL:
        raise ConfigError(
            "REDIS_URL is not set. Set it to a Redis or Valkey, or start everything with "
            "`genonce serve`, which brings its own."
        )
    redis = BatchingRedis(settings.REDIS_URL, timeout_s=timeout_s)
    scripts = load_scripts()
    aws = {
        "access_key_id": settings.AWS_ACCESS_KEY_ID,
        "secret_access_key": settings.AWS_SECRET_ACCESS_KEY,
        "region": settings.AWS_REGION,
        "endpoint": settings.AWS_ENDPOINT_URL,
    }
    return Core(
        redis=redis,
        scripts=scripts,
        changes=RedisChanges(settings.REDIS_URL),
        presence=RedisPresence(redis, scripts),
        images=open_image_store(settings.image_store_url(), aws=aws),
        catalogue=catalogue(settings),
    )


def tasks_of(core: Core, settings: Settings) -> RedisTaskStore:
    """Tasks as callers see them."""
    return RedisTaskStore(
        core.redis, core.scripts, settings.RESULT_TTL * 1000, settings.WORKER_CONCURRENCY
    )


def limits_of(core: Core) -> RedisLimits:
    """Meters outside a claim."""
    return RedisLimits(core.redis, core.scripts)


@dataclass(frozen=True, slots=True)
class MeterLimits:
    """The limits of the three meters."""

    generate: tuple[Limit, ...]
    general: tuple[Limit, ...]
    read: tuple[Limit, ...]


def meter_limits(settings: Settings) -> MeterLimits:
    """Limits of the three meters, under our names or seed 004's.

    Raises:
        ConfigError: a limit is not of the form; names the variable.
    """
    window = f"{settings.RATE_LIMIT_WINDOW // 1000} seconds"
    return MeterLimits(
        generate=parse_limits(
            settings.RATE_LIMIT_GENERATE or f"{settings.IMAGE_RATE_LIMIT_MAX or 5}/{window}",
            variable="RATE_LIMIT_GENERATE",
        ),
        general=parse_limits(
            settings.RATE_LIMIT_GENERAL or f"{settings.RATE_LIMIT_MAX or 10}/{window}",
            variable="RATE_LIMIT_GENERAL",
        ),
        read=parse_limits(settings.RATE_LIMIT_READ, variable="RATE_LIMIT_READ"),
    )
