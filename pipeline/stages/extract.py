"""`extract`: archives, or lists of URLs and captions -> pairs. One task per archive, per group of
archives of which an index names single pages, or per run of rows of a list; grows with the bytes
read."""

import posixpath
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.storage import PartSink, Store
from pipeline.core.table_files import row_groups
from pipeline.core.tables import PAIRS

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.extract.lists import ListFile, ListPart

# Rows that come from a reading process at a time, and that are written as one row group.
_BATCH_ROWS, _GROUP_ROWS, _GROUP_BYTES = 8192, 1 << 16, 64 << 20


class ExtractSection(StageSection):
    """`[extract]`: which archives, and the caps on what one of their records may cost."""

    # Paths, globs (any fsspec URL), or "@list.txt" with a path per line, gzip or not; relative
    # lines that are no files here are paths below crawl_base_url, as in Common Crawl's lists.
    archives: tuple[str, ...] = ()
    # Instead or besides: this many archives of a Common Crawl crawl, e.g. "CC-MAIN-2026-40".
    crawl: str = ""
    crawl_kind: Literal["wat", "warc"] = "wat"
    files: int = Field(default=1, ge=0)  # 0: all of the crawl
    # Drawn by seed; false takes the range [first_file, first_file + files) of the sorted list.
    sample: bool = True
    seed: int = 0
    first_file: int = Field(default=0, ge=0)
    # Where a crawl's lists and archives lie.
    crawl_base_url: str = "https://data.commoncrawl.org/"

    # Instead of all these: single pages, by Common Crawl's columnar index. A Parquet file, a folder
    # or a glob of them, e.g.
    # "s3://commoncrawl/cc-index/table/cc-main/warc/crawl=CC-MAIN-2026-40/subset=warc/". Taken are
    # HTML pages that have one of the languages (ISO 639-3, e.g. "kor"), if any are given, and are
    # on one of the registered domains (e.g. "example.co.kr"), if any are given. Their archives are
    # read below crawl_base_url, and of them only the pages' bytes.
    index: str = ""
    index_languages: tuple[str, ...] = ()
    index_domains: tuple[str, ...] = ()
    # Pages that are read by one task.
    index_pages_per_part: int = Field(default=20_000, ge=1)
    # Between two pages, read and dropped rather than asked for around.
    index_max_gap_bytes: int = tuning(1 << 20, ge=0)

    # Instead of all these: lists of URLs and captions as datasets are released. Paths, globs or
    # folders (any fsspec URL) of .parquet, .csv, .tsv or .jsonl, the text ones gzip or not.
    lists: tuple[str, ...] = ()
    # Their columns; empty: the first that is there of url, image_url, img_url, image_link, of text,
    # caption, alt_text, alt, and of page_url, source_url, page (which may be missing).
    url_column: str = ""
    caption_column: str = ""
    page_url_column: str = ""
    # Parquet is cut into parts of about so many rows, of whole row groups.
    list_rows_per_part: int = Field(default=2_000_000, ge=1)

    # Common Crawl cuts pages at 5 MiB; WAT records of link farms are larger.
    max_record_bytes: int = Field(default=32 << 20, ge=1024)
    # Links of a page beyond are counted as over_page_cap.
    max_links_per_page: int = Field(default=10_000, ge=1)
    # Of one record; beyond, or when it crashes the parser, it is counted as crashed and left out.
    record_timeout_s: float = Field(default=60.0, gt=0)
    # Of the process that reads a task's archive, beyond some 400 MB that it needs to start: about
    # 1 GB a core in all. Pages of max_record_bytes take some 200 MB of it.
    memory_bytes: int = Field(default=600 << 20, ge=128 << 20)
    # So many records of one archive may crash the parser; more is an error.
    max_crashes: int = tuning(20, ge=0)
    # How much is read ahead of the parser from remote storage, and how often in a row a read may
    # fail that gives nothing. The pauses between grow to a minute.
    read_block_bytes: int = tuning(8 << 20, ge=64 << 10)
    max_read_tries: int = tuning(10, ge=1)


def inputs(section: ExtractSection) -> list[Any]:
    """The archives of a section, sorted; with an index or lists, their files and sizes. Raises
    InputError when there are none, or the keys contradict each other."""
    if section.lists:
        return [[file.path, file.size] for file in _lists(section)]
    if not section.index:
        return archives(section)
    from pipeline.extract.index import index_files

    if section.archives or section.crawl:
        raise InputError(
            "extract.index chooses pages by itself: take out extract.crawl and extract.archives"
        )
    if not section.index_languages and not section.index_domains:
        raise InputError("extract.index needs extract.index_languages or extract.index_domains")
    return [list(file) for file in index_files(section.index)]


