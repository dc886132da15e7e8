"""Which addresses and URLs may be asked: the guard against server-side request forgery.

The rule is applied to the address a socket is really about to connect to, so that neither DNS
rebinding, nor a redirect, nor an odd notation of an address gets around it.
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import ada_url

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Prefixes that Python's `is_global` lets through although they lead to any IPv4 address (NAT64, RFC
# 6052 and 8215; 6to4, RFC 3056; Teredo, RFC 4380; IPv4-compatible, RFC 4291), to relays (RFC 7526)
# or to a site (RFC 3879).
_TRANSLATED = tuple(
    ipaddress.ip_network(n)
    for n in (
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "::/96",
        "192.88.99.0/24",
        "fec0::/10",
    )
)

# Ports of other protocols, which a crafted request could speak to.
# Source: WHATWG Fetch, "port blocking".
# fmt: off
_BLOCKED_PORTS = frozenset((
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389,
    427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636,
    989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
    6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
))
# fmt: on


class PrivateAddressError(OSError):
    """The address is not one the fetcher may connect to."""


@dataclass(frozen=True)
class Guard:
    """Says which addresses may be connected to.

    allowed: networks that may be reached although they are not globally routable.
    """

    allowed: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> "Guard":
        return cls(tuple(ipaddress.ip_network(n) for n in networks))

    def is_exempt(self, address: Address) -> bool:
        """True when a configured network holds the address."""
        return any(address.version == n.version and address in n for n in self.allowed)

    def permits(self, address: Address) -> bool:
        """True when the address is globally routable unicast, or exempt."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if self.is_exempt(address):
            return True
        if any(address.version == n.version and address in n for n in _TRANSLATED):
            return False
        return address.is_global and not (
            address.is_multicast or address.is_reserved or address.is_unspecified
        )

    def socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """Make the socket for one address, as aiohttp's `socket_factory`.

        Raises PrivateAddressError when the address may not be connected to.
        """
        family, kind, protocol, _, where = info
        address = parse_address(str(where[0]))
        if address is None or not self.permits(address):
            raise PrivateAddressError(f"refused address {where[0]}")
        return socket.socket(family, kind, protocol)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """An address in canonical notation, brackets and zone allowed; None when it is a name."""
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


class UrlError(ValueError):
    """Not a URL that can be fetched."""


@dataclass(frozen=True)
class Target:
    """A URL taken apart as the WHATWG rules have it: host is lower case, punycode, or an address
    in canonical notation without brackets; no fragment, user or password."""

    href: str
    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a robots.txt is valid for."""
        return self.scheme, self.host, self.port


# One URL is taken apart several times in a row: to see whether it may be asked for, and to ask.
@lru_cache(maxsize=1024)
def parse_target(url: str, base: str | None = None) -> Target:
    """Take apart a URL, or a reference relative to `base`. Raises UrlError."""
    try:
        parsed = ada_url.URL(url, base=base) if base else ada_url.URL(url)
    except ValueError as error:
        raise UrlError(f"not a URL: {error}") from None
    scheme = parsed.protocol.rstrip(":")
    if scheme not in ("http", "https"):
        raise UrlError(f"scheme {scheme}")
    if "@" in parsed.href or "#" in parsed.href:
        parsed.username = parsed.password = parsed.hash = ""
    host = parsed.hostname.strip("[]").rstrip(".")
    port = int(parsed.port) if parsed.port else (80 if scheme == "http" else 443)
    if not host:
        raise UrlError("no host")
    if port in _BLOCKED_PORTS or port == 0:
        raise UrlError(f"port {port}")
    return Target(parsed.href, scheme, host, port)
