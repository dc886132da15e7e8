"""The report page: one self-contained HTML file from figures, stage records and pictures.

Everything that came from the web is text: the template escapes it, links to it are not made, and
the page's own content policy allows neither scripts nor loads.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from pipeline.core.reasons import Status
from pipeline.stats import charts, funnel, scores, sections, wording
from pipeline.stats.bars import Bar, bars
from pipeline.stats.drift import Drift
from pipeline.stats.figures import QUANTILES, SCORE_GRID, Column
from pipeline.stats.measured import by_language, subjects
from pipeline.stats.sheets import Sheet
from pipeline.stats.sheets import overview as duplicates_overview
from pipeline.stats.verdicts import combinations

_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")
_CAPTION_CHARS = 300
_COMBINATIONS = 12


class Figures:
    """The rows of the stats table, by figure and series: bucket -> value."""

    def __init__(self, rows: Iterable[tuple[str, str, str, float]]) -> None:
        self._found: dict[str, dict[str, dict[str, float]]] = {}
        for figure, series, bucket, value in rows:
            self._found.setdefault(figure, {}).setdefault(series, {})[bucket] = value

    def series(self, figure: str, series: str) -> dict[str, float]:
        """Bucket -> value; empty when there is nothing."""
        return self._found.get(figure, {}).get(series, {})

    def all_series(self, figure: str) -> dict[str, dict[str, float]]:
        return self._found.get(figure, {})

    def value(self, figure: str, series: str, bucket: str) -> float:
        """One value, 0 when it is not there."""
        return self.series(figure, series).get(bucket, 0.0)


@dataclass(frozen=True)
class Example:
    """One pair to look at. picture: a data URI, or None when there is none to show.

    other: the kept picture this one duplicates. duplicate: how, in words; None when it does not.
    """

    caption: str
    lang: str | None
    domain: str
    score: float | None
    size: str
    reasons: tuple[str, ...]
    picture: str | None
    other: str | None = None
    duplicate: str | None = None


@dataclass(frozen=True)
class Gallery:
    """Examples under one heading.

    count: pairs of this kind in all; None when that says nothing.
    """

    name: str
    examples: tuple[Example, ...]
    count: int | None = None


@dataclass(frozen=True)
class Failure:
    """A URL whose download failed. detail: what exactly happened, None when nothing to add."""

    url: str
    detail: str | None


@dataclass(frozen=True)
class Page:
    """All that the report shows beside the figures.

    limits: measure -> bounds of the enabled filters. failures: status -> example URLs.
    cuts: what every bound came to. scored: measures that are shown by language.
    stored_bytes: stage -> what it has stored. drift: against an earlier one, None without.
    selection: what "kept" and "dropped" are where the page is not of a run; empty for a run.
    """

    title: str
    run: str
    records: Sequence[dict[str, Any]]
    columns: Sequence[Column]
    categories: Sequence[str]
    limits: Mapping[str, wording.Limit] = field(default_factory=dict)
    failures: Mapping[str, Sequence[Failure]] = field(default_factory=dict)
    galleries: Sequence[Gallery] = ()
    reason_galleries: Sequence[Gallery] = ()
    sheets: Sequence[Sheet] = ()
    pictures_left_out: int = 0
    cuts: Sequence[scores.Cut] = ()
    scored: Sequence[str] = ()
    stored_bytes: Mapping[str, int] = field(default_factory=dict)
    drift: Drift | None = None
    selection: str = ""


def language_tag(*claimed: str | None) -> str | None:
    """The first claim that has the form of a language tag (RFC 5646), fit for `lang`."""
    for text in claimed:
        tag = (text or "").strip().replace("_", "-")
        if _LANGUAGE_TAG.match(tag):
            return tag
    return None


def shorten(text: str, most: int = _CAPTION_CHARS) -> str:
    """A text cut at `most` characters, the mark of the cut included."""
    return text if len(text) <= most else text[: most - 1] + "…"


def quantiles(grid: Mapping[str, float]) -> dict[float, float]:
    """Nearest-rank quantiles of scores counted on `SCORE_GRID`; empty without scores."""
    cells = sorted((int(k), v) for k, v in grid.items() if k)
    total = sum(v for _, v in cells)
    found: dict[float, float] = {}
    for q in QUANTILES if total else ():
        seen = 0.0
        for cell, rows in cells:
            seen += rows
            if seen >= q * total:
                found[q] = round(cell * SCORE_GRID, 4)
                break
    return found


def _selection_cards(figures: Figures) -> list[tuple[str, str, str]]:
    samples, chosen = (figures.value("rows", "rows", b) for b in ("decisions", "kept"))
    size, shards = (figures.value("release", "release", b) for b in ("bytes", "shards"))
    domains = figures.value("domains", "kept", "distinct")
    return [
        ("samples", charts.number(samples), ""),
        ("chosen", charts.number(chosen), f"{charts.share(chosen, samples)} of samples"),
        *([("domains", charts.number(domains), "of chosen samples")] if domains else []),
        ("release", charts.file_size(size), f"{charts.number(shards)} shards"),
    ]


def _cards(
    figures: Figures, found: Sequence[funnel.Step], is_selection: bool
) -> list[tuple[str, str, str]]:
    def rows(bucket: str) -> float:
        return figures.value("rows", "rows", bucket)

    if is_selection:
        return _selection_cards(figures)
    cards = [
        (f"{step.unit} read", charts.number(step.rows_in), "")
        for step in found
        if step.stage == "extract"
    ][:2]
    judged, kept = rows("decisions"), rows("kept")
    shards = figures.value("release", "release", "shards")
    cards += [
        ("pairs found", charts.number(rows("pairs")), ""),
        ("distinct images", charts.number(rows("candidates")), ""),
        (
            "downloaded",
            charts.number(rows("downloaded")),
            f"{charts.share(rows('downloaded'), rows('images'))} of images",
        ),
        *(
            [("requests saved", charts.number(saved), "by filters before the download")]
            if (saved := figures.value("status", "images", Status.FILTERED))
            else []
        ),
        ("pairs judged", charts.number(judged), ""),
        ("pairs kept", charts.number(kept), f"{charts.share(kept, judged)} of judged"),
        (
            "release",
            charts.file_size(figures.value("release", "release", "bytes")),
            f"{charts.number(shards)} {'shard' if shards == 1 else 'shards'}",
        ),
    ]
    return cards


def _by_kept(figures: Figures, name: str) -> list[Bar]:
    kept, dropped = (figures.series(name, s) for s in ("kept", "dropped"))
    judged = {k: kept.get(k, 0.0) + dropped.get(k, 0.0) for k in kept.keys() | dropped.keys()}
    return bars(judged, kept, most=30)


def _settings(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in config.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict) and value:
            found += _settings(value, name)
        else:
            found.append((name, str(value)))
    return found


def _fate(steps: Sequence[funnel.Step]) -> list[Bar]:
    """What became of every pair found: kept, or the reason under which it is counted."""
    counts: dict[str, float] = {}
    kept = 0
    for step in steps:
        if step.unit == "pairs" and step.stage in ("dedupe", "measure", "decide"):
            kept = step.kept
            for reason, rows in step.dropped.items():
                counts[reason] = counts.get(reason, 0) + rows
    whole = kept + sum(counts.values())
    return [*bars({"kept": kept}, whole=whole), *bars(counts, whole=whole)] if whole else []


def render(page: Page, figures: Figures) -> str:
    """The whole page. The same arguments give the same text."""
    steps = funnel.steps(page.records)
    finished = [r["finished_at"] for r in page.records if r.get("finished_at")]
    judged = figures.value("rows", "rows", "decisions")
    statuses = figures.series("status", "images")
    failed = {status: n for status, n in statuses.items() if status != Status.OK}
    return _template().render(
        page=page,
        says=lambda reason: wording.sentence(reason, page.limits),
        filter_of=lambda reason: wording.reason_filter(reason, page.limits),
        finished=max(finished, default=""),
        cards=_cards(figures, steps, bool(page.selection)),
        fate=_fate(steps),
        steps=[(step, bars(step.dropped, whole=step.rows_in)) for step in steps],
        reasons=bars(figures.series("reason", "at_all"), whole=judged),
        judged=judged,
        first=figures.series("reason", "first"),
        alone=figures.series("reason", "alone"),
        joint=sections.joint(figures),
        combinations=combinations(figures.series("reason_set", "pairs"), _COMBINATIONS),
        images=sum(statuses.values()),
        downloaded=statuses.get(Status.OK, 0),
        statuses=bars(failed, whole=sum(statuses.values())),
        transient={s.value for s in Status if s.is_transient},
        hosts=sections.hosts(figures),
        consent=sections.consent(figures),
        http=bars(figures.series("http_status", "images"), most=20),
        subjects=subjects(page.columns, page.limits, figures),
        by_language=by_language(page.scored, figures, page.cuts),
        relative=[cut for cut in page.cuts if cut.how != "value"],
        quantile_names=[f"{q:.0%}" for q in QUANTILES],
        quantiles={
            s: list(quantiles(figures.series("score_grid", s)).values())
            for s in ("kept", "dropped")
        },
        languages=sections.languages(figures),
        categories=[(name, _by_kept(figures, name)) for name in page.categories],
        page_lang=bars(figures.series("page_lang", "pairs"), most=30),
        domains=bars(figures.series("domain", "pairs"), figures.series("domain", "kept")),
        domain_count=figures.all_series("domains"),
        spread=sections.concentration(figures),
        captions=bars(figures.series("frequent_caption", "images")),
        duplicates=duplicates_overview(figures),
        costs=sections.costs(page.records, steps, page.stored_bytes, figures),
        configs=[(r, _settings(r.get("config", {}))) for r in page.records],
    )


@cache
def _template() -> jinja2.Template:
    folder = resources.files("pipeline.stats").joinpath("html")
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
    )
    environment.filters |= {
        "number": charts.number,
        "change": charts.change,
        "file_size": charts.file_size,
        "words": lambda name: wording.words(str(name)),
        "consent": wording.consent,
        "how": lambda how: scores.HOW.get(how, how),
    }
    environment.globals["share"] = charts.share
    return environment.get_template("report.html")
