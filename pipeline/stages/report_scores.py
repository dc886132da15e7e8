"""The report's part on bounds that were found."""

from collections.abc import Iterator, Sequence

from pyspark.sql import DataFrame

from pipeline.stats import scores

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
