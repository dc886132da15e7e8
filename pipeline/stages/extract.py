"""`extract`: archives -> pairs. One task per archive; grows with the archives' bytes."""

from functools import partial
from typing import Any, Literal

import fsspec
from pydantic import Field

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.storage import PartSink
from pipeline.core.tables import PAIRS
from pipeline.extract.archives import list_archives, sample_crawl

# Rows held in memory and written as one row group.
_BATCH_ROWS = 8192


class ExtractSection(StageSection):
    """`[extract]`: which archives, and the caps on what one of their records may cost."""

    # Paths, globs (any fsspec URL), or "@list.txt" with a path per line.
    archives: tuple[str, ...] = ()
    # Instead or besides: this many archives of a Common Crawl crawl, e.g. "CC-MAIN-2026-40".
    crawl: str = ""
    crawl_kind: Literal["wat", "warc"] = "wat"
    files: int = Field(default=1, ge=0)  # 0: all of the crawl
    seed: int = 0
    crawl_base_url: str = "https://data.commoncrawl.org/"
    # Common Crawl cuts pages at 5 MiB; WAT records of link farms are larger.
    max_record_bytes: int = Field(default=32 << 20, ge=1024)
    max_links_per_page: int = Field(default=10_000, ge=1)
    # How much is read ahead of the parser from remote storage.
    read_block_bytes: int = tuning(8 << 20, ge=64 << 10)


def archives(section: ExtractSection) -> list[str]:
    """The archives of a section, sorted. Raises InputError when there are none."""
    found = set(list_archives(section.archives))
    if section.crawl:
        found.update(
            sample_crawl(
                section.crawl_base_url,
                section.crawl,
                section.crawl_kind,
                section.files,
                section.seed,
            )
        )
    if not found:
        raise InputError(
            "extract has nothing to read: set extract.archives (paths or globs) or extract.crawl"
        )
    return sorted(found)


def read_part(section: ExtractSection, part: int, archive: str, sink: PartSink) -> None:
    """One archive's pairs."""
    from pipeline.extract.rows import PairRows, read_archive

    rows = PairRows(archive)
    with fsspec.open(archive, "rb", block_size=section.read_block_bytes).open() as file:
        batches = read_archive(
            file, rows, section.max_record_bytes, section.max_links_per_page, _BATCH_ROWS
        )
        for batch in batches:
            sink.write(batch)
    sink.accounts = [rows.records, rows.links, rows.pairs]


def build(ctx: Context[ExtractSection]) -> list[Account]:
    """Read every archive that is not read yet."""
    work: Any = partial(read_part, ctx.config)
    return ctx.run_parts(PAIRS, work, list(enumerate(archives(ctx.config))))


STAGE = Stage(
    "extract", reads=(), writes=(PAIRS,), config=ExtractSection, build=build, check=archives
)
