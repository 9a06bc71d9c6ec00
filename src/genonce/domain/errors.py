"""Every condition that genonce reports, with a stable code; statuses are `web/errors.py`'s.

GenonceError
  RequestError            the caller can mend it
    InvalidRequest          a field or header is wrong; names the field
    UnknownModel            no such model; names those there are
    NotAuthenticated        no key, or one that is not ours
    NotAllowed              the key may not do this
    TaskNotFound            no such task, or not the caller's
    ImageNotFound           no such stored image
    KeyConflict             the Idempotency-Key came before with another request
    IdentityConflict        two different requests with one fingerprint
  LimitExceeded           come back after `retry_after_s`
  ProviderError           the image maker
    NotAccepted             nothing was bought; may be tried again
      ProviderUnavailable     connection refused, overloaded
      ProviderLimited         429; `retry_after_s` where the provider says it
    ProviderFailed          accepted, then failed: a purchase without a picture
    OutcomeUnknown          the line was cut after the request was sent
    ProviderRejected        refused content or parameters; final
    ProviderMisconfigured   key, credit or permission; final, the operator's to mend
  DeadlineExceeded        the job's time is over
  StoreUnavailable        Redis does not answer
    ImagesUnavailable       the image store does not answer, is full or read-only
  ConfigError             at start-up only; names the variable
"""

from collections.abc import Mapping
from typing import ClassVar


class GenonceError(Exception):
    """Base of all conditions; ``str()`` is fit for the caller: no secret, path or upstream body.

    Attributes:
        code: stable word for programs, listed in docs/errors.md.
        facts: values of the message, for translations of it.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts: Mapping[str, object] = facts


class RequestError(GenonceError):
    """The caller can mend it."""

    code = "invalid_request"


class InvalidRequest(RequestError):
    """A field, header or body is wrong; ``field`` names it ("" for the body as a whole)."""

    code = "invalid_request"

    def __init__(self, message: str, *, field: str = "", **facts: object) -> None:
        super().__init__(message, field=field, **facts)
        self.field = field


class MalformedBody(InvalidRequest):
    """The body is not JSON, or not a JSON object."""

    code = "malformed_body"


class BodyTooLarge(RequestError):
    """The body is over the limit of bytes."""

    code = "body_too_large"


class UnsupportedMediaType(RequestError):
    """The body's content type is not one that the route reads."""

    code = "unsupported_media_type"


class RouteNotFound(RequestError):
    """No such path on this service."""

    code = "route_not_found"


class MethodNotAllowed(RequestError):
    """The path exists, the method does not."""

    code = "method_not_allowed"


class UnknownModel(RequestError):
    """No such model; the message names those there are."""

    code = "unknown_model"


class NotAuthenticated(RequestError):
    """No key was given, or one that is not ours."""

    code = "not_authenticated"


class NotAllowed(RequestError):
    """The caller may not do this."""

    code = "not_allowed"


class TaskNotFound(RequestError):
    """No such task, it has expired, or it is another caller's."""

    code = "not_found"


class ImageNotFound(RequestError):
    """No such stored image."""

    code = "image_not_found"


class KeyConflict(RequestError):
    """The Idempotency-Key was used before with another request."""

    code = "idempotency_key_conflict"


class IdentityConflict(RequestError):
    """Another request has the same MD5; its SHA-256 differs, so nothing is shared."""

    code = "identity_conflict"


class LimitExceeded(GenonceError):
    """A limit is used up; ``retry_after_s`` seconds from now one unit is free again."""

    code = "rate_limited"

    def __init__(
        self, message: str, *, retry_after_s: float, meter: str, limit: object = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, meter=meter, limit=limit)
        self.retry_after_s = retry_after_s
        self.meter = meter


class ProviderError(GenonceError):
    """The image maker failed us; subclasses say what that means for the money."""

    code = "provider_error"


class NotAccepted(ProviderError):
    """Nothing was bought; the same call may be made again."""

    code = "provider_unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ProviderUnavailable(NotAccepted):
    """Connection refused, name not resolved, overloaded before acceptance."""

    code = "provider_unavailable"


class ProviderLimited(NotAccepted):
    """429: every worker lets the provider rest."""

    code = "provider_limited"


class ProviderFailed(ProviderError):
    """The call was accepted and gave no usable picture; it counts as a purchase."""

    code = "provider_failed"


class OutcomeUnknown(ProviderError):
    """The request was sent and no answer came: perhaps bought, perhaps not."""

    code = "outcome_unknown"


class ProviderRejected(ProviderError):
    """The provider refuses these parameters or this content; trying again changes nothing."""

    code = "provider_rejected"


class ProviderMisconfigured(ProviderError):
    """Key missing or wrong, no credit, no permission: the operator has to act."""

    code = "provider_misconfigured"


class DeadlineExceeded(GenonceError):
    """The job ran out of its time before all pictures were there."""

    code = "deadline_exceeded"


class StoreUnavailable(GenonceError):
    """Redis does not answer; the same request, sent again, finds what the first one did."""

    code = "store_unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.retry_after_s = retry_after_s


class ImagesUnavailable(StoreUnavailable):
    """The image store does not answer, is full or read-only."""

    code = "images_unavailable"


class ConfigError(GenonceError):
    """A setting is missing or wrong; names the variable and the remedy."""

    code = "config_error"
