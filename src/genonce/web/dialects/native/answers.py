"""What the native surface answers: domain values to bodies and headers."""

import hashlib
import math
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from msgspec import UNSET

from genonce.domain.quota import Allowance
from genonce.domain.series import Image
from genonce.domain.task import Hit, Join, New, Replayed, Task, TaskState
from genonce.service.health import Health
from genonce.service.plan import Forecast
from genonce.service.submit import Claimed
from genonce.web.dialect import Rendering
from genonce.web.dialects.native.wire import (
    AllowanceBody,
    ClaimBody,
    DeletedBody,
    ErrorBody,
    ErrorDetail,
    HealthBody,
    ImageBody,
    PlanBody,
    PriceBody,
    SlotsBody,
    TaskBody,
)
from genonce.web.errors import ErrorFacts
from genonce.web.messages import Language, say, say_error
from genonce.web.reply import JSON

STATUS_WORDS = {
    TaskState.QUEUED: "pending",
    TaskState.RUNNING: "processing",
    TaskState.SUCCEEDED: "completed",
    TaskState.FAILED: "failed",
    TaskState.CANCELLED: "cancelled",
}

encode = msgspec.json.Encoder().encode


class Outcome(msgspec.Struct, frozen=True):
    """How a claim is told."""

    word: str
    cache: str
    message: str
    to_buy: int = 0


def outcome_of(claimed: Claimed) -> Outcome:
    """What a claim did, in the surface's words."""
    match claimed:
        case Hit(task=task):
            return Outcome("hit", "hit", "cached" if task.state.is_terminal else "joined")
        case Join():
            return Outcome("join", "join", "joined")
        case New(task=task, missing=missing):
            return Outcome("new" if missing == task.n else "extended", "miss", "created", missing)
        case Replayed(task=task):
            is_done = task.done == task.n
            return Outcome(
                "replay", "hit" if is_done else "join", "cached" if is_done else "joined"
            )


def claim_headers(claimed: Claimed) -> dict[str, str]:
    """Headers of a POST's answer."""
    task = claimed.task
    headers = {
        "location": f"/api/images/{task.id}",
        "x-cache": outcome_of(claimed).cache,
        "x-task-attempt": str(task.attempt),
        **allowance_headers(claimed.allowance),
    }
    if isinstance(claimed, Replayed):
        headers["idempotency-replayed"] = "true"
    return headers


def allowance_headers(allowance: Allowance | None) -> dict[str, str]:
    """RateLimit fields of the IETF draft."""
    if allowance is None:
        return {}
    limit, reset_s = allowance.limit, math.ceil(allowance.reset_s)
    return {
        "ratelimit-policy": f'"{allowance.meter}";q={limit.amount};w={limit.window_s}',
        "ratelimit": f'"{allowance.meter}";r={allowance.remaining};t={reset_s}',
    }


def claim_body(claimed: Claimed, task: Task, base_url: str, language: Language) -> ClaimBody:
    """Answer of a POST.

    Args:
        task: as it stands after the POST has waited, if it did.
        base_url: address of this service for picture links.
    """
    outcome, shown = outcome_of(claimed), task_body(task, base_url, language)
    return ClaimBody(
        task_id=shown.task_id,
        status=shown.status,
        progress=shown.progress,
        message=say(outcome.message, language) if task is claimed.task else shown.message,
        attempt=shown.attempt,
        n=shown.n,
        data=shown.data,
        bought=shown.bought,
        queue_position=shown.queue_position,
        estimated_seconds=shown.estimated_seconds,
        code=shown.code,
        cached=outcome.cache == "hit",
        outcome=outcome.word,
        to_buy=outcome.to_buy,
    )


def task_body(task: Task, base_url: str, language: Language) -> TaskBody:
    """A task as the surface shows it."""
    status, percent = STATUS_WORDS[task.state], int(task.progress * 100)
    return TaskBody(
        task_id=task.id,
        status=status,
        progress=percent,
        message=say(status, language, percent=percent, reason=task.message),
        attempt=task.attempt,
        n=task.n,
        data=[_image_body(image, base_url) for image in task.images],
        bought=task.bought,
        queue_position=task.position,
        estimated_seconds=task.estimate_s,
        code=task.code or UNSET,
    )


@lru_cache(maxsize=1024)
def task_and_tag(task: Task, base_url: str, language: Language) -> tuple[bytes, str]:
    """A task's body and its ETag; kept, since a task is polled more often than it changes."""
    body = encode(task_body(task, base_url, language))
    return body, f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _image_body(image: Image, base_url: str) -> ImageBody:
    return ImageBody(
        f"{base_url}/images/{image.key}",
        image.index,
        image.width,
        image.height,
        image.seed,
        image.sha256,
    )


def deleted_body(task: Task, message: str) -> DeletedBody:
    """Answer of a DELETE."""
    return DeletedBody(True, task.id, STATUS_WORDS[task.state], message)


def plan_body(forecast: Forecast) -> PlanBody:
    """Answer of a plan."""
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


def health_body(health: Health) -> HealthBody:
    """Answer of the health routes."""
    reason = health.complaint
    return HealthBody(
        success=not reason,
        status="degraded" if reason else "ok",
        message=say("degraded" if reason else "healthy", Language.ENGLISH, reason=reason),
        timestamp=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        redis=health.redis,
        workers=health.workers,
        queued=health.queued,
        faults=health.faults,
    )


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
    return Rendering(facts.status, encode(body), JSON)
