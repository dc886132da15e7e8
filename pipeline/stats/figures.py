"""The figures of a run as text in DuckDB's SQL, and what they say about the measured columns.

A query of counts gives the columns of `tables.STATS`: figure, series, bucket, value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from pipeline.core.filter import Bound, Filter
from pipeline.core.raw import PLACE
from pipeline.core.reasons import Status
from pipeline.core.tables import pair_view
from pipeline.stats import wording
from pipeline.stats.bins import LARGEST
from pipeline.stats.wording import Limit

# Numbers of the pair view that say where bytes lie, or are sets of bits, and no sizes.
_NOT_MEASURES = frozenset({*PLACE, "caption_kinds", "hash64"})
# Scores are counted on this grid, so that quantiles are exact on it and the same on any cluster.
SCORE_GRID = 1e-4
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_COUNTED = (
    "pairs",
    "candidates",
    "images",
    "neighbors",
    "copies",
    "released_neighbors",
    "scores",
    "measures",
    "decisions",
)
# Texts that are counted of all pairs found, beside those that were judged.
_OF_PAIRS = ("caption_kind", "caption_lang")


@dataclass(frozen=True)
class Column:
    """A column of the measures table as the report draws it.

    sql: a double; null for null, NaN and infinities. log: see `bins.choose`. raw: SQL of its values
    as they are, where these are not a column of that name.
    """

    name: str
    sql: str
    doc: str
    unit: str
    is_integer: bool
    bounds: tuple[Bound, ...] = ()
    log: bool | None = None
    raw: str = ""

    @property
    def values(self) -> str:
        """SQL of its values as they are."""
        return self.raw or f'"{self.name}"'


def numeric_columns(filters: Mapping[str, Filter], scored: Sequence[pa.Field] = ()) -> list[Column]:
    """Numbers to draw: bounded ones first, in the order of the config, then the others.

    scored: what further models and scorers found, see `tables.pair_view`.
    """
    bounds: dict[str, list[Bound]] = {}
    for flt in filters.values():
        for bound in flt.bounds():
            bounds.setdefault(bound.measure, []).append(bound)
    fields = [*_measures(filters), *pair_view(scored)]
    numbers = {f.name: f for f in fields if _is_number(f.type)}
    order = [n for n in bounds if n in numbers]
    order += [n for n in numbers if n not in bounds and n not in _NOT_MEASURES]
    found = [_column(numbers[n], tuple(bounds.get(n, ()))) for n in order]
    shape = "original_width / original_height"
    doc = "width over height of the received picture"
    found.append(Column("width_over_height", f"({shape})", doc, "", False, log=True, raw=shape))
    if "caption_chars" not in numbers:  # no filter measures it
        doc, length = "length of the caption", "length(caption)"
        cast = f"CAST({length} AS DOUBLE)"
        found.append(Column("caption_chars", cast, doc, "characters", True, raw=length))
    return found


def limits(
    filters: Mapping[str, Filter],
    scored: Sequence[pa.Field] = (),
    ends: wording.Ends = MappingProxyType({}),
) -> dict[str, Limit]:
    """The tightest bounds on every bounded measure, with what its field says of it.

    scored: as for `numeric_columns`. ends: see `wording.limits`.
    """
    documented = {}
    for field in [*_measures(filters), *pair_view(scored)]:
        metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        documented[field.name] = (metadata.get("doc", ""), metadata.get("unit", ""))
    return wording.limits(filters, documented, ends)


def category_columns(filters: Mapping[str, Filter]) -> dict[str, str]:
    """Texts to count: name -> SQL. Text measures of filters, and what the pair view has.

    Languages of pages come as they are declared; `page_langs` has what they are counted as.
    """
    found = {f.name: f'"{f.name}"' for f in _measures(filters) if pa.types.is_string(f.type)}
    return found | {
        "format": "format",
        "caption_lang": "caption_lang",
        "page_lang_detected": "page_lang_detected",
        "page_lang": "page_lang",
        "caption_kind": "caption_kind",
    }


def _measures(filters: Mapping[str, Filter]) -> list[pa.Field]:
    return [field for flt in filters.values() for field in flt.measures]


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def _column(field: pa.Field, bounds: tuple[Bound, ...]) -> Column:
    metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
    value = f'CAST("{field.name}" AS DOUBLE)'
    if pa.types.is_floating(field.type):
        value = f"CASE WHEN NOT isnan({value}) AND abs({value}) < {LARGEST!r} THEN {value} END"
    return Column(
        field.name,
        f"({value})",
        metadata.get("doc", ""),
        metadata.get("unit", ""),
        not pa.types.is_floating(field.type),
        bounds,
    )


def extremes(columns: Sequence[Column]) -> str:
    """One row: the lowest and highest of every column, as low_0, high_0, low_1, ..."""
    wanted = [f"min({c.sql}) AS low_{i}, max({c.sql}) AS high_{i}" for i, c in enumerate(columns)]
    return f"SELECT {', '.join(wanted)} FROM measures"


def grid_sql(score: str) -> str:
    """SQL of the cell of `SCORE_GRID` that a score lies in, an int; null for none."""
    cell = f"round({score} / CAST({SCORE_GRID!r} AS DOUBLE))"
    return f"CASE WHEN abs({cell}) < 1e9 THEN TRY_CAST({cell} AS INT) END"


def verdicts_sql(names: Sequence[str]) -> str:
    """SQL of a table: pair (its id as a UUID), is_kept, alone (the number of the measure that alone
    drops the pair; -1 where several do, or none of these)."""
    lanes = [("", -1)]
    lanes += [
        (f"{n}_{side}", i) for i, n in enumerate(names) for side in ("low", "high", "missing")
    ]
    return (
        "SELECT CAST(pair_id AS UUID) AS pair, is_kept, coalesce(lane, -1) AS alone FROM decisions "
        f"LEFT JOIN (VALUES {', '.join(map(str, lanes))}) lanes(reason, lane) "
        "ON lanes.reason = CASE WHEN len(reasons) = 1 THEN reasons[1] END"
    )


def _tally(table: str, items: Sequence[tuple[str, str, str]]) -> str:
    """Counts of several figures of a table.

    items: figure, series (SQL) and bucket (SQL; a row with null is not counted).
    """
    return " UNION ALL ".join(
        f"SELECT '{figure}' AS figure, series, bucket, CAST(count(*) AS DOUBLE) AS value FROM "
        f"(SELECT {series} AS series, {bucket} AS bucket FROM {table}) "
        "WHERE bucket IS NOT NULL GROUP BY series, bucket"
        for figure, series, bucket in items
    )


def _total(figure: str, bucket: str, value: str, table: str) -> str:
    return (
        f"SELECT '{figure}' AS figure, '{figure}' AS series, '{bucket}' AS bucket, "
        f"CAST(coalesce({value}, 0) AS DOUBLE) AS value FROM {table}"
    )


def _sizes() -> Iterable[str]:
    """Rows of every table, and what the release weighs."""
    for table in _COUNTED:
        yield _total("rows", table, "count(*)", table)
    for bucket, which in (("first", "min"), ("last", "max")):
        fetched = f"{which}(fetched_at) FILTER (status = '{Status.OK}')"
        yield _total("fetched", bucket, fetched, "images")
    yield _total("release", "shards", "count(*)", "shards")
    yield _total("release", "samples", "sum(samples)", "shards")
    yield _total("release", "bytes", "sum(bytes)", "shards")


def page_langs(table: str) -> str:
    """One row per language as the pages of a table's pairs declare it: raw (null for none), named
    (its first part, in lower case, or 'undeclared'), pairs."""
    language = "lower(regexp_extract(trim(raw), '^[A-Za-z]{2,3}', 0))"
    return (
        f"SELECT raw, coalesce(nullif({language}, ''), 'undeclared') AS named, pairs "
        f"FROM (SELECT page_lang AS raw, count(*) AS pairs FROM {table} GROUP BY page_lang)"
    )


def _pages() -> str:
    """Distinct pages with pairs, by the language of their text."""
    return (
        "SELECT 'page_lang_detected' AS figure, 'pages' AS series, page_lang_detected AS bucket, "
        "CAST(count(DISTINCT hash(page_url)) AS DOUBLE) AS value FROM pairs GROUP BY 3"
    )


def counts() -> str:
    """The figures that need one table each."""
    of_pair = category_columns({})
    queries = [
        *_sizes(),
        _tally(
            "images",
            [
                ("rows", "'rows'", "CASE WHEN status = 'ok' THEN 'downloaded' END"),
                ("status", "'images'", "status"),
                ("consent", "'images'", "consent"),
                ("http_status", "'images'", "CAST(http_status AS VARCHAR)"),
            ],
        ),
        _tally("pairs", [(name, "'pairs'", of_pair[name]) for name in _OF_PAIRS]),
        "SELECT 'page_lang' AS figure, 'pairs' AS series, named AS bucket, "
        f"CAST(sum(pairs) AS DOUBLE) AS value FROM ({page_langs('pairs')}) GROUP BY named",
        _pages(),
    ]
    return " UNION ALL ".join(f"SELECT * FROM ({query})" for query in queries)
