"""Getting robots.txt: once per site as long as it holds, by one of all tasks, with retries and
redirects, through the client itself.

Source: RFC 9309: up to five redirects are followed (2.3.1.2); what cannot be reached disallows
everything (2.3.1.4).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from pipeline.core.reasons import Status
from pipeline.fetch.errors import FetchError, classify
from pipeline.fetch.gate import backoff_s
from pipeline.fetch.guard import Target, UrlError, parse_target
from pipeline.fetch.known_hosts import KnownHosts, KnownSite, Origin
from pipeline.fetch.limits import Deadline, Lease, retry_after_s
from pipeline.fetch.response import REDIRECTS, decompressed, drain, read_up_to
from pipeline.fetch.robots import MAX_BYTES, MAX_REDIRECTS, Rules, answered
from pipeline.fetch.settings import DownloadSection

# Asking again a moment later changes nothing. The picture would fail in the same way, so its status
# says so, more exactly than that robots.txt is not to be had.
_FINAL = frozenset(
    {Status.DNS, Status.DNS_UNAVAILABLE, Status.TLS, Status.PRIVATE_ADDRESS, Status.BAD_URL}
)


@dataclass(frozen=True)
class _Answer:
    """location: where a redirect leads; wait_s: Retry-After."""

    status: int
    body: bytes = b""
    location: str | None = None
    wait_s: float | None = None

    @property
    def is_failure(self) -> bool:
        return self.status == 429 or self.status >= 500


class RobotsAsker:
    """The rules of every site that one event loop meets.

    known: what earlier requests gave; what is learnt is noted there.
    open_url: sends a request to a permitted address and reads the head of the answer.
    withheld: by which opt-out list a URL must not be asked for, or None.
    """

    def __init__(
        self,
        settings: DownloadSection,
        known: KnownHosts,
        open_url: Callable[[Target, Lease, Deadline], Awaitable[aiohttp.ClientResponse]],
        withheld: Callable[[str], str | None],
    ) -> None:
        self._settings = settings
        self._known = known
        self._open = open_url
        self._withheld = withheld
        self._asking: dict[Origin, asyncio.Future[None]] = {}

    def known(self, origin: Origin) -> Rules | None:
        """The rules of a site, when they are known."""
        known = self._known.get(origin)
        return None if known is None else self._judged(self._known.rules(known))

    async def rules(self, target: Target, lease: Lease) -> Rules:
        """The rules that hold for a URL; requests for them take the lease's turns."""
        if not self._known.has_read(target.host):
            await asyncio.to_thread(self._known.load, [target.host])
        while (known := self._known.get(target.origin)) is None:
            asking = self._asking.get(target.origin)
            if asking is not None:
                await asyncio.shield(asking)
                continue
            asking = self._asking[target.origin] = asyncio.get_running_loop().create_future()
            try:
                known = await self._known.from_others(target.origin)
                known = known or await self._find_out(target, lease)
            finally:
                # Let those go on who wait, before this may have to wait for a place.
                del self._asking[target.origin]
                asking.set_result(None)
            await lease.move(target.host)
            break
        return self._judged(self._known.rules(known))

    async def _find_out(self, target: Target, lease: Lease) -> KnownSite:
        """Ask the site; whatever comes of it, the tasks that wait for this one go on."""
        try:
            learnt = await self._learn(target, lease)
        except BaseException:
            self._known.forgo(target.origin)
            raise
        return self._known.learn(target.origin, *learnt)

    def _judged(self, rules: Rules) -> Rules:
        """The rules, or that they cannot be kept to: never is a site asked faster than it says."""
        longest = self._settings.max_crawl_delay_s
        if rules.crawl_delay_s <= longest:
            return rules
        why = f"Crawl-delay of {rules.crawl_delay_s:g} s, over max_crawl_delay_s = {longest:g}"
        return Rules(failure=(Status.ROBOTS, why))

    async def _learn(self, target: Target, lease: Lease) -> tuple[Rules, float]:
        """The rules of a site, and for how many seconds it asks to be left alone. The lease may end
        at another host, to which robots.txt was redirected, or without a place."""
        at = parse_target("/robots.txt", target.href)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                if at.host != lease.gate.host:
                    await self._move(at, lease)
                answer = await self._answer(at, lease)
            except Exception as error:
                status, detail = classify(error)
                is_own = at.host == target.host
                if is_own and status in (Status.HOST_GIVEN_UP, Status.HOST_FORBIDS):
                    raise  # says nothing about robots.txt
                if not is_own or status not in (*_FINAL, Status.CONNECT):
                    status, detail = Status.ROBOTS_UNAVAILABLE, f"robots.txt: {detail}"[:200]
                return Rules(failure=(status, detail)), 0.0
            if answer.location is None:
                rules = answered(answer.status, answer.body, self._settings.user_agent)
                return rules, answer.wait_s or 0.0
            try:
                at = parse_target(answer.location, at.href)
            except UrlError:
                break
        # Nowhere to be found, which the RFC lets count as a 4xx.
        return Rules(), 0.0

    async def _move(self, at: Target, lease: Lease) -> None:
        """Take a place at the host that robots.txt is redirected to.

        The time for it is bounded: two hosts that lead to each other would wait for ever.
        """
        withheld = self._withheld(at.href)
        if withheld is not None:
            raise FetchError(Status.OPTED_OUT, f"redirected to {at.host}: {withheld}")
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await lease.move(at.host)
        except TimeoutError:
            raise FetchError(Status.TIMEOUT, f"no turn at {at.host}") from None

    async def _answer(self, at: Target, lease: Lease) -> _Answer:
        """One robots.txt, asked for again when it cannot be had, at the pace the host asks for.

        Raises whatever the last attempt did.
        """
        for attempt in range(self._settings.retries + 1):
            is_last = attempt == self._settings.retries
            if attempt:
                await asyncio.sleep(backoff_s(self._settings.backoff_s, attempt, at.host))
            await lease.turn()
            try:
                answer = await self._once(at, lease)
            except Exception as error:
                if is_last or classify(error)[0] in _FINAL:
                    raise
                continue
            wait_s = answer.wait_s
            if not answer.is_failure or is_last:
                return answer
            if wait_s is not None:
                if wait_s > self._settings.max_retry_after_s:
                    return answer
                lease.gate.pause(wait_s)
        raise AssertionError

    async def _once(self, at: Target, lease: Lease) -> _Answer:
        deadline = Deadline(self._settings.timeout_s)
        response = await self._open(at, lease, deadline)
        async with deadline.running():
            try:
                location = response.headers.get("Location")
                if response.status in REDIRECTS and location:
                    await drain(response)
                    return _Answer(response.status, location=location)
                body = await read_up_to(response, MAX_BYTES)
                encoding = response.headers.get("Content-Encoding", "").strip().lower()
                body = decompressed(body, encoding, MAX_BYTES, is_cut=True)
                wait_s = retry_after_s(response.headers.get("Retry-After"))
                return _Answer(response.status, body, wait_s=wait_s)
            finally:
                response.close() if not response.content.at_eof() else response.release()
