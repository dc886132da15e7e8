"""robots.txt: what a site lets the crawler ask for.

Source: RFC 9309, Robots Exclusion Protocol. A 4xx answer allows everything (2.3.1.3), a server or
network error disallows everything (2.3.1.4), up to five redirects are followed (2.3.1.2), at least
500 KiB are parsed (2.5). 429 counts as a server error here, since the site asks to be left alone.
Crawl-delay is not in the RFC; it is honoured because sites state it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protego import Protego

from pipeline.core.reasons import Status
from pipeline.fetch.guard import Target

MAX_BYTES = 500 * 1024
MAX_REDIRECTS = 5
Origin = tuple[str, str, int]


@dataclass(frozen=True)
class Rules:
    """The verdicts of one robots.txt.

    failure: why it could not be had, with its detail; then nothing is allowed.
    """

    parsed: Protego | None = None
    failure: tuple[Status, str] | None = None

    def allows(self, url: str, agent: str) -> bool:
        """True when `agent`, a product token, may ask for a URL of this site."""
        if self.failure is not None:
            return False
        return self.parsed is None or bool(self.parsed.can_fetch(url, agent))

    def crawl_delay_s(self, agent: str) -> float:
        """Seconds between requests that the file asks for; 0 when it asks for none."""
        delay = self.parsed.crawl_delay(agent) if self.parsed is not None else None
        return max(0.0, float(delay or 0.0))


def parse(body: bytes) -> Rules:
    """The rules of a robots.txt body, of which the first 500 KiB count. Never raises."""
    text = body[:MAX_BYTES].decode("utf-8", errors="replace").lstrip("\ufeff")
    try:
        return Rules(Protego.parse(text))
    except (ValueError, IndexError, KeyError, RecursionError) as error:
        return Rules(failure=(Status.ROBOTS_UNAVAILABLE, f"robots.txt: {error}"[:200]))


def answered(http_status: int, body: bytes) -> Rules:
    """The rules that an answer to a request for robots.txt stands for."""
    if http_status == 429 or http_status >= 500:
        return Rules(failure=(Status.ROBOTS_UNAVAILABLE, f"robots.txt answered {http_status}"))
    if 200 <= http_status < 300:
        return parse(body)
    return Rules()


class RobotsCache:
    """Each origin's robots.txt, fetched once by whoever needs it first."""

    def __init__(self) -> None:
        self._known: dict[Origin, asyncio.Future[Rules]] = {}

    async def of(self, target: Target, fetch: Callable[[], Awaitable[Rules]]) -> Rules:
        """The rules that hold for a URL, asked for by `fetch` when nobody has yet."""
        future = self._known.get(target.origin)
        if future is not None:
            return await asyncio.shield(future)
        future = asyncio.get_running_loop().create_future()
        self._known[target.origin] = future
        try:
            future.set_result(await fetch())
        except BaseException as error:
            self._known.pop(target.origin)
            if not future.done():
                future.cancel()
            raise error
        return future.result()
