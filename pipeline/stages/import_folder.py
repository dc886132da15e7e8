"""Makes a release of a folder that img2dataset wrote, as it is: no request, no filter, no score.

For those who have such a folder and want what a release has: even shards in mixed order, hashes,
views, an elastic stream. To filter it as well, run the line on it (`make run FROM=`).
"""

import json
import posixpath
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import pipeline
from pipeline.core import ids, records, release
from pipeline.core.accounts import Account
from pipeline.core.errors import InputError
from pipeline.core.release import Manifest
from pipeline.core.storage import Store
from pipeline.extract.stream import open_archive
from pipeline.extract.suffixes import registrable_domain
from pipeline.extract.urls import host_of, ids_of
from pipeline.fetch import adopt
from pipeline.shards import publish

_BLOCK_BYTES = 4 << 20
_JPEG_ENDINGS = (".jpg", ".jpeg")
_JPEG_MAGIC = b"\xff\xd8\xff"
# What only says how the download went, or is said anew.
_LEFT_OUT = {"key", "status", "error_message", "url", "caption", "pair_id", "image_id", "domain"}
_PLACE = list(adopt.Place._fields)


def import_folder(
    pattern: str, out: str, per_shard: int, name: str, licence: str = "other"
) -> tuple[Manifest, Account]:
    """Write the pictures of a folder of img2dataset (or a glob of its shards) into a release at
    `out`; its manifest, and the account of the rows.

    Samples are named by URL and caption as in the line and lie in the order of these ids, so
    neighbours come from many hosts. The record of a sample has img2dataset's columns, but numbers
    that are missing for some samples are in the sample table alone.
    Memory: all rows, and the pictures of a shard. Raises InputError when there is nothing to take.
    """
    base, shards = adopt.list_shards(pattern)
    account = Account("rows of the folder")
    tables = [_rows(base, shard, account) for shard in shards]
    rows = pa.concat_tables(tables, promote_options="permissive").sort_by("pair_id")
    rows = _once(rows, account)
    if not rows.num_rows:
        raise InputError(f"{pattern}: no picture with a caption can be taken: {account.dropped}")
    store = Store(out)
    publish.start(store)
    recorded = _recorded(rows)
    origin = records.digest([adopt.identity(pattern), per_shard])
    ranges = publish.shard_ranges(rows.num_rows, per_shard)
    entries = []
    for number, (first, stop) in enumerate(ranges):
        samples, good = _samples(base, rows.slice(first, stop - first), recorded)
        about = rows.slice(first, stop - first).take(good).drop_columns([*_PLACE, "key"])
        tar = f"{release.shard_name(number, len(ranges))}.tar"
        entries.append(publish.write_shard(store, tar, f"{origin}:{first}", samples, about))
        account.keep(len(samples))
        account.drop("not_jpeg", stop - first - len(samples))
    manifest = Manifest(name, pipeline.__version__, {"import": origin}, tuple(entries))
    fields = sorted({*recorded, "caption", "image_id", "key"})
    publish.finish(store, manifest, licence, _NOTE, (), fields)
    return manifest, account


_NOTE = "Pictures and captions belong to their authors; this release claims no rights in them."


