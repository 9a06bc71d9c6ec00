"""The native surface, /api: the routes of seed 004 and what the others lack."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from genonce.domain.errors import StoreUnavailable
from genonce.domain.identity import TaskId
from genonce.domain.task import Task
from genonce.web.auth import address_of, caller_of
from genonce.web.dialect import Dialect, Services
from genonce.web.dialects.native.answers import (
    allowance_headers,
    claim_body,
    claim_headers,
    deleted_body,
    encode,
    health_body,
    plan_body,
    render_error,
    task_and_tag,
    task_body,
)
from genonce.web.dialects.native.catalogue import ModelsBody, models_body
from genonce.web.dialects.native.paths import PATHS
from genonce.web.dialects.native.wire import (
    ClaimBody,
    DeletedBody,
    ErrorBody,
    GenerateBody,
    HealthBody,
    PlanBody,
    TaskBody,
    to_draft,
)
from genonce.web.messages import language_of, say
from genonce.web.reading import (
    AnyRequest,
    Headers,
    asked_wait,
    field,
    flag,
    headers_of,
    idempotency_key,
    json_body,
    last_event_id,
    preferred_wait,
)
from genonce.web.reply import Reply, stream_reply

_body = msgspec.json.Decoder(GenerateBody)


def native_handlers(services: Services) -> Sequence[HTTPRouteHandler]:
    """Routes of the native surface."""
    surface = NativeSurface(services)

    @post("/api/images/generate", status_code=202)
    async def generate(request: AnyRequest) -> ASGIApp:
        """Find a task, or claim it."""
        return await surface.generate(request)

    @post("/api/images/plan", status_code=200)
    async def plan(request: AnyRequest) -> ASGIApp:
        """Say what a POST would do."""
        return await surface.plan(request)

    @get("/api/images/{task_id:str}")
    async def read(request: AnyRequest) -> ASGIApp:
        """A task as it stands."""
        return await surface.read(request, _task_id(request))

    @get("/api/images/{task_id:str}/events")
    async def events(request: AnyRequest) -> ASGIApp:
        """A task's events."""
        return await surface.events(request, _task_id(request))

    @delete("/api/images/{task_id:str}", status_code=200)
    async def remove(request: AnyRequest) -> ASGIApp:
        """Cancel or forget a task."""
        return await surface.remove(request, _task_id(request))

    @get("/api/models")
    async def models(request: AnyRequest) -> ASGIApp:
        """What can be asked for."""
        return await surface.models(request)

    @get(["/health", "/api/health"])
    async def health(request: AnyRequest) -> ASGIApp:
        """State of the parts."""
        return await surface.health(request)

    return (generate, plan, read, events, remove, models, health)


def _task_id(request: AnyRequest) -> TaskId:
    return TaskId(request.path_params["task_id"])


