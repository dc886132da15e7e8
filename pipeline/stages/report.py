"""Statistics of a run, and one page that shows them: reads every table, writes `stats`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import structlog
from pydantic import Field

import pipeline
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.progress import Reading, watch
from pipeline.core.provenance import gather
from pipeline.core.stage import Stage, StageSection, tuning
from pipeline.core.storage import Store
from pipeline.core.tables import (
    CANDIDATES,
    COPIES,
    CUTOFFS,
    DECISIONS,
    IMAGES,
    NEIGHBORS,
    NULL_SCORES,
    PAIRS,
    RELEASED_NEIGHBORS,
    SCORES,
    SHARDS,
    STATS,
    measures_table,
)
from pipeline.stages.report_counts import distribution_rows, reason_patterns, stats_table
from pipeline.stages.report_duplicates import chain_rows, group_sheets
from pipeline.stages.report_examples import examples, failures
from pipeline.stages.report_scores import cut_rows, read_cuts
from pipeline.stages.report_sources import source_rows
from pipeline.stages.report_tables import Tables, opened
from pipeline.stages.score_section import (
    measures_of,
    score_fields,
    scores_of,
    similarity_columns,
)
from pipeline.stats import duplicates, earlier, figures, funnel, page, scores, verdicts, wording
from pipeline.stats.datasheet import Stated, datasheet
from pipeline.stats.drift import Drift, compare
from pipeline.stats.frequent import frequent
from pipeline.stats.pictures import Album
from pipeline.stats.tally import Row

REPORT = "report/report.html"
DRIFT = "report/drift.json"
DATASHEET = "report/datasheet.md"
_PICTURE_BUDGET_BYTES = 8 * 10**6
_TABLES = (
    PAIRS,
    CANDIDATES,
    IMAGES,
    NEIGHBORS,
    RELEASED_NEIGHBORS,
    COPIES,
    SCORES,
    NULL_SCORES,
    DECISIONS,
    CUTOFFS,
    SHARDS,
)


class ReportSection(StageSection):
    """`[report]`.

    kept_examples: random kept pairs shown; examples_per_reason: dropped ones for each reason;
    extreme_examples: pairs of the highest, and of the lowest, score.
    largest_groups: groups of duplicates shown, the largest; groups_per_rule: random ones of each
        rule; pictures_per_group: dropped pictures of each, at most.
    failed_urls: example URLs shown for each status of failed downloads, at most.
    thumbnail_px: longer side of the pictures on the page. seed: of the random examples.
    top: length of lists such as domains.
    title: of the page.
    against: an earlier run or release, a folder or URL: what moved since is told.
    purpose, creators, funding, uses, maintenance: what the datasheet says that no table knows.
    threads: of the counting, which is done in the driver's process; 0: all that it may use.
    memory_mb: what counting may take; beyond, rows go to temporary files (TMPDIR).
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
    against: str = ""
    purpose: str = ""
    creators: str = ""
    funding: str = ""
    uses: str = ""
    maintenance: str = ""
    threads: int = tuning(0, ge=0, le=1024)
    memory_mb: int = tuning(3000, ge=500)


def check(section: ReportSection) -> str:
    """Identity of what the run is held against. Raises InputError when it is neither run nor
    release."""
    return earlier.identity(section.against) if section.against else ""


def build(ctx: Context[ReportSection]) -> list[Account]:
    """Count, write the stats table, then draw the page from it."""
    section = ctx.config
    read = [scores_of(ctx.sections) if table is SCORES else table for table in _TABLES]
    read.append(measures_of(ctx.sections, ctx.filters))
    with opened(ctx.store, read, threads=section.threads, memory_mb=section.memory_mb) as tables:
        scored = score_fields(ctx.sections)
        cuts = read_cuts(tables)
        limits = figures.limits(ctx.filters, scored, scores.ends(cuts))
        columns = figures.numeric_columns(ctx.filters, scored)
        records = [r for r in funnel.load_records(ctx.store) if r["stage"] != ctx.stage]
        with _step(ctx, tables, "figures"):
            rows = [*_funnel_rows(records), *_bound_rows(limits), *cut_rows(cuts)]
            rows += _counted(ctx, tables, columns)
        rows.sort()
        found = page.Figures(rows)
        with _step(ctx, tables, "examples"):
            html = _html(ctx, tables, columns, records, limits, cuts, found)
    ctx.store.remove(STATS.name)
    with ctx.store.publish_part(STATS, 0) as sink:
        sink.write(stats_table(rows))
    sheet = _datasheet(ctx, records, cuts, limits, found)
    for path, text in ((DATASHEET, sheet), (REPORT, html)):
        with ctx.store.publish(path) as file:
            file.write(text.encode("utf-8", "replace"))
    judged = int(found.value("rows", "rows", "decisions"))
    return [Account("pairs", judged, judged)]


@contextmanager
def _step(ctx: Context[ReportSection], tables: Tables, name: str) -> Iterator[None]:
    """Tells how many questions the tables have answered so far."""
    label = f"{ctx.stage}: {name}"
    started = time.monotonic()
    with watch(ctx.spark, label, lambda: Reading(tables.asked, 0, detail=f"{tables.asked} counts")):
        yield
    seconds = round(time.monotonic() - started, 1)
    structlog.get_logger().info("step_done", label=label, seconds=seconds)


