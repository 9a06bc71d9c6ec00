"""One table from conditions to statuses, and what every dialect needs to render one."""

import math
from collections.abc import Mapping

import msgspec
import structlog
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from genonce.domain.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    GenonceError,
    IdentityConflict,
    ImageNotFound,
    InvalidRequest,
    KeyConflict,
    LimitExceeded,
    MethodNotAllowed,
    NotAccepted,
    NotAllowed,
    NotAuthenticated,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    RequestError,
    RouteNotFound,
    StoreUnavailable,
    TaskNotFound,
    UnknownModel,
    UnsupportedMediaType,
)
from genonce.domain.quota import Limit

STATUSES: Mapping[type[GenonceError], int] = {
    GenonceError: 500,
    RequestError: 400,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    RouteNotFound: 404,
    MethodNotAllowed: 405,
    UnknownModel: 404,
    NotAuthenticated: 401,
    NotAllowed: 403,
    TaskNotFound: 404,
    ImageNotFound: 404,
    KeyConflict: 422,
    IdentityConflict: 409,
    LimitExceeded: 429,
    ProviderError: 502,
    NotAccepted: 503,
    ProviderRejected: 422,
    ProviderMisconfigured: 500,
    DeadlineExceeded: 504,
    StoreUnavailable: 503,
}
"""By class; a class that is not here has the status of its nearest base."""

BODY_MAX = 1 << 20
"""Bytes."""

log = structlog.get_logger()


class ErrorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A condition as HTTP tells it; a dialect gives it its shape."""

    status: int
    code: str
    message: str
    field: str = ""
    facts: Mapping[str, object]
    retry_after_s: float | None = None

    def headers(self) -> dict[str, str]:
        """Headers that every dialect sends."""
        headers: dict[str, str] = {}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        limit = self.facts.get("limit")
        if isinstance(limit, Limit):
            meter = self.facts["meter"]
            headers["ratelimit-policy"] = f'"{meter}";q={limit.amount};w={limit.window_s}'
            headers["ratelimit"] = f'"{meter}";r=0;t={math.ceil(self.retry_after_s or 0)}'
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if allow := self.facts.get("allow"):
            headers["allow"] = str(allow)
        return headers


def status_of(error: type[GenonceError]) -> int:
    """HTTP status of a condition."""
    return next(STATUSES[base] for base in error.__mro__ if base in STATUSES)


def error_facts(error: Exception, *, method: str, path: str) -> ErrorFacts:
    """Facts of anything that a handler raised; what is unknown becomes 500 with a log id."""
    known = error if isinstance(error, GenonceError) else _known(error, method, path)
    if known is None:
        log_id = f"{id(error):x}"
        log.error("request_broke", method=method, path=path, log_id=log_id, exc_info=error)
        known = GenonceError(f"Something broke in the service; its log has it under {log_id}.")
    return ErrorFacts(
        status=status_of(type(known)),
        code=known.code,
        message=str(known),
        field=known.field if isinstance(known, InvalidRequest) else "",
        facts=known.facts,
        retry_after_s=getattr(known, "retry_after_s", None),
    )


def _known(error: Exception, method: str, path: str) -> GenonceError | None:
    """The framework's own refusals, as ours."""
    match error:
        case RequestEntityTooLarge():
            return BodyTooLarge(f"The body is over {BODY_MAX} bytes.")
        case MethodNotAllowedException():
            allow = (error.headers or {}).get("allow", "")
            return MethodNotAllowed(
                f"{method} is not allowed for this path.", allow=allow, method=method
            )
        case NotFoundException():
            return RouteNotFound(f"No such path: {path}", path=path)
        case ClientException() | HTTPException() if error.status_code < 500:
            return InvalidRequest("The request could not be read.")
        case _:
            return None