def _lists(section: ExtractSection) -> "tuple[ListFile, ...]":
    from pipeline.extract.lists import Wanted, list_files

    if section.archives or section.crawl or section.index:
        raise InputError(
            "extract.lists are read by themselves: take out extract.archives, crawl and index"
        )
    wanted = Wanted(section.url_column, section.caption_column, section.page_url_column)
    return list_files(section.lists, wanted)


def archives(section: ExtractSection) -> list[str]:
    """The archives that are read whole, sorted. Raises InputError when there are none."""
    from pipeline.extract.archives import crawl_archives, list_archives

    if section.index_languages or section.index_domains:
        raise InputError("extract.index_languages and index_domains need extract.index")
    if section.first_file and section.sample:
        raise InputError("extract.first_file needs extract.sample = false")
    found = set(list_archives(section.archives, section.crawl_base_url))
    if section.crawl:
        crawl = section.crawl_base_url, section.crawl, section.crawl_kind, section.files
        seed = section.seed if section.sample else None
        found.update(crawl_archives(*crawl, seed, section.first_file))
    if not found:
        raise InputError(
            "extract has nothing to read: set extract.archives (paths or globs), extract.crawl, "
            "extract.index or extract.lists"
        )
    return sorted(found)


def read_part(section: ExtractSection, part: int, archive: str, sink: PartSink) -> None:
    """One archive's pairs."""
    _read(section, [(archive, None)], sink)


def read_chosen(section: ExtractSection, store: Store, part: int, _: None, sink: PartSink) -> None:
    """The pairs of one part of the pages that the index names."""
    from pipeline.extract.archives import below
    from pipeline.extract.index import CHOSEN, by_archive

    base = section.crawl_base_url
    chosen = by_archive(store.read_part(CHOSEN, part))
    wanted = ((posixpath.join(base, below(n, section.index)), ranges) for n, ranges in chosen)
    _read(section, wanted, sink)


def _read(
    section: ExtractSection,
    wanted: Iterable[tuple[str, list[tuple[int, int]] | None]] | Iterator[Any],
    sink: PartSink,
) -> None:
    from pipeline.extract.isolated import shared_reader
    from pipeline.extract.task import Limits

    limits = Limits(
        section.max_record_bytes,
        section.max_links_per_page,
        _BATCH_ROWS,
        section.read_block_bytes,
        section.max_read_tries,
        section.index_max_gap_bytes,
        section.record_timeout_s,
        section.memory_bytes,
    )
    reader = shared_reader(limits, section.max_crashes)
    sink.accounts = [Account("records"), Account("links"), Account("pairs")]
    batches = (b for name, ranges in wanted for b in reader.read(name, sink.accounts, ranges))
    write_pairs(batches, sink)


def write_pairs(batches: "Iterable[pa.RecordBatch]", sink: PartSink) -> None:
    """Rows of PAIRS, as they are read, in the row groups of the table's files."""
    for group in row_groups(batches, _GROUP_ROWS, _GROUP_BYTES):
        sink.write(group)


def read_list(section: ExtractSection, part: int, rows: "ListPart", sink: PartSink) -> None:
    """The pairs of one part of a list."""
    from pipeline.extract.list_rows import ListRows

    found = ListRows(rows, _BATCH_ROWS)
    write_pairs(found.read(), sink)
    sink.accounts = [found.records, found.links, found.pairs]


def build(ctx: Context[ExtractSection]) -> list[Account]:
    """Read what is not read yet."""
    section = ctx.config
    work: Any
    if section.lists:
        from pipeline.extract.lists import split

        parts = split(_lists(section), section.list_rows_per_part)
        return ctx.run_parts(PAIRS, partial(read_list, section), list(enumerate(parts)))
    if not section.index:
        work = partial(read_part, section)
        return ctx.run_parts(PAIRS, work, list(enumerate(archives(section))))
    from pipeline.stages.indexed import choose

    work = partial(read_chosen, section, ctx.store)
    return ctx.run_parts(PAIRS, work, [(part, None) for part in range(choose(ctx))])


STAGE = Stage(
    "extract",
    reads=(),
    writes=(PAIRS,),
    config=ExtractSection,
    build=build,
    folders=("index_ranges", "index_chosen"),
    check=inputs,
)
