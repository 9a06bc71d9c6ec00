"""A bare Litestar handler to measure beside: it parses the body, and answers ready bytes.

`python -m bench.bare PORT` reads a `Specimen` as one line of JSON from its standard input. The
server and its settings are those of `genonce web`.
"""

import os
import sys
from typing import Any

import msgspec
import uvicorn
from litestar import Litestar, Request, get, post
from litestar.response import Response

from genonce import lifeline
from genonce.web.dialects.native.wire import GenerateBody

AnyRequest = Request[Any, Any, Any]
JSON = "application/json"


class Specimen(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the service that is to be given again and again.

    Attributes:
        headers: without those that the server adds by itself.
    """

    status: int
    headers: dict[str, str]
    body: str


def bare_app(specimen: Specimen) -> Litestar:
    """An application that does nothing but HTTP and JSON."""
    body, status = specimen.body.encode(), specimen.status
    decoder = msgspec.json.Decoder(GenerateBody)

    @post("/api/images/generate")
    async def generate(request: AnyRequest) -> Response[bytes]:
        decoder.decode(await request.body())
        return Response(body, status_code=status, headers=specimen.headers, media_type=JSON)

    @get("/api/images/{task_id:str}")
    async def read(request: AnyRequest, task_id: str) -> Response[bytes]:
        return Response(body, status_code=status, headers=specimen.headers, media_type=JSON)

    return Litestar(route_handlers=[generate, read], openapi_config=None)


def _first_line() -> bytes:
    """The first line of standard input, and nothing after it: the lifeline reads the rest."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1) or b"\n"
    return line


def main() -> None:
    """Serve until standard input ends."""
    specimen = msgspec.json.decode(_first_line(), type=Specimen)
    lifeline.end_with_parent()
    uvicorn.run(
        bare_app(specimen),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
