"""Which addresses our client connects to: public ones, and our own configured services."""

import ipaddress
import socket

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult

_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(OSError):
    """The address is not a public one, and not one of our own services."""


class Guard(AbstractResolver):
    """Lets connections out to public addresses, and to our own hosts wherever they are.

    It is asked by name when a name is resolved for connecting, and by address when the socket
    is made. So a name that changes its address after a check gains nothing, and neither does
    an address written as a host, which is never resolved.
    """

    def __init__(self, inner: AbstractResolver, own_hosts: frozenset[str]) -> None:
        """Guard what ``inner`` finds; ``own_hosts`` are "host:port", see `host_port`."""
        self._inner = inner
        self._own_hosts = own_hosts
        self._own_addresses = set(own_hosts)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name that may be connected to.

        Raises:
            AddressRefused: it has none but private ones.
            OSError: it has none.
        """
        try:
            found = await self._inner.resolve(host, port, family)
        except UnicodeError as error:  # an over-long label; aiohttp expects OSError alone
            raise OSError("not a host name") from error
        if f"{host}:{port}" in self._own_hosts:
            self._own_addresses.update(f"{one['host']}:{one['port']}" for one in found)
            return found
        public = [one for one in found if is_public(one["host"])]
        if not public:
            raise AddressRefused("not a public address")
        return public

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()

    def open_socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Make the socket of one connection attempt.

        Raises:
            AddressRefused: its address is neither public nor our own.
        """
        family, kind, protocol, _, address = info
        host, port = address[:2]
        if not is_public(host) and f"{host}:{port}" not in self._own_addresses:
            raise AddressRefused("not a public address")
        return socket.socket(family, kind, protocol)


def is_public(address: str) -> bool:
    """Whether an IP address, as text, is one of the public internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        within = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            within = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if within is None:
            return ip in _GLOBAL_V6 and ip.is_global
        ip = within
    # Python calls multicast global; 240/4 is not, but says so under another name.
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def host_port(url: httpx.URL | str) -> str:
    """The "host:port" that a URL connects to."""
    url = httpx.URL(url)
    return f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
