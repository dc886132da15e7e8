"""The passes of `dedupe`: what its tasks do, and the Spark plans they are in.

Functions whose first argument is a `Plan` or a store run in tasks.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.core import spark_files
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.reasons import DropReason
from pipeline.core.storage import PartSink, Store, Superseded
from pipeline.core.table_files import table_writer
from pipeline.core.tables import CANDIDATES, PAIRS
from pipeline.dedupe.tables import CANDIDATE_FILE, COUNTED, COUNTS, KEYS, ROWS, TOLD
from pipeline.stages import dedupe_heavy, exchange
from pipeline.stages.exchange import Piece

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

HEAVY_COUNTS = "dedupe_counts_heavy"
# Rows of PAIRS that are reduced at a time, and bytes of PAIRS files that one task reads.
_PIECE_ROWS = 1 << 18
_PART_BYTES = 64 << 20


@dataclass(frozen=True)
class Plan:
    """What tasks need to know. heavy_images, heavy_patterns (of captions): sorted keys; giants: of
    domains."""

    store: Store
    max_captions: int
    parts: int
    buckets: int
    rows_parts: int
    heavy_images: Sequence[int] = ()
    heavy_patterns: Sequence[int] = ()
    giants: Sequence[int] = ()
    sections: int = 1
    registry: Sequence[str] = field(default=())


# Pass 1: pairs -> KEYS, ROWS


def sources(store: Store) -> list[tuple[str, ...]]:
    """Files of PAIRS, those of a task together."""
    files = list(store.committed(PAIRS).values())
    tasks: list[tuple[str, ...]] = []
    size = _PART_BYTES
    for file in files:
        more = store.fs.size(file)
        if size + more > _PART_BYTES:
            tasks.append(())
            size = 0
        tasks[-1] += (file,)
        size += more
    return tasks


def reduce_part(store: Store, part: int, files: tuple[str, ...], sink: PartSink) -> None:
    """One task: the keys of some files of PAIRS into `sink`, their texts beside it."""
    from pipeline.dedupe import pieces

    rows, keys = Account("rows"), Account("keys")
    sink.accounts = [rows, keys]
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    # Texts are there before the keys that point to them, which are the commit.
    name = f"{ROWS.name}/part-{part:05d}.arrow"
    with (
        store.publish(name, unless=partial(store.has_round, KEYS, part, 0)) as file,
        pa.ipc.new_file(file, ROWS.schema, options=options) as texts,
    ):
        written = 0
        for batch in _batches(store, files, pieces.READ):
            found, told = pieces.reduce(batch, part, written)
            no_caption = batch.column("pair_id").null_count
            rows.keep(batch.num_rows - no_caption)
            rows.drop(DropReason.NO_CAPTION, no_caption)
            keys.keep(found.num_rows)
            sink.write(found)
            texts.write_batch(told)
            written += told.num_rows


def _batches(
    store: Store, files: Sequence[str], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of files, some _PIECE_ROWS at a time."""
    held: list[pa.RecordBatch] = []
    for name in files:
        with store.open_table(name) as rows:
            for batch in rows.iter_batches(1 << 16, columns=list(columns)):
                held.append(batch.select(list(columns)))
                if sum(b.num_rows for b in held) >= _PIECE_ROWS:
                    yield pa.concat_batches(held)
                    held = []
    if held:
        yield pa.concat_batches(held)


# Pass 2: KEYS -> COUNTS


def count_images(ctx: Context[Any], plan: Plan, heavy: dedupe_heavy.Keys) -> list[Account]:
    """Write COUNTS, and those of heavy images; accounts of what is dropped."""
    store = ctx.store
    for name in (COUNTS.name, HEAVY_COUNTS):
        store.remove(name)
    items = [("keys", f) for f in store.committed(KEYS).values()]
    items += [("registry", f) for f in plan.registry]
    sent = exchange.source(ctx.spark, items, partial(_keys_by_image, plan))
    exchange.exchange(sent, plan.buckets, KEYS.schema, partial(_count_bucket, plan)).count()
    accounts = ctx.accounts(COUNTS, list(store.committed(COUNTS)))
    if plan.heavy_images:
        accounts += heavy.count_images(
            plan.heavy_images, plan.max_captions, plan.registry, HEAVY_COUNTS
        )
    return accounts


def _keys_by_image(plan: Plan, item: tuple[str, str]) -> Iterator[Piece]:
    """Keys of one file by image, but for the heavy ones; ids of the registry as keys likewise."""
    import numpy as np

    from pipeline.dedupe.keys import contains, modulo

    kind, name = item
    heavy = np.array(plan.heavy_images, np.int64)
    for batch in (
        _groups(plan.store, name, KEYS.schema) if kind == "keys" else dedupe_heavy.registered(name)
    ):
        hi = batch.column("image_hi").to_numpy()
        light = ~contains(heavy, hi)
        if not light.all():
            batch, hi = batch.filter(pa.array(light)), hi[light]
        yield from exchange.scatter(batch, modulo(hi, plan.buckets))