def _rows(base: str, shard: adopt.Shard, account: Account) -> pa.Table:
    """Rows of a shard whose picture is there: ids, place, and the columns of its Parquet."""
    open_ = partial(open_archive, block_bytes=_BLOCK_BYTES)
    placed, lost = adopt.read_shard(base, shard, open_)
    for reason, count in lost.dropped.items():
        account.drop(reason, count)
    with open_(posixpath.join(base, f"{shard.name}.parquet")) as file:
        told = pq.read_table(pa.PythonFile(file, mode="r"))
    names = [
        m or f for m, f in zip(*(placed[c].to_pylist() for c in ("member", "file")), strict=True)
    ]
    placed = placed.append_column("key", pa.array([_key(n) for n in names], pa.string()))
    is_jpeg = pa.array([n.endswith(_JPEG_ENDINGS) for n in names], pa.bool_())
    account.drop("not_jpeg", len(names) - (pc.sum(is_jpeg).as_py() or 0))
    placed = placed.filter(is_jpeg)
    if "caption" not in told.schema.names:
        raise InputError(f"{base}/{shard.name}.parquet has no captions: {told.schema.names}")
    told = told.drop_columns(
        [n for n in ("url", "status", "error_message") if n in told.schema.names]
    )
    told = told.set_column(told.schema.get_field_index("key"), "key", told["key"].cast(pa.string()))
    rows = placed.join(told, "key", join_type="inner").combine_chunks()
    captions = pc.fill_null(rows["caption"].cast(pa.string()), "")
    image_ids = ids_of(pc.fill_null(rows["url"], "").combine_chunks())
    account.drop("no_caption", pc.sum(pc.equal(captions, "")).as_py() or 0)
    account.drop(
        "bad_url", pc.sum(pc.and_(image_ids.is_null(), pc.not_equal(captions, ""))).as_py() or 0
    )
    rows = rows.append_column("image_id", image_ids)
    return _named(rows.filter(pc.and_(pc.not_equal(captions, ""), image_ids.is_valid())))


def _named(rows: pa.Table) -> pa.Table:
    pairs = zip(rows["image_id"].to_pylist(), rows["caption"].to_pylist(), strict=True)
    pair_ids = pa.array([ids.pair_id(image, caption) for image, caption in pairs], pa.binary(16))
    domains = [registrable_domain(host_of(url)) for url in rows["url"].to_pylist()]
    at = rows.schema.get_field_index("image_id")
    rows = rows.set_column(at, "image_id", rows["image_id"].cast(pa.binary(16)))
    rows = rows.append_column("pair_id", pair_ids)
    return rows.append_column("domain", pa.array(domains, pa.string()))


def _key(path: str) -> str:
    return posixpath.basename(path).partition(".")[0]


def _once(rows: pa.Table, account: Account) -> pa.Table:
    """Of rows with the same URL and caption the first. rows: by pair_id."""
    found = rows["pair_id"].to_pylist()
    first = [i for i in range(len(found)) if not i or found[i] != found[i - 1]]
    account.drop("repeated", len(found) - len(first))
    return rows.take(pa.array(first, pa.int64())).combine_chunks()


def _recorded(rows: pa.Table) -> dict[str, Any]:
    """Columns that every record has, with what stands for null in each: readers type a JSON field
    by the first samples, so none may be null."""
    found: dict[str, Any] = {}
    for field in rows.schema:
        if field.name in _LEFT_OUT or field.name in _PLACE:
            continue
        column = rows[field.name]
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            found[field.name] = ""
        elif column.null_count:
            continue
        elif pa.types.is_integer(field.type) or pa.types.is_boolean(field.type):
            found[field.name] = 0
        elif pa.types.is_floating(field.type) and pc.all(pc.is_finite(column)).as_py():
            found[field.name] = 0.0
    return found | {"url": "", "domain": ""}


def _samples(
    base: str, rows: pa.Table, recorded: dict[str, Any]
) -> tuple[list[publish.Sample], pa.Array]:
    """The samples of those rows whose picture can be read and is a JPEG, and which rows these are:
    int64."""
    places = zip(*(rows[name].to_pylist() for name in _PLACE), strict=True)
    columns = {name: rows[name].to_pylist() for name in recorded}
    pair_ids, image_ids = rows["pair_id"].to_pylist(), rows["image_id"].to_pylist()
    captions = rows["caption"].to_pylist()
    samples, good = [], []
    for row, (file, offset, size, member) in enumerate(places):
        place = adopt.Place(posixpath.join(base, file), offset, size, member)
        picture = adopt.read_picture(place)
        if picture is None or not picture.startswith(_JPEG_MAGIC):
            continue
        key = pair_ids[row].hex()
        told = {
            n: columns[n][row] if columns[n][row] is not None else v for n, v in recorded.items()
        }
        told |= {"key": key, "image_id": image_ids[row].hex(), "caption": captions[row]}
        text = json.dumps(told, ensure_ascii=False, sort_keys=True)
        samples.append((key, picture, captions[row].encode(), text.encode()))
        good.append(row)
    return samples, pa.array(np.asarray(good, np.int64))
