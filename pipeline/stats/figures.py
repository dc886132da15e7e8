"""The figures of a run as Spark SQL text, and what they say about the measured columns.

Every query gives the columns of `tables.STATS`: figure, series, bucket, value. Names in braces
are the run's tables; `{judged}` is measures joined with decisions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from pipeline.core.filter import Bound, Filter
from pipeline.core.raw import PLACE
from pipeline.core.tables import pair_view
from pipeline.stats import wording
from pipeline.stats.bins import Bins
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
_LARGEST = "1e300D"
_MOST_CATEGORIES = 200  # per figure and series: a text measure may have any number of values


@dataclass(frozen=True)
class Column:
    """A column of the measures table as the report draws it.

    sql: a double; null for null, NaN and infinities. log: see `bins.choose`.
    """

    name: str
    sql: str
    doc: str
    unit: str
    is_integer: bool
    bounds: tuple[Bound, ...] = ()
    log: bool | None = None


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
    return [*found, Column("width_over_height", f"({shape})", doc, "", False, log=True)]


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
    """Texts to count: name -> SQL. Text measures of filters, and what the pair view has."""
    found = {f.name: f"`{f.name}`" for f in _measures(filters) if pa.types.is_string(f.type)}
    language = "lower(regexp_extract(trim(page_lang), '^[A-Za-z]{{2,3}}', 0))"
    return found | {
        "format": "format",
        "caption_lang": "caption_lang",
        "page_lang_detected": "page_lang_detected",
        "page_lang": f"coalesce(nullif({language}, ''), 'undeclared')",
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
    value = f"CAST(`{field.name}` AS DOUBLE)"
    if pa.types.is_floating(field.type):
        value = f"CASE WHEN NOT isnan({value}) AND abs({value}) < {_LARGEST} THEN {value} END"
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
    return f"SELECT {', '.join(wanted)} FROM {{measures}}"


def distributions(bins: Mapping[str, tuple[Column, Bins]], categories: Mapping[str, str]) -> str:
    """Every histogram and category count of the judged pairs in one pass.

    A histogram's bucket is its bin number, '' for a missing value. Scores come also as counts on
    `SCORE_GRID`, in the figure 'score_grid'.
    """
    items = [
        f"struct('{name}' AS figure, coalesce(CAST({b.index_sql(c.sql)} AS STRING), '') AS bucket)"
        for name, (c, b) in bins.items()
    ]
    items += [
        f"struct('{name}' AS figure, coalesce({sql}, '') AS bucket)"
        for name, sql in categories.items()
    ]
    score = f"round(clip_similarity / {SCORE_GRID!r}D)"
    grid = f"CASE WHEN abs({score}) < 1e9D THEN CAST(CAST({score} AS INT) AS STRING) END"
    items.append(f"struct('score_grid' AS figure, coalesce({grid}, '') AS bucket)")
    counted = (
        "SELECT figure, series, bucket, CAST(count(*) AS DOUBLE) AS value FROM ("
        "SELECT IF(is_kept, 'kept', 'dropped') AS series, "
        f"inline(array({', '.join(items)})) FROM {{judged}}) GROUP BY figure, series, bucket"
    )
    listed = ", ".join(f"'{name}'" for name in categories)
    return (
        "SELECT figure, series, bucket, value FROM (SELECT *, row_number() OVER ("
        f"PARTITION BY figure, series ORDER BY value DESC, bucket) AS place FROM ({counted})) "
        f"WHERE place <= {_MOST_CATEGORIES} OR figure NOT IN ({listed})"
    )


def _count(figure: str, series: str, bucket: str, source: str) -> str:
    return (
        f"SELECT '{figure}' AS figure, {series} AS series, {bucket} AS bucket, "
        f"CAST(count(*) AS DOUBLE) AS value FROM {source} GROUP BY 2, 3"
    )


def _tally(table: str, items: Sequence[tuple[str, str, str]]) -> str:
    """Counts of several figures in one pass over a table.

    items: figure, series (SQL) and bucket (SQL; a row with null is not counted).
    """
    structs = [
        f"struct('{figure}' AS figure, {series} AS series, {bucket} AS bucket)"
        for figure, series, bucket in items
    ]
    return (
        "SELECT figure, series, bucket, CAST(count(*) AS DOUBLE) AS value FROM ("
        f"SELECT inline(array({', '.join(structs)})) FROM {{{table}}}) "
        "WHERE bucket IS NOT NULL GROUP BY figure, series, bucket"
    )


def _total(figure: str, bucket: str, value: str, table: str) -> str:
    return (
        f"SELECT '{figure}' AS figure, '{figure}' AS series, '{bucket}' AS bucket, "
        f"CAST(coalesce({value}, 0) AS DOUBLE) AS value FROM {{{table}}}"
    )


def _sizes() -> Iterable[str]:
    """Rows of every table, and what the release weighs."""
    for table in _COUNTED:
        yield _total("rows", table, "count(*)", table)
    yield _total("release", "shards", "count(*)", "shards")
    yield _total("release", "samples", "sum(samples)", "shards")
    yield _total("release", "bytes", "sum(bytes)", "shards")


def _verdicts() -> Iterable[str]:
    """Reasons: the first one, alone, at all, and each with each other."""
    yield _tally(
        "decisions",
        [
            ("rows", "'rows'", "IF(is_kept, 'kept', NULL)"),
            ("reason", "'first'", "reason"),
            ("reason", "'alone'", "IF(size(reasons) = 1, reasons[0], NULL)"),
            ("rows", "'rows'", "IF(is_kept AND picture_id <> image_id, 'moved', NULL)"),
        ],
    )
    each = "(SELECT explode(reasons) AS a, reasons FROM {decisions})"
    yield _count("reason", "'at_all'", "a", each)
    yield _count("joint_reason", "a", "b", f"(SELECT a, explode(reasons) AS b FROM {each})")


def _captions(top: int) -> str:
    """The captions on most images; images per caption."""
    captions = (
        "(SELECT c.caption AS caption, max(c.caption_images) AS images "
        "FROM (SELECT explode(captions) AS c FROM {candidates}) "
        "WHERE c.caption_images > 1 GROUP BY c.caption "
        f"ORDER BY images DESC, caption LIMIT {top})"
    )
    return (
        "SELECT 'frequent_caption' AS figure, 'images' AS series, "
        "substring(caption, 1, 200) AS bucket, CAST(max(images) AS DOUBLE) AS value "
        f"FROM {captions} GROUP BY 3"
    )


def counts(top: int) -> str:
    """The figures that need one table each; `top` limits lists that the web makes long."""
    of_pair = category_columns({})
    queries = [
        *_sizes(),
        *_verdicts(),
        _tally(
            "images",
            [
                ("rows", "'rows'", "IF(status = 'ok', 'downloaded', NULL)"),
                ("status", "'images'", "status"),
                ("consent", "'images'", "consent"),
                ("http_status", "'images'", "CAST(http_status AS STRING)"),
            ],
        ),
        _tally("pairs", [(n, "'pairs'", of_pair[n]) for n in ("page_lang", "caption_kind")]),
        _captions(top),
    ]
    return " UNION ALL ".join(f"SELECT * FROM ({query})" for query in queries)


def domains(top: int) -> str:
    """The `top` domains by pairs found and by pairs kept, with both counts; how many there are."""
    kept = "SELECT domain, count(*) AS kept FROM {judged} WHERE is_kept GROUP BY domain"
    found = "SELECT domain, count(*) AS pairs FROM {pairs} GROUP BY domain"
    both = (
        f"SELECT domain, coalesce(pairs, 0) AS pairs, coalesce(kept, 0) AS kept "
        f"FROM ({found}) FULL JOIN ({kept}) USING (domain)"
    )

    def best(by: str) -> str:
        return f"(SELECT * FROM ({both}) ORDER BY {by} DESC, domain LIMIT {top})"

    shown = f"(SELECT * FROM {best('pairs')} UNION SELECT * FROM {best('kept')})"
    return (
        "SELECT 'domain' AS figure, series, domain AS bucket, CAST(n AS DOUBLE) AS value FROM ("
        f"SELECT domain, stack(2, 'pairs', pairs, 'kept', kept) AS (series, n) FROM {shown}) "
        "UNION ALL SELECT 'domains', series, 'distinct', CAST(n AS DOUBLE) FROM ("
        "SELECT stack(2, 'pairs', count_if(pairs > 0), 'kept', count_if(kept > 0)) AS (series, n) "
        f"FROM ({both}))"
    )


def failures(seed: int, per_status: int) -> str:
    """URLs of failed downloads, random ones of every status: status, status_detail, url."""
    chosen = ", ".join(
        f"min_by(struct(image_id, status_detail), xxhash64({seed + i}, image_id))"
        for i in range(per_status)
    )
    return (
        "SELECT /*+ BROADCAST(p) */ p.status, p.one.status_detail AS status_detail, c.url FROM ("
        f"SELECT status, explode(array_distinct(array({chosen}))) AS one FROM {{images}} "
        "WHERE status <> 'ok' GROUP BY status) p "
        "JOIN {candidates} c ON c.image_id = p.one.image_id ORDER BY 1, 3"
    )


def samples(seed: int, kept: int, per_reason: int, extremes_shown: int) -> str:
    """Pairs to show, by group ('kept', 'reason:<reason>', 'highest', 'lowest') and rank from 1.

    Random ones are those with the smallest hash of seed and pair_id.
    """
    chance = f"CAST(xxhash64({seed}, pair_id) AS DOUBLE)"
    score = "CAST(clip_similarity AS DOUBLE)"
    scored = "clip_similarity IS NOT NULL AND NOT isnan(clip_similarity)"
    groups = (
        f"concat(IF(is_kept, array(struct('kept' AS grp, {chance} AS position)), array()), "
        f"transform(reasons, r -> struct(concat('reason:', r) AS grp, {chance} AS position)), "
        f"IF({scored}, array(struct('highest' AS grp, -{score} AS position), "
        f"struct('lowest' AS grp, {score} AS position)), array()))"
    )
    ranked = (
        "SELECT *, row_number() OVER (PARTITION BY grp ORDER BY position, pair_id) AS rank FROM ("
        "SELECT * EXCEPT (groups), inline(groups) FROM ("
        f"SELECT *, {groups} AS groups FROM {{judged}}))"
    )
    most = (
        f"CASE WHEN grp = 'kept' THEN {kept} WHEN grp LIKE 'reason:%' THEN {per_reason} "
        f"ELSE {extremes_shown} END"
    )
    largest = max(kept, per_reason, extremes_shown, 1)
    return f"SELECT * FROM ({ranked}) WHERE rank <= {largest} AND rank <= {most}"
