"""One GET: polite, bounded in time and bytes, to permitted addresses only, with a typed outcome."""

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
import yarl

from pipeline.core import optout_lists
from pipeline.core.reasons import Status
from pipeline.fetch.ask_robots import RobotsAsker
from pipeline.fetch.errors import FetchError, classify
from pipeline.fetch.guard import Guard, Target, UrlError, parse_address, parse_target
from pipeline.fetch.known_hosts import KnownHosts
from pipeline.fetch.limits import BodyMemory, Deadline, Gates, Lease, retry_after_s
from pipeline.fetch.optout import response_optout
from pipeline.fetch.picture import SIGNATURE_BYTES, has_signature
from pipeline.fetch.resolver import Resolver, read_hosts
from pipeline.fetch.response import DRAIN_BYTES, REDIRECTS, decompressed, drain
from pipeline.fetch.settings import DownloadSection

_NAMED = {403: Status.HTTP_403, 404: Status.HTTP_404, 410: Status.HTTP_410, 429: Status.HTTP_429}
_HOST_FAILURES = frozenset(
    {Status.CONNECT, Status.TLS, Status.TIMEOUT, Status.DISCONNECTED, Status.BAD_RESPONSE}
)
# Bodies up to this size need no reservation: concurrency bounds their memory.
_SMALL_BODY_BYTES = 256 * 1024
_MAX_HEADER_BYTES = 16 * 1024
_MAX_HEADERS = 128
_KEEPALIVE_S = 10.0
_ACCEPT = "image/avif,image/webp,image/png,image/jpeg,image/*;q=0.8"


@dataclass
class Fetched:
    """What asking for one URL gave. `body` is set when status is OK; `reserved_bytes` of body
    memory are then to be released."""

    status: Status = Status.OK
    detail: str | None = None
    consent: str = "unknown"
    http_status: int | None = None
    final_url: str | None = None
    content_type: str | None = None
    body: bytes | None = None
    fetch_ms: int = 0
    retry_after_s: float | None = None
    reserved_bytes: int = 0


