"""The report's part on bounds that were found."""

from collections.abc import Iterator, Sequence

from pipeline.stages.report_tables import Tables
from pipeline.stats import scores
from pipeline.stats.tally import Row


def read_cuts(tables: Tables) -> list[scores.Cut]:
    """The rows of CUTOFFS, in their order."""
    found = [scores.Cut(**row) for row in tables.ask("SELECT * EXCLUDE (last_id) FROM cutoffs")]
    return sorted(found, key=lambda c: (c.filter, c.measure, c.side, c.language or ""))


def cut_rows(cuts: Sequence[scores.Cut]) -> Iterator[Row]:
    """What every bound came to: series '<filter>:<measure>:<side>:<how>', bucket the language."""
    for cut in cuts:
        series = f"{cut.filter}:{cut.measure}:{cut.side}:{cut.how}"
        yield "cutoff", series, cut.language or "all", cut.value
