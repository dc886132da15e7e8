"""`download` of a crawl with URLs that earlier ones asked for: what these gave is taken over.

A candidate's row in `images` comes from the last run that asked for it, and its picture is copied
from that run's raw tar to this one's, so that new captions of old pictures are judged, and a run
needs no other one. What failed for good stays so; what may have passed is asked for again when
its wait is over, `max_downloads` times in all. A picture whose raw tar has been removed is asked
for like one that nobody knows.

Cost: one join on 16-byte keys, of the candidates with the ids, parts and statuses of all earlier
rows (some 20 bytes each; nothing else of these is read); for what is found its rows, and its bytes
once.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import raw, records
from pipeline.core.accounts import Account
from pipeline.core.errors import InputError
from pipeline.core.reasons import Status
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, ID, IMAGES, Table, column
from pipeline.fetch.ledger import DECIDED_BY, Waits, due_for_retry

if TYPE_CHECKING:
    from pipeline.core.context import Context

Row = dict[str, Any]

# Unit of the account of what is taken over.
TAKEN_OVER = "taken_over"
CARRIED = Table(
    "carried",
    "Candidates that an earlier run has asked for, and where its row lies.",
    ("image_id",),
    pa.schema(
        [
            column("image_id", ID, "of the candidate"),
            column("run", pa.int32(), "the last run that asked for it: number in download.earlier"),
            column("earlier_part", pa.int32(), "of that run's `images`"),
            column("part", pa.int32(), "of this run"),
        ]
    ),
    partition="part",
)
# Of pictures that are copied at a time.
_COPIED_BYTES = 32 << 20


def identity(runs: Sequence[str]) -> list[str]:
    """What these runs are: ids of their candidates, which `retry` and `recheck` leave as they are.

    Raises InputError for a folder without a finished download.
    """
    found = []
    for root in runs:
        store = Store(root)
        candidates, images = records.load(store, "dedupe"), records.load(store, "download")
        if candidates is None or images is None or not store.exists(IMAGES.name):
            raise InputError(f"download.earlier: {root} holds no finished download")
        found.append(str(candidates["id"]))
    return found


def note(ctx: "Context[Any]") -> tuple[str, ...]:
    """Write CARRIED, unless it is there; the folders that its `run` counts."""
    runs: tuple[str, ...] = ctx.config.earlier
    if not runs or ctx.store.exists(f"{CARRIED.name}/_SUCCESS"):
        return runs
    from pyspark.sql import functions as F

    from pipeline.core.spark import read_table

    held = None
    for number, root in enumerate(runs):
        place = F.struct(F.lit(number).alias("run"), F.col("part").alias("earlier_part"))
        rows = read_table(ctx.spark, Store(root), IMAGES)
        asked = rows.where(F.col("status") != Status.FILTERED.value)
        placed = asked.select("image_id", place.alias("place"))
        held = placed if held is None else held.unionByName(placed)
    assert held is not None
    found = (
        ctx.read(CANDIDATES)
        .select("image_id", "part")
        .join(held, "image_id")
        .groupBy("image_id", "part")
        .agg(F.max("place").alias("place"))
    )
    (
        found.select("image_id", "place.*", "part")
        .repartition("part")
        .write.mode("overwrite")
        .partitionBy("part")
        .parquet(ctx.store.path(CARRIED.name))
    )
    return runs


def take_over(
    store: Store, part: int, runs: Sequence[str], tar: raw.RawTar, filtered: Mapping[bytes, str]
) -> dict[bytes, Row]:
    """Rows of `images`, by image_id, of a part's candidates that earlier runs have asked for; their
    pictures are put into `tar`.

    filtered: candidates that are not wanted, and are not taken over either. Memory: the rows, some
    3 KB each, and 32 MiB of pictures.
    """
    found: dict[bytes, Row] = {}
    for (run, earlier_part), wanted in _places(store, part, filtered).items():
        source = Store(runs[run])
        rows = list(_rows(source, earlier_part, wanted))
        stored = [row for row in rows if row["status"] == Status.OK]
        found |= {row["image_id"]: row for row in rows if row["status"] != Status.OK}
        for row in _copied(source, stored, tar):
            found[row["image_id"]] = row
    return found


def due_of(rows: Collection[Row], waits: Waits) -> set[bytes]:
    """image_ids of rows that failed for a reason that may have passed by now."""
    schema = pa.schema([IMAGES.schema.field(name) for name in DECIDED_BY])
    known = pa.RecordBatch.from_pylist(list(rows), schema)
    due = known.filter(due_for_retry(known, int(time.time()), waits))
    return set(due.column("image_id").to_pylist())


def account_of(rows: Iterable[Row], taken: Collection[bytes]) -> Account:
    """What became of the rows that were taken over and not asked for again."""
    account = Account(TAKEN_OVER)
    for row in rows:
        if row["image_id"] in taken:
            account.keep() if row["status"] == Status.OK else account.drop(row["status"])
    return account


def _places(
    store: Store, part: int, filtered: Mapping[bytes, str]
) -> dict[tuple[int, int], list[bytes]]:
    """image_ids by run and part of that run."""
    found: dict[tuple[int, int], list[bytes]] = {}
    # Spark writes no folder for a part without rows.
    if not store.exists(f"{CARRIED.name}/{CARRIED.partition}={part}"):
        return found
    for batch in store.read_part(CARRIED, part, ["image_id", "run", "earlier_part"]):
        for row in batch.to_pylist():
            if row["image_id"] not in filtered:
                found.setdefault((row["run"], row["earlier_part"]), []).append(row["image_id"])
    return dict(sorted(found.items()))


def _rows(source: Store, part: int, wanted: list[bytes]) -> Iterator[Row]:
    ids = pa.array(wanted, pa.binary())
    for batch in source.read_part(IMAGES, part):
        yield from batch.filter(pc.is_in(batch.column("image_id"), value_set=ids)).to_pylist()


def _copied(source: Store, rows: list[Row], tar: raw.RawTar) -> Iterator[Row]:
    """Rows of stored pictures with where they lie in `tar`; those whose raw tar is gone are left
    out."""
    tars = {(row["part"], row["raw_round"]) for row in rows}
    there = {place for place in tars if source.exists(raw.path(*place))}
    rows = [row for row in rows if (row["part"], row["raw_round"]) in there]
    rows.sort(key=lambda row: (row["raw_round"], row["raw_offset"]))
    while rows:
        size, count = 0, 0
        while count < len(rows) and (not count or size + rows[count]["raw_bytes"] <= _COPIED_BYTES):
            size += rows[count]["raw_bytes"]
            count += 1
        some, rows = rows[:count], rows[count:]
        places = [raw.Place(*(row[name] for name in raw.PLACE)) for row in some]
        for row, picture in zip(some, raw.read(source, places), strict=True):
            offset = tar.append(row["image_id"], picture)
            yield row | {"raw_round": 0, "raw_offset": offset}