@dataclass(frozen=True, slots=True)
class NativeSurface:
    """What the routes do."""

    services: Services

    async def generate(self, request: AnyRequest) -> ASGIApp:
        """POST /api/images/generate."""
        services, sent = self.services, headers_of(request)
        caller = caller_of(request, sent, services.authenticate)
        body = await json_body(request, sent, _body)
        wait_s = preferred_wait(sent, limit_s=services.wait_limit_s)
        claimed = await services.submit.submit(
            to_draft(body), caller, idempotency_key=idempotency_key(sent)
        )
        task, status = claimed.task, 202
        headers = claim_headers(claimed)
        if wait_s is not None:
            if not task.state.is_terminal:
                # The work is queued whatever becomes of the waiting.
                with contextlib.suppress(StoreUnavailable):
                    task = await services.follow.wait(task, timeout_s=wait_s)
            status = 200 if task.state.is_terminal else 202
            headers["preference-applied"] = f"wait={wait_s:g}"
        shown = claim_body(claimed, task, self._base_url(request, sent), language_of(sent))
        return Reply(encode(shown), status=status, headers=headers)

    async def plan(self, request: AnyRequest) -> ASGIApp:
        """POST /api/images/plan."""
        sent = headers_of(request)
        caller = caller_of(request, sent, self.services.authenticate)
        body = await json_body(request, sent, _body)
        forecast = await self.services.plan.plan(to_draft(body), caller)
        return Reply(encode(plan_body(forecast)))

    async def read(self, request: AnyRequest, task_id: TaskId) -> ASGIApp:
        """GET /api/images/{task_id}."""
        services, sent = self.services, headers_of(request)
        caller = caller_of(request, sent, services.authenticate)
        wait_s = asked_wait(request, limit_s=services.wait_limit_s)
        task, allowance = await services.follow.read(task_id, caller)
        seen = field(sent, b"if-none-match")
        body, tag = self._shown(request, sent, task)
        if wait_s is not None and not task.state.is_terminal and (seen is None or tag in seen):
            # With an ETag a client waits for any news, without one for the end.
            number = None if seen is None else task.event
            task = await services.follow.wait(task, timeout_s=wait_s, seen=number)
            body, tag = self._shown(request, sent, task)
        headers = {
            "etag": tag,
            "cache-control": "no-cache",
            "vary": "accept-language",
            "x-task-attempt": str(task.attempt),
            **allowance_headers(allowance),
        }
        if seen is not None and (tag in seen or seen.strip() == "*"):
            return Reply(b"", status=304, headers=headers)
        return Reply(body, headers=headers)

    def _shown(self, request: AnyRequest, sent: Headers, task: Task) -> tuple[bytes, str]:
        """A task's body and its ETag."""
        return task_and_tag(task, self._base_url(request, sent), language_of(sent))

    async def events(self, request: AnyRequest, task_id: TaskId) -> ASGIApp:
        """GET /api/images/{task_id}/events."""
        follow, sent = self.services.follow, headers_of(request)
        caller = caller_of(request, sent, self.services.authenticate)
        after = last_event_id(request)
        task, _ = await follow.read(task_id, caller)
        if after is not None and task.state.is_terminal and after == task.event:
            # Nothing more will come; 204 is what ends an EventSource's reconnecting.
            return Reply(b"", status=204)
        base_url, language = self._base_url(request, sent), language_of(sent)

        async def stream() -> AsyncIterator[bytes]:
            yield b"retry: 1000\n\n"
            async for event in follow.events(task, after=after):
                if event is None:
                    yield b": still here\n\n"
                else:
                    data = encode(task_body(event.task, base_url, language))
                    yield b"id: %d\ndata: %b\n\n" % (event.number, data)

        return stream_reply(stream(), media_type="text/event-stream")

    async def remove(self, request: AnyRequest, task_id: TaskId) -> ASGIApp:
        """DELETE /api/images/{task_id}."""
        sent = headers_of(request)
        caller = caller_of(request, sent, self.services.authenticate)
        purge = flag(request, "purge")
        task, was_active = await self.services.follow.delete(task_id, caller, purge=purge)
        word = "purged" if purge else "cancelled" if was_active else "forgotten"
        return Reply(encode(deleted_body(task, say(word, language_of(sent)))))

    async def models(self, request: AnyRequest) -> ASGIApp:
        """GET /api/models."""
        services = self.services
        await services.follow.pay_for_read(address_of(request, services.authenticate))
        return Reply(encode(models_body(services.catalogue)))

    async def health(self, request: AnyRequest) -> ASGIApp:
        """GET /health: 200 while this process lives; GET /api/health: 503 without Redis."""
        health = await self.services.health.check()
        is_ready = health.redis or request.url.path == "/health"
        headers = {"cache-control": "no-store"} | ({} if is_ready else {"retry-after": "1"})
        body = encode(health_body(health))
        return Reply(body, status=200 if is_ready else 503, headers=headers)

    def _base_url(self, request: AnyRequest, sent: Headers) -> str:
        """Address of this service as the client knows it."""
        if self.services.public_url:
            return self.services.public_url
        return f"{request.scope['scheme']}://{field(sent, b'host') or 'localhost'}"


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
