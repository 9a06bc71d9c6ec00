"""Finds who asks in a request."""

from typing import Any

from litestar import Request

from genonce.service.authenticate import Authenticate
from genonce.service.submit import Caller

AnyRequest = Request[Any, Any, Any]


def caller_of(request: AnyRequest, authenticate: Authenticate) -> Caller:
    """The caller: the API key's, else the address's.

    Raises:
        NotAuthenticated: keys are configured, and none of them was sent.
    """
    headers = request.headers
    if authenticate.digests:
        caller = authenticate.by_key(_key(headers.get("authorization"), headers.get("x-api-key")))
        if caller is not None:
            return caller
    return address_of(request, authenticate)


def address_of(request: AnyRequest, authenticate: Authenticate) -> Caller:
    """The caller by address alone, for what needs no key."""
    client = request.scope.get("client")
    peer = client[0] if client else "127.0.0.1"
    return authenticate.by_address(peer, ",".join(request.headers.getall("x-forwarded-for", [])))


def _key(authorization: str | None, api_key: str | None) -> str | None:
    if authorization:
        scheme, _, value = authorization.partition(" ")
        if scheme.casefold() == "bearer":
            return value.strip()
    return api_key
