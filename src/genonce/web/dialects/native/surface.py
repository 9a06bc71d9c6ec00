"""The native surface, /api: the routes of seed 004 and what the others lack."""

import hashlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response, Stream

from genonce.domain.catalogue import Bounds, Model
from genonce.domain.identity import TaskId
from genonce.domain.quota import Allowance
from genonce.domain.task import Hit, Join, New, Replayed, Task
from genonce.service.plan import Forecast
from genonce.service.submit import Claimed
from genonce.web.auth import address_of, caller_of
from genonce.web.dialect import Dialect, Rendering, Services
from genonce.web.dialects.native.paths import PATHS
from genonce.web.dialects.native.wire import (
    STATUS_WORDS,
    AllowanceBody,
    BoundsBody,
    ClaimBody,
    DeletedBody,
    ErrorBody,
    ErrorDetail,
    GenerateBody,
    HealthBody,
    ModelBody,
    ModelsBody,
    PlanBody,
    PriceBody,
    SlotsBody,
    TaskBody,
    task_body,
    to_draft,
)
from genonce.web.errors import ErrorFacts
from genonce.web.messages import Language, language_of, say, say_error
from genonce.web.reading import (
    asked_wait,
    flag,
    idempotency_key,
    json_body,
    last_event_id,
    preferred_wait,
)

AnyRequest = Request[Any, Any, Any]
JSON = "application/json"

_body = msgspec.json.Decoder(GenerateBody)
_encode = msgspec.json.Encoder().encode


class Outcome(msgspec.Struct, frozen=True):
    """How a claim is told."""

    word: str
    cache: str
    message: str
    to_buy: int = 0


def native_handlers(services: Services) -> Sequence[HTTPRouteHandler]:
    """Routes of the native surface."""
    surface = NativeSurface(services)

    @post("/api/images/generate", status_code=202)
    async def generate(request: AnyRequest) -> Response[bytes]:
        """Find a task, or claim it."""
        return await surface.generate(request)

    @post("/api/images/plan", status_code=200)
    async def plan(request: AnyRequest) -> Response[bytes]:
        """Say what a POST would do."""
        return await surface.plan(request)

    @get("/api/images/{task_id:str}")
    async def read(request: AnyRequest, task_id: str) -> Response[bytes]:
        """A task as it stands."""
        return await surface.read(request, TaskId(task_id))

    @get("/api/images/{task_id:str}/events")
    async def events(request: AnyRequest, task_id: str) -> Response[bytes] | Stream:
        """A task's events."""
        return await surface.events(request, TaskId(task_id))

    @delete("/api/images/{task_id:str}", status_code=200)
    async def remove(request: AnyRequest, task_id: str) -> Response[bytes]:
        """Cancel or forget a task."""
        return await surface.remove(request, TaskId(task_id))

    @get("/api/models")
    async def models(request: AnyRequest) -> Response[bytes]:
        """What can be asked for."""
        return await surface.models(request)

    @get(["/health", "/api/health"])
    async def health(request: AnyRequest) -> Response[bytes]:
        """State of the parts."""
        return await surface.health(request)

    return (generate, plan, read, events, remove, models, health)


