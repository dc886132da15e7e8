"""Download benchmarks: pictures per core-second over HTTP and HTTPS, server in another process.

The server's pictures are made here: photographs' statistics (blobs at every scale and noise), about
one megapixel and 150 KB each, a few dozen distinct ones behind many URLs on many host names.
"""

import asyncio
import io
import json
import multiprocessing
import resource
import ssl
import tempfile
import time
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
from pipeline.fetch.part import COLUMNS
from pipeline.fetch.pool import close_pools
from pipeline.fetch.settings import DownloadSection

_ITEMS = 600
_HOSTS = 40
_DISTINCT = 24
_WIDTH, _HEIGHT = 1200, 900


def run_http(scale: float = 1.0) -> dict[str, Any]:
    """Download over HTTP; `scale` multiplies the number of pictures."""
    return _run("download-http", "http", scale)


def run_https(scale: float = 1.0) -> dict[str, Any]:
    """Download over HTTPS, with certificates checked against an authority made for it."""
    return _run("download-https", "https", scale)


def photos() -> list[bytes]:
    """JPEGs of about one megapixel and 150 KB."""
    found = []
    for seed in range(_DISTINCT):
        rng = np.random.default_rng(seed)
        picture = np.zeros((_HEIGHT, _WIDTH, 3), np.float32)
        for cells in (3, 8, 20, 50, 120):
            blobs = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
            layer = Image.fromarray(blobs).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
            picture += np.asarray(layer, np.float32) / 5
        picture += rng.normal(0, 5, (_HEIGHT, _WIDTH, 1)).astype(np.float32)
        buffer = io.BytesIO()
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=78)
        found.append(buffer.getvalue())
    return found


def _serve(pipe: Connection, bodies: list[bytes], certificate: str | None) -> None:
    async def main() -> None:
        async def picture(request: web.Request) -> web.Response:
            body = bodies[int(request.match_info["n"]) % len(bodies)]
            return web.Response(body=body, content_type="image/jpeg")

        app = web.Application()
        app.router.add_get("/{n}.jpg", picture)
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
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
    bodies = photos()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        names = [f"h{i}.bench.test" for i in range(_HOSTS)]
        authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(
            str(folder / "server.pem")
        )
        (folder / "hosts.json").write_text(json.dumps({"*": "127.0.0.1"}))
        ours, theirs = multiprocessing.Pipe()
        certificate = str(folder / "server.pem") if scheme == "https" else None
        # Spawned, not forked: a fork of a process with threads may hang.
        server = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, bodies, certificate), daemon=True
        )
        server.start()
        try:
            port = ours.recv()
            config = DownloadSection(
                hosts_file=str(folder / "hosts.json"),
                allowed_networks=("127.0.0.1/32",),
                port_map={80: port, 443: port},
                ca_file=str(folder / "ca.pem"),
                host_interval_s=0.0,
                address_concurrency=1000,
                address_interval_s=0.0,
                placeholder_urls=0,
            )
            urls = [f"{scheme}://{names[i % _HOSTS]}/{i}.jpg" for i in range(items)]
            return {"workload": workload, "items": items} | _measure(urls, config, folder)
        finally:
            ours.send("stop")
            server.join(10)


def _measure(urls: list[str], config: DownloadSection, folder: Path) -> dict[str, Any]:
    def batch(some: list[str]) -> pa.RecordBatch:
        values = [[image_id(u) for u in some], some, ["bench.test"] * len(some), [None] * len(some)]
        kinds = [pa.binary(), pa.string(), pa.string(), pa.string()]
        arrays = [pa.array(v, k) for v, k in zip(values, kinds, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, COLUMNS)

    # Start the decoder process, which serves every part of a task, outside the measurement.
    close_pools()
    with open(folder / "warm.tar", "wb") as file:
        download_part([batch(urls[:1])], config, file)
    ended_before, own_before = _decoders_cpu_s(), _cpu_s()
    started = time.perf_counter()
    with open(folder / "raw.tar", "wb") as file:
        result = download_part([batch(urls)], config, file)
    seconds = time.perf_counter() - started
    own = _cpu_s() - own_before
    close_pools()
    decoders = _decoders_cpu_s() - ended_before
    assert result.account.kept == len(urls), result.account.dropped
    steps = {f"{name}_ms": s / len(urls) * 1e3 for name, s in result.account.cpu_s.items()}
    return {
        "seconds": seconds,
        # Includes the decoder's own start, about half a second once per task.
        "cpu_seconds": own + decoders,
        "client_ms": own / len(urls) * 1e3,
        "decoder_ms": decoders / len(urls) * 1e3,
        "body_bytes": sum(r["body_bytes"] for r in result.rows) // len(urls),
        **{name: round(value, 3) for name, value in steps.items()},
    }


if __name__ == "__main__":
    for measured in (run_http(), run_https()):
        print(json.dumps(measured, indent=1))
