"""Who asks: an API key, or an address."""

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from genonce.domain.errors import ConfigError, NotAuthenticated
from genonce.service.submit import Caller

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WORDS = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
    # As Cloudflare publishes them, read in November 2026; Render's traffic comes through it.
    "cloudflare": (
        *("173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22"),
        *("141.101.64.0/18", "108.162.192.0/18", "190.93.240.0/20", "188.114.96.0/20"),
        *("197.234.240.0/22", "198.41.128.0/17", "162.158.0.0/15", "104.16.0.0/13"),
        *("104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22"),
        *("2400:cb00::/32", "2606:4700::/32", "2803:f800::/32", "2405:b500::/32"),
        *("2405:8100::/32", "2a06:98c0::/29", "2c0f:f248::/32"),
    ),
}


def digest(key: str) -> bytes:
    """What a key is compared by."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()


def parse_networks(parts: Sequence[str]) -> tuple[Network, ...]:
    """Read networks, addresses and the words of `WORDS`.

    Raises:
        ConfigError: a part is none of them; names TRUSTED_PROXIES.
    """
    texts = [text for part in parts for text in WORDS.get(part.casefold(), (part,))]
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise ConfigError(
            "TRUSTED_PROXIES: list networks such as 10.0.0.0/8, separated by commas, or the words "
            f"{', '.join(WORDS)}."
        ) from error


@dataclass(frozen=True)
class Authenticate:
    """Turns a key or an address into a caller.

    Attributes:
        digests: of the keys that may ask; none: everybody may.
        proxies: networks whose word about the client's address counts.
    """

    digests: tuple[bytes, ...]
    proxies: tuple[Network, ...]

    def by_key(self, key: str | None) -> Caller | None:
        """The caller of a key; None where no keys are configured.

        Raises:
            NotAuthenticated: no key, or an unknown one.
        """
        if not self.digests:
            return None
        if not key:
            raise NotAuthenticated(
                "An API key is needed: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
            )
        given = digest(key)
        # Every key is compared, whichever fits: the time tells nothing.
        known = [hmac.compare_digest(given, each) for each in self.digests]
        if not any(known):
            raise NotAuthenticated("This API key is not known here.")
        return Caller(f"key:{given.hex()[:16]}")

    def by_address(self, peer: str, forwarded: str) -> Caller:
        """The caller behind an address.

        Args:
            peer: address of the connection.
            forwarded: X-Forwarded-For, all of it; believed hop by hop from the right, as long as
                the hop that wrote it is trusted.
        """
        address = peer
        for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
            if not _is_within(address, self.proxies):
                break
            address = hop
        return Caller(f"ip:{_folded(address)}")


@lru_cache(maxsize=4096)
def _is_within(address: str, networks: tuple[Network, ...]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(
        parsed.version == network.version and parsed in network for network in networks
    )


@lru_cache(maxsize=4096)
def _folded(address: str) -> str:
    """One household is one caller: IPv6 counts by /64."""
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address) + "/64"
    return str(parsed) if parsed is not None else "unknown"


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if address.count(":") == 1 or address.startswith("["):  # some proxies add the port
        address = address.rpartition("]")[0][1:] or address.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
