"""The report's part on bounds that were found, and on similarities by language."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame

from pipeline.core.context import Context
from pipeline.stages.report_duplicates import sql
from pipeline.stats import bins, scores
from pipeline.stats.page import edge_label

Row = tuple[str, str, str, float]


def read_cuts(table: DataFrame) -> list[scores.Cut]:
    """The rows of CUTOFFS, in their order."""
    rows = table.drop("last_id").collect()
    found = [scores.Cut(**row.asDict()) for row in rows]
    return sorted(found, key=lambda c: (c.filter, c.measure, c.side, c.language or ""))


def cut_rows(cuts: Sequence[scores.Cut]) -> Iterator[Row]:
    """What every bound came to: series '<filter>:<measure>:<side>:<how>', bucket the language."""
    for cut in cuts:
        series = f"{cut.filter}:{cut.measure}:{cut.side}:{cut.how}"
        yield "cutoff", series, cut.language or "all", cut.value


def language_rows(
    ctx: Context[Any], tables: Mapping[str, DataFrame], measures: Sequence[str]
) -> Iterator[Row]:
    """Histograms of similarities by language: of kept, dropped and mismatched pairs."""
    for measure, low, high in sql(ctx, scores.extremes(measures), tables).collect():
        if low is None:
            continue
        name, chosen = scores.figure(measure), bins.choose(low, high, integer=False, log=False)
        for i, edge in enumerate(chosen.edges):
            yield "edges", name, f"{i:03d}", edge
        for row in sql(ctx, scores.by_language(measure, chosen), tables).collect():
            yield row.figure, row.series, edge_label(chosen.edges[int(row.bucket)]), row.value
