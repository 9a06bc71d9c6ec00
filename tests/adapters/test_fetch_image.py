"""Fetching pictures from where a provider says they are: never from inside our own network."""

from typing import Any

import httpx
import pytest

from genonce.adapters.guard import AddressRefused, Guard, host_port, is_public
from genonce.adapters.http import fetch_image, open_client
from genonce.domain.errors import ProviderFailed
from tests.adapters.raw_server import CUT, HANG, Names, http, raw_server

pytestmark = pytest.mark.anyio

PICTURE = b"\x89PNG picture"


async def fetch(url: str, *own: str, max_bytes: int = 1_000, names: Names | None = None) -> bytes:
    client = open_client(own_hosts=own, read_s=0.2, resolver=names)
    try:
        return await fetch_image(client, url, own_hosts=own, max_bytes=max_bytes, backoff_s=0)
    finally:
        await client.aclose()


def moved(to: str) -> bytes:
    return http(status="302 Found", head=f"Location: {to}\r\n")


async def test_a_picture_of_the_providers_own_host_comes_by_plain_http() -> None:
    async with raw_server(http(PICTURE)) as server:
        assert await fetch(f"{server.url}/p?token=1", server.place) == PICTURE
    assert server.requests[0].startswith(b"GET /p?token=1 HTTP/1.1\r\n")
    assert b"authorization" not in server.requests[0].lower()


async def test_an_own_host_may_be_a_name_with_a_private_address() -> None:
    async with raw_server(http(PICTURE)) as server:
        own = f"maker.internal:{server.port}"
        names = Names(maker_internal=[["127.0.0.1"]])
        assert await fetch(f"http://{own}/p", own, names=names) == PICTURE
    assert f"\r\nhost: {own}\r\n".encode() in server.requests[0].lower()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/p",
        "https://127.0.0.1:{port}/p",
        "https://127.1:{port}/p",
        "https://2130706433:{port}/p",
        "https://0x7f.0.0.1:{port}/p",
        "https://[::1]:{port}/p",
        "https://[::ffff:127.0.0.1]:{port}/p",
        "https://[::ffff:7f00:1]:{port}/p",
        "https://0.0.0.0:{port}/p",
        "https://localhost:{port}/p",
        "http://localhost:{port}/p",
        "https://10.0.0.1/p",
        "https://169.254.169.254/latest/meta-data",
        "https://user:password@example.com/p",
        "ftp://127.0.0.1:{port}/p",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "//127.0.0.1:{port}/p",
        "/p",
        "https://xn--a/p",
        "https://[fe80::1]\u3002example/p",
        "https://",
        "https:///p",
        "https://127.0.0.1:99999/p",
        "https://ex ample.com/\n",
        "",
    ],
)
async def test_what_is_not_public_https_is_refused(url: str) -> None:
    async with raw_server(http(PICTURE)) as server:
        with pytest.raises(ProviderFailed) as caught:
            await fetch(url.format(port=server.port), "maker.example:443")
    assert server.connections == 0
    assert str(caught.value) == "The picture could not be fetched."


async def test_the_address_that_is_checked_is_the_one_that_is_connected_to() -> None:
    """A name that is public at the first look-up and private at the second gains nothing."""
    async with raw_server(http(PICTURE)) as server:
        names = Names(rebind_example=[["93.184.215.14"], ["127.0.0.1"]])
        guard = Guard(names, frozenset())
        assert [one["host"] for one in await guard.resolve("rebind.example", server.port)]
        with pytest.raises(ProviderFailed):
            await fetch(f"https://rebind.example:{server.port}/p", names=names)
    assert server.connections == 0


async def test_of_a_names_addresses_only_the_public_ones_are_used() -> None:
    names = Names(mixed_example=[["10.0.0.1", "93.184.215.14", "::1"]], inner_example=[["::1"]])
    guard = Guard(names, frozenset())
    assert [one["host"] for one in await guard.resolve("mixed.example", 443)] == ["93.184.215.14"]
    with pytest.raises(AddressRefused):
        await guard.resolve("inner.example", 443)


async def test_another_name_for_our_own_service_is_refused() -> None:
    async with raw_server(http(PICTURE)) as server:
        names = Names(stranger_example=[["127.0.0.1"]])
        url = f"https://stranger.example:{server.port}/p"
        with pytest.raises(ProviderFailed):
            await fetch(url, server.place, names=names)
    assert server.connections == 0


async def test_redirects_are_followed_three_times() -> None:
    hops = [moved("/a"), moved("b"), moved("?c=1")]
    async with raw_server(*hops, http(PICTURE)) as server:
        assert await fetch(f"{server.url}/p", server.place) == PICTURE
    assert [r.split(b" ")[1] for r in server.requests] == [b"/p", b"/a", b"/b", b"/b?c=1"]
    async with raw_server(moved("/again")) as server:
        with pytest.raises(ProviderFailed):
            await fetch(server.url, server.place)
    assert len(server.requests) == 4


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_redirect_to_a_private_address_is_refused(scheme: str) -> None:
    async with raw_server(http(b"secret")) as inner:
        target = f"{scheme}://127.0.0.1:{inner.port}/latest/meta-data"
        async with raw_server(moved(target)) as server:
            with pytest.raises(ProviderFailed):
                await fetch(server.url, server.place)
    assert inner.connections == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [
        [CUT],
        [HANG],
        [http(PICTURE)[:-3], CUT],
        http(b""),
        http(b"no", status="503 Unavailable"),
        http(b"no", status="403 Forbidden"),
        http(b"no", status="404 Not Found"),
    ],
)
async def test_a_failed_fetch_is_tried_again_twice(failure: Any) -> None:
    async with raw_server(failure, failure, http(PICTURE)) as server:
        assert await fetch(server.url, server.place) == PICTURE
    async with raw_server(failure) as server:
        with pytest.raises(ProviderFailed) as caught:
            await fetch(f"{server.url}/?token=secret", server.place)
    assert len(server.requests) >= 3
    assert caught.value.__cause__ is None, "a trace would show the address, and its token"
    assert caught.value.__context__ is None


async def test_a_picture_over_the_cap_is_refused_at_once() -> None:
    async with raw_server(http(bytes(1_001))) as server:
        with pytest.raises(ProviderFailed, match="too large"):
            await fetch(server.url, server.place)
        assert await fetch(server.url, server.place, max_bytes=1_001) == bytes(1_001)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("64:ff9b::5db8:d70e", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
        ("2002:a00:1::", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.0.2.1", False),
        ("192.168.1.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fc00::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("ff0e::1", False),
        ("2001::1", False),
        ("2001:db8::1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_public_addresses(address: str, *, expected: bool) -> None:
    assert is_public(address) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.together.xyz", "api.together.xyz:443"),
        ("http://API.example/v1", "api.example:80"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
        (httpx.URL("http://[::1]:90"), "::1:90"),
    ],
)
def test_host_and_port_of_an_address(url: str | httpx.URL, expected: str) -> None:
    assert host_port(url) == expected
