"""Names to addresses: a resolver with a positive and a negative cache, or a hosts file."""

import asyncio
import json
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.core.errors import InputError
from pipeline.fetch.guard import Guard, PrivateAddressError, parse_address
from pipeline.fetch.nameservers import Answer, NameServers, Outcome, has_ipv6

if TYPE_CHECKING:
    from pipeline.fetch.settings import DownloadSection


class NoSuchNameError(OSError):
    """The name does not exist or has no address; asking again will not help."""


class NameServerError(OSError):
    """No name server gave an answer; one may later."""


class AnswerCache:
    """Answers by name until they expire, the least recently used given up first.

    names: how many are held at most (about 400 bytes each). min_ttl_s, max_ttl_s: what the zones'
    own times are clamped to; a failure of the servers is kept for `failed_ttl_s` whatever they are.
    """

    # RFC 2308, section 7 allows up to 5 minutes; an overloaded server deserves another try sooner.
    failed_ttl_s = 30.0

    def __init__(
        self,
        names: int = 100_000,
        min_ttl_s: float = 60.0,
        max_ttl_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = names
        self._min_ttl_s, self._max_ttl_s = min_ttl_s, max_ttl_s
        self._clock = clock
        self._held: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, host: str) -> Answer | None:
        """The answer, unless there is none or it has expired."""
        with self._lock:
            held = self._held.get(host)
            if held is None:
                return None
            if held[0] <= self._clock():
                del self._held[host]
                return None
            self._held.move_to_end(host)
            return held[1]

    def put(self, host: str, answer: Answer) -> None:
        """Hold an answer for as long as it says, within the clamps."""
        ttl = min(max(answer.ttl_s, self._min_ttl_s), self._max_ttl_s)
        if answer.outcome is Outcome.FAILED:
            ttl = self.failed_ttl_s
        with self._lock:
            self._held[host] = (self._clock() + ttl, answer)
            self._held.move_to_end(host)
            while len(self._held) > self._names:
                self._held.popitem(last=False)


@lru_cache(maxsize=4)
def shared_cache(
    servers: tuple[str, ...], with_ipv6: bool, names: int, min_ttl_s: float, max_ttl_s: float
) -> AnswerCache:
    """The cache of this process for one set of servers: parts come and go, names stay."""
    return AnswerCache(names, min_ttl_s, max_ttl_s)


def read_hosts(path: str) -> dict[str, tuple[str, ...]]:
    """Read a hosts file: JSON {name: address or [addresses]}, names in lower case.

    Raises InputError when it is missing or holds anything else.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"download.hosts_file {path}: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"download.hosts_file {path}: expected a JSON object of names")
    hosts = {}
    for name, value in data.items():
        addresses = tuple(value) if isinstance(value, list) else (value,)
        if not addresses or any(parse_address(str(a)) is None for a in addresses):
            raise InputError(f"download.hosts_file {path}: {name}: {value!r} is no address")
        hosts[str(name).lower()] = tuple(map(str, addresses))
    return hosts


class Resolver(AbstractResolver):
    """Resolves each name once; never returns an address the guard refuses.

    source: the name servers, or the only names there are ("*" matches all others).
    port_map: port to connect to in place of the URL's, for exempt addresses; 0 stands for every
        port that it does not name.
    cache: for answers of name servers; an own one when null.
    """

    def __init__(
        self,
        guard: Guard,
        source: NameServers | Mapping[str, tuple[str, ...]],
        port_map: Mapping[int, int] | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self._guard = guard
        self._source = source
        self._port_map = dict(port_map or {})
        self._cache = AnswerCache() if cache is None else cache
        self._pending: dict[str, asyncio.Task[Answer]] = {}

    @classmethod
    def of(cls, settings: "DownloadSection", guard: Guard) -> "Resolver":
        """As the settings say, with the cache of this process."""
        if settings.hosts_file:
            return cls(guard, read_hosts(settings.hosts_file), settings.port_map)
        servers = name_servers(settings)
        cache = shared_cache(
            tuple(servers.servers),
            servers.with_ipv6,
            settings.dns_cache_names,
            settings.dns_min_ttl_s,
            settings.dns_max_ttl_s,
        )
        return cls(guard, servers, settings.port_map, cache)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of a name. Raises PrivateAddressError when none of them may be used,
        NoSuchNameError when there are none, NameServerError when nobody would say."""
        answer = await self._lookup(host.lower().rstrip("."))
        if answer.outcome is Outcome.MISSING:
            raise NoSuchNameError(f"{host}: {answer.detail}")
        if answer.outcome is Outcome.FAILED:
            raise NameServerError(f"{host}: {answer.detail}")
        results: list[ResolveResult] = []
        for text in answer.addresses:
            address = parse_address(text)
            if address is None or not self._guard.permits(address):
                continue
            results.append(
                ResolveResult(
                    hostname=host,
                    host=text,
                    port=self.mapped_port(text, port),
                    family=socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                    proto=socket.IPPROTO_TCP,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        if not results:
            raise PrivateAddressError(f"refused address {answer.addresses[0]} of {host}")
        return results

    def mapped_port(self, address: str, port: int) -> int:
        """The port to connect to: mapped only for addresses in the allowed networks."""
        parsed = parse_address(address)
        if parsed is not None and self._guard.is_exempt(parsed):
            return self._port_map.get(port, self._port_map.get(0, port))
        return port

    async def close(self) -> None:
        """Give up what is being asked."""
        for task in tuple(self._pending.values()):
            task.cancel()

    async def _lookup(self, host: str) -> Answer:
        if not isinstance(self._source, NameServers):
            addresses = self._source.get(host) or self._source.get("*")
            if addresses is None:
                return Answer(Outcome.MISSING, detail="not in the hosts file")
            return Answer(Outcome.FOUND, addresses)
        cached = self._cache.get(host)
        if cached is not None:
            return cached
        # Shielded: one waiter's deadline must not cancel the lookup for the others.
        task = self._pending.get(host)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(self._source, host))
            self._pending[host] = task
            task.add_done_callback(lambda _: self._pending.pop(host, None))
        return await asyncio.shield(task)

    async def _ask(self, servers: NameServers, host: str) -> Answer:
        answer = await servers.ask(host)
        self._cache.put(host, answer)
        return answer


def name_servers(settings: "DownloadSection") -> NameServers:
    """The name servers that the settings name. Raises EnvironmentProblem when there are none."""
    return NameServers(
        settings.dns_servers,
        settings.dns_timeout_s,
        settings.dns_attempts,
        settings.dns_concurrency,
        has_ipv6() if settings.ipv6 == "auto" else settings.ipv6 == "on",
    )
