"""The servers of an embedded web, all in one process: `python -m pipeline.fakeweb.server`."""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.fakeweb.behaviour import Route, respond, silent
from pipeline.fakeweb.changes import read_changes
from pipeline.fakeweb.dnsd import DnsServer, Reply
from pipeline.fakeweb.files import pack_name
from pipeline.fakeweb.hostile import Kind
from pipeline.fakeweb.hosts import robots_txt
from pipeline.fakeweb.httpd import Exchange, serve
from pipeline.fakeweb.model import Certificate, Robots
from pipeline.fakeweb.tls import Certificates

_MOVED_ROBOTS = "/policies/robots.txt"
_SLOW_ROBOTS_SECONDS = 1.0
_NOISE = re.compile(r"[?&](utm_\w+|hop)=[^&]*")


class EmbeddedSite:
    """Dispatches by scheme, host and canonical target. Bodies are read when asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._routes: dict[tuple[str, str, str], Route] = {}
        self._placeholders: dict[tuple[str, str], Route] = {}
        self._visits: Counter[str] = Counter()
        servers = json.loads((folder / "files/servers.json").read_text(encoding="utf-8"))
        self.names = _names(folder, servers)
        changed = read_changes(folder)
        self._robots = {
            (s["scheme"], s["name"]): changed.robots.get(s["name"], Robots(s["robots"]))
            for s in servers
        }
        certificates = {s["name"]: Certificate(s["certificate"]) for s in servers}
        self.wrong = {n: c for n, c in certificates.items() if c is not Certificate.GOOD}
        for number, row in enumerate(pq.read_table(folder / "files/routes.parquet").to_pylist()):
            name = row["image_id"].hex()
            route = Route(
                name,
                changed.kinds.get(name, Kind(row["kind"])),
                row["target"],
                row["content_type"],
                changed.headers.get(name, row["header"] or ""),
                row["location"] or "",
                number,
                self._reader(row["pack"], row["offset"], row["length"]),
            )
            self._routes[row["scheme"], row["host"], row["target"]] = route
            if route.kind is Kind.PLACEHOLDER:
                self._placeholders.setdefault((row["scheme"], row["host"]), route)

    def _reader(self, pack: int, offset: int, length: int) -> Callable[[], bytes]:
        return partial(_read, self._folder / "files" / pack_name(pack), offset, length)

    async def respond(self, exchange: Exchange) -> bool:
        """Answer a request; what is not known is not found."""
        request = exchange.request
        server = (request.scheme, request.host)
        if request.target in ("/robots.txt", _MOVED_ROBOTS):
            return await _answer_robots(exchange, self._robots.get(server, Robots.ABSENT))
        route = self._routes.get((*server, _canonical(request.target)))
        if route is None:
            route = self._placeholders.get(server)
        if route is None:
            exchange.answer(404, [("Content-Type", "text/html")], b"<h1>Not here</h1>")
            return True
        exchange.image = route.image_id
        visit = self._visits[route.image_id]
        self._visits[route.image_id] += 1
        return await respond(exchange, route, visit)


def _names(
    folder: Path, servers: Sequence[Mapping[str, Any]]
) -> dict[str, Reply | Sequence[Reply]]:
    """What the name server says of each name."""
    hosts = json.loads((folder / "files/hosts.json").read_text(encoding="utf-8"))
    names: dict[str, Reply | Sequence[Reply]] = {}
    for name, found in hosts.items():
        names[name] = Reply((found,) if isinstance(found, str) else tuple(found))
    for server in servers:
        if server["later"]:
            answers = ((hosts[server["name"]],), (server["later"],))
            names[server["name"]] = [Reply(addresses, ttl_s=0) for addresses in answers]
    return names


def _read(pack: Path, offset: int, length: int) -> bytes:
    with open(pack, "rb") as file:
        file.seek(offset)
        return file.read(length)


def _canonical(target: str) -> str:
    """The target without dot segments, trackers and fragment."""
    path, question, query = target.partition("#")[0].partition("?")
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    path = "/" + "/".join(kept)
    cleaned = _NOISE.sub("", f"?{query}") if question else ""
    # A tracker that stood first leaves its & to the next parameter.
    return path + ("?" + cleaned[1:] if cleaned else "")


async def _answer_robots(exchange: Exchange, robots: Robots) -> bool:
    """Answer for robots.txt; whether the connection can be used again."""
    text = robots_txt(robots)
    is_moved = robots is Robots.PATH_MOVED
    if is_moved and exchange.request.target != _MOVED_ROBOTS:
        exchange.answer(301, [("Location", _MOVED_ROBOTS)])
    elif robots is Robots.SILENT:
        await silent(exchange)
        return False
    elif robots is Robots.ERROR:
        exchange.answer(503, [("Content-Type", "text/plain")], b"try later")
    elif robots is Robots.CLOSING:
        exchange.answer(404, [("Connection", "close")])
        return False
    elif robots is Robots.REFUSED:
        exchange.answer(403, [("Content-Type", "text/html")], b"<h1>Not for you</h1>")
    elif text is None or (exchange.request.target == _MOVED_ROBOTS and not is_moved):
        exchange.answer(404, [("Content-Type", "text/html")], b"<h1>Not here</h1>")
    else:
        if robots is Robots.PATH_SLOW:
            await asyncio.sleep(_SLOW_ROBOTS_SECONDS)
        exchange.answer(200, [("Content-Type", "text/plain; charset=utf-8")], text)
    return True


def main() -> None:
    """Serve the web in the folder named first; certificates go to the folder named second."""
    folder, state = Path(sys.argv[1]), Path(sys.argv[2])
    site = EmbeddedSite(folder)
    with DnsServer(site.names) as names:
        work = serve(site, Certificates(site.wrong), state, folder / "access.jsonl", names.address)
        asyncio.run(work)


if __name__ == "__main__":
    main()
