"""Statistics of a run, and one page that shows them: reads every table, writes `stats`."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field
from pyspark.sql import DataFrame

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.filter import Filter
from pipeline.core.languages import UNDETERMINED
from pipeline.core.progress import watch
from pipeline.core.raw import PLACE, Place
from pipeline.core.stage import Stage, StageSection
from pipeline.core.tables import (
    CANDIDATES,
    DECISIONS,
    IMAGES,
    NEIGHBORS,
    PAIRS,
    SCORES,
    SHARDS,
    STATS,
    measures_table,
)
from pipeline.stats import bins, figures, funnel, page
from pipeline.stats.pictures import Album
from pipeline.stats.wording import Limit

REPORT = "report/report.html"
Row = tuple[str, str, str, float]
_PICTURE_BUDGET_BYTES = 8 * 10**6
_TABLES = (PAIRS, CANDIDATES, IMAGES, NEIGHBORS, SCORES, DECISIONS, SHARDS)


class ReportSection(StageSection):
    """`[report]`.

    kept_examples: random kept pairs shown; examples_per_reason: dropped ones for each reason;
    extreme_examples: pairs of the highest, and of the lowest, score.
    failed_urls: example URLs shown for each status of failed downloads, at most.
    top: length of lists such as domains.
    """

    title: str = "Dataset report"
    kept_examples: int = Field(24, ge=0, le=200)
    examples_per_reason: int = Field(6, ge=0, le=50)
    extreme_examples: int = Field(12, ge=0, le=100)
    failed_urls: int = Field(2, ge=0, le=10)
    thumbnail_px: int = Field(160, ge=32, le=320)
    top: int = Field(30, ge=1, le=200)
    seed: int = 0


def build(ctx: Context[ReportSection]) -> list[Account]:
    """Count in Spark, write the stats table, then draw the page from it on the driver."""
    tables = _tables(ctx)
    columns = figures.numeric_columns(ctx.filters)
    categories = figures.category_columns(ctx.filters)
    with watch(ctx.spark, f"{ctx.stage}: figures"):
        records = [r for r in funnel.load_records(ctx.store) if r["stage"] != ctx.stage]
        rows = [*_funnel_rows(records), *_bound_rows(figures.limits(ctx.filters))]
        rows += _distribution_rows(ctx, tables, columns, categories)
        for query in (figures.counts(ctx.config.top), figures.domains(ctx.config.top)):
            rows += _rows(ctx, query, tables)
    rows.sort()
    table = pa.Table.from_arrays(
        [pa.array(values) for values in zip(*rows, strict=True)], schema=STATS.schema
    )
    ctx.write(STATS, ctx.from_arrow(table).coalesce(1).sortWithinPartitions(*STATS.key))
    found = page.Figures(rows)
    with watch(ctx.spark, f"{ctx.stage}: examples"):
        html = _html(ctx, tables, columns, list(categories), records, found)
    with ctx.store.publish(REPORT) as file:
        file.write(html.encode("utf-8", "replace"))
    judged = int(found.value("rows", "rows", "decisions"))
    return [Account("pairs", judged, judged)]


def _measures_of(filters: Mapping[str, Filter]) -> list[pa.Field]:
    return [field for flt in filters.values() for field in flt.measures]


def _tables(ctx: Context[ReportSection]) -> dict[str, DataFrame]:
    """Every table by name, and `judged`: measures with what was decided.

    Rows of PAIRS without a caption only withhold their image: they are no pairs, and left out.
    """
    tables = {table.name: ctx.read(table) for table in _TABLES}
    tables["pairs"] = tables["pairs"].where("caption IS NOT NULL")
    measures = ctx.read(measures_table(_measures_of(ctx.filters)))
    verdicts = tables["decisions"].drop("image_id")
    return tables | {"measures": measures, "judged": measures.join(verdicts, "pair_id")}


def _rows(ctx: Context[Any], query: str, tables: Mapping[str, DataFrame]) -> list[Row]:
    """A query's rows; `query` names tables in braces."""
    used: dict[str, Any] = {name: rows for name, rows in tables.items() if f"{{{name}}}" in query}
    found = ctx.spark.sql(query, None, **used).collect()
    return [(row.figure, row.series, row.bucket, row.value) for row in found]


def _funnel_rows(records: list[dict[str, Any]]) -> Iterator[Row]:
    for step in funnel.steps(records):
        series = f"{step.stage}:{step.unit}"
        yield "funnel", series, "in", float(step.rows_in)
        yield "funnel", series, "kept", float(step.kept)
        for reason, rows in step.dropped.items():
            yield "funnel", series, f"dropped:{reason}", float(rows)


def _bound_rows(limits: Mapping[str, Limit]) -> Iterator[Row]:
    """The tightest bound of every measure."""
    for measure, limit in limits.items():
        if limit.low is not None:
            yield "bound", measure, "low", float(limit.low)
        if limit.high is not None:
            yield "bound", measure, "high", float(limit.high)


