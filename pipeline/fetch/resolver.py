"""Names to addresses: a resolver with a positive and a negative cache, or a hosts file."""

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.core.errors import InputError
from pipeline.fetch.guard import Guard, PrivateAddressError, parse_address

_TTL_S = 600.0
# A name that does not exist stays so; a resolver that was overloaded deserves another try.
_MISSING_TTL_S = 3600.0
_FAILED_TTL_S = 30.0
_THREADS = 32
_ATTEMPTS = 2


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

    hosts: when not None, the only names there are ("*" matches all others).
    port_map: port to connect to in place of the URL's, for exempt addresses; 0 stands for every
        port that it does not name.
    """

    def __init__(
        self,
        guard: Guard,
        hosts: Mapping[str, tuple[str, ...]] | None = None,
        port_map: Mapping[int, int] | None = None,
    ) -> None:
        self._guard = guard
        self._hosts = hosts
        self._port_map = dict(port_map or {})
        self._cache: dict[str, tuple[float, tuple[str, ...] | OSError]] = {}
        self._pending: dict[str, asyncio.Task[tuple[str, ...] | OSError]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "resolver") if hosts is None else None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of a name. Raises PrivateAddressError when none of them may be used, and
        another OSError when there are none."""
        found = await self._lookup(host.lower().rstrip("."))
        if isinstance(found, OSError):
            # A fresh exception each time: a cached one would collect tracebacks.
            raise OSError(*found.args)
        results: list[ResolveResult] = []
        for text in found:
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
            raise PrivateAddressError(f"refused address {found[0]} of {host}")
        return results

    def mapped_port(self, address: str, port: int) -> int:
        """The port to connect to: mapped only for addresses in the allowed networks."""
        parsed = parse_address(address)
        if parsed is not None and self._guard.is_exempt(parsed):
            return self._port_map.get(port, self._port_map.get(0, port))
        return port

    async def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _lookup(self, host: str) -> tuple[str, ...] | OSError:
        if self._hosts is not None:
            return self._hosts.get(host) or self._hosts.get("*") or OSError("not in the hosts file")
        cached = self._cache.get(host)
        if cached and cached[0] > time.monotonic():
            return cached[1]
        # Shielded: one waiter's deadline must not cancel the lookup for the others.
        task = self._pending.get(host)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(host))
            self._pending[host] = task
            task.add_done_callback(lambda _: self._pending.pop(host, None))
        return await asyncio.shield(task)

    async def _ask(self, host: str) -> tuple[str, ...] | OSError:
        loop = asyncio.get_running_loop()
        error: OSError = OSError("no address")
        ttl = _MISSING_TTL_S
        for _ in range(_ATTEMPTS):
            try:
                infos = await loop.run_in_executor(
                    self._threads, lambda: socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
                )
            except socket.gaierror as failure:
                error = failure
                ttl = _FAILED_TTL_S if failure.errno == socket.EAI_AGAIN else _MISSING_TTL_S
                if failure.errno == socket.EAI_AGAIN:
                    continue
                break
            except (OSError, UnicodeError) as failure:
                error, ttl = OSError(str(failure)), _MISSING_TTL_S
                break
            addresses = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
            if addresses:
                self._cache[host] = (time.monotonic() + _TTL_S, addresses)
                return addresses
            break
        self._cache[host] = (time.monotonic() + ttl, error)
        return error
