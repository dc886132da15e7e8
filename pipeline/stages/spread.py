"""Placeholders of domains whose URLs are spread over several parts.

A part marks the placeholders that it can tell by itself. The same bytes behind six URLs in six
parts are seen here, after all parts: pictures of such domains are counted by a 16-byte key in one
shuffle, and the parts that hold some of a placeholder get their rows anew, as their next round. The
outcome is the same whatever the number of parts. It may be done again at any time: what is marked
counts.

Cost: the domains of all candidates once; where one is in several parts, one reading of the columns
that tell, and a shuffle of some 20 bytes for each picture of those domains.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.core import spark_files
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.progress import watch
from pipeline.core.storage import Store, Superseded
from pipeline.core.tables import CANDIDATES, ID, IMAGES, Table, column
from pipeline.fetch.settings import DownloadSection

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SPREAD = Table(
    "spread_placeholders",
    "Keys that more than `placeholder_urls` pictures share over several parts, in each of these.",
    ("key",),
    pa.schema([column("key", ID, "of `placeholders.keys`"), column("urls", pa.int64(), "in all")]),
    partition="part",
)
_ROWS_PER_BATCH = 4096
_KEYS = pa.schema([("key", pa.binary()), ("part", pa.int32())])


def mark_spread(ctx: Context[DownloadSection]) -> list[Account] | None:
    """Mark such placeholders; the accounts of all images then, None when no row was changed."""
    most, known = ctx.config.placeholder_urls, ctx.config.placeholder_hashes
    parts = list(ctx.store.committed(IMAGES))
    domains = _spread_domains(ctx) if most and len(parts) > 1 else frozenset()
    if not domains:
        return None
    with watch(ctx.spark, f"{ctx.stage}: placeholders"):
        _write(ctx, _keys(ctx, parts, domains), most)
        spread = _parts_with_some(ctx.store)
        amend = partial(_amend, ctx.store, most, known)
        changed = 0
        if spread:
            changed = ctx.spark.sparkContext.parallelize(spread, len(spread)).map(amend).sum()
    ctx.store.remove(SPREAD.name)
    if not changed:
        return None
    return [a for a in ctx.accounts(IMAGES, parts) if a.unit == "images"]


def _parts_with_some(store: Store) -> list[int]:
    prefix = f"{SPREAD.partition}="
    folders = store.fs.ls(store.path(SPREAD.name), detail=False)
    names = [str(folder).rstrip("/").rsplit("/", 1)[-1] for folder in folders]
    return sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))


def _spread_domains(ctx: Context[DownloadSection]) -> frozenset[str]:
    """Domains with candidates in more than one part: giant ones, of which there are few."""
    from pyspark.sql import functions as F

    by_domain = ctx.read(CANDIDATES).groupBy("domain").agg(F.min("part"), F.max("part"))
    spread = by_domain.filter(F.col("min(part)") != F.col("max(part)"))
    return frozenset(row["domain"] for row in spread.select("domain").collect())


def _keys(ctx: Context[DownloadSection], parts: list[int], domains: frozenset[str]) -> "DataFrame":
    """`_KEYS` of the pictures of some domains, from all parts."""
    read = partial(_keys_of, ctx.store, parts, domains)
    numbers = ctx.spark.range(len(parts), numPartitions=len(parts))
    return numbers.mapInArrow(read, "key binary, part int")


def _keys_of(
    store: Store, parts: list[int], domains: frozenset[str], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield from keys_of_part(store, parts[number], domains)


def keys_of_part(store: Store, part: int, domains: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """The keys of one part's pictures that are on some domains, as `_KEYS`."""
    from pipeline.fetch.placeholders import keys

    urls = dict(_urls(store, part, domains))
    for batch in store.read_part(IMAGES, part, ["image_id", "status", "sha256", "final_url"]):
        rows = [row for row in batch.to_pylist() if row["image_id"] in urls]
        found = [key for row in rows for key in keys(row, urls[row["image_id"]])]
        numbers = pa.repeat(pa.scalar(part, pa.int32()), len(found))
        columns = [pa.array(found, pa.binary()), numbers]
        yield pa.RecordBatch.from_arrays(columns, schema=_KEYS)


def _urls(
    store: Store, part: int, domains: frozenset[str] | None = None
) -> Iterator[tuple[bytes, str]]:
    """image_id and URL of a part's candidates; None: of all domains."""
    columns = ["image_id", "url", "domain"]
    for batch in store.read_part(CANDIDATES, part, columns):
        for image_id, url, domain in zip(
            *(batch.column(name).to_pylist() for name in columns), strict=True
        ):
            if domains is None or domain in domains:
                yield image_id, url


def _write(ctx: Context[DownloadSection], keys: "DataFrame", most: int) -> None:
    """Write SPREAD: what is in one part alone was seen there."""
    from pyspark.sql import functions as F

    counted = keys.groupBy("key", "part").agg(F.count("*").alias("urls"))
    by_key = counted.groupBy("key").agg(
        F.sum("urls").alias("urls"), F.collect_list("part").alias("parts")
    )
    spread = by_key.filter((F.col("urls") > most) & (F.size("parts") > 1))
    rows = spread.select("key", "urls", F.explode("parts").alias("part"))
    rows = rows.repartition("part").sortWithinPartitions("part")
    spark_files.write(ctx.store, SPREAD.name, rows, "part")


def _amend(store: Store, most: int, known: str | None, part: int) -> int:
    """Mark the placeholders of one part; how many rows that changed."""
    from pipeline.fetch.ledger import account_of
    from pipeline.fetch.placeholders import mark, read_known

    elsewhere = {
        row["key"]: row["urls"]
        for batch in store.read_part(SPREAD, part)
        for row in batch.to_pylist()
    }
    rows = [row for batch in store.read_part(IMAGES, part) for row in batch.to_pylist()]
    hashes = read_known(known) if known else frozenset()
    changed = mark(rows, dict(_urls(store, part)), most, hashes, elsewhere)
    if not changed:
        return 0
    round_ = store.part_round(IMAGES, part) + 1
    accounts = store.part_accounts(IMAGES, part)
    with suppress(Superseded), store.publish_part(IMAGES, part, round_) as sink:
        for start in range(0, len(rows), _ROWS_PER_BATCH):
            sink.write_rows(rows[start : start + _ROWS_PER_BATCH])
        for account in accounts:
            if account.unit == "images":
                account = _counted_again(account, account_of(rows))
            sink.accounts.append(account)
    return changed


def _counted_again(before: Account, now: Account) -> Account:
    now.cpu_s.update(before.cpu_s)
    return now
