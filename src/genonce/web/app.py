"""Builds the web application from ready use cases."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from litestar import Litestar, get
from litestar.config.cors import CORSConfig
from litestar.response import Response

from genonce.service.pictures import Pictures
from genonce.web.dialect import Dialect, Services
from genonce.web.dialects.native.surface import NATIVE
from genonce.web.errors import BODY_MAX, error_facts
from genonce.web.files import image_handlers
from genonce.web.messages import language_of
from genonce.web.page import page_handlers
from genonce.web.reading import AnyRequest, headers_of

DIALECTS: tuple[Dialect, ...] = (NATIVE,)
"""The most particular prefixes first."""

EXPOSED_HEADERS = (
    "location",
    "etag",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    "x-cache",
    "x-task-attempt",
    "idempotency-replayed",
    "preference-applied",
    "content-range",
    "accept-ranges",
)


def build_app(
    services: Services,
    pictures: Pictures,
    *,
    cors_origins: Sequence[str],
    on_startup: Sequence[Callable[..., Any]] = (),
    on_shutdown: Sequence[Callable[..., Any]] = (),
) -> Litestar:
    """Build the application.

    Args:
        services: what the dialects stand on.
        pictures: serves image bytes.
        cors_origins: origins of web frontends; none: no CORS headers at all.
    """

    @get("/", media_type="application/json")
    async def root(request: AnyRequest) -> Mapping[str, str]:
        """Where things are."""
        return {
            "name": "genonce",
            "generate": "POST /api/images/generate",
            "docs": "/docs",
            "openapi": "/openapi.json",
            "health": "/api/health",
        }

    return Litestar(
        route_handlers=[
            root,
            *(handler for dialect in DIALECTS for handler in dialect.handlers(services)),
            *image_handlers(pictures, services.authenticate),
            *page_handlers(DIALECTS),
        ],
        openapi_config=None,
        cors_config=_cors(cors_origins),
        exception_handlers={Exception: render_exception},
        request_max_body_size=BODY_MAX,
        on_startup=list(on_startup),
        on_shutdown=list(on_shutdown),
        debug=False,
        logging_config=None,
    )


def render_exception(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Tell a condition in the shape of the surface that was called."""
    path = request.url.path
    query = request.scope["query_string"].decode("latin-1")
    shown_path = f"{path}?{query}" if query else path
    facts = error_facts(error, method=request.method, path=shown_path)
    dialect = next(d for d in DIALECTS if any(path.startswith(prefix) for prefix in d.prefixes))
    shown = dialect.render_error(facts, language_of(headers_of(request)))
    return Response(
        shown.body,
        status_code=shown.status,
        media_type=shown.media_type,
        headers=facts.headers(),
    )


def _cors(origins: Sequence[str]) -> CORSConfig | None:
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=list(EXPOSED_HEADERS),
        max_age=3600,
    )
