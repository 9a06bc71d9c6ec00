"""Finds who asks in a request."""

from genonce.service.authenticate import Authenticate
from genonce.service.submit import Caller
from genonce.web.reading import AnyRequest, Headers, field


def caller_of(request: AnyRequest, headers: Headers, authenticate: Authenticate) -> Caller:
    """The caller: the API key's, else the address's.

    Raises:
        NotAuthenticated: keys are configured, and none of them was sent.
    """
    if authenticate.digests:
        caller = authenticate.by_key(_key(headers))
        if caller is not None:
            return caller
    return address_of(request, authenticate)


def address_of(request: AnyRequest, authenticate: Authenticate) -> Caller:
    """The caller by address alone, for what needs no key."""
    client = request.scope.get("client")
    peer = client[0] if client else "127.0.0.1"
    forwarded = [value for name, value in request.scope["headers"] if name == b"x-forwarded-for"]
    return authenticate.by_address(peer, b",".join(forwarded).decode("latin-1"))


def _key(headers: Headers) -> str | None:
    scheme, _, value = (field(headers, b"authorization") or "").partition(" ")
    if scheme.casefold() == "bearer":
        return value.strip()
    return field(headers, b"x-api-key")
