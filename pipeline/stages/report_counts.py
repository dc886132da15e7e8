"""The report's part on distributions: every measure of every judged pair, counted in one pass.

Cost: a scan of the measures for their extremes; one more, joined with the verdicts by
pair_id, of which some rows at a time are put into bins by a kernel.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.core.tables import STATS, measures_table
from pipeline.stages.report_tables import Tables
from pipeline.stats import bins, figures, scores, verdicts
from pipeline.stats.bins import LARGEST, Bins
from pipeline.stats.measured import edge_label
from pipeline.stats.page import quantiles
from pipeline.stats.tally import Counting, Row, most

Counted = dict[tuple[str, str], dict[str, float]]
# A column without any value still counts as missing, in one idle bin.
_IDLE = Bins((0.0, 0.0))


def reason_patterns(tables: Tables) -> tuple[dict[Any, int], int]:
    """Pairs by exactly which reasons they have, and how many captions were handed over."""
    rows = tables.ask(verdicts.patterns())
    return {tuple(r["reasons"]): r["rows"] for r in rows}, sum(r["moved"] for r in rows)


def distribution_rows(
    tables: Tables,
    columns: Sequence[figures.Column],
    categories: Mapping[str, str],
    similarities: Sequence[str],
) -> Iterator[Row]:
    """Bin edges and counts of every measure, of every similarity by language, counts of every
    category, quantiles of scores. similarities: columns that are shown by language."""
    chosen = _bins(tables, columns)
    by_language = _language_bins(tables, similarities)
    counted = _count(tables, chosen, by_language, columns, categories)
    for column in columns:
        yield from _histogram(column.name, chosen[column.name], counted)
    for name in categories:
        for series in ("kept", "dropped"):
            for bucket, rows in most(counted.get((name, series), {})).items():
                yield name, series, bucket, rows
    for measure, bin_ in by_language.items():
        yield from _language_rows(tables, measure, bin_, counted)
    for series in ("kept", "dropped"):
        grid = counted.get(("score_grid", series), {})
        for bucket, rows in grid.items():
            yield "score_grid", series, bucket, rows
        for q, score in quantiles(grid).items():
            yield "score_quantile", series, f"{q:.2f}", score


def _bins(tables: Tables, columns: Sequence[figures.Column]) -> dict[str, Bins]:
    told = tables.ends(measures_table([]))
    ends = {c.name: told[c.name] for c in columns if _is_usable(told.get(c.name))}
    others = [c for c in columns if c.name not in ends]
    (found,) = tables.ask(figures.extremes(others)) if others else ({},)
    ends |= {c.name: (found[f"low_{i}"], found[f"high_{i}"]) for i, c in enumerate(others)}
    return {
        c.name: _IDLE
        if ends[c.name][0] is None
        else bins.choose(*ends[c.name], integer=c.is_integer, log=c.log)
        for c in columns
    }


def _is_usable(ends: tuple[float, float] | None) -> bool:
    return ends is not None and all(abs(end) < LARGEST for end in ends)


def _language_bins(tables: Tables, measures: Sequence[str]) -> dict[str, Bins]:
    return {
        row["measure"]: bins.choose(row["low"], row["high"], integer=False, log=False)
        for row in tables.ask(scores.extremes(measures))
        if row["low"] is not None
    }


def _count(
    tables: Tables,
    chosen: Mapping[str, Bins],
    by_language: Mapping[str, Bins],
    columns: Sequence[figures.Column],
    categories: Mapping[str, str],
) -> Counted:
    """(figure, series) -> bucket -> rows, as `tally.Counting` gives them."""
    lanes = {c.name: (c.values, chosen[c.name]) for c in columns}
    similar = {c.name: c.values for c in columns}
    lanes |= {scores.figure(m): (similar[m], bin_) for m, bin_ in by_language.items()}
    values = [f"{value} AS lane_{i}" for i, (value, _) in enumerate(lanes.values())]
    texts = [f'{text} AS "{name}"' for name, text in categories.items()]
    grid = f"{figures.grid_sql('clip_similarity')} AS grid"
    decided = figures.verdicts_sql([c.name for c in columns])
    told = ", ".join(["CAST(pair_id AS UUID) AS pair", *values, *texts, grid])
    query = (
        f"SELECT m.* EXCLUDE (pair), d.is_kept, d.alone FROM (SELECT {told} FROM measures) m "
        f"JOIN ({decided}) d ON m.pair = d.pair"
    )
    counting = Counting(
        tuple(lanes), tuple(bin_ for _, bin_ in lanes.values()),
        frozenset(map(scores.figure, by_language)), tuple(categories), "grid",
    )  # fmt: skip
    languages = {r["raw"] or "": r["named"] for r in tables.ask(figures.page_langs("measures"))}
    found: Counted = {}
    for figure, series, bucket, rows in counting(tables.batches(query)):
        buckets = found.setdefault((figure, series), {})
        shown = languages[bucket] if figure == "page_lang" else bucket
        buckets[shown] = buckets.get(shown, 0.0) + rows
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


def _language_rows(tables: Tables, measure: str, bin_: Bins, counted: Counted) -> Iterator[Row]:
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
    found: Counter[tuple[str, int]] = Counter()
    for batch in tables.batches(scores.mismatched(measure)):
        numbers = bin_.index(batch["similarity"].to_numpy()).tolist()
        found.update(zip(batch["lang"].to_pylist(), numbers, strict=True))
    for (language, number), mismatched in found.items():
        if language in shown and number < bin_.count:
            label = edge_label(bin_.edges[number])
            yield name, f"{language}:mismatched", label, float(mismatched)


def stats_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as STATS."""
    columns = zip(*rows, strict=True) if rows else [[]] * len(STATS.schema)
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, STATS.schema, strict=True)],
        schema=STATS.schema,
    )
