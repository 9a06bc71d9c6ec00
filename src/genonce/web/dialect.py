"""What an inbound surface is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litestar.handlers import HTTPRouteHandler

from genonce.domain.catalogue import Catalogue
from genonce.service.authenticate import Authenticate
from genonce.service.follow import Follow
from genonce.service.health import CheckHealth
from genonce.service.plan import Plan
from genonce.service.submit import Submit
from genonce.web.errors import ErrorFacts
from genonce.web.messages import Language


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that dialects stand on, and what the web process knows of itself."""

    submit: Submit
    follow: Follow
    plan: Plan
    health: CheckHealth
    authenticate: Authenticate
    catalogue: Catalogue
    public_url: str
    """Address of this service for clients; "" to take it from each request."""
    wait_limit_s: int


@dataclass(frozen=True, slots=True)
class Rendering:
    """A condition in a dialect's shape."""

    status: int
    body: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """One inbound surface.

    Attributes:
        prefixes: beginnings of the paths whose errors it renders.
        handlers: makes the route handlers.
        render_error: gives facts the surface's status and body.
        paths: the OpenAPI description of its routes, by path and method.
        schemas: the types that ``paths`` refers to.
    """

    prefixes: tuple[str, ...]
    handlers: Callable[[Services], Sequence[HTTPRouteHandler]]
    render_error: Callable[[ErrorFacts, Language], Rendering]
    paths: Mapping[str, Mapping[str, Any]]
    schemas: tuple[type, ...]