def _distribution_rows(
    ctx: Context[ReportSection],
    tables: Mapping[str, DataFrame],
    columns: list[figures.Column],
    categories: Mapping[str, str],
) -> Iterator[Row]:
    """Bin edges and counts of every measure, counts of every category."""
    query = figures.extremes(columns)
    ends = ctx.spark.sql(query, measures=tables["measures"]).collect()[0]
    chosen = {
        c.name: (
            c,
            # A column without any value still counts as missing, in one idle bin.
            bins.choose(ends[f"low_{i}"], ends[f"high_{i}"], integer=c.is_integer, log=c.log)
            if ends[f"low_{i}"] is not None
            else bins.Bins((0.0,) * 2),
        )
        for i, c in enumerate(columns)
    }
    counted = {
        (figure, series, bucket): value
        for figure, series, bucket, value in _rows(
            ctx, figures.distributions(chosen, categories), tables
        )
    }
    for name, (_, bin_) in chosen.items():
        if bin_.edges[0] < bin_.edges[-1]:
            for i, edge in enumerate(bin_.edges):
                yield "edges", name, f"{i:03d}", edge
        for series in ("kept", "dropped"):
            yield name, series, "missing", counted.pop((name, series, ""), 0.0)
            for i, edge in enumerate(bin_.edges[:-1]):
                rows = counted.pop((name, series, str(i)), 0.0)
                if bin_.edges[0] < bin_.edges[-1]:
                    yield name, series, page.edge_label(edge), rows
    for (figure, series, bucket), value in counted.items():
        yield figure, series, bucket, value
    for series in ("kept", "dropped"):
        grid = {b: v for (f, s, b), v in counted.items() if (f, s) == ("score_grid", series)}
        for q, score in page.quantiles(grid).items():
            yield "score_quantile", series, f"{q:.2f}", score


def _html(
    ctx: Context[ReportSection],
    tables: Mapping[str, DataFrame],
    columns: list[figures.Column],
    categories: list[str],
    records: list[dict[str, Any]],
    found: page.Figures,
) -> str:
    section = ctx.config
    album = Album(ctx.store, section.thumbnail_px, _PICTURE_BUDGET_BYTES)
    groups = _examples(ctx, tables, album)
    at_all = found.series("reason", "at_all")
    by_count = sorted(at_all, key=lambda reason: (-at_all[reason], reason))
    return page.render(
        page.Page(
            section.title,
            ctx.store.root.rstrip("/").rsplit("/", 1)[-1],
            records,
            columns,
            categories,
            figures.limits(ctx.filters),
            _failures(ctx, tables),
            [
                page.Gallery(name, tuple(groups.get(key, ())))
                for key, name in (
                    ("kept", "Kept, at random"),
                    ("highest", "Highest similarity"),
                    ("lowest", "Lowest similarity"),
                )
            ],
            [
                page.Gallery(reason, tuple(groups.get(f"reason:{reason}", ())), int(at_all[reason]))
                for reason in by_count
            ],
            album.left_out,
        ),
        found,
    )


def _failures(
    ctx: Context[ReportSection], tables: Mapping[str, DataFrame]
) -> dict[str, list[page.Failure]]:
    """Example URLs of every status of a failed download."""
    if not ctx.config.failed_urls:
        return {}
    query = figures.failures(ctx.config.seed, ctx.config.failed_urls)
    used: dict[str, Any] = {name: tables[name] for name in ("images", "candidates")}
    found: dict[str, list[page.Failure]] = {}
    for row in ctx.spark.sql(query, None, **used).collect():
        failure = page.Failure(
            page.shorten(row.url), page.shorten(row.status_detail or "", 120) or None
        )
        found.setdefault(row.status, []).append(failure)
    return found


def _known(language: str) -> str | None:
    return None if language == UNDETERMINED else language


def _examples(
    ctx: Context[ReportSection], tables: Mapping[str, DataFrame], album: Album
) -> dict[str, list[page.Example]]:
    """Pairs to show, by group, in order of rank."""
    section = ctx.config
    query = figures.samples(
        section.seed, section.kept_examples, section.examples_per_reason, section.extreme_examples
    )
    rows = ctx.spark.sql(query, judged=tables["judged"]).toArrow().to_pylist()
    rows.sort(key=lambda row: (row["grp"], row["rank"]))
    originals = _originals(ctx, tables["measures"], {r["duplicate_of"] for r in rows} - {None})
    groups: dict[str, list[page.Example]] = {}
    for row in rows:
        other = originals.get(row["duplicate_of"])
        example = page.Example(
            page.shorten(row["caption"]),
            page.language_tag(_known(row["caption_lang"]), row["page_lang"]),
            row["domain"],
            row["clip_similarity"],
            f"{row['original_width']}\u00a0×\u00a0{row['original_height']}",
            tuple(row["reasons"]),
            album.picture(Place(*(row[name] for name in PLACE))),
            album.picture(other) if other else None,
            row["duplicate_distance"],
        )
        groups.setdefault(row["grp"], []).append(example)
    return groups


def _originals(
    ctx: Context[ReportSection], measures: DataFrame, wanted: set[bytes]
) -> dict[bytes, Place]:
    """Where the bytes of some images lie, by image_id."""
    if not wanted:
        return {}
    listed = ", ".join(f"X'{image.hex()}'" for image in sorted(wanted))
    query = f"SELECT DISTINCT {', '.join(PLACE)} FROM {{measures}} WHERE image_id IN ({listed})"
    rows = ctx.spark.sql(query, measures=measures).collect()
    places = [Place(bytes(r.image_id), *r[1:]) for r in rows]
    return {place.image_id: place for place in places}


STAGE = Stage(
    name="report",
    reads=(PAIRS, CANDIDATES, IMAGES, NEIGHBORS, SCORES, measures_table([]), DECISIONS, SHARDS),
    writes=(STATS,),
    config=ReportSection,
    build=build,
    uses=("filters",),
    folders=("report",),
    output=REPORT,
)
