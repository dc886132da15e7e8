"""The ground truth of an embedded web as tables: `truth/<name>.parquet`."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.ids import image_id, pair_id
from pipeline.core.reasons import Status
from pipeline.core.tables import ID, column
from pipeline.fakeweb.archives import Damage, archive_name
from pipeline.fakeweb.model import Label, OptOut, Variant
from pipeline.fakeweb.world import World

IMAGES = pa.schema(
    [
        column("image_id", ID, "BLAKE2b-128 of url"),
        column("url", pa.string(), "canonical URL"),
        column("scheme", pa.string(), "of url"),
        column("host", pa.string(), "of url, with a port that is not the scheme's own"),
        column("target", pa.string(), "path and query of url"),
        column("picture", pa.int32(), "number of the scene it shows or stands for"),
        column("kind", pa.string(), "a Kind: how the server treats a request for it"),
        column("variant", pa.string(), "a Variant: how it was made from its picture"),
        column("variant_of", ID, "image_id of what it is a variant of", null="an original"),
        column("encoding", pa.string(), "an Encoding: how its file is written"),
        column("width", pa.int32(), "upright, before a crop", unit="pixels"),
        column("height", pa.int32(), "upright, before a crop", unit="pixels"),
        column("optout", pa.string(), "an OptOut: by what means it is withheld", null="it is not"),
        column("is_forbidden", pa.bool_(), "true: it must never be asked for"),
        column("expected_status", pa.string(), "the Status its download must end in"),
        column("other_status", pa.string(), "one that is as right", null="there is none"),
        column("is_candidate", pa.bool_(), "true: some page gives it a caption"),
    ]
)

LINKS = pa.schema(
    [
        column("page_url", pa.string(), "page it is on"),
        column("image_id", ID, "BLAKE2b-128 of url"),
        column("pair_id", ID, "BLAKE2b-128 of image_id and caption"),
        column("url", pa.string(), "canonical URL of the image"),
        column("caption", pa.string(), "normalised caption, never empty"),
        column("place", pa.string(), "a CaptionKind: where on the page the caption stands"),
        column("form", pa.string(), "a Form: in which markup the link stands"),
        column("label", pa.string(), "a Label: what the caption is worth"),
        column("lang", pa.string(), "en or ko: of the page"),
        column(
            "expected_found",
            pa.bool_(),
            "true: it must become a pair; false: it may, being the smaller file of a srcset",
        ),
    ]
)

PAGES = pa.schema(
    [
        column("page_url", pa.string(), "URL of the page"),
        column("archive", pa.string(), "file name of the one archive that holds it"),
        column("lang", pa.string(), "en or ko"),
        column("charset", pa.string(), "of its body; WAT is always UTF-8"),
        column("optout", pa.string(), "place:name:content of its opt-out", null="it has none"),
        column("links", pa.int32(), "image links, those without a caption included"),
    ]
)

DAMAGE = pa.schema(
    [
        column("archive", pa.string(), "file name"),
        column("kind", pa.string(), "'corrupt' or 'truncated'"),
        column("record_offset", pa.int64(), "where the record starts", unit="bytes"),
        column("page_url", pa.string(), "page that is lost; no other table counts it"),
    ]
)


def write_truth(world: World, damages: list[Damage], folder: Path) -> None:
    """Write images, links, pages and damage."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [image_id(image.url) for image in world.images]
    links = list(_links(world, ids))
    captioned = {row["image_id"] for row in links if row["expected_found"]}
    tables = {
        "images": (_images(world, ids, captioned), IMAGES),
        "links": (links, LINKS),
        "pages": (_pages(world), PAGES),
        "damage": (
            [
                {
                    "archive": d.archive,
                    "kind": d.kind,
                    "record_offset": d.offset,
                    "page_url": d.page_url,
                }
                for d in damages
            ],
            DAMAGE,
        ),
    }
    for name, (rows, schema) in tables.items():
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def _images(world: World, ids: list[bytes], captioned: set[bytes]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": ids[image.index],
            "url": image.url,
            "scheme": image.scheme,
            "host": image.host,
            "target": image.target,
            "picture": image.picture,
            "kind": image.kind,
            "variant": image.variant,
            "variant_of": None if image.variant is Variant.ORIGINAL else ids[image.source],
            "encoding": image.encoding,
            "width": image.width,
            "height": image.height,
            "optout": image.optout or None,
            "is_forbidden": OptOut(image.optout).is_known_before,
            "expected_status": Status(image.expected),
            "other_status": image.or_else,
            "is_candidate": ids[image.index] in captioned,
        }
        for image in world.images
    ]


def _links(world: World, ids: list[bytes]) -> list[dict[str, Any]]:
    """One row per link with a caption, and one per smaller file of a srcset."""
    rows = []
    for page in world.pages:
        for link in page.links:
            if link.label is Label.MISSING:
                continue
            for index in (link.image, link.small):
                if index >= 0:
                    rows.append(
                        {
                            "page_url": page.url,
                            "image_id": ids[index],
                            "pair_id": pair_id(ids[index], link.caption),
                            "url": world.images[index].url,
                            "caption": link.caption,
                            "place": link.place,
                            "form": link.form,
                            "label": link.label,
                            "lang": page.lang,
                            "expected_found": index == link.image,
                        }
                    )
    return rows


def _pages(world: World) -> list[dict[str, Any]]:
    return [
        {
            "page_url": page.url,
            "archive": archive_name(world, page.archive),
            "lang": page.lang,
            "charset": "utf-8" if page.is_wat else page.charset,
            "optout": page.optout or None,
            "links": len(page.links),
        }
        for page in world.pages
    ]
