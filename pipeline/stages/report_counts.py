"""The report's part on distributions: every measure of every judged pair, counted in one pass.

Cost: a scan of the measures for their extremes; one more in which Spark turns each pair's
measures into packed bin numbers, joins the verdicts by pair_id (one shuffle of some hundred bytes
a pair) and hands them to NumPy, whose counts are all that comes back.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from pipeline.core.context import Context
from pipeline.core.tables import STATS
from pipeline.stages.report_duplicates import sql
from pipeline.stats import bins, figures, scores, verdicts
from pipeline.stats.bins import Bins
from pipeline.stats.measured import edge_label
from pipeline.stats.page import quantiles
from pipeline.stats.tally import Counting, most, words_sql

Row = tuple[str, str, str, float]
Counted = dict[tuple[str, str], dict[str, float]]
# A column without any value still counts as missing, in one idle bin.
_IDLE = Bins((0.0, 0.0))
# Large batches: NumPy is called a few times for each.
_BATCH_ROWS = "65536"


def reason_patterns(
    ctx: Context[Any], tables: Mapping[str, DataFrame]
) -> tuple[dict[Any, int], int]:
    """Pairs by exactly which reasons they have, and how many captions were handed over."""
    rows = sql(ctx, verdicts.patterns(), tables).collect()
    return {tuple(r.reasons): r.rows for r in rows}, sum(r.moved for r in rows)


def distribution_rows(
    ctx: Context[Any],
    tables: Mapping[str, DataFrame],
    columns: Sequence[figures.Column],
    categories: Mapping[str, str],
    similarities: Sequence[str],
) -> Iterator[Row]:
    """Bin edges and counts of every measure, of every similarity by language, counts of every
    category, quantiles of scores. similarities: columns that are shown by language."""
    chosen = _bins(ctx, tables, columns)
    by_language = _language_bins(ctx, tables, similarities)
    counted = _count(ctx, tables, chosen, by_language, columns, categories)
    for column in columns:
        yield from _histogram(column.name, chosen[column.name], counted)
    for name in categories:
        for series in ("kept", "dropped"):
            for bucket, rows in most(counted.get((name, series), {})).items():
                yield name, series, bucket, rows
    for measure, bin_ in by_language.items():
        yield from _language_rows(ctx, tables, measure, bin_, counted)
    for series in ("kept", "dropped"):
        grid = counted.get(("score_grid", series), {})
        for bucket, rows in grid.items():
            yield "score_grid", series, bucket, rows
        for q, score in quantiles(grid).items():
            yield "score_quantile", series, f"{q:.2f}", score


def _bins(
    ctx: Context[Any], tables: Mapping[str, DataFrame], columns: Sequence[figures.Column]
) -> dict[str, Bins]:
    ends = ctx.spark.sql(figures.extremes(columns), measures=tables["measures"]).collect()[0]
    return {
        c.name: bins.choose(ends[f"low_{i}"], ends[f"high_{i}"], integer=c.is_integer, log=c.log)
        if ends[f"low_{i}"] is not None
        else _IDLE
        for i, c in enumerate(columns)
    }


def _language_bins(
    ctx: Context[Any], tables: Mapping[str, DataFrame], measures: Sequence[str]
) -> dict[str, Bins]:
    return {
        measure: bins.choose(low, high, integer=False, log=False)
        for measure, low, high in sql(ctx, scores.extremes(measures), tables).collect()
        if low is not None
    }


def _count(
    ctx: Context[Any],
    tables: Mapping[str, DataFrame],
    chosen: Mapping[str, Bins],
    by_language: Mapping[str, Bins],
    columns: Sequence[figures.Column],
    categories: Mapping[str, str],
) -> Counted:
    """(figure, series) -> bucket -> rows, as `tally.Counting` gives them."""
    lanes = {c.name: (c.sql, chosen[c.name]) for c in columns}
    similar = {c.name: c.sql for c in columns}
    lanes |= {scores.figure(m): (similar[m], bin_) for m, bin_ in by_language.items()}
    values, each = [sql_ for sql_, _ in lanes.values()], [bin_ for _, bin_ in lanes.values()]
    words = [f"{word} AS word_{i}" for i, word in enumerate(words_sql(values, each))]
    texts = [f"{text} AS `{name}`" for name, text in categories.items()]
    grid = f"{figures.grid_sql('clip_similarity')} AS grid"
    alone = figures.alone_sql([c.name for c in columns])
    query = (
        f"SELECT m.* EXCEPT (pair_id), d.is_kept, {alone} AS alone FROM "
        f"(SELECT pair_id, {', '.join([*words, *texts, grid])} FROM {{measures}}) m "
        "JOIN {decisions} d ON m.pair_id = d.pair_id"
    )
    counting = Counting(
        tuple(lanes), tuple(each), frozenset(map(scores.figure, by_language)),
        tuple(categories), "grid",
    )  # fmt: skip
    size = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = str(ctx.spark.conf.get(size))
    ctx.spark.conf.set(size, _BATCH_ROWS)
    try:
        partial = sql(ctx, query, tables).mapInArrow(counting, from_arrow_schema(STATS.schema))
        found: Counted = {}
        for row in partial.groupBy(*STATS.key).sum("value").collect():
            found.setdefault((row[0], row[1]), {})[row[2]] = row[3]
    finally:
        ctx.spark.conf.set(size, before)
    return found


def _histogram(name: str, bin_: Bins, counted: Counted) -> Iterator[Row]:
    """A measure's edges and counts; 'missing' is there whatever it comes to."""
    has_values = bin_.edges[0] < bin_.edges[-1]
    for i, edge in enumerate(bin_.edges if has_values else ()):
        yield "edges", name, f"{i:03d}", edge
    for series in ("kept", "dropped", "alone"):
        rows = counted.get((name, series), {})
        if series == "alone" and not rows:
            continue
        yield name, series, "missing", rows.get("", 0.0)
        for i, edge in enumerate(bin_.edges[:-1] if has_values else ()):
            yield name, series, edge_label(edge), rows.get(str(i), 0.0)


def _language_rows(
    ctx: Context[Any], tables: Mapping[str, DataFrame], measure: str, bin_: Bins, counted: Counted
) -> Iterator[Row]:
    """Histograms of a similarity of the languages with most pairs: of kept, dropped and mismatched
    pairs; and how many pairs have one."""
    name = scores.figure(measure)
    for i, edge in enumerate(bin_.edges):
        yield "edges", name, f"{i:03d}", edge
    pairs: dict[str, float] = {}
    for (figure, series), rows in counted.items():
        if figure == name:
            language = series.rpartition(":")[0]
            pairs[language] = pairs.get(language, 0.0) + sum(rows.values())
    shown = sorted(pairs, key=lambda lang: (-pairs[lang], lang))[: scores.LANGUAGES_SHOWN]
    for language in shown:
        for series in (f"{language}:kept", f"{language}:dropped"):
            for bucket, value in counted.get((name, series), {}).items():
                yield name, series, edge_label(bin_.edges[int(bucket)]), value
    for row in sql(ctx, scores.mismatched(measure, bin_), tables).collect():
        if row.lang in pairs and row.lang in shown:
            yield name, f"{row.lang}:mismatched", edge_label(bin_.edges[row.bin]), float(row.rows)


def stats_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as STATS."""
    columns = zip(*rows, strict=True) if rows else [[]] * len(STATS.schema)
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, STATS.schema, strict=True)],
        schema=STATS.schema,
    )