def _counted(
    ctx: Context[ReportSection], tables: Tables, columns: Sequence[figures.Column]
) -> Iterator[Row]:
    """All figures that are counted of tables."""
    reasons, moved = reason_patterns(tables)
    yield from verdicts.reason_rows(reasons)
    if moved:
        yield "rows", "rows", "moved", float(moved)
    yield "rows", "rows", "kept", float(verdicts.kept_of(reasons))
    categories = figures.category_columns(ctx.filters)
    similar = similarity_columns(ctx.sections)
    yield from distribution_rows(tables, columns, categories, similar)
    yield from tables.figures(figures.counts())
    yield from frequent(tables.captions(), ctx.config.top)
    yield from source_rows(tables, ctx.config.top)
    yield from tables.figures(duplicates.counts())
    yield from chain_rows(tables)


def _funnel_rows(records: list[dict[str, Any]]) -> Iterator[Row]:
    for step in funnel.steps(records):
        series = f"{step.stage}:{step.unit}"
        yield "funnel", series, "in", float(step.rows_in)
        yield "funnel", series, "kept", float(step.kept)
        for reason, rows in step.dropped.items():
            yield "funnel", series, f"dropped:{reason}", float(rows)


def _bound_rows(limits: Mapping[str, wording.Limit]) -> Iterator[Row]:
    """The tightest bound of every measure, but where it differs by language."""
    for measure, limit in limits.items():
        if limit.low is not None and limit.low_to is None:
            yield "bound", measure, "low", float(limit.low)
        if limit.high is not None and limit.high_to is None:
            yield "bound", measure, "high", float(limit.high)


def _html(
    ctx: Context[ReportSection],
    tables: Tables,
    columns: list[figures.Column],
    records: list[dict[str, Any]],
    limits: Mapping[str, wording.Limit],
    cuts: Sequence[scores.Cut],
    found: page.Figures,
) -> str:
    section = ctx.config
    album = Album(ctx.store, section.thumbnail_px, _PICTURE_BUDGET_BYTES)
    at_all = found.series("reason", "at_all")
    kept = int(found.value("rows", "rows", "kept"))
    groups = examples(section, tables, album, kept, {r: int(n) for r, n in at_all.items()})
    categories = list(figures.category_columns(ctx.filters))
    by_count = sorted(at_all, key=lambda reason: (-at_all[reason], reason))
    return page.render(
        page.Page(
            section.title,
            ctx.store.root.rstrip("/").rsplit("/", 1)[-1],
            records,
            columns,
            categories,
            limits,
            failures(tables, section.seed, section.failed_urls),
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
            group_sheets(tables, album, _sheet_query(section)),
            album.left_out,
            cuts,
            similarity_columns(ctx.sections),
            _stored_bytes(ctx.store),
            _drift(ctx, columns, categories, found),
        ),
        found,
    )


def _datasheet(
    ctx: Context[ReportSection],
    records: list[dict[str, Any]],
    cuts: Sequence[scores.Cut],
    limits: Mapping[str, wording.Limit],
    found: page.Figures,
) -> str:
    by_stage = {record["stage"]: record for record in records}
    shard = by_stage.get("shard", {}).get("config", {}).get("shard", {})
    address = shard.get("optout_address", "")
    facts = gather(by_stage, [asdict(cut) for cut in cuts], pipeline.__version__, address)
    stated = Stated(
        **{name: getattr(ctx.config, name) for name in ("purpose", "creators", "funding", "uses")},
        maintenance=ctx.config.maintenance,
        licence=shard.get("licence", ""),
    )
    return datasheet(ctx.config.title, found, facts, stated, limits)


def _stored_bytes(store: Store) -> dict[str, int]:
    """Stage -> size of its tables and of what it writes beside them."""
    from pipeline.stages.line import LINE  # which has this stage too

    found = {}
    for stage in LINE:
        places = {*(table.name for table in stage.writes), *stage.folders}
        here = [place for place in sorted(places) if store.exists(place)]
        if stage.name != STAGE.name and here:
            found[stage.name] = sum(int(store.fs.du(store.path(place))) for place in here)
    return found


def _drift(
    ctx: Context[ReportSection],
    columns: Sequence[figures.Column],
    categories: Sequence[str],
    found: page.Figures,
) -> Drift | None:
    """What moved against `against`, which is written beside the page too."""
    if not ctx.config.against:
        return None
    before, name = earlier.load(ctx.config.against)
    drift = compare(before, found, name, columns, categories)
    ctx.store.write_json(DRIFT, drift.to_json())
    return drift


def _sheet_query(section: ReportSection) -> str:
    return duplicates.samples(
        section.seed, section.largest_groups, section.groups_per_rule, section.pictures_per_group
    )


STAGE = Stage(
    name="report",
    reads=(*_TABLES, measures_table([])),
    writes=(STATS,),
    config=ReportSection,
    build=build,
    uses=("filters",),
    folders=("report",),
    output=REPORT,
    check=check,
)
