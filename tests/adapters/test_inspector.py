"""Pictures pass, anything else is a failed purchase."""

import asyncio
import io
import time
import zlib

import pytest
from PIL import Image

from genonce.adapters.inspector import MAX_BYTES, PillowInspector
from genonce.domain.errors import ProviderFailed
from genonce.domain.ports import Inspected

pytestmark = pytest.mark.anyio

FORMATS = ("png", "jpeg", "webp")


def picture(image_format: str, *, width: int = 96, height: int = 64, **options: object) -> bytes:
    buffer = io.BytesIO()
    drawn = Image.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    drawn.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that announces a size and has no pixels to speak of."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return len(data).to_bytes(4) + checked + zlib.crc32(checked).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x00\x00\x00\x00"
    pixels = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("image_format", FORMATS)
async def test_a_picture_tells_its_format_and_size(image_format: str) -> None:
    inspected = await PillowInspector().inspect(picture(image_format))
    assert inspected == Inspected(image_format, 96, 64)


@pytest.mark.parametrize(
    ("image_format", "options"), [("jpeg", {"progressive": True}), ("webp", {"lossless": True})]
)
async def test_other_kinds_of_a_format_pass(image_format: str, options: dict[str, bool]) -> None:
    inspected = await PillowInspector().inspect(picture(image_format, **options))
    assert inspected.format == image_format


@pytest.mark.parametrize("image_format", FORMATS)
async def test_a_picture_cut_anywhere_is_refused(image_format: str) -> None:
    whole = picture(image_format, width=48, height=32)
    inspector = PillowInspector()
    for length in range(1, len(whole), 7):
        with pytest.raises(ProviderFailed):
            await inspector.inspect(whole[:length])
    with pytest.raises(ProviderFailed, match=r"broken|cut short"):
        await inspector.inspect(whole[:-1])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"<html>402 Payment Required</html>", "not PNG, JPEG or WebP"),
        (b'{"error": "try later"}', "not PNG, JPEG or WebP"),
        (b"GIF89a" + bytes(100), "not PNG, JPEG or WebP"),
        (b"RIFF\x10\0\0\0WAVE" + bytes(100), "not PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "broken png"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "broken jpeg"),
        (b"RIFF\x64\0\0\0WEBP" + bytes(100), "broken webp"),
    ],
)
async def test_other_bytes_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(ProviderFailed, match=said):
        await PillowInspector().inspect(data)


async def test_a_picture_with_a_changed_byte_is_refused_where_the_format_can_tell() -> None:
    data = bytearray(picture("png"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ProviderFailed, match="broken png"):
        await PillowInspector().inspect(bytes(data))


@pytest.mark.parametrize(("width", "height"), [(8200, 8200), (30000, 30000), (2**31 - 1, 1)])
async def test_a_bomb_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    started = time.monotonic()
    with pytest.raises(ProviderFailed):
        await PillowInspector().inspect(png_of(width, height))
    assert time.monotonic() - started < 1


async def test_more_bytes_than_any_picture_has_are_refused() -> None:
    with pytest.raises(ProviderFailed, match="over 64 MiB"):
        await PillowInspector().inspect(bytes(MAX_BYTES + 1))


async def test_many_at_once_leave_the_loop_free() -> None:
    inspector, data = PillowInspector(), picture("webp", width=1024, height=1024)
    decoding = asyncio.gather(*(inspector.inspect(data) for _ in range(12)))
    longest = 0.0
    while not decoding.done():
        before = time.monotonic()
        await asyncio.sleep(0.001)
        longest = max(longest, time.monotonic() - before)
    assert {(found.width, found.height) for found in await decoding} == {(1024, 1024)}
    assert longest < 0.25