@lru_cache(maxsize=4)
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """The TLS context of this process: building one costs 20 ms, so all connections share it."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


class Client:
    """Asks for pictures inside one event loop. Use as an async context manager.

    gates: turns per host. memory: bound on large bodies under way. known: what robots.txt files
    said before; by default nothing, and nothing is kept.
    """

    def __init__(
        self,
        settings: DownloadSection,
        gates: Gates,
        memory: BodyMemory,
        known: KnownHosts | None = None,
    ) -> None:
        self._settings = settings
        self._gates = gates
        self._memory = memory
        self._guard = Guard.of(settings.allowed_networks)
        hosts = read_hosts(settings.hosts_file) if settings.hosts_file else None
        self._resolver = Resolver(self._guard, hosts, settings.port_map)
        self._optouts = optout_lists.load(settings.optout_lists)
        known = known or KnownHosts(None, settings.user_agent, settings.robots_max_age_s)
        self._robots = RobotsAsker(settings, known, self._open, self._optouts.find_one)

    async def __aenter__(self) -> "Client":
        connector = aiohttp.TCPConnector(
            limit=0,
            use_dns_cache=False,
            resolver=self._resolver,
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
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()
        await self._resolver.close()

    async def get(self, url: str, lease: Lease) -> Fetched:
        """Ask for a picture. Never raises for what the web does; releases the lease."""
        found = Fetched()
        deadline = Deadline(self._settings.timeout_s)
        try:
            await self._follow(url, lease, deadline, found)
        except FetchError as error:
            found.status, found.detail = error.status, error.detail
        except Exception as error:  # noqa: BLE001 - whatever one URL provokes costs that URL alone
            found.status, found.detail = classify(error)
        finally:
            lease.release()
            found.fetch_ms = round(deadline.spent * 1000)
            if found.status is not Status.OK and found.reserved_bytes:
                self._memory.release(found.reserved_bytes)
                found.reserved_bytes = 0
        return found

    async def _follow(self, url: str, lease: Lease, deadline: Deadline, found: Fetched) -> None:
        """Ask, and follow redirects; every hop has its own turn, robots.txt and address check."""
        target = _parse(url, None)
        for _ in range(self._settings.max_redirects + 1):
            if lease.gate.given_up_because is not None:
                raise FetchError(Status.HOST_GIVEN_UP, lease.gate.given_up_because)
            await self._require_robots(target, lease, found)
            await lease.turn()
            location = await self._ask(target, lease, deadline, found)
            if location is None:
                return
            target = _parse(location, target.href)
            await lease.move(target.host)
        raise FetchError(Status.TOO_MANY_REDIRECTS, f"over {self._settings.max_redirects}")

    async def _require_robots(self, target: Target, lease: Lease, found: Fetched) -> None:
        """Raise FetchError unless lists and robots.txt allow to ask for a URL."""
        listed = self._optouts.find_one(target.href)
        if listed is not None:
            found.consent = f"list:{listed}"
            raise FetchError(Status.OPTED_OUT, found.consent)
        rules = await self._robots.rules(target, lease)
        if rules.failure is not None:
            status, detail = rules.failure
            if status in (Status.ROBOTS, Status.ROBOTS_UNAVAILABLE):
                found.consent = "robots.txt"
            raise FetchError(status, detail)
        if not rules.allows(target.href):
            found.consent = "robots.txt"
            raise FetchError(Status.ROBOTS, None)
        lease.gate.slow_down(rules.crawl_delay_s)
        found.consent = "allowed"

    async def _ask(
        self, target: Target, lease: Lease, deadline: Deadline, found: Fetched
    ) -> str | None:
        """One request; the place it redirects to, or None when `found` holds the body."""
        with _blame(lease):
            async with deadline.running():
                response = await self._open(target)
        try:
            _note(response, target, found)
            # What an error page or a redirect says of itself says nothing about a picture.
            is_answer = 200 <= response.status < 300
            optout = is_answer and response_optout(response.headers, self._settings.user_agent)
            if optout:
                lease.gate.succeed()
                found.consent = optout
                raise FetchError(Status.OPTED_OUT, optout)
            if response.status == 200:
                with _blame(lease):
                    await self._read_picture(response, deadline, found)
                lease.gate.succeed()
                return None
            with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with deadline.running():
                    await drain(response)
            return self._judge(response, lease, found)
        finally:
            response.close() if not response.content.at_eof() else response.release()

    def _judge(self, response: aiohttp.ClientResponse, lease: Lease, found: Fetched) -> str:
        """Where an answer without a picture redirects to. Raises FetchError when nowhere."""
        code = response.status
        if code in REDIRECTS:
            lease.gate.succeed()
            location = response.headers.get("Location")
            if not location:
                raise FetchError(Status.BAD_REDIRECT, "no Location")
            return location
        if code == 429 or code >= 500:
            found.retry_after_s = retry_after_s(response.headers.get("Retry-After"))
            lease.gate.fail(f"HTTP {code}")
            if found.retry_after_s is not None:
                if found.retry_after_s > self._settings.max_retry_after_s:
                    lease.gate.give_up(f"asks to wait {found.retry_after_s:.0f} s")
                else:
                    lease.gate.pause(found.retry_after_s)
        else:
            lease.gate.succeed()
        fallback = Status.HTTP_5XX if code >= 500 else Status.HTTP_4XX
        if code < 400:
            raise FetchError(Status.BAD_RESPONSE, f"HTTP {code}")
        raise FetchError(_NAMED.get(code, fallback), f"HTTP {code}")

    async def _open(self, target: Target) -> aiohttp.ClientResponse:
        """Send the request and read the head of the answer."""
        url = yarl.URL(target.href, encoded=True)
        headers = None
        address = parse_address(target.host)
        if address is not None:
            if not self._guard.permits(address):
                raise FetchError(Status.PRIVATE_ADDRESS, f"refused address {target.host}")
            # Literal addresses do not pass the resolver, which maps the ports of names.
            port = self._resolver.mapped_port(target.host, target.port)
            if port != target.port:
                headers = {"Host": url.host_port_subcomponent or target.host}
                url = url.with_port(port)
        return await self._session.get(url, headers=headers, allow_redirects=False)

    async def _read_picture(
        self, response: aiohttp.ClientResponse, deadline: Deadline, found: Fetched
    ) -> None:
        cap = self._settings.max_body_bytes
        length = response.content_length
        if length is not None and length > cap:
            raise FetchError(Status.TOO_LARGE, f"{length} bytes announced")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        formats = self._settings.formats if encoding in ("", "identity") else None
        chunks: list[bytes] = []
        received, is_known = 0, formats is None
        while True:
            if received > _SMALL_BODY_BYTES and not found.reserved_bytes:
                found.reserved_bytes = await self._memory.reserve(length or cap)
            async with deadline.running():
                chunk = await response.content.readany()
            if not chunk:
                break
            chunks.append(chunk)
            received += len(chunk)
            if received > cap:
                raise FetchError(Status.TOO_LARGE, f"over {cap} bytes")
            if not is_known and formats and received >= SIGNATURE_BYTES:
                is_known = has_signature(b"".join(chunks)[:SIGNATURE_BYTES], formats)
                if not is_known and (length is None or length > DRAIN_BYTES):
                    raise FetchError(Status.NOT_AN_IMAGE, "no known format")
                is_known = True
        found.body = decompressed(b"".join(chunks), encoding, cap)
        if not found.body:
            raise FetchError(Status.EMPTY, "no bytes")


def _parse(url: str, base: str | None) -> Target:
    try:
        return parse_target(url, base)
    except UrlError as error:
        raise FetchError(
            Status.BAD_URL if base is None else Status.BAD_REDIRECT, str(error)[:200]
        ) from None


def _note(response: aiohttp.ClientResponse, target: Target, found: Fetched) -> None:
    found.http_status = response.status
    found.final_url = target.href
    kind = response.headers.get("Content-Type")
    found.content_type = kind[:200] if kind else None


@contextlib.contextmanager
def _blame(lease: Lease) -> Iterator[None]:
    """Count failures of the connection against the host."""
    try:
        yield
    except FetchError:
        raise
    except Exception as error:
        status, detail = classify(error)
        if status in _HOST_FAILURES:
            lease.gate.fail(status)
        raise FetchError(status, detail) from error
