"""GET and HEAD of image bytes: immutable, with ranges; served while Redis is away."""

import re
from collections.abc import Sequence

from litestar import HttpMethod, route
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from genonce.domain.errors import ImageNotFound
from genonce.domain.series import MEDIA_TYPES, ImageKey, read_image_key
from genonce.service.authenticate import Authenticate
from genonce.service.pictures import Picture, Pictures
from genonce.web.auth import address_of
from genonce.web.reading import AnyRequest, Headers, field, headers_of
from genonce.web.reply import Reply

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


def image_handlers(pictures: Pictures, authenticate: Authenticate) -> Sequence[HTTPRouteHandler]:
    """Routes of image bytes."""

    @route("/images/{image_key:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
    async def image(request: AnyRequest) -> ASGIApp:
        """A picture's bytes."""
        image_key = request.path_params["image_key"]
        parts = read_image_key(image_key)
        if parts is None:
            raise ImageNotFound("No such image.")
        caller = address_of(request, authenticate)
        found = await pictures.open(ImageKey(image_key), parts, caller)
        return await _answer(request, found)

    return (image,)


async def _answer(request: AnyRequest, found: Picture) -> ASGIApp:
    tag = f'"{found.parts.sha256}"'
    headers = {
        "etag": tag,
        "cache-control": "public, max-age=31536000, immutable",
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
    }
    media_type = MEDIA_TYPES[found.parts.format]
    sent = headers_of(request)
    if tag.encode() in sent.get(b"if-none-match", b""):
        return Reply(b"", status=304, headers=headers, media_type=media_type)
    asked = _asked_range(sent, tag, found.size)
    if request.method == "HEAD":
        headers["content-length"] = str(found.size)
        return Reply(b"", status=200, headers=headers, media_type=media_type)
    if asked is None:
        data = await found.read(0, found.size)
        return Reply(data, status=200, headers=headers, media_type=media_type)
    start, end = asked
    if start >= end:
        headers["content-range"] = f"bytes */{found.size}"
        return Reply(b"", status=416, headers=headers, media_type=media_type)
    headers["content-range"] = f"bytes {start}-{end - 1}/{found.size}"
    data = await found.read(start, end)
    return Reply(data, status=206, headers=headers, media_type=media_type)


def _asked_range(headers: Headers, tag: str, size: int) -> tuple[int, int] | None:
    """First byte and end (exclusive) of a single range; empty where it lies outside.

    None for anything else than one well-formed range: then the whole is sent, as RFC 9110 allows.
    """
    match = _RANGE.fullmatch(field(headers, b"range") or "")
    if match is None or (field(headers, b"if-range") or tag) != tag:
        return None
    first, last = match[1], match[2]
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size
