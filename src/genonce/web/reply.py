"""Answers as plain ASGI: a body that is encoded already needs nothing more of the framework."""

from collections.abc import AsyncIterator, Mapping

from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import ASGIApp, Receive, Scope, Send

JSON = "application/json"
NO_BODY = frozenset({204, 304})


class Reply:
    """A whole answer.

    Args:
        body: bytes; not sent with 204, 304 and for a HEAD.
        status: HTTP status.
        media_type: of the body.
        headers: names in lower case.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes,
        *,
        status: int = 200,
        media_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ]
        if status not in NO_BODY:
            self.headers.append((b"content-type", media_type.encode()))
            if not headers or "content-length" not in headers:
                self.headers.append((b"content-length", b"%d" % len(body)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def stream_reply(chunks: AsyncIterator[bytes], *, media_type: str) -> ASGIApp:
    """An answer that goes on; its source ends when the client has gone.

    Proxies that buffer would hold events back, so they are asked not to.
    """
    return ASGIStreamingResponse(
        iterator=chunks,
        media_type=media_type,
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )
