"""Calls to providers: one guarded client, its failures as domain errors, pictures fetched safely.

Written against httpx 0.28, httpx-aiohttp 0.2 and aiohttp 3.14, whose sources were read.
"""

import asyncio
import logging
import random
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import NewType

import aiohttp
import httpx
import msgspec
from aiohttp.abc import AbstractResolver
from httpx_aiohttp import AiohttpTransport

from genonce.adapters.guard import AddressRefused, Guard, host_port
from genonce.domain.errors import OutcomeUnknown, ProviderError, ProviderFailed, ProviderUnavailable

Guarded = NewType("Guarded", httpx.AsyncClient)
"""A client of `open_client`: the only kind that may fetch what a provider points at."""

CONNECT_S = 10.0
READ_S = 120.0
POOL_S = 30.0  # a place in the pool, the name look-up and the connection together
KEEPALIVE_S = 5.0  # short: a line that the peer is just closing loses the request sent on it
MAX_CONNECTIONS = 100
PICTURE_BYTES = 32 * 2**20
PICTURE_S = 60.0
PICTURE_TRIES = 3
PICTURE_REDIRECTS = 3

FAILURES = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, UnicodeError)
"""What a call can raise: the transport leaves some of aiohttp's as they are, and httpx leaves
idna's, which are UnicodeErrors, when a host name is none."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a body that is not the JSON that was expected: more than its own."""

_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
_NEVER_SENT_OTHERS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    UnicodeError,
)


class _NotFetched(OSError):
    """A picture's answer that may be better next time."""


def open_client(
    *,
    own_hosts: Collection[str] = (),
    connect_s: float = CONNECT_S,
    read_s: float = READ_S,
    max_connections: int = MAX_CONNECTIONS,
    resolver: AbstractResolver | None = None,
) -> Guarded:
    """Open a client that reaches public addresses, and ``own_hosts`` wherever they are.

    It follows no redirects, keeps no cookies, reads no environment and never sends a POST twice.

    Args:
        own_hosts: "host:port" of configured services (see `host_port`); they may be private.
        connect_s: seconds for one connection attempt, TLS included.
        read_s: seconds without a byte from the peer.
        resolver: finds addresses of names; by default the system's.
    """
    # At INFO httpx writes every address to the log, and those of pictures are bearer tokens.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    tls = httpx.create_ssl_context(trust_env=False)

    def session() -> aiohttp.ClientSession:
        guard = Guard(resolver or aiohttp.ThreadedResolver(), frozenset(own_hosts))
        connector = aiohttp.TCPConnector(
            resolver=guard,
            socket_factory=guard.open_socket,
            ssl=tls,
            limit=max_connections,
            keepalive_timeout=KEEPALIVE_S,
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    return Guarded(
        httpx.AsyncClient(
            transport=AiohttpTransport(client=session, verify=tls, trust_env=False),
            timeout=httpx.Timeout(read_s, connect=connect_s, pool=POOL_S),
            headers={
                "User-Agent": f"genonce/{version('genonce')}",
                "Accept-Encoding": "identity",  # see read_body
            },
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            trust_env=False,
        )
    )


@contextmanager
def calling(provider: str) -> Iterator[None]:
    """Raise failures of the line as what they mean for the money.

    Args:
        provider: its name, for the message.

    Raises:
        ProviderUnavailable: the request was never sent.
        OutcomeUnknown: it was sent, or may have been.
    """
    try:
        yield
    except FAILURES as error:
        raise line_failure(error, provider=provider) from error


def line_failure(error: Exception, *, provider: str) -> ProviderError:
    """The domain error of a failure of the line; `calling` raises it."""
    # The transport calls every aiohttp.ClientConnectionError a ConnectTimeout, also a line that
    # was cut after the request was sent: only aiohttp's own class tells the two apart.
    cause = next((e for e in _causes(error) if isinstance(e, aiohttp.ClientError)), None)
    if isinstance(cause, _NEVER_SENT) or (cause is None and isinstance(error, _NEVER_SENT_OTHERS)):
        return ProviderUnavailable(f"{provider} cannot be reached.")
    return OutcomeUnknown(f"The line to {provider} failed after the request was sent.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


async def read_body(response: httpx.Response, *, max_bytes: int) -> bytes:
    """Read a streamed body, unpacked, up to a size.

    We ask for plain bodies; one that comes packed all the same is unpacked here, because
    httpx unpacks whatever came in one piece before anybody can count it.

    Raises:
        ProviderFailed: larger than ``max_bytes``, or not unpackable.
    """
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > max_bytes:
            raise ProviderFailed("The provider's answer is too large.")
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    return bytes(body) if packing in ("", "identity") else _unpacked(body, max_bytes)


def _unpacked(body: bytes | bytearray, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=47)  # gzip or zlib, as its head says
    try:
        plain = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ProviderFailed("The provider's answer cannot be unpacked.") from error
    if len(plain) > max_bytes:
        raise ProviderFailed("The provider's answer is too large.")
    if not unpacker.eof:
        raise ProviderFailed("The provider's answer cannot be unpacked.")
    return plain


async def fetch_image(
    client: Guarded,
    url: str,
    *,
    own_hosts: Collection[str],
    max_bytes: int = PICTURE_BYTES,
    backoff_s: float = 0.25,
) -> bytes:
    """Fetch a picture from where a provider says it is; no credentials go there.

    Args:
        client: its guard refuses addresses that are not public.
        own_hosts: "host:port" of the provider as configured; only these may be plain http.
        max_bytes: of the picture.
        backoff_s: seconds before the second try at most; doubles for the third.

    Raises:
        ProviderFailed: it could not be fetched, or is too large.
    """
    for attempt in range(PICTURE_TRIES):
        if attempt:
            await asyncio.sleep(random.uniform(0, backoff_s * 2 ** (attempt - 1)))
        try:
            async with asyncio.timeout(PICTURE_S):
                return await _follow(client, url, own_hosts, max_bytes)
        except FAILURES as error:
            if any(isinstance(cause, AddressRefused) for cause in _causes(error)):
                break
    # Raised outside of the handler: the causes' texts hold the address, which may be a token.
    raise ProviderFailed("The picture could not be fetched.")


async def _follow(client: Guarded, url: str, own_hosts: Collection[str], max_bytes: int) -> bytes:
    """GET, and up to three redirects, each hop checked as the first."""
    hop = httpx.URL(url)
    for _ in range(1 + PICTURE_REDIRECTS):
        schemes = ("https", "http") if host_port(hop) in own_hosts else ("https",)
        if hop.scheme not in schemes or hop.userinfo:
            raise AddressRefused("not an address to fetch from")
        async with client.stream("GET", hop, headers={"Accept": "image/*"}) as response:
            if not response.has_redirect_location:
                return await _picture(response, max_bytes)
            hop = hop.join(response.headers["location"])
    raise AddressRefused("too many redirects")


async def _picture(response: httpx.Response, max_bytes: int) -> bytes:
    body = await read_body(response, max_bytes=max_bytes) if response.status_code == 200 else b""
    if not body:
        raise _NotFetched
    return body
