"""One small embedded web for all tests of this folder, and a client that finds its hosts."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pyarrow.parquet as pq
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.fakeweb.build import write_web
from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.serving import Served, serving

SECTION = DemoSection(pages=60, processes=1)


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "web"
    write_web(str(folder), SECTION)
    return folder


@pytest.fixture(scope="session")
def served(web: Path) -> Iterator[Served]:
    with serving(str(web)) as running:
        yield running


@pytest.fixture(scope="session")
def truth(web: Path) -> Callable[[str], list[dict]]:
    return lambda name: pq.read_table(web / f"truth/{name}.parquet").to_pylist()


class HostsFile(AbstractResolver):
    """Resolves as a downloader would: names in the file, "*" for all others."""

    def __init__(self, path: str) -> None:
        self.hosts = json.loads(Path(path).read_text())

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        address = self.hosts.get(host) or self.hosts.get("*")
        if address is None:
            raise OSError(f"no such host: {host}")
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


def client(served: Served) -> aiohttp.ClientSession:
    import ssl

    context = ssl.create_default_context(cafile=served.ca_file)
    connector = aiohttp.TCPConnector(resolver=HostsFile(served.hosts_file), ssl=context)
    return aiohttp.ClientSession(connector=connector, headers={"User-Agent": "tests"})


def address(served: Served, scheme: str, host: str, target: str) -> str:
    port = served.http_port if scheme == "http" else served.https_port
    return f"{scheme}://{host}:{port}{target}"
