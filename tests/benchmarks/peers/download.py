"""`download-https` and `download-http` against img2dataset."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.download import Served, download, serving
from tests.benchmarks.peers.compare import ROOT, Peer, alternate, call

IMG2DATASET = Peer(
    "img2dataset",
    (
        "img2dataset==1.47.0",
        # What it asks for, at the newest versions that it allows.
        "albucore==0.0.23",
        "albumentations==1.4.24",
        "annotated-types==0.8.0",
        "braceexpand==0.1.7",
        "ExifRead-nocycle==3.0.1",
        "fsspec==2026.9.0",
        "numpy==2.4.6",
        "opencv-python-headless==4.14.0.94",
        "pyarrow==26.0.1",
        "pydantic==2.14.4",
        "pydantic_core==2.50.5",
        "PyYAML==6.0.4",
        "scipy==1.17.1",
        "simsimd==6.5.16",
        "stringzilla==5.3.2",
        "typing-inspection==0.4.5",
        "typing_extensions==4.16.0",
        "webdataset==0.2.111",
    ),
)
_SIDE = ROOT / "tests" / "benchmarks" / "peers" / "img2dataset_side.py"
_ITEMS, _PAIRS = 5000, 3
_NO_CHANGES: Mapping[str, str] = {}
# Both round a side to whole pixels, one up and one down.
_TOLERANCE_PX = 1


def run_https(scale: float = 1.0) -> dict[str, Any]:
    """New connections with TLS, checked against every authority of the system and the server's."""
    return _compare("download-https", "https", scale)


def run_http(scale: float = 1.0) -> dict[str, Any]:
    """Without TLS."""
    return _compare("download-http", "http", scale)


def run_https_simplejpeg(scale: float = 1.0) -> dict[str, Any]:
    """With TLS, ours with its optional codec."""
    return _compare("download-https-simplejpeg", "https", scale, {"jpeg_codec": "simplejpeg"})


def run_http_simplejpeg(scale: float = 1.0) -> dict[str, Any]:
    """Without TLS, ours with its optional codec."""
    return _compare("download-http-simplejpeg", "http", scale, {"jpeg_codec": "simplejpeg"})


def _compare(
    workload: str, scheme: str, scale: float, changes: Mapping[str, str] = _NO_CHANGES
) -> dict[str, Any]:
    """Both fetch the same URLs of one server: 384 px keep_ratio when bigger, JPEG of quality 90,
    sha256 of what was received, written to tars. Ours asks for robots.txt and computes perceptual
    hashes besides. Equivalent when both have the same URLs with the same sha256 and sizes. CPU is
    that of all pictures, once all is loaded: what loading took is a figure of its own on both sides.

    changes: of our settings.
    """
    items = max(1, round(_ITEMS * scale))
    with serving(scheme, items) as served, tempfile.TemporaryDirectory() as folder:
        served = replace(served, config=served.config.model_copy(update=dict(changes)))
        urls = Path(folder) / "urls.txt"
        urls.write_text("\n".join(served.urls))
        rows: dict[str, dict[str, tuple[str, int, int]]] = {}

        def ours() -> dict[str, Any]:
            figures, result = download(served)
            rows["ours"] = {
                row["final_url"]: (row["sha256"].hex(), row["width"], row["height"])
                for row in result.rows
            }
            return figures | {"items": items}

        def peer() -> dict[str, Any]:
            figures = call([IMG2DATASET.python(), _SIDE, urls, *_recipe(served), folder])
            rows["peer"] = {url: tuple(found) for url, *found in figures.pop("rows")}
            return figures | {"items": items}

        figures = alternate(ours, peer, _PAIRS)
        _check_equal(rows["ours"], rows["peer"], items)
    return {"workload": workload, "peer_name": IMG2DATASET.packages[0], **figures}


def _recipe(served: Served) -> list[str | Path]:
    config = served.config
    return [served.authorities, str(config.image_size_px), str(config.jpeg_quality)]


def _check_equal(
    ours: dict[str, tuple[str, int, int]], peer: dict[str, tuple[str, int, int]], items: int
) -> None:
    if not ours.keys() == peer.keys() or len(ours) != items:
        raise AssertionError(f"of {items} URLs ours has {len(ours)}, the peer {len(peer)}")
    for url, (digest, width, height) in ours.items():
        its_digest, its_width, its_height = peer[url]
        apart = max(abs(width - its_width), abs(height - its_height))
        if digest != its_digest or apart > _TOLERANCE_PX:
            raise AssertionError(f"{url}: ours {ours[url]}, the peer {peer[url]}")
