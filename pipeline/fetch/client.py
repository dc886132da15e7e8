"""One GET: polite, bounded in time and bytes, to permitted addresses only, with a typed outcome."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import aiohttp

from pipeline.core import optout_lists
from pipeline.core.reasons import Status
from pipeline.fetch.ask_robots import RobotsAsker
from pipeline.fetch.connections import Connections
from pipeline.fetch.errors import FetchError, classify
from pipeline.fetch.fetched import Fetched, conditions_of, note
from pipeline.fetch.guard import Target, UrlError, parse_target
from pipeline.fetch.known_hosts import KnownHosts, Origin
from pipeline.fetch.ledger import UNKNOWN, Known
from pipeline.fetch.limits import Deadline, Gates, Lease, retry_after_s
from pipeline.fetch.memory import BodyMemory
from pipeline.fetch.optout import response_optout
from pipeline.fetch.picture import SIGNATURE_BYTES, has_signature
from pipeline.fetch.response import DRAIN_BYTES, REDIRECTS, decompressed, drain
from pipeline.fetch.robots import Rules
from pipeline.fetch.settings import DownloadSection

_NAMED = {403: Status.HTTP_403, 404: Status.HTTP_404, 410: Status.HTTP_410, 429: Status.HTTP_429}
_HOST_FAILURES = frozenset(
    {Status.CONNECT, Status.TLS, Status.TIMEOUT, Status.DISCONNECTED, Status.BAD_RESPONSE}
)
# Bodies up to this size need no reservation: the number of fetches at once bounds their memory.
_SMALL_BODY_BYTES = 256 * 1024
# A host that answers so to one URL after the other forbids all of them.
# Source: RFC 9110 sections 15.5.2 and 15.5.4, RFC 7725.
_FORBIDDEN = frozenset({401, 403, 451})


class Client:
    """Asks for pictures inside one event loop. Use as an async context manager.

    gates: turns per host and address. memory: bound on bodies under way. hosts: what robots.txt
    files said before; by default nothing, and nothing is kept.
    """

    def __init__(
        self,
        settings: DownloadSection,
        gates: Gates,
        memory: BodyMemory,
        hosts: KnownHosts | None = None,
    ) -> None:
        self._settings = settings
        self._gates = gates
        self._memory = memory
        self.on_rules: Callable[[Origin], None] = lambda origin: None
        self._connections = Connections(settings)
        self._optouts = optout_lists.load(settings.optout_lists)
        hosts = hosts or KnownHosts(None, settings.user_agent, settings.robots_max_age_s)
        self._robots = RobotsAsker(settings, hosts, self._connections.open, self._optouts.find_one)

    async def __aenter__(self) -> "Client":
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connections.__aexit__(*exc)

    def knows(self, origin: Origin) -> bool:
        """True when the rules of an origin are known, or that they cannot be had."""
        return self._robots.known(origin) is not None

    def verdict(self, url: str, origin: Origin) -> Fetched | None:
        """What a URL ends in without being asked for, by rules that are known; None when it may be
        asked for, or when nothing is known yet."""
        rules = self._robots.known(origin)
        if rules is None:
            return None
        found = Fetched()
        try:
            self._obey(rules, _parse(url, None), found)
        except FetchError as error:
            found.status, found.detail = error.status, error.detail
            return found
        return None

    async def get(
        self,
        url: str,
        lease: Lease,
        max_seconds: float = float("inf"),
        hops: int = 0,
        known: Known = UNKNOWN,
    ) -> Fetched:
        """Ask for a picture, for no longer than `timeout_s` and `max_seconds`, waits for turns and
        memory apart. hops: redirects that led to the URL. known: a picture that is stored already;
        NOT_MODIFIED where the host says that it is still right, or of a released one that it is
        there. Never raises for what the web does; releases the lease."""
        found = Fetched(hops=hops)
        deadline = Deadline(min(self._settings.timeout_s, max_seconds))
        try:
            await self._follow(url, lease, deadline, found, known)
        except FetchError as error:
            found.status, found.detail = error.status, error.detail
        except Exception as error:  # noqa: BLE001 - whatever one URL provokes costs that URL alone
            found.status, found.detail = classify(error)
        except BaseException:
            found.status = Status.DISCONNECTED
            raise
        finally:
            lease.release()
            found.fetch_ms = round(deadline.spent * 1000)
            if found.status is not Status.OK:
                self._memory.release(found.reserved_bytes)
                found.reserved_bytes = 0
        return found

    async def _follow(
        self, url: str, lease: Lease, deadline: Deadline, found: Fetched, known: Known
    ) -> None:
        """Ask, and follow redirects within the host; every hop has its own turn, robots.txt and
        address check."""
        target = _parse(url, None)
        while True:
            await self._require_robots(target, lease, found)
            await lease.turn()
            location = await self._ask(target, lease, deadline, found, known)
            if location is None:
                return
            found.hops += 1
            if found.hops > self._settings.max_redirects:
                raise FetchError(Status.TOO_MANY_REDIRECTS, f"over {self._settings.max_redirects}")
            target = _parse(location, target.href)
            if target.host != lease.gate.host:
                found.moved_to = target
                return

    async def _require_robots(self, target: Target, lease: Lease, found: Fetched) -> None:
        """Raise FetchError unless lists and robots.txt allow to ask for a URL."""
        # Of candidates themselves it is known, whole batches at once.
        listed = self._optouts.find_one(target.href) if found.hops else None
        if listed is not None:
            found.consent = f"list:{listed}"
            raise FetchError(Status.OPTED_OUT, found.consent)
        is_new = not self.knows(target.origin)
        rules = await self._robots.rules(target, lease)
        if is_new:
            self.on_rules(target.origin)
        self._obey(rules, target, found)
        lease.gate.slow_down(rules.crawl_delay_s)
        found.consent = "allowed"

    def _obey(self, rules: Rules, target: Target, found: Fetched) -> None:
        """Raise FetchError unless a URL may be asked for."""
        if rules.failure is not None:
            status, detail = rules.failure
            if status in (Status.ROBOTS, Status.ROBOTS_UNAVAILABLE):
                found.consent = "robots.txt"
            raise FetchError(status, detail)
        if not rules.allows(target.href):
            found.consent = "robots.txt"
            raise FetchError(Status.ROBOTS, None)

    async def _ask(
        self,
        target: Target,
        lease: Lease,
        deadline: Deadline,
        found: Fetched,
        known: Known,
    ) -> str | None:
        """One request; the place it redirects to, or None when `found` holds the body."""
        conditions = conditions_of(known, target.href)
        with _blame(lease):
            response = await self._connections.open(target, lease, deadline, conditions)
        try:
            note(response, target, found)
            # What an error page or a redirect says of itself says nothing about a picture.
            is_answer = 200 <= response.status < 300
            optout = is_answer and response_optout(response.headers, self._settings.user_agent)
            if optout:
                lease.gate.succeed()
                found.consent = optout
                raise FetchError(Status.OPTED_OUT, optout)
            if response.status == 200 and not known.is_released:
                with _blame(lease):
                    await self._read_picture(response, deadline, found)
                lease.gate.succeed()
                return None
            with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with deadline.running():
                    await drain(response)
            is_there = is_answer and known.is_released
            if is_there or (response.status == 304 and conditions):
                lease.gate.succeed()
                raise FetchError(Status.NOT_MODIFIED, None)
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
            lease.gate.fail(f"HTTP {code}", backs_off=found.retry_after_s is None)
            if found.retry_after_s is not None:
                if found.retry_after_s > self._settings.max_retry_after_s:
                    lease.gate.give_up(f"asks to wait {found.retry_after_s:.0f} s")
                else:
                    lease.gate.pause(found.retry_after_s)
        elif code in _FORBIDDEN:
            lease.gate.fail(f"HTTP {code}", refuses=True)
        else:
            lease.gate.succeed()
        fallback = Status.HTTP_5XX if code >= 500 else Status.HTTP_4XX
        if code < 400:
            raise FetchError(Status.BAD_RESPONSE, f"HTTP {code}")
        raise FetchError(_NAMED.get(code, fallback), f"HTTP {code}")

    async def _read_picture(
        self, response: aiohttp.ClientResponse, deadline: Deadline, found: Fetched
    ) -> None:
        cap = self._settings.max_body_bytes
        length = response.content_length
        if length is not None and length > cap:
            raise FetchError(Status.TOO_LARGE, f"{length} bytes announced")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        is_plain = encoding in ("", "identity")
        body = await self._read_body(response, deadline, found, is_plain=is_plain)
        if not is_plain:
            # A few hundred bytes of gzip may grow to the whole cap.
            if not found.reserved_bytes:
                found.reserved_bytes = await self._memory.reserve(cap)
            body = await asyncio.to_thread(decompressed, body, encoding, cap)
        kept = len(body) if len(body) > _SMALL_BODY_BYTES else 0
        if kept < found.reserved_bytes:
            self._memory.release(found.reserved_bytes - kept)
            found.reserved_bytes = kept
        if not body:
            raise FetchError(Status.EMPTY, "no bytes")
        found.body = body

    async def _read_body(
        self,
        response: aiohttp.ClientResponse,
        deadline: Deadline,
        found: Fetched,
        *,
        is_plain: bool,
    ) -> bytes:
        """The body as it comes, with room for all it may become; it is given up once it cannot be
        a picture."""
        cap, formats = self._settings.max_body_bytes, self._settings.formats
        length = response.content_length
        chunks: list[bytes] = []
        received, is_known = 0, not is_plain
        while True:
            if max(received, length or 0) > _SMALL_BODY_BYTES and not found.reserved_bytes:
                most = (length or cap) + (0 if is_plain else cap)
                found.reserved_bytes = await self._memory.reserve(most)
            # One timer for as many chunks as need no wait for memory between them.
            async with deadline.running():
                while received <= _SMALL_BODY_BYTES or found.reserved_bytes:
                    chunk = await response.content.readany()
                    if not chunk:
                        return b"".join(chunks)
                    chunks.append(chunk)
                    received += len(chunk)
                    if received > cap:
                        raise FetchError(Status.TOO_LARGE, f"over {cap} bytes")
                    if not is_known and received >= SIGNATURE_BYTES:
                        is_known = has_signature(b"".join(chunks)[:SIGNATURE_BYTES], formats)
                        if not is_known and (length is None or length > DRAIN_BYTES):
                            raise FetchError(Status.NOT_AN_IMAGE, "no known format")
                        is_known = True


def _parse(url: str, base: str | None) -> Target:
    try:
        return parse_target(url, base)
    except UrlError as error:
        raise FetchError(
            Status.BAD_URL if base is None else Status.BAD_REDIRECT, str(error)[:200]
        ) from None


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
            lease.gate.fail(status, backs_off=True)
        raise FetchError(status, detail) from error
