"""`download` with a folder that img2dataset wrote: which candidates it has, by part, and where.

Each shard is read once by a task: its rows, and the headers of its tar. One join on 16-byte keys.
"""

import posixpath
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.core.accounts import Account
from pipeline.core.errors import InputError
from pipeline.core.storage import PartSink, Store
from pipeline.core.tables import CANDIDATES
from pipeline.fetch.adopt import ADOPTED, PLACES, Place, Shard, list_shards, read_shard

if TYPE_CHECKING:
    from pipeline.core.context import Context

# Read at once where a tar is remote: nearly all of it is passed over, but in order.
_BLOCK_BYTES = 4 << 20


def index(ctx: "Context[Any]") -> list[Account]:
    """Write ADOPTED, unless it is there; the account of the folder's rows, kept those that can be
    taken. Shards that were read are not read again. Raises InputError when none can be."""
    from pyspark.sql import functions as F

    from pipeline.core import spark_files

    base, shards = list_shards(ctx.config.adopt)
    accounts = ctx.run_parts(PLACES, partial(_read, base), list(enumerate(shards)))
    if not any(account.kept for account in accounts):
        raise InputError(
            f"download.adopt = {ctx.config.adopt}: no picture that its {len(shards)} shards tell "
            f"of is there; see {posixpath.join(base, shards[0].name)}.parquet and what is beside it"
        )
    if not ctx.store.exists(f"{ADOPTED.name}/{spark_files.DONE}"):
        place = F.struct(*Place._fields)
        # The same whatever the order: a URL may be in several shards.
        places = ctx.read(PLACES).groupBy("image_id").agg(F.min(place).alias("place"))
        rows = (
            ctx.read(CANDIDATES)
            .select("image_id", "part")
            .join(places, "image_id")
            .select("image_id", "place.*", "part")
            .repartition("part")
            .sortWithinPartitions("part")
        )
        spark_files.write(ctx.store, ADOPTED.name, rows, "part")
    return accounts


def _read(base: str, part: int, shard: Shard, sink: PartSink) -> None:
    """The places of one shard."""
    from pipeline.extract.stream import open_archive
    from pipeline.extract.urls import ids_of

    rows, account = read_shard(base, shard, partial(open_archive, block_bytes=_BLOCK_BYTES))
    found = ids_of(rows["url"].combine_chunks().fill_null(""))
    good = rows.append_column("image_id", found).filter(found.is_valid())
    account.keep(good.num_rows)
    account.drop("bad_url", rows.num_rows - good.num_rows)
    sink.write(good)
    sink.accounts = [account]


def places(store: Store, part: int, base: str) -> dict[bytes, Place]:
    """Where the pictures of a part lie, by image_id. base: the folder that all lie below."""
    if not _has(store, part):
        return {}
    files: dict[str, str] = {}
    found = {}
    for batch in store.read_part(ADOPTED, part):
        columns = (batch.column(name).to_pylist() for name in ("image_id", *Place._fields))
        for image_id, file, offset, size, member in zip(*columns, strict=True):
            path = files.setdefault(file, posixpath.join(base, file))
            found[image_id] = Place(path, offset, size, member)
    return found


def not_in(store: Store, part: int, candidates: pa.RecordBatch) -> list[str]:
    """The URLs of some candidates of a part that are to be asked for."""
    columns = (candidates.column(name).to_pylist() for name in ("image_id", "url"))
    urls = dict(zip(*columns, strict=True))
    if _has(store, part):
        for batch in store.read_part(ADOPTED, part, ["image_id"]):
            for image_id in batch.column("image_id").to_pylist():
                urls.pop(image_id, None)
    return list(urls.values())


def _has(store: Store, part: int) -> bool:
    # Spark writes no folder for a part without rows.
    return store.exists(f"{ADOPTED.name}/part={part}")
