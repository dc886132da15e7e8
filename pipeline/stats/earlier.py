"""The figures of something that is finished: of a run, its stats table; of a release, counted from
its sample tables, whole or seen through a view.
"""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.core.raw import PLACE
from pipeline.core.release import Manifest, ShardEntry
from pipeline.core.storage import Store
from pipeline.core.tables import STATS
from pipeline.stats import bins
from pipeline.stats.bins import Bins
from pipeline.stats.concentration import spread_rows
from pipeline.stats.figures import Column
from pipeline.stats.measured import edge_label
from pipeline.stats.page import Figures
from pipeline.stats.tally import Counts

Row = tuple[str, str, str, float]
# A shard's entry and the rows of it that are chosen.
Chosen = Iterable[tuple[ShardEntry, npt.NDArray[np.int32]]]
_CATEGORIES = ("format", "caption_lang", "page_lang_detected", "caption_kind")
_LAID = {*release.SIDECAR.names, *PLACE, "caption_kinds", "hash64"} - {"bytes"}


@dataclass(frozen=True)
class Counted:
    """What a release, or a view of it, holds, as rows of STATS: series 'kept' are the chosen
    samples, 'dropped' the others. columns, categories: what there is of them."""

    rows: list[Row]
    columns: list[Column]
    categories: list[str]


def identity(root: str) -> str:
    """What names the content of a finished run or release. Raises InputError when it is neither."""
    store = Store(root)
    if store.exists("_stages/report.json"):
        record = store.read_json("_stages/report.json")
        if record["state"] == "done":
            return str(record["id"])
    if store.exists(release.MANIFEST):
        return release.load(store.fs, store.root).id
    raise InputError(
        f"{root} is neither a release nor a run that has a report: make its report first"
    )


def load(root: str) -> tuple[Figures, str]:
    """The figures of a finished run or release, and its name. Raises as `identity`."""
    identity(root)
    store, name = Store(root), root.rstrip("/").rsplit("/", 1)[-1]
    if store.exists(release.MANIFEST):
        manifest = release.load(store.fs, store.root)
        every = ((s, np.arange(s.samples, dtype=np.int32)) for s in manifest.shards)
        return Figures(count(store.fs, store.root, manifest, every).rows), manifest.name
    rows: list[Row] = []
    for file in sorted(store.fs.glob(store.path(STATS.name, "part-*.parquet"))):
        with store.fs.open(file, "rb") as opened:
            table = pq.read_table(opened, columns=STATS.schema.names)
        rows += zip(*(table[n].to_pylist() for n in STATS.schema.names), strict=True)
    return Figures(rows), name


def count(
    fs: fsspec.AbstractFileSystem, root: str, manifest: Manifest, chosen: Chosen, top: int = 30
) -> Counted:
    """Count the samples of a release; chosen ones apart from the others.

    chosen: every shard, in order. top: domains that are listed. Cost: one read of the footers, one
    of the columns of numbers and categories; memory: one sample table, and a count for each domain.
    """
    files = [posixpath.join(root, release.sidecar_path(s.path)) for s in manifest.shards]
    schema, ends = _footers(fs, files)
    columns, texts = _columns(schema), [n for n in _CATEGORIES if n in schema.names]
    each = {
        c.name: bins.choose(*ends[c.name], integer=c.is_integer, log=c.log)
        for c in columns
        if c.name in ends
    }
    names = tuple(each)
    counts = Counts(names, tuple(each.values()))
    domains: dict[str, dict[str, int]] = {"pairs": {}, "kept": {}}
    totals = {"samples": 0, "kept": 0}
    wanted = [n for n in schema.names if n in each or n in texts or n == "domain"]
    for file, (entry, rows) in zip(files, chosen, strict=True):
        with fs.open(file, "rb") as opened:
            table = pq.read_table(opened, columns=wanted)
        is_chosen = np.zeros(entry.samples, bool)
        is_chosen[rows] = True
        totals["samples"] += entry.samples
        totals["kept"] += len(rows)
        if names:
            counts.add_values([_values(table[n]) for n in names], is_chosen)
        for name in texts:
            counts.add_texts(name, table[name].combine_chunks(), is_chosen)
        if "domain" in wanted:
            _add_domains(domains, table["domain"].combine_chunks(), is_chosen)
    found = [*_histograms(each, counts), *_totals(manifest, totals), *_domains(domains, top)]
    return Counted(sorted(found), [c for c in columns if c.name in each], texts)


