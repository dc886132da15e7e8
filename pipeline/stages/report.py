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
from pipeline.core.spark import cut
from pipeline.core.stage import Stage, StageSection
from pipeline.core.tables import (
    CANDIDATES,
    COPIES,
    DECISIONS,
    IMAGES,
    NEIGHBORS,
    PAIRS,
    RELEASED_NEIGHBORS,
    SCORES,
    SHARDS,
    STATS,
    measures_table,
)
from pipeline.stages.report_duplicates import chain_rows, group_sheets, pictures_of, sql
from pipeline.stats import bins, duplicates, figures, funnel, page, wording
from pipeline.stats.pictures import Album

REPORT = "report/report.html"
Row = tuple[str, str, str, float]
_PICTURE_BUDGET_BYTES = 8 * 10**6
_TABLES = (
    PAIRS,
    CANDIDATES,
    IMAGES,
    NEIGHBORS,
    RELEASED_NEIGHBORS,
    COPIES,
    SCORES,
    DECISIONS,
    SHARDS,
)
_DERIVED = {"dropped": duplicates.dropped, "linked": duplicates.linked_edges}


class ReportSection(StageSection):
    """`[report]`.

    kept_examples: random kept pairs shown; examples_per_reason: dropped ones for each reason;
    extreme_examples: pairs of the highest, and of the lowest, score.
    largest_groups: groups of duplicates shown, the largest; groups_per_rule: random ones of each
        rule; pictures_per_group: dropped pictures of each, at most.
    failed_urls: example URLs shown for each status of failed downloads, at most.
    top: length of lists such as domains.
    """

    title: str = "Dataset report"
    kept_examples: int = Field(24, ge=0, le=200)
    examples_per_reason: int = Field(6, ge=0, le=50)
    extreme_examples: int = Field(12, ge=0, le=100)
    largest_groups: int = Field(4, ge=0, le=50)
    groups_per_rule: int = Field(4, ge=0, le=50)
    pictures_per_group: int = Field(8, ge=1, le=50)
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
        rows += _rows(ctx, duplicates.counts(), tables)
        rows += chain_rows(ctx, tables)
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
    """Every table by name; `judged`: measures with what was decided; and `_DERIVED`.

    Rows of PAIRS without a caption only withhold their image: they are no pairs, and left out.
    """
    tables = {table.name: ctx.read(table) for table in _TABLES}
    tables["pairs"] = tables["pairs"].where("caption IS NOT NULL")
    measures = ctx.read(measures_table(_measures_of(ctx.filters)))
    verdicts = tables["decisions"].drop("image_id")
    tables |= {"measures": measures, "judged": measures.join(verdicts, "pair_id")}
    for name, query in _DERIVED.items():
        # Cut from how they came about, so that the plans of what is asked of them stay small.
        tables[name] = cut(sql(ctx, query(), tables))
    return tables


def _rows(ctx: Context[Any], query: str, tables: Mapping[str, DataFrame]) -> list[Row]:
    """The rows of a query that gives figures."""
    found = sql(ctx, query, tables).collect()
    return [(row.figure, row.series, row.bucket, row.value) for row in found]


def _funnel_rows(records: list[dict[str, Any]]) -> Iterator[Row]:
    for step in funnel.steps(records):
        series = f"{step.stage}:{step.unit}"
        yield "funnel", series, "in", float(step.rows_in)
        yield "funnel", series, "kept", float(step.kept)
        for reason, rows in step.dropped.items():
            yield "funnel", series, f"dropped:{reason}", float(rows)


def _bound_rows(limits: Mapping[str, wording.Limit]) -> Iterator[Row]:
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
            group_sheets(ctx, tables, album, _sheet_query(ctx.config)),
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
    originals = pictures_of(ctx, tables["measures"], {r["duplicate_of"] for r in rows} - {None})
    groups: dict[str, list[page.Example]] = {}
    for row in rows:
        _, _, other = originals.get(row["duplicate_of"], ("", "", None))
        example = page.Example(
            page.shorten(row["caption"]),
            page.language_tag(_known(row["caption_lang"]), row["page_lang"]),
            row["domain"],
            row["clip_similarity"],
            f"{row['original_width']}\u00a0×\u00a0{row['original_height']}",
            tuple(row["reasons"]),
            album.picture(Place(*(row[name] for name in PLACE))),
            album.picture(other) if other else None,
            _told(row),
        )
        groups.setdefault(row["grp"], []).append(example)
    return groups


def _sheet_query(section: ReportSection) -> str:
    return duplicates.samples(
        section.seed, section.largest_groups, section.groups_per_rule, section.pictures_per_group
    )


def _told(row: Mapping[str, Any]) -> str | None:
    """How an example is the same as the picture it gave way to."""
    rule = row["duplicate_rule"]
    if rule is None:
        return None
    return wording.duplicate(rule, row["duplicate_distance"], row["duplicate_similarity"])


STAGE = Stage(
    name="report",
    reads=(*_TABLES, measures_table([])),
    writes=(STATS,),
    config=ReportSection,
    build=build,
    uses=("filters",),
    folders=("report",),
    output=REPORT,
)
