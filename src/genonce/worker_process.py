"""Composition root of the worker process: providers, checks, and the settings that arq reads."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import Any, cast

import structlog
import uvloop
from arq import func
from arq.connections import RedisSettings
from arq.typing import WorkerCoroutine

from genonce.adapters.guard import host_port
from genonce.adapters.http import open_client
from genonce.adapters.inspector import PillowInspector
from genonce.adapters.providers.builtin.provider import Builtin
from genonce.adapters.providers.builtin.render import Picture, render
from genonce.adapters.providers.together import Together
from genonce.adapters.redis.board import RedisBoard
from genonce.adapters.redis.pace import PaceRule, RedisPace
from genonce.adapters.redis.slots import RedisSlotStore
from genonce.adapters.redis.tasks import JOB_FUNCTION
from genonce.bootstrap import WORKER_TIMEOUT_S, Core, build_core
from genonce.domain.errors import ConfigError
from genonce.domain.ports import Provider
from genonce.domain.quota import parse_limits
from genonce.domain.request import ImageRequest
from genonce.jobs import (
    HEALTH_S,
    MARK_S,
    MAX_TRIES,
    Parts,
    decode_job,
    encode_job,
    generate,
    install_worker,
)
from genonce.service.generate import Generate
from genonce.service.keep import Keeper
from genonce.service.purchase import Purchaser
from genonce.settings import Settings

log = structlog.get_logger()

LEASE_MS = 5000
"""A slot's lease without a heartbeat: with the in-progress mark, what recovery takes."""


def worker_settings(settings: Settings) -> dict[str, Any]:
    """What `arq worker.WorkerSettings` reads.

    Raises:
        ConfigError: REDIS_URL is missing.
    """
    if not settings.REDIS_URL:
        raise ConfigError(
            "REDIS_URL is not set. Set it to the Redis or Valkey of the web process, or start "
            "everything with `genonce serve`."
        )
    install_worker()
    asyncio.set_event_loop(uvloop.new_event_loop())
    return {
        "functions": [func(cast("WorkerCoroutine", generate), name=JOB_FUNCTION)],
        "redis_settings": _redis_settings(settings.REDIS_URL),
        "on_startup": _startup(settings),
        "on_shutdown": _shutdown,
        "max_jobs": settings.WORKER_CONCURRENCY,
        "job_timeout": settings.JOB_DEADLINE + 60,
        "job_completion_wait": settings.WORKER_DRAIN,
        "keep_result": 0,
        "max_tries": MAX_TRIES,
        "health_check_interval": HEALTH_S,
        "job_serializer": encode_job,
        "job_deserializer": decode_job,
        "log_results": False,
    }


def _redis_settings(url: str) -> RedisSettings:
    redis = RedisSettings.from_dsn(url)
    redis.conn_retries = 60  # a worker outlives a Redis that starts later
    return redis


def _startup(settings: Settings) -> Callable[[dict[str, Any]], Any]:
    async def start(context: dict[str, Any]) -> None:
        # arq tells every job twice at "info"; our own log tells how each ended.
        logging.getLogger("arq").setLevel(logging.WARNING)
        stack = contextlib.AsyncExitStack()
        core = build_core(settings, timeout_s=WORKER_TIMEOUT_S)
        stack.push_async_callback(core.aclose)
        try:
            await core.check()
        except ConfigError as error:
            log.error("cannot_start", reason=str(error))
            raise SystemExit(2) from None
        context["parts"] = await _open_parts(core, settings, stack)

    return start


async def _shutdown(context: dict[str, Any]) -> None:
    if "parts" in context:
        await context["parts"].aclose()


async def _open_parts(core: Core, settings: Settings, stack: contextlib.AsyncExitStack) -> Parts:
    providers = _providers(settings)
    for provider in providers.values():
        stack.push_async_callback(provider.aclose)
    slots = RedisSlotStore(core.redis, core.scripts, LEASE_MS, settings.RESULT_TTL * 1000)
    rules = {
        "together": PaceRule(
            limits=parse_limits(settings.TOGETHER_PACE, variable="TOGETHER_PACE"),
            concurrency=settings.TOGETHER_CONCURRENCY,
        )
    }
    keeper = Keeper(slots, core.images, PillowInspector())
    purchaser = Purchaser(
        slots=slots,
        images=core.images,
        keeper=keeper,
        pace=RedisPace(core.redis, core.scripts, core.changes, rules, LEASE_MS),
        catalogue=core.catalogue,
        providers=providers,
    )
    store_id = await core.images.store_id()
    return Parts(
        generate=Generate(
            slots=slots,
            images=core.images,
            changes=core.changes,
            keeper=keeper,
            purchaser=purchaser,
            heartbeat_s=LEASE_MS / 3000,
            deadline_s=settings.JOB_DEADLINE,
        ),
        board=RedisBoard(
            core.redis,
            core.scripts,
            core.changes,
            int(MARK_S * 1000),
            lambda: core.presence.agree_store(store_id),
        ),
        aclose=stack.aclose,
    )


def _providers(settings: Settings) -> dict[str, Provider]:
    made: list[Provider] = [Builtin(draw, threads=os.cpu_count() or 2)]
    if settings.TOGETHER_API_KEY:
        made.append(
            Together(
                open_client(
                    own_hosts=[host_port(settings.TOGETHER_API_URL)],
                    max_connections=settings.TOGETHER_CONCURRENCY,
                ),
                api_key=settings.TOGETHER_API_KEY,
                base_url=settings.TOGETHER_API_URL,
            )
        )
    return {provider.name: provider for provider in made}


def draw(request: ImageRequest, seed: int, on_step: Callable[[int], None]) -> bytes:
    """Draw a request with the built-in renderer."""
    picture = Picture(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        steps=request.steps or 1,
        seed=seed,
        style=request.style or "",
        guidance=request.guidance or 0.0,
        media=request.format,
    )
    return render(picture, on_step)