def _groups(store: Store, name: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a file, one row group at a time."""
    with store.open_table(name) as rows:
        for group in range(rows.num_row_groups):
            yield from rows.read_row_group(group).cast(schema).combine_chunks().to_batches()


def _count_bucket(plan: Plan, bucket: int, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Count the images of one bucket into COUNTS."""
    import numpy as np

    from pipeline.dedupe import images

    rows = exchange.table(pieces, KEYS.schema)
    is_known = rows.column("place").to_numpy() == dedupe_heavy.REGISTERED_PLACE
    known = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    if is_known.any():
        chosen = rows.filter(pa.array(is_known))
        known = (chosen.column("image_hi").to_numpy(), chosen.column("image_lo").to_numpy())
        rows = rows.filter(pa.array(~is_known))
    found, *accounts = images.count(rows, known, plan.max_captions)
    # A task that was given up for lost may end after its successor.
    with suppress(Superseded), plan.store.publish_part(COUNTS, bucket) as sink:
        sink.write(found)
        sink.accounts = list(accounts)
    yield from ()


def counts_files(store: Store) -> list[str]:
    """The files of COUNTS, those of heavy images included."""
    heavy = store.path(HEAVY_COUNTS)
    found = store.fs.find(heavy) if store.exists(HEAVY_COUNTS) else []
    more = sorted(store.path(HEAVY_COUNTS, f.rpartition("/")[2]) for f in found)
    return [*store.committed(COUNTS).values(), *(f for f in more if f.endswith(".parquet"))]


# Pass 3: COUNTS -> kept pairs with counts -> with texts


def write(ctx: Context[Any], plan: Plan, counts: list[str], limit: int) -> tuple[int, int]:
    """Write CANDIDATES; (images, pairs) in it."""
    ctx.store.remove(CANDIDATES.name)
    ctx.store.fs.makedirs(ctx.store.path(CANDIDATES.name), exist_ok=True)
    sent = exchange.source(ctx.spark, counts, partial(_counts_by_caption, plan))
    counted = exchange.exchange(sent, plan.buckets, COUNTS.schema, partial(_count_captions, plan))
    if plan.heavy_patterns:
        heavy = dedupe_heavy.count_captions(ctx, counts, plan.heavy_patterns, limit)
        counted = counted.union(exchange.repiece(heavy, _by_place))
    told = exchange.exchange(counted, max(plan.rows_parts, 1), COUNTED, partial(_tell, plan))
    written = exchange.exchange(told, plan.parts, TOLD, partial(_write_part, plan), by_section=True)
    found = list(_numbers(written))
    if not found:  # on object storage a folder of nothing is not there
        with ctx.store.publish(f"{CANDIDATES.name}/{spark_files.DONE}"):
            pass
    return sum(f[0] for f in found), sum(f[1] for f in found)


_WRITTEN = pa.schema([("images", pa.int64()), ("pairs", pa.int64())])


def _numbers(written: "DataFrame") -> Iterator[tuple[int, int]]:
    for row in written.collect():
        numbers = pa.ipc.read_record_batch(pa.py_buffer(bytes(row["rows"])), _WRITTEN)
        yield numbers.column(0)[0].as_py(), numbers.column(1)[0].as_py()


def _counts_by_caption(plan: Plan, name: str) -> Iterator[Piece]:
    import numpy as np

    from pipeline.dedupe.keys import contains, modulo

    heavy = np.array(plan.heavy_patterns, np.int64)
    for batch in _groups(plan.store, name, COUNTS.schema):
        pattern = batch.column("pattern").to_numpy()
        light = ~contains(heavy, pattern)
        if not light.all():
            batch, pattern = batch.filter(pa.array(light)), pattern[light]
        yield from exchange.scatter(batch, modulo(pattern, plan.buckets))


def _count_captions(plan: Plan, bucket: int, pieces: Iterator[Piece]) -> Iterator[Piece]:
    from pipeline.dedupe import captions

    yield from _by_place(captions.count(exchange.table(pieces, COUNTS.schema)))


def _by_place(counted: pa.RecordBatch) -> Iterator[Piece]:
    place = counted.column("place").to_numpy()
    yield from exchange.scatter(counted.cast(COUNTED), place >> 32)


def _tell(plan: Plan, part: int, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Texts of one part of ROWS beside their counts, by the part of CANDIDATES they are for."""
    import numpy as np

    from pipeline.dedupe import candidates
    from pipeline.dedupe.keys import contains, halves, modulo

    counted = exchange.table(pieces, COUNTED)
    giants = np.array(plan.giants, np.int64)
    with plan.store.fs.open(plan.store.path(ROWS.name, f"part-{part:05d}.arrow"), "rb") as file:
        texts = pa.ipc.open_file(file)
        batches = (texts.get_batch(i) for i in range(texts.num_record_batches))
        for rows in candidates.tell(counted, batches):
            hi, lo = halves(rows.column("image_id"))
            domain = rows.column("domain_key").to_numpy()
            bucket = modulo(np.where(contains(giants, domain), lo, domain), plan.parts)
            # Equal ranges of image_id, as the ids are hashes.
            section = ((hi >> 32) + (1 << 31)) * plan.sections >> 32
            yield from exchange.scatter(rows.select(TOLD.names), bucket, section)


# Pass 4: by part


def _write_part(plan: Plan, part: int, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """One part's candidates, section by section: memory for one of them."""
    from pipeline.dedupe import candidates

    images = pairs = 0
    name = f"{CANDIDATES.name}/{CANDIDATES.partition}={part}/part-00000.parquet"
    with (
        plan.store.publish(name, is_table=True) as file,
        table_writer(file, CANDIDATE_FILE) as writer,
    ):
        for _, section in groupby(pieces, key=lambda piece: piece.section):
            told = exchange.table(section, TOLD)
            rows = candidates.build(told)
            writer.write_table(rows)
            images += rows.num_rows
            pairs += told.num_rows
    written = pa.RecordBatch.from_arrays([pa.array([images]), pa.array([pairs])], schema=_WRITTEN)
    yield Piece(part, 0, written)
