"""Addresses and URLs in every notation."""

import ipaddress
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fetch.guard import (
    Guard,
    PrivateAddressError,
    UrlError,
    parse_address,
    parse_target,
)

OPEN = Guard()


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 127.9.9.9 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1
    192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1
    255.255.255.255 192.88.99.1 ::1 :: fe80::1 fc00::1 fec0::1 ff02::1 ff0e::1 ::ffff:127.0.0.1
    ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::8.8.8.8 64:ff9b:1::1 2002:7f00:1::
    2002:808:808:: 2001:db8::1 2001::1 100::1""".split(),
)
def test_refused(address: str) -> None:
    parsed = parse_address(address)
    assert parsed is not None and not OPEN.permits(parsed)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(PrivateAddressError):
        OPEN.socket((family, socket.SOCK_STREAM, 6, "", (address, 80)))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]
)
def test_permitted(address: str) -> None:
    parsed = parse_address(address)
    assert parsed is not None and OPEN.permits(parsed)
    OPEN.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))).close()


def test_exceptions_are_exact() -> None:
    guard = Guard.of(["127.0.0.0/31", "fd00::/8"])
    allowed = {"127.0.0.1": True, "127.0.0.2": False, "fd00::1": True, "fc00::1": False}
    allowed["::ffff:127.0.0.1"] = True
    for address, verdict in allowed.items():
        assert guard.permits(ipaddress.ip_address(address)) is verdict


@given(st.integers(0, 2**32 - 1))
def test_ipv4_in_ipv6_is_judged_as_ipv4(number: int) -> None:
    plain = ipaddress.IPv4Address(number)
    mapped = ipaddress.IPv6Address(0xFFFF00000000 + number)
    assert OPEN.permits(plain) == OPEN.permits(mapped)


@pytest.mark.parametrize(
    "url",
    """http://127.1/ http://0x7f.1/ http://0177.0.0.1/ http://2130706433/ http://0x7f000001/
    http://127.0.0.1./ http://%31%32%37.0.0.1/ http://127。0。0。1/ HTTP://127.0.0.1:80/""".split(),
)
def test_odd_notations_become_the_address(url: str) -> None:
    target = parse_target(url)
    assert target.host == "127.0.0.1"
    assert not OPEN.permits(ipaddress.ip_address(target.host))


def test_targets() -> None:
    target = parse_target("//u:p@Ex%41mple.com:8443/a b?q=ü#frag", "https://base.org/x")
    assert target.href == "https://example.com:8443/a%20b?q=%C3%BC"
    assert target.origin == ("https", "example.com", 8443)
    assert parse_target("http://한국.kr/").host == "xn--3e0b707e.kr"


@pytest.mark.parametrize(
    "url",
    """file:///etc/passwd data:,x javascript:1 ftp://a/x gopher://a/ http:// http://a:22/ http://a:0/
    http://a:6379x/ //no.base nothing http://[::1 http://exa<mple/""".split(),
)
def test_urls_that_cannot_be_fetched(url: str) -> None:
    with pytest.raises(UrlError):
        parse_target(url)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"http://a/{text}"):
        try:
            target = parse_target(url)
        except UrlError:
            continue
        assert target.scheme in ("http", "https") and target.host
