"""The report's part on domains and hosts."""

from collections.abc import Iterator

from pipeline.stages.report_tables import Tables
from pipeline.stats import sources
from pipeline.stats.concentration import spread_rows
from pipeline.stats.tally import Row

_OBJECTING = 5


def source_rows(tables: Tables, top: int) -> Iterator[Row]:
    """Domains, how pairs are spread over them, hosts that failed, and who objects.

    top: length of lists.
    """
    for query in (sources.largest(top), sources.by_host(top), sources.objecting(_OBJECTING)):
        yield from tables.figures(query)
    sizes: dict[str, dict[int, int]] = {}
    for row in tables.ask(sources.sizes()):
        sizes.setdefault(row["series"], {})[row["size"]] = row["members"]
    for series, counts in sizes.items():
        yield from spread_rows(series, counts)
