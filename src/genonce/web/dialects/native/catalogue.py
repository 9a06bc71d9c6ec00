"""What the native surface tells of models."""

from typing import Annotated

import msgspec
from msgspec import Meta

from genonce.domain.catalogue import Bounds, Catalogue, Model


class BoundsBody(msgspec.Struct, rename="camel"):
    """Closed range of a number."""

    min: float
    max: float
    default: float
    multiple: int | None


class ModelBody(msgspec.Struct, rename="camel", kw_only=True):
    """One model; null or an empty list: it has no such parameter."""

    id: str
    provider: str
    aliases: tuple[str, ...]
    description: str
    default: bool
    available: bool
    missing: Annotated[str | None, Meta(description="Variable that would make it available.")]
    width: BoundsBody
    height: BoundsBody
    steps: BoundsBody | None
    guidance: BoundsBody | None
    negative_prompt: bool
    seed: bool
    samplers: tuple[str, ...]
    schedulers: tuple[str, ...]
    qualities: tuple[str, ...]
    styles: tuple[str, ...]
    formats: tuple[str, ...]
    images_per_call: int
    price_usd: float | None


class ModelsBody(msgspec.Struct):
    """Answer of GET /api/models."""

    success: bool
    data: list[ModelBody]


def models_body(catalogue: Catalogue) -> ModelsBody:
    """Answer of GET /api/models."""
    default = catalogue.names[catalogue.default.casefold()]
    bodies = [
        _model_body(model, default=default, missing=catalogue.missing.get(model.provider))
        for model in catalogue.models.values()
    ]
    return ModelsBody(True, bodies)


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
