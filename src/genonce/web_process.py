"""Composition root of the web process."""

import contextlib
import ipaddress
from collections.abc import Awaitable, Callable

import structlog
from litestar import Litestar

from genonce.bootstrap import (
    WEB_TIMEOUT_S,
    Core,
    build_core,
    limits_of,
    meter_limits,
    tasks_of,
)
from genonce.domain.errors import ConfigError, StoreUnavailable
from genonce.service.authenticate import Authenticate, digest, parse_networks
from genonce.service.follow import Follow
from genonce.service.health import CheckHealth
from genonce.service.pictures import Pictures
from genonce.service.plan import Plan
from genonce.service.submit import Submit
from genonce.settings import Settings, listed
from genonce.web.app import build_app
from genonce.web.dialect import Services

log = structlog.get_logger()


def check_binding(settings: Settings) -> None:
    """Make sure that a service without keys is not open to the network.

    Raises:
        ConfigError: names the remedies.
    """
    if settings.keys() or settings.AUTH == "none" or _is_loopback(settings.HOST):
        return
    raise ConfigError(
        f"API_KEYS is not set, so the service answers loopback only, not {settings.HOST}: whoever "
        "reached it could spend your money. Set API_KEYS, or AUTH=none if that is what you want."
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def web_app(settings: Settings) -> Litestar:
    """Build the web application; its clients connect at first use.

    Raises:
        ConfigError: a setting is missing or wrong.
    """
    check_binding(settings)
    core = build_core(settings, timeout_s=WEB_TIMEOUT_S)
    limits, tasks = meter_limits(settings), tasks_of(core, settings)
    meters = limits_of(core)
    is_shared = settings.CACHE_SCOPE == "shared"
    submit = Submit(
        tasks=tasks,
        images=core.images,
        limits=meters,
        catalogue=core.catalogue,
        max_n=settings.MAX_N,
        generate_limits=limits.generate,
        read_limits=limits.read,
        cost_per_image=settings.RATE_LIMIT_COST == "image",
        is_shared=is_shared,
    )
    follow = Follow(
        tasks=tasks,
        images=core.images,
        changes=core.changes,
        limits=meters,
        read_limits=limits.read,
        general_limits=limits.general,
        is_shared=is_shared,
    )
    services = Services(
        submit=submit,
        follow=follow,
        plan=Plan(submit, tasks, core.images, meters),
        health=CheckHealth(core.presence, core.catalogue),
        authenticate=Authenticate(
            tuple(digest(key) for key in settings.keys()),
            parse_networks(listed(settings.TRUSTED_PROXIES)),
        ),
        catalogue=core.catalogue,
        public_url=settings.PUBLIC_URL.rstrip("/"),
        wait_limit_s=settings.WAIT_LIMIT,
    )
    return build_app(
        services,
        Pictures(core.images, tasks, meters, limits.read),
        cors_origins=listed(settings.CORS_ORIGINS),
        on_startup=[_startup(core)],
        on_shutdown=[core.aclose],
    )


def _startup(core: Core) -> Callable[[], Awaitable[None]]:
    async def start() -> None:
        try:
            await core.check()
        except StoreUnavailable:
            # Finished pictures can be served meanwhile; every other answer says what is away.
            log.warning("store_away_at_start")

    return start


async def check_web(settings: Settings) -> None:
    """Find out whether a web process could start, to say it plainly if not.

    Raises:
        ConfigError: says what to set.
    """
    core = build_core(settings, timeout_s=WEB_TIMEOUT_S)
    try:
        await _startup(core)()
    finally:
        await core.aclose()
