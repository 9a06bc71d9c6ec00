"""Who asks: no key can be guessed, no address can be claimed."""

import ipaddress

import pytest

from genonce.domain.errors import ConfigError, NotAuthenticated
from genonce.service.authenticate import WORDS, Authenticate, digest, parse_networks


def behind(*proxies: str, keys: tuple[str, ...] = ()) -> Authenticate:
    """With trusted proxies and keys."""
    return Authenticate(tuple(digest(key) for key in keys), parse_networks(proxies))


# --- keys -----------------------------------------------------------------------------------


def test_without_keys_everybody_may_ask() -> None:
    for key in (None, "", "anything"):
        assert behind().by_key(key) is None


@pytest.mark.parametrize("key", [None, "", "three", "on", "one ", "ONE", "one\0", "\udcff"])
def test_only_a_known_key_lets_in(key: str | None) -> None:
    with pytest.raises(NotAuthenticated):
        behind(keys=("one", "two")).by_key(key)


def test_each_key_is_a_caller_of_its_own_that_does_not_show_it() -> None:
    authenticate = behind(keys=("one", "two"))
    one, two = authenticate.by_key("one"), authenticate.by_key("two")
    assert one is not None
    assert two is not None
    assert one != two
    assert one == authenticate.by_key("one")
    assert one.id.startswith("key:")
    assert "one" not in one.id


# --- addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1", "127.0.0.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "10.0.0.1"),
    ],
)
def test_without_trusted_proxies_only_the_connection_counts(
    peer: str, forwarded: str, caller: str
) -> None:
    assert behind().by_address(peer, forwarded).id == f"ip:{caller}"


@pytest.mark.parametrize(
    ("forwarded", "caller"),
    [
        ("", "10.0.0.1"),
        ("198.51.100.1", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.9.9.9, 198.51.100.1", "198.51.100.1"),
        ("198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1, 10.0.0.2, 10.0.0.3", "198.51.100.1"),
        ("6.6.6.6,198.51.100.1 ,, 10.0.0.2,", "198.51.100.1"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("garbage, 198.51.100.1", "198.51.100.1"),
        ("198.51.100.1, garbage", "unknown"),
        ("198.51.100.1, 10.0.0.2, <script>", "unknown"),
        ("198.51.100.1, ::ffff:10.0.0.2", "198.51.100.1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_hop_is_believed_as_long_as_who_wrote_it_is_trusted(forwarded: str, caller: str) -> None:
    """From the right: what a client wrote itself stands on the left."""
    assert behind("10.0.0.0/8").by_address("10.0.0.1", forwarded).id == f"ip:{caller}"


def test_a_trusted_v6_proxy_is_believed() -> None:
    authenticate = behind("fd00::/8", "::1")
    assert authenticate.by_address("fd00::1", "198.51.100.1").id == "ip:198.51.100.1"
    assert authenticate.by_address("::1", "198.51.100.1, fd00::2").id == "ip:198.51.100.1"
    assert authenticate.by_address("2001:db8::1", "198.51.100.1").id == "ip:2001:db8::/64"


def test_neighbours_in_one_v6_network_are_one_caller_and_others_are_not() -> None:
    callers = {
        behind().by_address(peer, "").id
        for peer in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:0:1:9::1")
    }
    assert callers == {"ip:2001:db8::/64", "ip:2001:db8:0:1::/64"}


def test_a_peer_without_an_address_is_unknown() -> None:
    """A unix socket has a path, or nothing."""
    assert behind().by_address("", "").id == "ip:unknown"


# --- networks -------------------------------------------------------------------------------


def test_words_stand_for_their_networks() -> None:
    for word, texts in WORDS.items():
        found = parse_networks([word.upper()])
        assert found == tuple(ipaddress.ip_network(text) for text in texts)


def test_addresses_and_networks_are_read() -> None:
    assert parse_networks(["10.1.2.3", "10.1.2.3/8", "::1"]) == (
        ipaddress.ip_network("10.1.2.3/32"),
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )


@pytest.mark.parametrize("part", ["render", "10.0.0.0/33", "10.0.0", "*", "", "300.1.1.1"])
def test_what_is_no_network_names_the_variable_and_the_words(part: str) -> None:
    with pytest.raises(ConfigError, match=r"TRUSTED_PROXIES.*loopback, private, cloudflare"):
        parse_networks(["10.0.0.0/8", part])