def _footers(
    fs: fsspec.AbstractFileSystem, files: Sequence[str]
) -> tuple[pa.Schema, dict[str, tuple[float, float]]]:
    """The schema, and the least and greatest value of every column of numbers that has any."""
    ends: dict[str, tuple[float, float]] = {}
    schema = pa.schema([])
    for file in files:
        with fs.open(file, "rb") as opened:
            parquet = pq.ParquetFile(opened)
            schema = parquet.schema_arrow
            for group in range(parquet.metadata.num_row_groups):
                for number, name in enumerate(schema.names):
                    stats = parquet.metadata.row_group(group).column(number).statistics
                    if _is_number(schema.field(name).type) and stats and stats.has_min_max:
                        low, high = float(stats.min), float(stats.max)
                        known = ends.get(name, (low, high))
                        ends[name] = (min(known[0], low), max(known[1], high))
    return schema, {n: e for n, e in ends.items() if all(map(np.isfinite, e))}


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _columns(schema: pa.Schema) -> list[Column]:
    """The columns of numbers, as the report draws them."""
    found = []
    for field in schema:
        if _is_number(field.type) and field.name not in _LAID:
            metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
            doc, unit = metadata.get("doc", ""), metadata.get("unit", "")
            found.append(Column(field.name, "", doc, unit, pa.types.is_integer(field.type)))
    return found


def _values(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return found


def _add_domains(
    found: dict[str, dict[str, int]], column: pa.Array, is_chosen: npt.NDArray[np.bool_]
) -> None:
    coded = column.fill_null("").dictionary_encode()
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    for series, mine in (("pairs", codes), ("kept", codes[is_chosen])):
        for code, rows in enumerate(np.bincount(mine, minlength=len(names)).tolist()):
            if rows:
                found[series][names[code]] = found[series].get(names[code], 0) + rows


def _histograms(each: Mapping[str, Bins], counts: Counts) -> Iterable[Row]:
    for name, bin_ in each.items():
        for i, edge in enumerate(bin_.edges):
            yield "edges", name, f"{i:03d}", edge
    for figure, series, bucket, value in counts.rows():
        if figure in each and bucket:
            yield figure, series, edge_label(each[figure].edges[int(bucket)]), value
        else:
            yield figure, series, bucket if figure not in each else "missing", value


def _totals(manifest: Manifest, totals: Mapping[str, int]) -> Iterable[Row]:
    yield "rows", "rows", "decisions", float(totals["samples"])
    yield "rows", "rows", "kept", float(totals["kept"])
    yield "release", "release", "shards", float(len(manifest.shards))
    yield "release", "release", "samples", float(manifest.samples)
    yield "release", "release", "bytes", float(manifest.bytes)


def _domains(domains: Mapping[str, Mapping[str, int]], top: int) -> Iterable[Row]:
    shown: set[str] = set()
    for series, counts in domains.items():
        if not counts:
            continue
        shown |= set(sorted(counts, key=lambda d: (-counts[d], d))[:top])
        yield "domains", series, "distinct", float(len(counts))
        sizes: dict[int, int] = {}
        for rows in counts.values():
            sizes[rows] = sizes.get(rows, 0) + 1
        yield from spread_rows(series, sizes)
    for series, counts in domains.items():
        for domain in shown:
            yield "domain", series, domain, float(counts.get(domain, 0))
