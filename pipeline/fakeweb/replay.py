"""Serve what WARC files recorded, under its own URLs, on loopback.

The line can so run on real archives without a network. What is not recorded is not found; a host
whose robots.txt was not recorded therefore allows everything.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from pipeline.core.errors import InputError
from pipeline.fakeweb import recorded
from pipeline.fakeweb.httpd import Exchange, serve
from pipeline.fakeweb.serving import Served, running
from pipeline.fakeweb.tls import Certificates

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NO_BODY = frozenset({204, 205, 304})


class ReplaySite:
    """Answers with recorded responses. Percent-encoding is compared by what it stands for."""

    def __init__(self, archives: Sequence[str]) -> None:
        self._places = {_key(url): place for url, place in recorded.index(archives).items()}

    async def respond(self, exchange: Exchange) -> bool:
        """The recorded response, or 404."""
        request = exchange.request
        # A client that asks this server itself names the port it listens on.
        own = exchange.writer.get_extra_info("sockname")  # null when the client has hung up
        is_implied = request.port in (None, _DEFAULT_PORTS[request.scheme], own and own[1])
        host = request.host if is_implied else f"{request.host}:{request.port}"
        place = self._places.get(_key(f"{request.scheme}://{host}{request.target}"))
        found = recorded.read(place) if place else None
        if found is None:
            exchange.answer(404, [("Content-Type", "text/plain")], b"not recorded\n")
        else:
            body = b"" if found.status in _NO_BODY else found.body
            exchange.answer(found.status, found.fields, body)
        return True


def _key(url: str) -> str:
    """Equal for two spellings of a URL that differ in percent-encoding only."""
    return quote(unquote(url, errors="surrogateescape"), errors="surrogateescape")


@contextmanager
def replaying(archives: Sequence[str], folder: str) -> Iterator[Served]:
    """Serve the responses in WARC files, in a process of its own; its log goes to `folder`.

    Every host name resolves to loopback ("*" in the hosts file). Raises InputError when an archive
    is missing.
    """
    missing = [archive for archive in archives if not Path(archive).is_file()]
    if missing:
        raise InputError(f"no archive at {missing[0]}")
    root = Path(folder).absolute()
    root.mkdir(parents=True, exist_ok=True)
    # Other recordings of the same sites say other things.
    shutil.rmtree(root / "hosts", ignore_errors=True)
    (root / "hosts.json").write_text(json.dumps({"*": "127.0.0.1"}) + "\n")
    with tempfile.TemporaryDirectory(prefix="pairmill-replay-") as state:
        # In a file, as a command line has a limited length.
        (Path(state) / "archives.json").write_text(
            json.dumps([str(Path(a).absolute()) for a in archives])
        )
        arguments = ["pipeline.fakeweb.replay", str(root), state]
        with running(arguments, root / "hosts.json", root / "access.jsonl") as served:
            yield served


def main() -> None:
    """Serve the archives listed in the second folder; the log goes to the first."""
    folder, state = Path(sys.argv[1]), Path(sys.argv[2])
    site = ReplaySite(json.loads((state / "archives.json").read_text()))
    asyncio.run(serve(site, Certificates(), state, folder / "access.jsonl"))


if __name__ == "__main__":
    main()
