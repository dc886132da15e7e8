"""Getting robots.txt: once per origin, with retries and redirects, through the client itself."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import aiohttp

from pipeline.core.reasons import Status
from pipeline.fetch.errors import FetchError, classify
from pipeline.fetch.guard import Target, UrlError, parse_target
from pipeline.fetch.limits import Deadline, Lease, backoff_s
from pipeline.fetch.response import REDIRECTS, decompressed, drain, read_up_to
from pipeline.fetch.robots import MAX_BYTES, MAX_REDIRECTS, RobotsCache, Rules, answered
from pipeline.fetch.settings import DownloadSection

_SAME_FOR_THE_PICTURE = (
    Status.DNS,
    Status.DNS_UNAVAILABLE,
    Status.TLS,
    Status.PRIVATE_ADDRESS,
    Status.BAD_URL,
)


class RobotsAsker:
    """The rules of every origin that one event loop meets.

    open_url: sends a request to a permitted address and reads the head of the answer.
    """

    def __init__(
        self,
        settings: DownloadSection,
        open_url: Callable[[Target, Lease, Deadline], Awaitable[aiohttp.ClientResponse]],
    ) -> None:
        self._settings = settings
        self._open = open_url
        self._cache = RobotsCache()

    async def rules(self, target: Target, lease: Lease) -> Rules:
        """The rules that hold for a URL; requests for them take the lease's turns."""
        return await self._cache.of(target, lambda: self._fetch(target, lease))

    async def _fetch(self, target: Target, lease: Lease) -> Rules:
        """robots.txt of the target's origin, tried again when it cannot be had."""
        rules = Rules()
        for attempt in range(self._settings.retries + 1):
            if attempt:
                await asyncio.sleep(backoff_s(self._settings.backoff_s, attempt, target.host))
            try:
                await lease.turn()
                rules = await self._once(target, lease)
            except FetchError as error:
                rules = Rules(failure=(error.status, error.detail or ""))
            except Exception as error:  # noqa: BLE001 - a hostile site costs itself alone
                rules = Rules(failure=classify(error))
            finally:
                # A redirect may have led to another host.
                with contextlib.suppress(FetchError):
                    await lease.move(target.host)
            if rules.failure is None:
                return rules
            status, detail = rules.failure
            # The picture would fail in the same way: its status says so, more exactly.
            if status in _SAME_FOR_THE_PICTURE:
                return rules
            if status is not Status.CONNECT:
                rules = Rules(failure=(Status.ROBOTS_UNAVAILABLE, f"robots.txt: {detail}"))
        return rules

    async def _once(self, target: Target, lease: Lease) -> Rules:
        at = parse_target("/robots.txt", target.href)
        deadline = Deadline(self._settings.timeout_s)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._open(at, lease, deadline)
            async with deadline.running():
                try:
                    location = response.headers.get("Location")
                    if response.status not in REDIRECTS or not location:
                        body = await read_up_to(response, MAX_BYTES)
                        encoding = response.headers.get("Content-Encoding", "").strip().lower()
                        body = decompressed(body, encoding, MAX_BYTES, is_cut=True)
                        return answered(response.status, body)
                    await drain(response)
                finally:
                    response.close() if not response.content.at_eof() else response.release()
            try:
                at = parse_target(location, at.href)
            except UrlError:
                break
            await lease.move(at.host)
            await lease.turn()
        # Nowhere to be found, which the RFC lets count as a 4xx.
        return Rules()
