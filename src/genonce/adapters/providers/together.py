"""Together.ai: up to four pictures a call, answered at once with their bytes.

Follows the official OpenAPI document of April 2026 (docs.together.ai, POST /v1/images/generations)
and the vendor's skill reference of August 2026, both read in November 2026.
"""

import asyncio
import binascii
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from genonce.adapters.guard import host_port
from genonce.adapters.http import UNREADABLE, Guarded, calling, fetch_image, read_body
from genonce.adapters.refusal import refusal
from genonce.domain.catalogue import Bounds, Model
from genonce.domain.errors import ProviderFailed
from genonce.domain.ports import Call, Rendered

BASE_URL = "https://api.together.xyz"
KEY_VARIABLE = "TOGETHER_API_KEY"
CALL_S = 300.0
"""Seconds for a whole call; the client's own limits bound each silence in it."""
# The largest picture, 1920 x 1920 RGBA as incompressible PNG, is 19.7 MB in base64.
PICTURE_BYTES = 24 * 2**20
HEAD_RATIO = 0.9
"""Progress when the answer's head is here: the pictures are made, their bytes are on the way."""


def _model(
    name: str,
    description: str,
    *,
    aliases: tuple[str, ...] = (),
    side: int = 1024,
    steps: Bounds | None = None,
    negative_prompt: bool = False,
    formats: tuple[str, ...] = ("jpeg",),
) -> Model:
    """A model with what the page says of all: sizes, seed, up to four pictures a call."""
    sides = Bounds(low=256, high=1920, default=side, multiple=8)
    return Model(
        id=name,
        provider="together",
        aliases=aliases,
        description=description,
        width=sides,
        height=sides,
        steps=steps,
        negative_prompt=negative_prompt,
        formats=formats,
        images_per_call=4,
    )


_FLUX_2 = ("jpeg", "png")  # the page gives output_format to these alone

# Sizes and steps of the first three are seed 004's defaults, so that its clients get the same.
# Where the page gives no default for a parameter, the model has none here and it is never sent.
MODELS: tuple[Model, ...] = (
    _model(
        "black-forest-labs/FLUX.1-schnell",
        "FLUX.1 [schnell]: fast, good from 4 steps.",
        aliases=("flux-schnell",),
        side=512,
        steps=Bounds(low=1, high=50, default=4),
        negative_prompt=True,
    ),
    _model(
        "black-forest-labs/FLUX.1-schnell-Free",
        "FLUX.1 [schnell], free and slower; may be retired.",
        side=512,
        steps=Bounds(low=1, high=4, default=4),
        negative_prompt=True,
    ),
    _model(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "Stable Diffusion XL 1.0; an older model that may be retired.",
        side=512,
        steps=Bounds(low=1, high=50, default=4),
    ),
    _model("black-forest-labs/FLUX.1.1-pro", "FLUX 1.1 [pro]."),
    _model("black-forest-labs/FLUX.2-pro", "FLUX.2 [pro].", formats=_FLUX_2),
    _model("black-forest-labs/FLUX.2-dev", "FLUX.2 [dev].", formats=_FLUX_2),
    _model("black-forest-labs/FLUX.2-flex", "FLUX.2 [flex].", formats=_FLUX_2),
    _model("ByteDance-Seed/Seedream-3.0", "Seedream 3.0."),
    _model("ByteDance-Seed/Seedream-4.0", "Seedream 4.0."),
    _model("Qwen/Qwen-Image", "Qwen-Image."),
    _model("ideogram/ideogram-3.0", "Ideogram 3.0."),
    _model("HiDream-ai/HiDream-I1-Full", "HiDream-I1 Full."),
    _model("HiDream-ai/HiDream-I1-Dev", "HiDream-I1 Dev."),
    _model("HiDream-ai/HiDream-I1-Fast", "HiDream-I1 Fast."),
    _model("google/imagen-4.0-preview", "Imagen 4.0."),
    _model("google/imagen-4.0-fast", "Imagen 4.0 Fast."),
    _model("google/imagen-4.0-ultra", "Imagen 4.0 Ultra."),
    _model("google/flash-image-2.5", "Gemini 2.5 Flash Image."),
    _model("google/gemini-3-pro-image", "Gemini 3 Pro Image."),
    _model("Lykon/DreamShaper", "DreamShaper."),
    _model("stabilityai/stable-diffusion-3-medium", "Stable Diffusion 3 Medium."),
)


