"""One meaning, one form: what was asked for, coerced, checked, completed with defaults."""

import re
from collections.abc import Sequence

import msgspec

from genonce.domain.catalogue import Bounds, Catalogue, Model
from genonce.domain.coerce import out_of_bounds, read_integer, read_number, read_text
from genonce.domain.errors import InvalidRequest
from genonce.domain.identity import SEED_END

CANONICAL_VERSION = 1
FORMAT_NAMES = {"jpg": "jpeg"}
VARIATION_END = 2**31

_SIZE = re.compile(r"(\d{1,5})\s*[x*\u00d7]\s*(\d{1,5})", re.I)


class Draft(msgspec.Struct, kw_only=True):
    """A request as received, any field in any spelling; None means: not given."""

    prompt: object = None
    model: object = None
    negative_prompt: object = None
    width: object = None
    height: object = None
    size: object = None
    """Both sides in one: "512x512", also with * or ×."""
    steps: object = None
    guidance: object = None
    seed: object = None
    sampler: object = None
    scheduler: object = None
    quality: object = None
    style: object = None
    format: object = None
    variation: object = None
    n: object = None


class ImageRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A canonical request without ``n``: complete, checked, one form for one meaning.

    Fields that hold their default here are absent from the canonical bytes, so a field
    added later does not change the ids of requests that do not use it.
    """

    version: int = msgspec.field(name="v")
    model: str
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    sampler: str | None = None
    scheduler: str | None = None
    quality: str | None = None
    style: str | None = None
    format: str
    variation: int = 0
    caller: str = ""
    """Whose picture it is, where pictures are not shared between callers."""

    def canonical(self) -> bytes:
        """The bytes that identity is made of: JSON, keys sorted, UTF-8.

        Source: docs/decisions/0002-identity.md
        """
        return _encode(self)


_encode = msgspec.json.Encoder(order="sorted").encode
read_canonical = msgspec.json.Decoder(ImageRequest).decode
"""Turn canonical bytes back into the request."""


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A canonical request: what each image is, how many, and the model that makes them."""

    image: ImageRequest
    model: Model
    n: int


def canonicalise(
    draft: Draft, catalogue: Catalogue, *, max_n: int, caller: str = ""
) -> GenerationRequest:
    """Turn a draft into its one canonical form.

    Args:
        draft: as received.
        catalogue: resolves the model and gives bounds and defaults.
        max_n: largest ``n`` that this instance takes.
        caller: enters the ids where pictures are not shared; else "".

    Raises:
        InvalidRequest: a value is wrong; names the field and the remedy.
        UnknownModel, ProviderMisconfigured: see `Catalogue.resolve`.
    """
    model = catalogue.resolve(_word(draft.model, "model"))
    width, height = _sides(draft, model)
    image = ImageRequest(
        version=CANONICAL_VERSION,
        model=model.id,
        prompt=_prompt(draft.prompt, model),
        negative_prompt=_negative_prompt(draft.negative_prompt, model),
        width=width,
        height=height,
        steps=_steps(draft.steps, model),
        guidance=_guidance(draft.guidance, model),
        seed=_seed(draft.seed, model),
        sampler=_choice(draft.sampler, "sampler", model.samplers, model),
        scheduler=_choice(draft.scheduler, "scheduler", model.schedulers, model),
        quality=_choice(draft.quality, "quality", model.qualities, model),
        style=_choice(draft.style, "style", model.styles, model),
        format=_choice(draft.format, "format", model.formats, model) or model.formats[0],
        variation=read_integer(draft.variation, "variation", 0, VARIATION_END - 1) or 0,
        caller=caller,
    )
    n = read_integer(draft.n, "n", 1, max_n)
    return GenerationRequest(image=image, model=model, n=1 if n is None else n)


def _prompt(value: object, model: Model) -> str:
    if value is None:
        raise _missing_prompt("missing")
    text = read_text(value, "prompt")
    if not text:
        raise _missing_prompt("blank")
    return _bounded(text, "prompt", model)


def _missing_prompt(how: str) -> InvalidRequest:
    return InvalidRequest(
        f"prompt is {how}: say what the picture shows.", field="prompt", missing=True
    )


def _negative_prompt(value: object, model: Model) -> str:
    text = "" if value is None else read_text(value, "negative_prompt")
    if text and not model.negative_prompt:
        raise _unsupported("negative_prompt", model)
    return _bounded(text, "negative_prompt", model)


def _bounded(text: str, field: str, model: Model) -> str:
    if len(text) > model.prompt_max:
        raise InvalidRequest(
            f"{field} has {len(text)} characters; at most {model.prompt_max} are allowed.",
            field=field,
        )
    return text


def _word(value: object, field: str) -> str | None:
    """A name from a list; blank counts as not given."""
    return None if value is None else read_text(value, field) or None


def _choice(value: object, field: str, choices: Sequence[str], model: Model) -> str | None:
    """One of the model's choices in its spelling; the first is the default."""
    word = None if value is None else _word(value, field)
    if word is None:
        return choices[0] if choices else None
    if not choices:
        raise _unsupported(field, model)
    folded = word.casefold()
    folded = FORMAT_NAMES.get(folded, folded)
    for choice in choices:
        if choice.casefold() == folded:
            return choice
    raise InvalidRequest(f"{field} has to be one of: {', '.join(choices)}.", field=field)


def _sides(draft: Draft, model: Model) -> tuple[int, int]:
    width = _side(draft.width, "width", model.width)
    height = _side(draft.height, "height", model.height)
    size = None if draft.size is None else _word(draft.size, "size")
    if size is not None and size.casefold() != "auto":
        match = _SIZE.fullmatch(size)
        if match is None:
            raise InvalidRequest('size has to look like "512x512".', field="size")
        from_size = (
            _side(int(match[1]), "size", model.width),
            _side(int(match[2]), "size", model.height),
        )
        if (width is not None and width != from_size[0]) or (
            height is not None and height != from_size[1]
        ):
            raise InvalidRequest("size and width/height differ; give one of them.", field="size")
        width, height = from_size
    return (
        int(model.width.default) if width is None else width,
        int(model.height.default) if height is None else height,
    )


def _side(value: object, field: str, bounds: Bounds) -> int | None:
    pixels = read_integer(value, field, int(bounds.low), int(bounds.high))
    if pixels is not None and bounds.multiple and pixels % bounds.multiple:
        raise InvalidRequest(
            f"{field} has to be a multiple of {bounds.multiple} for this model.", field=field
        )
    return pixels


def _steps(value: object, model: Model) -> int | None:
    if model.steps is None:
        if value is not None:
            raise _unsupported("steps", model)
        return None
    steps = read_integer(value, "steps", int(model.steps.low), int(model.steps.high))
    return int(model.steps.default) if steps is None else steps


def _guidance(value: object, model: Model) -> float | None:
    bounds = model.guidance
    if bounds is None:
        if value is not None:
            raise _unsupported("guidance", model)
        return None
    if value is None:
        return bounds.default
    number = read_number(value, "guidance")
    if not bounds.low <= number <= bounds.high:
        raise out_of_bounds("guidance", bounds.low, bounds.high)
    return number + 0.0  # -0.0 and 0.0 are one value


def _seed(value: object, model: Model) -> int | None:
    seed = read_integer(value, "seed", 0, SEED_END - 1)
    if seed is not None and not model.seed:
        raise _unsupported("seed", model)
    return seed


def _unsupported(field: str, model: Model) -> InvalidRequest:
    return InvalidRequest(f"{field} is not a parameter of the model {model.id}.", field=field)
