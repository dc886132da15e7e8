"""Write an embedded web to a folder, once: archives, truth, and what the server needs.

archives/      WARC and WAT files
truth/         images, links, pages, damage (schemas in `truth`)
files/         packs of bodies, routes.parquet, hosts.json, servers.json
web.json       the settings; written last, so that a web with it is whole
access.jsonl   the server's log, one line per request, over all times it was served
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import ConfigError
from pipeline.core.ids import image_id
from pipeline.core.tables import ID, column
from pipeline.fakeweb.archives import write_archives
from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.files import CONTENT_TYPES, write_files
from pipeline.fakeweb.model import Image
from pipeline.fakeweb.truth import write_truth
from pipeline.fakeweb.world import World, make_world

MANIFEST = "web.json"

ROUTES = pa.schema(
    [
        column("image_id", ID, "of the canonical URL"),
        column("host", pa.string(), "without port"),
        column("scheme", pa.string(), "http or https"),
        column("target", pa.string(), "path and query in canonical form"),
        column("kind", pa.string(), "a Kind"),
        column("pack", pa.int32(), "number of the pack with the body"),
        column("offset", pa.int64(), "of the body in it", unit="bytes"),
        column("length", pa.int64(), "of the body, 0 when it has none", unit="bytes"),
        column("content_type", pa.string(), "true type of the body"),
        column("header", pa.string(), "opt-out header of the response", null="none"),
        column("location", pa.string(), "where it redirects to", null="nowhere"),
    ]
)


def write_web(folder: str, section: DemoSection) -> None:
    """Write the web of a section. Does nothing when the folder holds that very web.

    A web with other settings, or of other code, is replaced. Raises ConfigError when the folder
    holds something that is not a web.
    """
    final = Path(folder).absolute()
    settings = {**section.identity(), "code": _code_digest()}
    if _settings_of(final) == settings:
        return
    if final.exists() and any(final.iterdir()) and not (final / MANIFEST).exists():
        raise ConfigError(f"demo.folder = {folder} holds something else; name an empty folder")
    temporary = final.with_name(f".writing-{final.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write(temporary, section, settings)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _settings_of(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return found


def _code_digest() -> str:
    """Names the code that makes the web, so that a web of older code is made anew."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _write(folder: Path, section: DemoSection, settings: dict[str, Any]) -> None:
    world = make_world(section)
    damages = write_archives(world, folder / "archives")
    write_truth(world, damages, folder / "truth")
    places = write_files(section.seed, world.images, folder / "files", section.processes)
    routes = [
        _route(world, image, place) for image, place in zip(world.images, places, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(routes, schema=ROUTES), folder / "files/routes.parquet")
    addresses: dict[str, str | list[str]] = {}
    for host in world.hosts:
        if host.address:
            found = host.address.split(" ")
            addresses[host.name] = found if len(found) > 1 else found[0]
    hosts = [
        {
            "name": host.name,
            "scheme": host.scheme,
            "robots": host.robots,
            "certificate": host.certificate,
            "later": host.later,
        }
        for host in world.hosts
    ]
    _write_json(folder / "files/hosts.json", addresses)
    _write_json(folder / "files/servers.json", hosts)
    _write_json(folder / MANIFEST, settings)


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _route(world: World, image: Image, place: tuple[int, int, int]) -> dict[str, Any]:
    pack, offset, length = place
    return {
        "image_id": image_id(image.url),
        "host": image.host.partition(":")[0] if "[" not in image.host else image.host,
        "scheme": image.scheme,
        "target": image.target,
        "kind": image.kind,
        "pack": pack,
        "offset": offset,
        "length": length,
        "content_type": CONTENT_TYPES[image.encoding],
        "header": image.optout_header or None,
        "location": world.images[image.source].url if image.source >= 0 else None,
    }
