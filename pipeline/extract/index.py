"""Common Crawl's columnar index: where the pages of a language or a domain lie.

Source of the columns: Common Crawl, "Columnar index" (cc-index-table): one row per captured page,
with url_host_registered_domain, content_languages (ISO 639-3 codes, joined by commas),
content_mime_detected, fetch_status, warc_filename, warc_record_offset and warc_record_length.
"""

import re
from collections.abc import Iterator, Sequence

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import InputError
from pipeline.core.tables import Table, column
from pipeline.extract.stream import open_archive

_PLACE = ("warc_filename", "warc_record_offset", "warc_record_length")
_HTML = ("text/html", "application/xhtml+xml")
_BATCH_ROWS = 65_536
# What a footer and a few columns are read with.
_BLOCK_BYTES = 4 << 20

# Between the index and the reading of its pages; both are removed with the stage's output.
RANGES = Table(
    "index_ranges",
    "One row per chosen page, as one file of the index has them.",
    ("warc_filename", "warc_record_offset"),
    pa.schema(
        [
            column("warc_filename", pa.string(), "path of the archive below the crawl's base URL"),
            column("warc_record_offset", pa.int64(), "of its gzip member", unit="bytes"),
            column("warc_record_length", pa.int64(), "of its gzip member", unit="bytes"),
        ]
    ),
)
CHOSEN = Table(
    "index_chosen",
    "The same, in the parts they are read in, ordered by archive and offset.",
    RANGES.key,
    RANGES.schema,
    partition="part",
)


def index_files(url: str) -> list[tuple[str, int]]:
    """(URL, size in bytes) of the index's Parquet files: of one, of those of a folder or of those
    that a glob matches, sorted. Raises InputError when there are none."""
    try:
        fs, path = fsspec.core.url_to_fs(url)
        if any(char in path for char in "*["):
            found = fs.glob(path, detail=True)
        elif fs.isdir(path):
            found = fs.find(path, detail=True)
        else:
            found = {path: fs.info(path)}
        sizes = {
            fs.unstrip_protocol(name) if "://" in url else name: int(info["size"] or 0)
            for name, info in found.items()
            if info["type"] == "file" and (name.endswith(".parquet") or name == path)
        }
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"extract.index = {url} cannot be read: {error}") from None
    if not sizes:
        raise InputError(f"extract.index = {url} holds no .parquet file")
    return sorted(sizes.items())


def read_index(
    url: str, languages: Sequence[str], domains: Sequence[str], max_tries: int = 8
) -> Iterator[pa.Table]:
    """Rows of RANGES from one file of the index: HTML pages of status 200 that have one of the
    languages (if any are given) and are on one of the registered domains (likewise).

    Row groups whose statistics exclude all domains are not read, and the places only of row groups
    with a page. Memory: a batch of rows and a row group's compressed columns. Raises InputError
    when the file is no index, OSError when it cannot be read.
    """
    with open_archive(url, _BLOCK_BYTES, max_tries, is_ahead=False) as file:
        try:
            parquet = pq.ParquetFile(pa.PythonFile(file, mode="r"))
            tests = _tests(url, parquet.schema_arrow.names, languages, domains)
            for group in range(parquet.num_row_groups):
                if _may_hold(parquet.metadata.row_group(group), domains):
                    yield from _chosen(parquet, group, tests, languages, domains)
        except pa.ArrowInvalid as error:
            raise InputError(f"index file {url} is not readable Parquet: {error}") from None


def _tests(
    url: str, names: Sequence[str], languages: Sequence[str], domains: Sequence[str]
) -> list[str]:
    """The columns a page is chosen by."""
    needed = [*_PLACE]
    needed += ["content_languages"] if languages else []
    needed += ["url_host_registered_domain"] if domains else []
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(
            f"index file {url} lacks {', '.join(missing)}; "
            "it is not a table of Common Crawl's columnar index"
        )
    optional = [name for name in ("fetch_status", "content_mime_detected") if name in names]
    return [name for name in needed if name not in _PLACE] + optional


def _may_hold(group: pq.RowGroupMetaData, domains: Sequence[str]) -> bool:
    if not domains:
        return True
    for at in range(group.num_columns):
        chunk = group.column(at)
        if chunk.path_in_schema == "url_host_registered_domain":
            told = chunk.statistics
            if told is None or not told.has_min_max:
                return True
            return any(told.min <= domain <= told.max for domain in domains)
    return True


def _chosen(
    parquet: pq.ParquetFile,
    group: int,
    tests: list[str],
    languages: Sequence[str],
    domains: Sequence[str],
) -> Iterator[pa.Table]:
    masks = [
        _mask(batch, languages, domains)
        for batch in parquet.iter_batches(_BATCH_ROWS, [group], columns=tests)
    ]
    if not any(pc.any(mask).as_py() for mask in masks):
        return
    batches = parquet.iter_batches(_BATCH_ROWS, [group], columns=list(_PLACE))
    for batch, mask in zip(batches, masks, strict=True):
        rows = pa.Table.from_batches([batch]).select(_PLACE).filter(mask).drop_null()
        if rows.num_rows:
            yield rows.cast(pa.schema([pa.field(f.name, f.type) for f in RANGES.schema]))


def _mask(
    batch: pa.RecordBatch, languages: Sequence[str], domains: Sequence[str]
) -> pa.BooleanArray:
    mask = pa.repeat(pa.scalar(True), batch.num_rows)
    names = batch.schema.names
    if "fetch_status" in names:
        mask = pc.and_(mask, pc.equal(batch.column("fetch_status"), 200))
    if "content_mime_detected" in names:
        mime = batch.column("content_mime_detected").cast(pa.string())
        mask = pc.and_(mask, pc.is_in(mime, pa.array(_HTML)))
    if languages:
        codes = "|".join(map(re.escape, languages))
        told = batch.column("content_languages").cast(pa.string())
        mask = pc.and_(mask, pc.match_substring_regex(told, f"(^|,)({codes})(,|$)"))
    if domains:
        told = batch.column("url_host_registered_domain").cast(pa.string())
        mask = pc.and_(mask, pc.is_in(told, pa.array(domains, pa.string())))
    return mask.fill_null(False)


def by_archive(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """(archive, its ranges by offset, each once) from rows of CHOSEN. Memory: those of one."""
    archive: str | None = None
    ranges: list[tuple[int, int]] = []
    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in _PLACE)
        for name, offset, length in zip(*columns, strict=True):
            if name != archive:
                if archive is not None:
                    yield archive, ranges
                archive, ranges = name, []
            if not ranges or ranges[-1][0] != offset:
                ranges.append((offset, length))
    if archive is not None:
        yield archive, ranges
