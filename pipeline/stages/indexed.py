"""`extract` through a crawl's index: which pages, grouped into parts that are read one by one."""

from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import functions as F

from pipeline.core import spark_files
from pipeline.core.context import Context
from pipeline.core.storage import PartSink
from pipeline.extract.index import CHOSEN, RANGES, index_files, read_index


def _choose(
    languages: tuple[str, ...],
    domains: tuple[str, ...],
    max_tries: int,
    part: int,
    url: str,
    sink: PartSink,
) -> None:
    """The chosen pages of one file of the index."""
    for rows in read_index(url, languages, domains, max_tries):
        sink.write(rows)


def choose(ctx: Context[Any]) -> int:
    """Write CHOSEN; the number of its parts. Files of the index that were read are not read again.

    The driver holds one row per archive, never the ranges.
    """
    config = ctx.config
    work: Any = partial(
        _choose, config.index_languages, config.index_domains, config.max_read_tries
    )
    files = [url for url, _ in index_files(config.index)]
    ctx.run_parts(RANGES, work, list(enumerate(files)))
    ranges = ctx.read(RANGES)
    counts = ranges.groupBy("warc_filename").count().orderBy("warc_filename").toArrow()
    parts = _parts(counts["count"].to_pylist(), config.index_pages_per_part)
    if not parts or ctx.store.exists(f"{CHOSEN.name}/{spark_files.DONE}"):
        return len(set(parts))
    numbers = ctx.from_arrow(
        pa.table({"warc_filename": counts["warc_filename"], "part": pa.array(parts, pa.int32())})
    )
    rows = (
        ranges.join(F.broadcast(numbers), "warc_filename")
        .repartition("part")
        .sortWithinPartitions("part", *RANGES.key)
    )
    spark_files.write(ctx.store, CHOSEN.name, rows, "part")
    return len(set(parts))


def _parts(pages: list[int], pages_per_part: int) -> list[int]:
    """The part of each archive: as many archives in a row as give about so many pages."""
    parts, part, held = [], 0, 0
    for count in pages:
        if held and held + count > pages_per_part:
            part, held = part + 1, 0
        parts.append(part)
        held += count
    return parts