class _Body(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Request body."""

    model: str
    prompt: str
    width: int
    height: int
    n: int
    response_format: str
    steps: int | None = None
    seed: int | None = None
    negative_prompt: str = ""
    output_format: str | None = None


class _Item(msgspec.Struct):
    """One picture of an answer; typed loosely, so that one odd item does not spoil the others."""

    index: object = None
    url: object = None
    b64_json: object = None


class _Answer(msgspec.Struct):
    data: list[_Item | None]
    id: object = None


class Together:
    """Together.ai as a provider.

    Attributes:
        name: as in the catalogue.
        is_free: False; a call repeated is paid again, and there is no key to look one up by.
    """

    name: str = "together"
    is_free: bool = False

    def __init__(self, client: Guarded, *, api_key: str, base_url: str = BASE_URL) -> None:
        """Use and own ``client``; ``base_url`` is the address without "/v1"."""
        self._client = client
        self._api_key = api_key
        self._url = f"{base_url.rstrip('/').removesuffix('/v1')}/v1/images/generations"
        self._own_hosts = (host_port(base_url),)

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def make(
        self, call: Call, on_progress: Callable[[int, float], None]
    ) -> AsyncIterator[Rendered]:
        """Make the pictures in one call; see `genonce.domain.ports.Provider`."""
        answer = await self._ask(call, on_progress)
        places = _places([item for item in answer.data if item], n=len(call.indexes))
        pictures = await asyncio.gather(*(self._picture(item) for _, item in places))
        failure = ""
        given = 0
        for (place, _), picture in zip(places, pictures, strict=True):
            if isinstance(picture, ProviderFailed):
                failure = failure or f" {picture}"
                continue
            given += 1
            yield Rendered(
                index=call.indexes[place],
                data=picture,
                # What the service makes of one seed for its further pictures is not documented.
                seed=call.seeds[0] if place == 0 else None,
                provider_request_id=answer.id if isinstance(answer.id, str) else None,
                cost_usd=call.model.price_usd,
            )
        if given < len(call.indexes):
            message = f"Together gave {given} of {len(call.indexes)} pictures.{failure}"
            raise ProviderFailed(message)

    async def _ask(self, call: Call, on_progress: Callable[[int, float], None]) -> _Answer:
        headers = {
            # As bytes, since httpx raises for other text than ASCII: let the service refuse it.
            b"Authorization": f"Bearer {self._api_key}".encode(),
            b"Content-Type": b"application/json",
            b"Accept": b"application/json",
        }
        content = msgspec.json.encode(_body(call))
        with calling("Together"):
            async with (
                asyncio.timeout(CALL_S),
                self._client.stream("POST", self._url, headers=headers, content=content) as answer,
            ):
                if not answer.is_success:
                    raise await refusal(
                        answer,
                        provider="Together",
                        key_variable=KEY_VARIABLE,
                        secrets=(self._api_key,),
                    )
                for index in call.indexes:
                    on_progress(index, HEAD_RATIO)
                body = await read_body(answer, max_bytes=PICTURE_BYTES * len(call.indexes))
        try:
            return msgspec.json.decode(body, type=_Answer)
        except UNREADABLE as error:
            raise ProviderFailed("Together's answer cannot be read.") from error

    async def _picture(self, item: _Item) -> bytes | ProviderFailed:
        """The bytes of one item, or why there are none."""
        try:
            if isinstance(item.b64_json, str) and item.b64_json:
                return binascii.a2b_base64(item.b64_json, strict_mode=True)
            if isinstance(item.url, str):
                return await fetch_image(self._client, item.url, own_hosts=self._own_hosts)
        except ProviderFailed as failure:
            return failure
        except ValueError:
            return ProviderFailed("A picture's base64 is broken.")
        return ProviderFailed("A picture came without bytes or address.")


def _body(call: Call) -> _Body:
    request, model = call.request, call.model
    return _Body(
        model=model.id,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        steps=request.steps,
        seed=call.seeds[0],
        n=len(call.indexes),
        response_format="base64",  # an address expires, at a time that nobody documents
        output_format=request.format if len(model.formats) > 1 else None,
    )


def _places(items: Sequence[_Item], *, n: int) -> list[tuple[int, _Item]]:
    """Which of the ``n`` pictures each item is: by its index, or by order if indexes do not say."""
    numbers = [item.index for item in items if isinstance(item.index, int)]
    if len(set(numbers)) == len(items) and all(0 <= number < n for number in numbers):
        return sorted(zip(numbers, items, strict=True), key=lambda pair: pair[0])
    ordered = sorted(items, key=lambda item: item.index if isinstance(item.index, int) else n)
    return list(zip(range(n), ordered, strict=False))
