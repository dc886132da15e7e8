"""Where a dataset comes from and by which recipe, from what the stages of a run recorded.

The same facts stand in the dataset card, which is written with the release, and in the datasheet.
Nothing here depends on when, where or on how many cores the run was made.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_CRAWL = re.compile(r"CC-MAIN-\d{4}-\d{2}")
_NAMED = 5  # files that are named; of more, their number is told


@dataclass(frozen=True)
class Rule:
    """One filter of the recipe. settings: as JSON. keeps: what passes, in words; empty for a filter
    whose bounds are known only when all else is decided."""

    filter: str
    settings: str
    keeps: str


@dataclass(frozen=True)
class Provenance:
    """version: of the software. sources: what was read, a line each. model: by which pairs were
    scored, empty when unknown. rules: in the order they are judged. optout_address: where people
    turn to have something removed, empty when none is stated."""

    version: str
    sources: tuple[str, ...]
    model: str
    rules: tuple[Rule, ...]
    optout_address: str


def gather(
    records: Mapping[str, Mapping[str, Any]],
    cutoffs: Iterable[Mapping[str, Any]],
    version: str,
    optout_address: str,
) -> Provenance:
    """The facts of a run. records: of its stages, by name; those that are missing say nothing.
    cutoffs: rows of CUTOFFS."""
    score = _section(records, "score")
    name, weights = str(score.get("model", "")), str(score.get("pretrained", ""))
    return Provenance(
        version,
        tuple(_sources(records)),
        f"{name} ({weights.rsplit('/', 1)[-1]})" if weights else name,
        tuple(_rules(records, cutoffs)),
        optout_address,
    )


def _section(records: Mapping[str, Mapping[str, Any]], stage: str) -> Mapping[str, Any]:
    found = records.get(stage, {}).get("config", {}).get(stage, {})
    return found if isinstance(found, Mapping) else {}


def _sources(records: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    section = _section(records, "extract")
    outside = records.get("extract", {}).get("config", {}).get("outside") or []
    files = [str(one[0] if isinstance(one, list) else one) for one in outside]
    if section.get("index"):
        wanted = [*section.get("index_languages", ()), *section.get("index_domains", ())]
        yield f"pages by the columnar index of {_crawls([section['index']])}: {', '.join(wanted)}"
    elif section.get("lists"):
        yield f"lists of URLs and captions: {_named(files)}"
    elif files:
        crawls = Counter(match[0] for file in files if (match := _CRAWL.search(file)))
        for crawl, archives in sorted(crawls.items()):
            yield f"Common Crawl {crawl}: {archives:,} archives"
        others = [file for file in files if not _CRAWL.search(file)]
        if others:
            yield f"archives: {_named(others)}"


def _crawls(paths: Sequence[str]) -> str:
    found = sorted({match[0] for path in paths if (match := _CRAWL.search(path))})
    return ", ".join(found) or "a crawl"


def _named(files: Sequence[str]) -> str:
    """Names without folders, which say more of a machine than of the data."""
    names = [file.rstrip("/").rsplit("/", 1)[-1] for file in files]
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def _rules(
    records: Mapping[str, Mapping[str, Any]], cutoffs: Iterable[Mapping[str, Any]]
) -> Iterable[Rule]:
    settings = records.get("decide", {}).get("config", {}).get("filters", {})
    sides: dict[str, dict[tuple[str, str], list[Mapping[str, Any]]]] = {}
    for row in sorted(
        cutoffs, key=lambda r: (r["measure"], r["side"] != "low", r["language"] or "")
    ):
        held = sides.setdefault(row["filter"], {})
        held.setdefault((row["measure"], row["side"]), []).append(row)
    for name in settings or sides:
        keeps = "; ".join(
            f"{measure} {'at least' if side == 'low' else 'at most'} {_values(rows)}"
            for (measure, side), rows in sides.get(name, {}).items()
        )
        chosen = json.dumps(settings.get(name, {}), ensure_ascii=False) if settings else ""
        yield Rule(name, "" if chosen == "{}" else chosen, keeps)


def _values(rows: Sequence[Mapping[str, Any]]) -> str:
    if len(rows) == 1 and rows[0]["language"] is None:
        return f"{rows[0]['value']:.6g}"
    return ", ".join(f"{row['value']:.6g} ({row['language'] or 'others'})" for row in rows)


def recipe_lines(facts: Provenance) -> list[str]:
    """The recipe as a Markdown table; says so when none is known."""
    if not facts.rules:
        return ["No filter is known to have been applied.", ""]
    lines = ["| filter | keeps | settings |", "| --- | --- | --- |"]
    for rule in facts.rules:
        settings = f"`{_cell(rule.settings)}`" if rule.settings else ""
        lines.append(f"| {rule.filter} | {_cell(rule.keeps) or 'judged last'} | {settings} |")
    return [*lines, ""]


def _cell(text: str) -> str:
    """Fit for a cell of a Markdown table."""
    return text.replace("`", "'").replace("|", "\\|").replace("\n", " ")


def source_lines(facts: Provenance) -> list[str]:
    """What was read and by what, as a Markdown list."""
    lines = [f"- {source}" for source in facts.sources] or ["- sources are not recorded"]
    lines.append(f"- software: Pairmill {facts.version}")
    if facts.model:
        lines.append(f"- similarity of pictures and captions by the model {facts.model}")
    return [*lines, ""]


def removal_line(facts: Provenance) -> str:
    """Where to turn to have something removed."""
    if facts.optout_address:
        return (
            f"To have a picture or caption removed, write to {facts.optout_address} and name its "
            "`url` or `image_id`."
        )
    return (
        "No address is stated to have pictures removed: whoever publishes this copy has to state "
        "one (`shard.optout_address`). Until then, name the `url` or `image_id` to them."
    )


LIMITS = (
    "Captions are texts that stood beside pictures (most are alt texts): they may be wrong, "
    "incomplete, biased or offensive.",
    "What passes depends on the model of the similarity: what it knows badly, a language or a kind "
    "of picture, is dropped more often.",
    "Languages are detected from short texts, and may be wrong.",
    "Near-duplicates that were cropped, turned or changed beyond what the recipe compares are both "
    "here.",
    "Pictures are those that could be downloaded when it was tried; some will be gone from the web "
    "by now.",
    "Opt-outs are those that were known when the pictures were fetched, or at the last recheck.",
    "The web was filtered by rules and models, not read by people; pictures may show people.",
)
