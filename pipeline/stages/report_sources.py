"""The report's part on domains and hosts."""

from collections.abc import Iterator, Mapping
from typing import Any

from pyspark.sql import DataFrame

from pipeline.core.context import Context
from pipeline.stages.report_duplicates import sql
from pipeline.stats import sources
from pipeline.stats.concentration import spread_rows

Row = tuple[str, str, str, float]
_OBJECTING = 5


def source_rows(ctx: Context[Any], tables: Mapping[str, DataFrame]) -> Iterator[Row]:
    """Domains, how pairs are spread over them, hosts that failed, and who objects."""
    for query in (
        sources.largest(ctx.config.top),
        sources.by_host(ctx.config.top),
        sources.objecting(_OBJECTING),
    ):
        for row in sql(ctx, query, tables).collect():
            yield row.figure, row.series, row.bucket, row.value
    sizes: dict[str, dict[int, int]] = {}
    for row in sql(ctx, sources.sizes(), tables).collect():
        sizes.setdefault(row.series, {})[row.size] = row.members
    for series, counts in sizes.items():
        yield from spread_rows(series, counts)
