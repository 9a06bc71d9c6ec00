"""Calls of Together as its tests make them."""

import asyncio
import io
from contextlib import aclosing

from PIL import Image

from genonce.adapters.guard import host_port
from genonce.adapters.http import open_client
from genonce.adapters.providers.together import MODELS, Together
from genonce.domain.catalogue import catalogue_of
from genonce.domain.identity import SeriesId
from genonce.domain.ports import Call, Rendered
from genonce.domain.request import Draft, canonicalise
from tests.standins.process import StandIn

KEY = "tgp_v1_Zq3kfT9wXyLmNopQrStUvWx"
CATALOGUE = catalogue_of(MODELS, default="flux-schnell", missing={})


def closing_provider(url: str, *, key: str = KEY, read_s: float = 5.0) -> aclosing[Together]:
    client = open_client(own_hosts=[host_port(url)], connect_s=1.0, read_s=read_s)
    return aclosing(Together(client, api_key=key, base_url=url))


def call(
    prompt: str,
    *,
    indexes: tuple[int, ...] = (0,),
    seeds: tuple[int | None, ...] | None = None,
    **draft: object,
) -> Call:
    wanted = canonicalise(Draft(prompt=prompt, **draft), CATALOGUE, max_n=10)
    return Call(
        request=wanted.image,
        model=wanted.model,
        series=SeriesId("0" * 32),
        indexes=indexes,
        seeds=seeds or tuple(100 + index for index in indexes),
    )


async def made(
    together: Together, asked: Call, got: list[Rendered] | None = None
) -> list[Rendered]:
    """The pictures; ``got`` has those before a failure too."""
    pictures = [] if got is None else got
    async for picture in together.make(asked, lambda index, ratio: None):
        pictures.append(picture)
    return pictures


async def accepted(service: StandIn) -> None:
    """Wait until the service has accepted a call; it is another process, so we have to ask."""
    async with asyncio.timeout(5):
        while not service.stats()["accepted"]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def opened(data: bytes) -> tuple[str | None, tuple[int, int]]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.format, image.size
