"""Tells pictures from other bytes, by decoding them in full (Pillow); for the worker only."""

import asyncio
import io
import os
import struct
import zlib
from dataclasses import dataclass, field

from PIL import Image

from genonce.domain.errors import ProviderFailed
from genonce.domain.ports import Inspected

MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 64 * 1024 * 1024
"""8192 x 8192; decoded that is 256 MiB."""
PNG_MAGIC, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
JPEG_MAGIC = b"\xff\xd8\xff"
# What Pillow's decoders raise on bytes that only look like a picture.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True, slots=True)
class PillowInspector:
    """Inspector on Pillow.

    Decoding keeps a core busy, so no more of it runs at once than there are cores: the threads that
    asyncio shares stay free for files and names, and the memory of large pictures stays bounded.
    """

    _turns: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(os.cpu_count() or 1), repr=False
    )

    async def inspect(self, data: bytes) -> Inspected:
        """Decode the picture in full.

        Args:
            data: up to 64 MiB, of up to 64 Mi pixels.

        Raises:
            ProviderFailed: empty, too large, not PNG, JPEG or WebP, cut short, or not decodable.
        """
        if not data:
            raise ProviderFailed("The provider sent an empty picture.")
        if len(data) > MAX_BYTES:
            raise ProviderFailed(f"The provider sent a picture of over {MAX_BYTES >> 20} MiB.")
        image_format = _format_of(data)
        if image_format is None:
            raise ProviderFailed("The provider sent bytes that are not PNG, JPEG or WebP.")
        async with self._turns:
            return await asyncio.to_thread(_decode, data, image_format)


def _format_of(data: bytes) -> str | None:
    """The format that the first bytes announce: png, jpeg, webp or None."""
    if data.startswith(PNG_MAGIC):
        return "png"
    if data.startswith(JPEG_MAGIC):
        return "jpeg"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _decode(data: bytes, image_format: str) -> Inspected:
    try:
        with Image.open(io.BytesIO(data), formats=[image_format]) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ProviderFailed(f"The provider sent {width} x {height} pixels: too many.")
            image.load()
    except _BROKEN as error:
        raise ProviderFailed(f"The provider sent a broken {image_format} picture.") from error
    # Pillow takes a PNG without its last chunk; it was cut all the same.
    if image_format == "png" and PNG_END not in data:
        raise ProviderFailed("The provider sent a png picture that is cut short.")
    return Inspected(image_format, width, height)
