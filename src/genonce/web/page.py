"""/openapi.json, and /docs that works with no internet."""

from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable

import msgspec
from litestar import get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from genonce import __version__
from genonce.web.dialect import Dialect
from genonce.web.openapi import openapi_document
from genonce.web.reading import AnyRequest
from genonce.web.reply import Reply

_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
_FOLDER = resources.files("genonce.web") / "assets"


def page_handlers(dialects: Sequence[Dialect]) -> Sequence[HTTPRouteHandler]:
    """Routes of the documentation."""
    document = msgspec.json.encode(
        openapi_document(
            [dialect.paths for dialect in dialects],
            [schema for dialect in dialects for schema in dialect.schemas],
            version=__version__,
        )
    )

    @get("/openapi.json")
    async def openapi() -> ASGIApp:
        """The OpenAPI document."""
        return Reply(document)

    @get("/docs")
    async def docs() -> ASGIApp:
        """The documentation page."""
        return _file(_FOLDER / "docs.html", "text/html; charset=utf-8")

    @get("/docs/{name:str}")
    async def asset(request: AnyRequest) -> ASGIApp:
        """A file of the documentation page."""
        name = request.path_params["name"]
        if name not in _ASSETS:
            raise NotFoundException()
        return _file(_FOLDER / "swagger-ui" / name, _ASSETS[name])

    return (openapi, docs, asset)


def _file(file: Traversable, media_type: str) -> ASGIApp:
    return Reply(
        file.read_bytes(),
        media_type=media_type,
        headers={"cache-control": "public, max-age=3600"},
    )
