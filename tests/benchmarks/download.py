"""Download benchmarks: pictures per core-second over HTTP and HTTPS, and the wall time where servers
are slow or hang. The server is another process.

The server's pictures are made here: photographs' statistics (blobs at every scale and noise), 0.5
to 2 megapixels of several shapes, a hundred distinct ones behind many URLs on many host names.
"""

import asyncio
import io
import json
import multiprocessing
import resource
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import trustme
from aiohttp import web
from PIL import Image

from pipeline.core.ids import image_id
from pipeline.fetch.flow import download_part
from pipeline.fetch.part import COLUMNS, PartResult
from pipeline.fetch.pool import close_pools
from pipeline.fetch.settings import DownloadSection

_ITEMS = 5000
_HOSTS = 40
_DISTINCT = 100
_SHAPES = ((4, 3), (3, 4), (3, 2), (2, 3), (1, 1), (16, 9))
_LEAST_PIXELS, _MOST_PIXELS = 0.5e6, 2e6

_LATENCY_HOSTS, _LATENCY_S, _HANGING_SHARE = 250, 0.3, 0.02
_LATENCY_CONCURRENCY = 16
# Longer than any deadline.
_HANGS_S = 3600.0


def run_http(scale: float = 1.0) -> dict[str, Any]:
    """Download over HTTP; `scale` multiplies the number of pictures."""
    return _run("download-http", "http", scale)


def run_https(scale: float = 1.0) -> dict[str, Any]:
    """Download over HTTPS, with certificates checked against the system's authorities and one
    made for it."""
    return _run("download-https", "https", scale)


def run_latency(scale: float = 1.0) -> dict[str, Any]:
    """Download where every answer takes 300 ms and 2% of the hosts never give one.

    ideal_seconds: the answers that come, robots.txt included, at the configured concurrency with
    nothing else to wait for. wall_over_ideal: how much longer it took.
    """
    items = max(1, round(_ITEMS * scale))
    # Few enough that waiting, not this machine's processor, is what takes time.
    changes = {"concurrency": _LATENCY_CONCURRENCY}
    hanging = max(1, round(_LATENCY_HOSTS * _HANGING_SHARE))
    with serving("http", items, _LATENCY_HOSTS, _LATENCY_S, hanging) as served:
        served = replace(served, config=served.config.model_copy(update=changes))
        figures, result = _measure(served)
    lost = sum(i % _LATENCY_HOSTS < hanging for i in range(items))
    assert result.account.kept == items - lost, result.account.dropped
    answers = items - lost + min(items, _LATENCY_HOSTS) - hanging
    ideal = answers * _LATENCY_S / served.config.concurrency
    return {
        "workload": "download-latency",
        "items": items,
        "ideal_seconds": round(ideal, 2),
        "wall_over_ideal": round(figures["seconds"] / ideal, 2),
        **figures,
    }


def photos() -> list[bytes]:
    """JPEGs of mixed size, one megapixel and 150 KB on average."""
    return [_photo(seed) for seed in range(_DISTINCT)]


def _photo(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    across, down = _SHAPES[seed % len(_SHAPES)]
    pixels = np.exp(rng.uniform(np.log(_LEAST_PIXELS), np.log(_MOST_PIXELS)))
    side = np.sqrt(pixels / (across * down))
    width, height = round(across * side), round(down * side)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (3, 8, 20, 50, 120):
        blobs = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)
        picture += np.asarray(layer, np.float32) / 5
    picture += rng.normal(0, 5, (height, width, 1)).astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=78)
    return buffer.getvalue()


@dataclass(frozen=True)
class Served:
    """A server that runs. urls: what it serves, with its port; every host is on 127.0.0.1.
    authorities: PEM file of the system's authorities and the one of its certificate."""

    urls: list[str]
    config: DownloadSection
    authorities: Path
    folder: Path


