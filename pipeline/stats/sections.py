"""What the report's sections on reasons, sources, languages and cost show, from the figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.stats import charts
from pipeline.stats.bars import Bar, bars
from pipeline.stats.concentration import TOP
from pipeline.stats.funnel import Step
from pipeline.stats.lorenz import svg as lorenz_svg

if TYPE_CHECKING:
    from pipeline.stats.page import Figures

_JOINT_REASONS = 12
_LANGUAGES = 40
_HOST_STATUSES = 3


def joint(figures: "Figures") -> tuple[list[str], list[list[tuple[float, float]]]]:
    """The most frequent reasons, and for each pair of them the count and its share of the row."""
    found = figures.all_series("joint_reason")
    names = sorted(found, key=lambda a: (-found[a].get(a, 0.0), a))[:_JOINT_REASONS]
    cells = [
        [
            (found[a].get(b, 0.0), found[a].get(b, 0.0) / (found[a].get(a, 0.0) or 1.0))
            for b in names
        ]
        for a in names
    ]
    return names, cells


@dataclass(frozen=True)
class Host:
    """A domain whose downloads failed. failed: (status, images), the commonest first."""

    domain: str
    asked: float
    downloaded: float
    failed: Sequence[tuple[str, float]]


def hosts(figures: "Figures") -> list[Host]:
    """Domains with failed downloads, those with most first."""
    asked, got = figures.series("host", "asked"), figures.series("host", "ok")
    found = []
    for domain, images in asked.items():
        statuses = figures.series("host_status", domain)
        failed = sorted(statuses.items(), key=lambda item: (-item[1], item[0]))
        found.append(Host(domain, images, got.get(domain, 0.0), failed[:_HOST_STATUSES]))
    return sorted(found, key=lambda h: (-(h.asked - h.downloaded), h.domain))


@dataclass(frozen=True)
class Verdict:
    """One means of consent or opt-out. domains: how many domains say so; 0 when that was not
    counted. most: of these, the ones with most images, as (domain, images)."""

    bar: Bar
    domains: float
    most: Sequence[tuple[str, float]]


def consent(figures: "Figures") -> list[Verdict]:
    """Who consented or objected, by which means."""
    domains = figures.series("consent_domains", "domains")
    found = []
    for bar in bars(figures.series("consent", "images")):
        who = figures.series("consent_domain", bar.label)
        most = sorted(who.items(), key=lambda item: (-item[1], item[0]))
        found.append(Verdict(bar, domains.get(bar.label, 0.0), most))
    return found


@dataclass(frozen=True)
class Language:
    """One language: pages in it; captions in it that were found, judged and kept."""

    code: str
    pages: float
    found: float
    judged: float
    kept: float


def languages(figures: "Figures") -> list[Language]:
    """By captions found; those beyond the first forty are summed in one row."""
    pages = figures.series("page_lang_detected", "pages")
    found = figures.series("caption_lang", "pairs")
    kept, dropped = (figures.series("caption_lang", s) for s in ("kept", "dropped"))
    rows = [
        Language(
            code,
            pages.get(code, 0.0),
            found.get(code, 0.0),
            kept.get(code, 0.0) + dropped.get(code, 0.0),
            kept.get(code, 0.0),
        )
        for code in {*pages, *found, *kept, *dropped}
    ]
    rows.sort(key=lambda row: (-row.found, -row.judged, -row.pages, row.code))
    rest = rows[_LANGUAGES - 1 :]
    if len(rest) < 2:
        return rows
    columns = ([getattr(r, n) for r in rest] for n in ("pages", "found", "judged", "kept"))
    return [*rows[: _LANGUAGES - 1], Language(f"{len(rest)} more", *map(sum, columns))]


def concentration(figures: "Figures") -> dict[str, Any]:
    """How pairs are spread over domains; empty without any."""
    found: dict[str, Any] = {}
    for series in ("pairs", "kept"):
        counted = figures.series("domain_spread", series)
        if not counted:
            continue
        sizes = figures.series("domain_size", f"{series}:domains")
        found[series] = {
            **counted,
            "domains": figures.value("domains", series, "distinct"),
            "top": {k: counted[f"top_{k}"] for k in TOP if f"top_{k}" in counted},
            "sizes": [
                replace(bar, label=_size_label(bar.label)) for bar in bars(sizes, order="label")
            ],
        }
    if not found:
        return {}
    curves = {series: figures.series("domain_lorenz", series) for series in found}
    points = {s: sorted((float(x), y) for x, y in c.items()) for s, c in curves.items()}
    ranks = [k for k in TOP if any(k in one["top"] for one in found.values())]
    return {"series": found, "ranks": ranks, "svg": lorenz_svg(points)}


def _size_label(low: str) -> str:
    """The range of sizes that begins with 1, 2 or 5 times a power of ten: "1", "2 to 4"."""
    start = int(low)
    last = (start * 5 // 2 if low.startswith("2") else start * 2) - 1
    least = charts.number(start)
    return least if last <= start else f"{least} to {charts.number(last)}"


@dataclass(frozen=True)
class Cost:
    """What one stage took. seconds: of its last run, None when unfinished. core_seconds: times the
    cores that Spark had, None where that was not recorded. rate: in per second, as text. stored: of
    its tables and files, bytes. width: percent of the longest stage. record: of the stage."""

    record: Mapping[str, Any]
    seconds: float | None
    core_seconds: float | None
    rate: str
    stored: int
    width: float


def costs(
    records: Sequence[Mapping[str, Any]],
    steps: Sequence[Step],
    stored: Mapping[str, int],
    figures: "Figures",
) -> dict[str, Any]:
    """Time and bytes of every stage, in all, and for a million pairs kept."""
    longest = max((r.get("seconds", 0.0) for r in records), default=0.0) or 1.0
    rows = []
    for record in records:
        seconds = record.get("seconds")
        cores = record.get("cores")
        first = next((s for s in steps if s.stage == record["stage"] and s.rows_per_s), None)
        rows.append(
            Cost(
                record,
                seconds,
                seconds * cores if seconds is not None and cores else None,
                f"{charts.number(round(first.rows_per_s))} {first.unit}" if first else "",
                stored.get(record["stage"], 0),
                100 * (seconds or 0.0) / longest,
            )
        )
    kept = figures.value("rows", "rows", "kept")
    seconds, size = sum(r.seconds or 0.0 for r in rows), sum(r.stored for r in rows)
    known = [r.core_seconds for r in rows if r.core_seconds is not None]
    return {
        "rows": rows,
        "seconds": seconds,
        "core_hours": sum(known) / 3600 if len(known) == len(rows) else None,
        "stored": size,
        "hours_per_million": seconds / 3600 * 1e6 / kept if kept else None,
        "bytes_per_pair": size / kept if kept else None,
    }
