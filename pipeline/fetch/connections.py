"""Connections: to permitted addresses only, and at their turn; shared by all requests of a loop."""

import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.core.reasons import Status
from pipeline.fetch.errors import FetchError, classify
from pipeline.fetch.guard import Guard, Target, parse_address
from pipeline.fetch.limits import Deadline, Lease
from pipeline.fetch.resolver import Resolver
from pipeline.fetch.settings import DownloadSection

# Other addresses of a name that are tried when one does not take the connection.
_MAX_ADDRESSES = 3
_MAX_HEADER_BYTES = 16 * 1024
_MAX_HEADERS = 128
_KEEPALIVE_S = 10.0
_NO_HEADERS: Mapping[str, str] = {}
_ACCEPT = "image/avif,image/webp,image/png,image/jpeg,image/*;q=0.8"


@lru_cache(maxsize=4)
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """The TLS context of this process: building one costs 20 ms, so all connections share it."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


class _Chosen(AbstractResolver):
    """Gives the HTTP client the address that the present task has taken a turn at."""

    address: ContextVar[ResolveResult] = ContextVar("address")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [self.address.get()]

    async def close(self) -> None:
        pass


class Connections:
    """Opens requests inside one event loop. Use as an async context manager."""

    def __init__(self, settings: DownloadSection) -> None:
        self._settings = settings
        self._reached: dict[str, str] = {}
        self._guard = Guard.of(settings.allowed_networks)
        self._resolver = Resolver.of(settings, self._guard)

    async def __aenter__(self) -> "Connections":
        connector = aiohttp.TCPConnector(
            limit=0,
            use_dns_cache=False,
            resolver=_Chosen(),
            socket_factory=self._guard.socket,
            ssl=tls_context(self._settings.ca_file),
            keepalive_timeout=_KEEPALIVE_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "User-Agent": self._settings.user_agent_header,
                "Accept": _ACCEPT,
                "Accept-Encoding": "identity",
            },
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self._settings.connect_timeout_s,
                sock_read=self._settings.silence_timeout_s,
            ),
            auto_decompress=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
        )
        # Else aiohttp repeats a GET whose kept-alive connection breaks, outside of any turn.
        self._session._retry_connection = False
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()
        await self._resolver.close()

    async def open(
        self,
        target: Target,
        lease: Lease,
        deadline: Deadline,
        conditions: Mapping[str, str] = _NO_HEADERS,
    ) -> aiohttp.ClientResponse:
        """Send the request and read the head of the answer, once there is a turn at the address."""
        url = yarl.URL(target.href, encoded=True)
        headers = dict(conditions)
        address = parse_address(target.host)
        if address is not None:
            if not self._guard.permits(address):
                raise FetchError(Status.PRIVATE_ADDRESS, f"refused address {target.host}")
            # Literal addresses do not pass the resolver, which maps the ports of names.
            port = self._resolver.mapped_port(target.host, target.port)
            if port != target.port:
                headers["Host"] = url.host_port_subcomponent or target.host
                url = url.with_port(port)
            await lease.reach(str(address))
            async with deadline.running():
                return await self._session.get(url, headers=headers, allow_redirects=False)
        places = await self._addresses(target, deadline)
        for place in places:
            await lease.reach(place["host"])
            _Chosen.address.set(place)
            try:
                async with deadline.running():
                    response = await self._session.get(url, headers=headers, allow_redirects=False)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                self._reached.pop(target.host, None)
                if place is places[-1]:
                    raise
            else:
                self._reached[target.host] = place["host"]
                return response
        raise AssertionError

    async def _addresses(self, target: Target, deadline: Deadline) -> list[ResolveResult]:
        """A few addresses of a name; the one that took the last connection comes first."""
        try:
            async with deadline.running():
                places = await self._resolver.resolve(target.host, target.port)
        except OSError as error:
            raise FetchError(*classify(error)) from None
        last = self._reached.get(target.host)
        return sorted(places, key=lambda place: place["host"] != last)[:_MAX_ADDRESSES]