@contextmanager
def serving(
    scheme: str,
    items: int,
    hosts: int = _HOSTS,
    delay_s: float = 0.0,
    hanging: int = 0,
    bodies: Sequence[bytes | Path] = (),
) -> Iterator[Served]:
    """Serve pictures at `items` URLs; the first `hanging` of the hosts never answer.

    bodies: the pictures, or their files, in turn; without, `photos`.
    """
    bodies = bodies or photos()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        names = [f"h{i}.bench.test" for i in range(hosts)]
        authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(
            str(folder / "server.pem")
        )
        roots = ssl.create_default_context().get_ca_certs(binary_form=True)
        pem = "".join(map(ssl.DER_cert_to_PEM_cert, roots)) + authority.cert_pem.bytes().decode()
        (folder / "all.pem").write_text(pem)
        (folder / "hosts.json").write_text(json.dumps({"*": "127.0.0.1"}))
        ours, theirs = multiprocessing.Pipe()
        certificate = str(folder / "server.pem") if scheme == "https" else None
        # Spawned, not forked: a fork of a process with threads may hang.
        server = multiprocessing.get_context("spawn").Process(
            target=_serve,
            args=(theirs, bodies, certificate, delay_s, frozenset(names[:hanging])),
            daemon=True,
        )
        server.start()
        try:
            port = ours.recv()
            config = DownloadSection(
                hosts_file=str(folder / "hosts.json"),
                allowed_networks=("127.0.0.1/32",),
                ca_file=str(folder / "ca.pem"),
                host_interval_s=0.0,
                address_concurrency=1000,
                address_interval_s=0.0,
                placeholder_urls=0,
            )
            urls = [f"{scheme}://{names[i % hosts]}:{port}/{i}.jpg" for i in range(items)]
            yield Served(urls, config, folder / "all.pem", folder)
        finally:
            ours.send("stop")
            server.join(10)


def _serve(
    pipe: Connection,
    bodies: Sequence[bytes | Path],
    certificate: str | None,
    delay_s: float,
    hanging: frozenset[str],
) -> None:
    @web.middleware
    async def slow(request: web.Request, handler: Any) -> web.StreamResponse:
        is_hanging = request.host.partition(":")[0] in hanging
        await asyncio.sleep(_HANGS_S if is_hanging else delay_s)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def picture(request: web.Request) -> web.Response:
        body = bodies[int(request.match_info["n"]) % len(bodies)]
        data = body.read_bytes() if isinstance(body, Path) else body
        return web.Response(body=data, content_type="image/jpeg")

    async def main() -> None:
        app = web.Application(middlewares=[slow] if delay_s else [])
        app.router.add_get("/{n}.jpg", picture)
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context, backlog=1024)
        await site.start()
        assert site._server is not None
        pipe.send(site._server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        await runner.cleanup()

    asyncio.run(main())


def _cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def _decoders_cpu_s() -> float:
    """CPU of ended children: the decoders, once the pool is closed."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def _run(workload: str, scheme: str, scale: float) -> dict[str, Any]:
    items = max(1, round(_ITEMS * scale))
    with serving(scheme, items) as served:
        return {"workload": workload, "items": items} | download(served)[0]


def download(served: Served) -> tuple[dict[str, Any], PartResult]:
    """Download everything that is served; figures, and the rows. All of it must be had."""
    figures, result = _measure(served)
    assert result.account.kept == len(served.urls), result.account.dropped
    return figures, result


def _measure(served: Served) -> tuple[dict[str, Any], PartResult]:
    def batch(some: list[str]) -> pa.RecordBatch:
        values = [[image_id(u) for u in some], some, ["bench.test"] * len(some), [None] * len(some)]
        kinds = [pa.binary(), pa.string(), pa.string(), pa.string()]
        arrays = [pa.array(v, k) for v, k in zip(values, kinds, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, COLUMNS)

    urls, config = served.urls, served.config

    def warm_up() -> None:
        with open(served.folder / "warm.tar", "wb") as file:
            download_part([batch(urls[-1:])], config, file)

    # A decoder serves every part of a task. What its start takes is a figure of its own.
    close_pools()
    ended_before = _decoders_cpu_s()
    warm_up()
    close_pools()
    start = _decoders_cpu_s() - ended_before
    warm_up()
    ended_before, own_before = _decoders_cpu_s(), _cpu_s()
    started = time.perf_counter()
    with open(served.folder / "raw.tar", "wb") as file:
        result = download_part([batch(urls)], config, file)
    seconds = time.perf_counter() - started
    own = _cpu_s() - own_before
    close_pools()
    # The CPU of a process is known once it has ended, its start included.
    decoders = _decoders_cpu_s() - ended_before - start
    steps = {f"{name}_ms": s / len(urls) * 1e3 for name, s in result.account.cpu_s.items()}
    return {
        "seconds": seconds,
        "cpu_seconds": own + decoders,
        "start_cpu_seconds": start,
        "client_ms": own / len(urls) * 1e3,
        "decoder_ms": decoders / len(urls) * 1e3,
        "body_bytes": sum(r["body_bytes"] or 0 for r in result.rows) // len(urls),
        **{name: round(value, 3) for name, value in steps.items()},
    }, result


if __name__ == "__main__":
    for measured in (run_http(), run_https(), run_latency()):
        print(json.dumps(measured, indent=1))
