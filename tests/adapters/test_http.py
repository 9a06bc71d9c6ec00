"""The client for providers: what a failure means, and that nothing is sent or read too much."""

import asyncio
import gzip
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import aiohttp
import httpx
import pytest

from genonce.adapters.http import Guarded, calling, open_client, read_body
from genonce.domain.errors import OutcomeUnknown, ProviderFailed, ProviderUnavailable
from tests.adapters.raw_server import CUT, HANG, Names, RawServer, http, raw_server

pytestmark = pytest.mark.anyio

SECRET = "tgp_v1_abcdefghijklmnop"


@asynccontextmanager
async def client_for(server: RawServer | str, **options: Any) -> AsyncIterator[Guarded]:
    """A client for which the server is the provider's own."""
    place = server if isinstance(server, str) else server.place
    client = open_client(own_hosts=[place], **options)
    try:
        yield client
    finally:
        await client.aclose()


async def buy(client: Guarded, url: str, **options: Any) -> bytes:
    """A purchase as the providers make it."""
    headers = {"Authorization": f"Bearer {SECRET}"}
    with calling("Maker"):
        async with client.stream(
            "POST", url, headers=headers, content=b'{"n":1}', **options
        ) as answer:
            return await read_body(answer, max_bytes=100_000)


async def test_a_request_says_who_we_are_and_keeps_no_cookie() -> None:
    answer = http(b"ok", head="Set-Cookie: a=b; Path=/\r\n")
    async with raw_server(answer) as server, client_for(server) as client:
        assert await buy(client, server.url + "/v1") == b"ok"
        await buy(client, server.url + "/v1")
    head = server.requests[1].lower()
    assert b"user-agent: genonce/" in head
    assert b"accept-encoding: identity" in head
    assert b"cookie" not in head
    assert head.endswith(b'{"n":1}')
    assert server.connections == 1


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with raw_server(http(b"ok")) as server, client_for(server) as client:
        assert await buy(client, server.url) == b"ok"


async def test_redirects_of_a_purchase_are_not_followed() -> None:
    moved = http(status="307 Moved", head="Location: /else\r\n")
    async with raw_server(moved) as server, client_for(server) as client:
        await buy(client, server.url)
    assert len(server.requests) == 1


def unused_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_connection_refused_means_not_accepted() -> None:
    place = f"127.0.0.1:{unused_port()}"
    async with client_for(place) as client:
        with pytest.raises(ProviderUnavailable):
            await buy(client, f"http://{place}")


@pytest.mark.parametrize("host", ["nowhere.example", "127.1"])
async def test_a_name_without_address_means_not_accepted(host: str) -> None:
    async with client_for("own.example:80", resolver=Names()) as client:
        with pytest.raises(ProviderUnavailable):
            await buy(client, f"http://{host}/")


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "xn--a"])
async def test_a_name_that_cannot_be_one_means_not_accepted(host: str) -> None:
    """The system's resolver and httpx say UnicodeError to these, before they ask anybody."""
    async with client_for("own.example:80") as client:
        with pytest.raises(ProviderUnavailable):
            await buy(client, f"http://{host}/")


async def test_a_connection_that_is_never_made_means_not_accepted() -> None:
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        # A full backlog: the next handshake gets no answer at all.
        filled = [socket.socket() for _ in range(4)]
        for one in filled:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        async with client_for(f"127.0.0.1:{port}", connect_s=0.2) as client:
            with pytest.raises(ProviderUnavailable):
                await buy(client, f"http://127.0.0.1:{port}")
        for one in filled:
            one.close()


async def test_waiting_in_vain_for_a_place_in_the_pool_means_not_accepted() -> None:
    async with (
        raw_server([HANG]) as server,
        client_for(server, max_connections=1) as client,
        asyncio.TaskGroup() as tasks,
    ):
        first = tasks.create_task(buy(client, server.url))
        await server.asked.wait()
        with pytest.raises(ProviderUnavailable):
            await buy(client, server.url, timeout=httpx.Timeout(5, pool=0.05))
        first.cancel()
    assert len(server.requests) == 1