@dataclass(frozen=True, slots=True)
class NativeSurface:
    """What the routes do."""

    services: Services

    async def generate(self, request: AnyRequest) -> Response[bytes]:
        """POST /api/images/generate."""
        services = self.services
        caller = caller_of(request, services.authenticate)
        body = await json_body(request, _body)
        wait_s = preferred_wait(request, limit_s=services.wait_limit_s)
        claimed = await services.submit.submit(
            to_draft(body), caller, idempotency_key=idempotency_key(request)
        )
        task, status = claimed.task, 202
        if wait_s is not None:
            if not task.state.is_terminal:
                task = await services.follow.wait(task, timeout_s=wait_s)
            status = 200 if task.state.is_terminal else 202
        headers = _claim_headers(claimed, task)
        if wait_s is not None:
            headers["preference-applied"] = f"wait={wait_s:g}"
        return _json(self._claim_body(request, claimed, task), status, headers)

    def _claim_body(self, request: AnyRequest, claimed: Claimed, task: Task) -> ClaimBody:
        outcome = _outcome(claimed)
        language = language_of(request.headers.get("accept-language"))
        shown = task_body(task, self._base_url(request), language)
        is_waited = task is not claimed.task
        return ClaimBody(
            task_id=shown.task_id,
            status=shown.status,
            progress=shown.progress,
            message=shown.message if is_waited else say(outcome.message, language),
            attempt=shown.attempt,
            n=shown.n,
            data=shown.data,
            queue_position=shown.queue_position,
            estimated_seconds=shown.estimated_seconds,
            code=shown.code,
            cached=outcome.cache == "hit",
            outcome=outcome.word,
            to_buy=outcome.to_buy,
        )

    async def plan(self, request: AnyRequest) -> Response[bytes]:
        """POST /api/images/plan."""
        caller = caller_of(request, self.services.authenticate)
        body = await json_body(request, _body)
        return _json(_plan_body(await self.services.plan.plan(to_draft(body), caller)), 200, {})

    async def read(self, request: AnyRequest, task_id: TaskId) -> Response[bytes]:
        """GET /api/images/{task_id}."""
        services = self.services
        caller = caller_of(request, services.authenticate)
        wait_s = asked_wait(request, limit_s=services.wait_limit_s)
        task, allowance = await services.follow.read(task_id, caller)
        seen = request.headers.get("if-none-match")
        body, tag = self._shown(request, task)
        if wait_s is not None and not task.state.is_terminal:
            # With an ETag a client waits for any news, without one for the end.
            if seen is None or tag in seen:
                number = None if seen is None else task.event
                task = await services.follow.wait(task, timeout_s=wait_s, seen=number)
                body, tag = self._shown(request, task)
        headers = {"etag": tag, "cache-control": "no-cache", "vary": "accept-language"}
        headers["x-task-attempt"] = str(task.attempt)
        headers.update(_allowance_headers(allowance))
        if seen is not None and (tag in seen or seen.strip() == "*"):
            return Response(b"", status_code=304, headers=headers, media_type=JSON)
        return Response(body, status_code=200, headers=headers, media_type=JSON)

    def _shown(self, request: AnyRequest, task: Task) -> tuple[bytes, str]:
        body = self._encode_task(request, task)
        return body, f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'

    def _encode_task(self, request: AnyRequest, task: Task) -> bytes:
        language = language_of(request.headers.get("accept-language"))
        return _encode(task_body(task, self._base_url(request), language))

    async def events(self, request: AnyRequest, task_id: TaskId) -> Response[bytes] | Stream:
        """GET /api/images/{task_id}/events."""
        follow = self.services.follow
        caller = caller_of(request, self.services.authenticate)
        after = last_event_id(request)
        task, _ = await follow.read(task_id, caller)
        if after is not None and task.state.is_terminal and after == task.event:
            # Nothing more will come; 204 is what ends an EventSource's reconnecting.
            return Response(b"", status_code=204, media_type="text/event-stream")

        async def stream() -> AsyncIterator[bytes]:
            yield b"retry: 1000\n\n"
            async for event in follow.events(task, after=after):
                if event is None:
                    yield b": still here\n\n"
                else:
                    data = self._encode_task(request, event.task)
                    yield b"id: %d\ndata: %b\n\n" % (event.number, data)

        return Stream(
            stream(),
            media_type="text/event-stream",
            # Proxies that buffer would hold events back.
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    async def remove(self, request: AnyRequest, task_id: TaskId) -> Response[bytes]:
        """DELETE /api/images/{task_id}."""
        caller = caller_of(request, self.services.authenticate)
        purge = flag(request, "purge")
        task = await self.services.follow.delete(task_id, caller, purge=purge)
        word = "forgotten" if task.state.value != "cancelled" else "cancelled"
        language = language_of(request.headers.get("accept-language"))
        message = say("purged" if purge else word, language)
        return _json(DeletedBody(True, task.id, STATUS_WORDS[task.state], message), 200, {})

    async def models(self, request: AnyRequest) -> Response[bytes]:
        """GET /api/models."""
        services = self.services
        caller = address_of(request, services.authenticate)
        await services.follow.pay_for_read(caller)
        catalogue = services.catalogue
        default = catalogue.names[catalogue.default.casefold()]
        bodies = [
            _model_body(model, default=default, missing=catalogue.missing.get(model.provider))
            for model in catalogue.models.values()
        ]
        return _json(ModelsBody(True, bodies), 200, {})

    async def health(self, request: AnyRequest) -> Response[bytes]:
        """GET /health: 200 while this process lives; GET /api/health: 503 without Redis."""
        health = await self.services.health.check()
        reason = _complaint(health.redis, health.workers, health.faults)
        body = HealthBody(
            success=not reason,
            status="degraded" if reason else "ok",
            message=say("degraded" if reason else "healthy", Language.ENGLISH, reason=reason),
            timestamp=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            redis=health.redis,
            workers=health.workers,
            queued=health.queued,
            faults=health.faults,
        )
        is_ready = health.redis or request.url.path == "/health"
        headers = {"cache-control": "no-store"} | ({} if is_ready else {"retry-after": "1"})
        return _json(body, 200 if is_ready else 503, headers)

    def _base_url(self, request: AnyRequest) -> str:
        """Address of this service as the client knows it."""
        if self.services.public_url:
            return self.services.public_url
        host = request.headers.get("host", "localhost")
        return f"{request.scope['scheme']}://{host}"


def render_error(facts: ErrorFacts, language: Language) -> Rendering:
    """Facts as the surface tells them: the shapes of seed 004's document and of its code."""
    message = say_error(facts.code, facts.message, language, facts.facts)
    retry_ms = 0 if facts.retry_after_s is None else max(1, math.ceil(facts.retry_after_s * 1000))
    body = ErrorBody(
        success=False,
        status_code=facts.status,
        status="not_found" if facts.code == "not_found" else "",
        message=message,
        error=ErrorDetail(message, facts.code, facts.field, retry_ms),
    )
    return Rendering(facts.status, _encode(body), JSON)


NATIVE = Dialect(
    prefixes=("/",),
    handlers=native_handlers,
    render_error=render_error,
    paths=PATHS,
    schemas=(
        GenerateBody,
        ClaimBody,
        TaskBody,
        PlanBody,
        DeletedBody,
        ModelsBody,
        HealthBody,
        ErrorBody,
    ),
)


def _json(body: msgspec.Struct, status: int, headers: dict[str, str]) -> Response[bytes]:
    return Response(_encode(body), status_code=status, headers=headers, media_type=JSON)


def _outcome(claimed: Claimed) -> Outcome:
    match claimed:
        case Hit(task=task):
            return Outcome("hit", "hit", "cached" if task.state.is_terminal else "joined")
        case Join():
            return Outcome("join", "join", "joined")
        case New(task=task, missing=missing):
            word = "new" if missing == task.n else "extended"
            return Outcome(word, "miss", "created", missing)
        case Replayed(task=task):
            is_done = task.done == task.n
            return Outcome(
                "replay", "hit" if is_done else "join", "cached" if is_done else "joined"
            )


def _claim_headers(claimed: Claimed, task: Task) -> dict[str, str]:
    headers = {
        "location": f"/api/images/{task.id}",
        "x-cache": _outcome(claimed).cache,
        "x-task-attempt": str(task.attempt),
    }
    if isinstance(claimed, Replayed):
        headers["idempotency-replayed"] = "true"
    headers.update(_allowance_headers(claimed.allowance))
    return headers


def _allowance_headers(allowance: Allowance | None) -> dict[str, str]:
    """RateLimit fields of the IETF draft."""
    if allowance is None:
        return {}
    limit, reset_s = allowance.limit, math.ceil(allowance.reset_s)
    return {
        "ratelimit-policy": f'"{allowance.meter}";q={limit.amount};w={limit.window_s}',
        "ratelimit": f'"{allowance.meter}";r={allowance.remaining};t={reset_s}',
    }


def _plan_body(forecast: Forecast) -> PlanBody:
    allowance, price = forecast.allowance, forecast.request.model.price_usd
    return PlanBody(
        outcome=forecast.outcome,
        task_id=forecast.identity.task,
        series_id=forecast.identity.series,
        slots=SlotsBody(forecast.have, forecast.making, forecast.to_buy),
        price=PriceBody(price, None if price is None else price * forecast.to_buy),
        allowance=None
        if allowance is None
        else AllowanceBody(
            allowance.limit.amount,
            allowance.remaining,
            allowance.limit.window_s,
            allowance.reset_s,
        ),
        request=msgspec.json.decode(forecast.identity.canonical) | {"n": forecast.request.n},
    )


def _model_body(model: Model, *, default: str, missing: str | None) -> ModelBody:
    return ModelBody(
        id=model.id,
        provider=model.provider,
        aliases=model.aliases,
        description=model.description,
        default=model.id == default,
        available=missing is None,
        missing=missing,
        width=_bounds_body(model.width),
        height=_bounds_body(model.height),
        steps=None if model.steps is None else _bounds_body(model.steps),
        guidance=None if model.guidance is None else _bounds_body(model.guidance),
        negative_prompt=model.negative_prompt,
        seed=model.seed,
        samplers=model.samplers,
        schedulers=model.schedulers,
        qualities=model.qualities,
        styles=model.styles,
        formats=model.formats,
        images_per_call=model.images_per_call,
        price_usd=model.price_usd,
    )


def _bounds_body(bounds: Bounds) -> BoundsBody:
    return BoundsBody(bounds.low, bounds.high, bounds.default, bounds.multiple or None)


def _complaint(redis: bool, workers: int, faults: dict[str, str]) -> str:
    if not redis:
        return "Redis does not answer"
    if workers == 0:
        return "no worker is running"
    return "; ".join(f"{provider}: {fault}" for provider, fault in faults.items())
