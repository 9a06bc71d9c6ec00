"""Bodies of the native surface: the shape of seed 004, a superset."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from genonce.domain.errors import InvalidRequest
from genonce.domain.request import Draft

Number = int | float | str | None


class GenerateBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Body of POST /api/images/generate and /api/images/plan; null means not given.

    Numbers may also be sent as texts; equal meanings give equal task ids.
    """

    prompt: Annotated[
        str | None, Meta(description="What the picture shows; 1 to 4,000 characters. Required.")
    ] = None
    model: Annotated[
        str | None, Meta(description="Id or alias, see /api/models; default: the service's.")
    ] = None
    negative_prompt: Annotated[
        str | None, Meta(description="What not to show, where the model takes it.")
    ] = None
    width: Annotated[Number, Meta(description="Pixels, within the model's bounds.")] = None
    height: Annotated[Number, Meta(description="Pixels, within the model's bounds.")] = None
    size: Annotated[
        str | None, Meta(description='Both sides, "512x512"; instead of width and height.')
    ] = None
    steps: Annotated[Number, Meta(description="Sampling steps, within the model's bounds.")] = None
    guidance: Annotated[
        Number, Meta(description="How closely to follow the prompt, where the model takes it.")
    ] = None
    seed: Annotated[
        Number, Meta(description="0 to 2147483647; slot i gets seed + i. Default: derived.")
    ] = None
    sampler: Annotated[str | None, Meta(description="One of the model's samplers.")] = None
    scheduler: Annotated[str | None, Meta(description="One of the model's schedulers.")] = None
    quality: Annotated[str | None, Meta(description="One of the model's qualities.")] = None
    style: Annotated[str | None, Meta(description="One of the model's styles.")] = None
    format: Annotated[str | None, Meta(description="png, webp or jpeg, as the model offers.")] = (
        None
    )
    variation: Annotated[
        Number, Meta(description="Another number gives another series of pictures; default 0.")
    ] = None
    n: Annotated[Number, Meta(description="Pictures, 1 to MAX_N (10); default 1.")] = None
    negative_prompt_too: Annotated[
        str | None, Meta(description="Another spelling of negativePrompt.")
    ] = msgspec.field(default=None, name="negative_prompt")


class ImageBody(msgspec.Struct):
    """One picture."""

    url: Annotated[str, Meta(description="Where the bytes are; it does not expire.")]
    index: Annotated[int, Meta(description="Slot, from 0.")]
    width: int
    height: int
    seed: int | None
    sha256: str


class TaskBody(msgspec.Struct, rename="camel", kw_only=True):
    """A task as it stands; also the data of its events."""

    success: bool = True
    task_id: str
    status: Annotated[str, Meta(description="pending, processing, completed, failed or cancelled.")]
    progress: Annotated[int, Meta(description="0 to 100; never goes back within an attempt.")]
    message: str
    attempt: Annotated[int, Meta(description="From 1.")]
    n: int
    data: Annotated[
        list[ImageBody], Meta(description="Pictures that are ready, by index; also while running.")
    ]
    bought: Annotated[
        int,
        Meta(description="Purchases of this attempt so far; 0 where all was there or shared."),
    ]
    queue_position: Annotated[int | None, Meta(description="From 1, while pending.")] = None
    estimated_seconds: Annotated[
        float | None, Meta(description="From recent tasks of the same model; null if unknown.")
    ] = None
    code: Annotated[str | UnsetType, Meta(description="Why it failed; see docs/errors.md.")] = UNSET


class ClaimBody(TaskBody, rename="camel", kw_only=True):
    """Answer of a POST: the task, and what the POST did."""

    cached: Annotated[bool, Meta(description="All pictures were there already.")]
    outcome: Annotated[
        str,
        Meta(
            description=(
                "hit: all pictures were there. join: all that is missing is being made. extended: "
                "some were there, the rest was queued. new: all were queued. replay: this "
                "Idempotency-Key came before; nothing was started."
            )
        ),
    ]
    to_buy: Annotated[int, Meta(description="Pictures that this POST queued for purchase.")]


class ErrorDetail(msgspec.Struct, rename="camel", omit_defaults=True):
    """What went wrong."""

    message: str
    code: str
    field: Annotated[str, Meta(description="The field or header that is wrong.")] = ""
    retry_after_ms: Annotated[int, Meta(description="Exactly when to come back.")] = 0


class ErrorBody(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Every refusal."""

    success: bool
    status_code: int
    status: Annotated[str, Meta(description='"not_found" for an unknown task.')] = ""
    message: str
    error: ErrorDetail


class SlotsBody(msgspec.Struct, rename="camel"):
    """Where a request's slots stand."""

    have: int
    making: int
    to_buy: int


class PriceBody(msgspec.Struct, rename="camel"):
    """What the missing slots would cost; null where the price is not known."""

    per_image: float | None
    total: float | None
    currency: str = "USD"


class AllowanceBody(msgspec.Struct, rename="camel"):
    """What is left of the generate meter."""

    limit: int
    remaining: int
    window_seconds: int
    reset_seconds: float


class PlanBody(msgspec.Struct, rename="camel", kw_only=True):
    """What a POST of the same body would do."""

    success: bool = True
    outcome: str
    task_id: str
    series_id: str
    slots: SlotsBody
    price: PriceBody
    allowance: AllowanceBody | None
    request: Annotated[
        dict[str, Any], Meta(description="The canonical request that the ids are made of.")
    ]


class DeletedBody(msgspec.Struct, rename="camel"):
    """Answer of a DELETE."""

    success: bool
    task_id: str
    status: str
    message: str


class HealthBody(msgspec.Struct, rename="camel"):
    """State of the parts."""

    success: bool
    status: Annotated[str, Meta(description="ok or degraded.")]
    message: str
    timestamp: str
    redis: bool
    workers: int
    queued: int
    faults: dict[str, str]


def to_draft(body: GenerateBody) -> Draft:
    """The draft of a body.

    Raises:
        InvalidRequest: one field is given in two spellings with two values.
    """
    one, other = body.negative_prompt, body.negative_prompt_too
    if one is not None and other is not None and one != other:
        raise InvalidRequest(
            "negativePrompt and negative_prompt differ; give one of them.", field="negativePrompt"
        )
    return Draft(
        prompt=body.prompt,
        model=body.model,
        negative_prompt=other if one is None else one,
        width=body.width,
        height=body.height,
        size=body.size,
        steps=body.steps,
        guidance=body.guidance,
        seed=body.seed,
        sampler=body.sampler,
        scheduler=body.scheduler,
        quality=body.quality,
        style=body.style,
        format=body.format,
        variation=body.variation,
        n=body.n,
    )