CUT_LINES = {
    "after the request": [CUT],
    "in the head": [b"HTTP/1.1 200 O", CUT],
    "in the body": [http(b"x" * 500)[:-100], CUT],
    "silence": [HANG],
    "silence in the body": [http(b"x" * 500)[:-100], HANG],
    "not HTTP": [b"SSH-2.0-OpenSSH\r\n\r\n"],
    "half a chunk": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc", CUT],
}


@pytest.mark.parametrize("script", CUT_LINES.values(), ids=CUT_LINES)
async def test_a_line_lost_after_sending_is_an_unknown_outcome(script: list[Any]) -> None:
    async with raw_server(script) as server, client_for(server, read_s=0.2) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await buy(client, server.url + "/v1")
    assert len(server.requests) == 1
    assert SECRET not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


async def test_a_kept_line_closed_while_we_send_is_unknown_and_not_sent_again() -> None:
    async with (
        raw_server(http(b"ok"), [CUT], http(b"again")) as server,
        client_for(server) as client,
    ):
        await buy(client, server.url)
        with pytest.raises(OutcomeUnknown):
            await buy(client, server.url)
    assert len(server.requests) == 2
    assert server.connections == 1


async def test_a_kept_line_closed_before_we_send_is_replaced() -> None:
    async with raw_server([http(b"ok"), CUT], http(b"new")) as server, client_for(server) as client:
        assert await buy(client, server.url) == b"ok"
        await server.cut.wait()
        for _ in range(10):  # turns of the loop: the end of the line reaches our side
            await asyncio.sleep(0)
        assert await buy(client, server.url) == b"new"
    assert server.connections == 2


async def test_an_untrusted_certificate_means_not_accepted(self_signed: Any) -> None:
    async with raw_server(http(b"ok"), tls=self_signed) as server, client_for(server) as client:
        with pytest.raises(ProviderUnavailable):
            await buy(client, server.url)
    assert server.requests == []


@pytest.mark.parametrize("script", [[HANG], [http(b"x" * 500)[:-100], HANG]])
async def test_cancelling_closes_the_connection(script: list[Any]) -> None:
    async with raw_server(script) as server, client_for(server) as client:
        task = asyncio.create_task(buy(client, server.url))
        await server.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(2):
            await server.hung_up.wait()


async def test_an_answer_over_the_cap_is_left_unread() -> None:
    large = [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 65_536] * 100, CUT]
    async with raw_server(large) as server, client_for(server) as client:
        with pytest.raises(ProviderFailed, match="too large"):
            await buy(client, server.url)


async def test_an_answer_that_comes_packed_is_unpacked() -> None:
    packed = http(gzip.compress(b"ok" * 1_000), head="Content-Encoding: gzip\r\n")
    async with raw_server(packed) as server, client_for(server) as client:
        assert await buy(client, server.url) == b"ok" * 1_000


async def test_a_packed_bomb_is_not_unpacked() -> None:
    bomb = http(gzip.compress(bytes(100_000_000)), head="Content-Encoding: gzip\r\n")
    tracemalloc.start()
    async with raw_server(bomb) as server, client_for(server) as client:
        tracemalloc.reset_peak()
        with pytest.raises(ProviderFailed, match="too large"):
            await buy(client, server.url)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("body", "packing"),
    [(gzip.compress(b"ok" * 500)[:-12], "gzip"), (b"plain", "gzip"), (b"ok", "br")],
    ids=["cut", "not packed", "unknown packing"],
)
async def test_an_answer_that_cannot_be_unpacked_has_failed(body: bytes, packing: str) -> None:
    answer = http(body, head=f"Content-Encoding: {packing}\r\n")
    async with raw_server(answer) as server, client_for(server) as client:
        with pytest.raises(ProviderFailed, match="unpacked"):
            await buy(client, server.url)


async def test_failures_of_other_transports_are_told_apart() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    def cut(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut")

    for handler, condition in ((refuse, ProviderUnavailable), (cut, OutcomeUnknown)):
        client = Guarded(httpx.AsyncClient(transport=httpx.MockTransport(handler)))
        with pytest.raises(condition):
            await buy(client, "http://maker.example")


async def test_the_transport_still_calls_a_cut_line_a_connect_timeout() -> None:
    """If this fails, the transport was mended and `line_failure` can be simpler."""
    async with raw_server([CUT]) as server, client_for(server) as client:
        with pytest.raises(httpx.ConnectTimeout) as caught:
            await client.post(server.url)
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectionError)
