"""What a release, or some of its samples, hold: counted from the sample tables, as Markdown."""

import posixpath
from collections import Counter
from collections.abc import Iterable

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import release
from pipeline.core.release import ShardEntry

# Samples that quantiles are of, evenly taken, where there are more.
_QUANTILE_SAMPLES = 1_000_000
_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
# Texts that are told by their values: what has more of them than that names a sample.
_MOST_VALUES = 100_000
_TOP = 10
_WINDOW = 1000
_HASHES = ("hash64",)  # numbers that mean nothing by themselves
_LAID = {n for n in release.SIDECAR.names if n not in ("bytes", "jpg_bytes")}

Rows = Iterable[tuple[ShardEntry, npt.NDArray[np.int32]]]


def describe(fs: fsspec.AbstractFileSystem, root: str, chosen: Rows) -> str:
    """Samples, bytes, quantiles of every number and the commonest values of every text.

    chosen: shards and the rows that count of each. Memory: a million rows of numbers, and up to
    100,000 values of each text.
    """
    picked = [(entry, rows) for entry, rows in chosen if len(rows)]
    total = sum(len(rows) for _, rows in picked)
    step = max(1, total // _QUANTILE_SAMPLES)
    size = 0
    numbers: dict[str, list[npt.NDArray[np.float64]]] = {}
    texts: dict[str, Counter[str]] = {}
    for entry, rows in picked:
        with fs.open(posixpath.join(root, release.sidecar_path(entry.path)), "rb") as file:
            table = pq.read_table(file).take(pa.array(rows))
        size += pc.sum(table["bytes"]).as_py()
        for field in table.schema:
            column = table[field.name]
            if field.name in _LAID or field.name in _HASHES:
                continue
            if pa.types.is_string(field.type):
                counts = texts.setdefault(field.name, Counter())
                if len(counts) <= _MOST_VALUES:
                    counts.update(column.drop_null().to_pylist())
            elif pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
                # Quantiles need no more than a float64 tells of a large number.
                values = column.cast(pa.float64(), safe=False).to_numpy()[::step]
                numbers.setdefault(field.name, []).append(values[np.isfinite(values)])
    lines = [f"{total:,} samples, {size / 1e9:,.3f} GB in {len(picked):,} shards", ""]
    lines += _number_lines({name: np.concatenate(parts) for name, parts in numbers.items()})
    return "\n".join([*lines, *_text_lines(texts, total)])


def mixing(fs: fsspec.AbstractFileSystem, root: str, shards: Iterable[ShardEntry]) -> str:
    """How well a release is mixed: how many domains its shards, and runs of 1,000 neighbours, hold,
    and which share of each the largest domain has. Empty where the sample tables name no domains.
    """
    whole, windows = [], []
    for entry in shards:
        with fs.open(posixpath.join(root, release.sidecar_path(entry.path)), "rb") as file:
            parquet = pq.ParquetFile(file)
            if "domain" not in parquet.schema_arrow.names:
                return ""
            domains = parquet.read(["domain"])["domain"].combine_chunks().dictionary_encode()
        codes = domains.indices.fill_null(len(domains.dictionary)).to_numpy()
        whole.append(_spread(codes))
        stops = range(_WINDOW, len(codes) + 1, _WINDOW)
        windows += [_spread(codes[stop - _WINDOW : stop]) for stop in stops]
    lines = ["", "| domains | of | least | median | most | largest share of one |", _rule(6)]
    for name, found in (("a shard", whole), (f"{_WINDOW:,} neighbours", windows)):
        if found:
            counts, shares = np.asarray(found, np.float64).T
            least, middle, most = (f"{np.quantile(counts, q):,.0f}" for q in (0, 0.5, 1))
            of = f"{len(found):,}"
            lines.append(f"| {name} | {of} | {least} | {middle} | {most} | {shares.max():.3f} |")
    return "\n".join(lines)


def _spread(codes: npt.NDArray[np.int32]) -> tuple[int, float]:
    """Distinct values, and the share of the commonest."""
    counts = np.bincount(codes)
    return int(np.count_nonzero(counts)), float(counts.max() / max(len(codes), 1))


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def _number_lines(numbers: dict[str, npt.NDArray[np.float64]]) -> list[str]:
    heads = ("least", "5%", "median", "95%", "most")
    lines = [f"| number | known of | {' | '.join(heads)} |", _rule(2 + len(heads))]
    for name, values in numbers.items():
        if len(values):
            found = " | ".join(f"{v:,.4g}" for v in np.quantile(values, _QUANTILES))
            lines.append(f"| {name} | {len(values):,} | {found} |")
    return [*lines, ""]


def _text_lines(texts: dict[str, Counter[str]], total: int) -> list[str]:
    lines = ["| text | values | commonest, and their share |", _rule(3)]
    for name, counts in texts.items():
        if not counts or len(counts) > min(_MOST_VALUES, max(total // 2, _TOP)):
            continue
        told = ", ".join(f"{value} {n / total:.1%}" for value, n in counts.most_common(_TOP))
        lines.append(f"| {name} | {len(counts):,} | {told} |")
    return lines
