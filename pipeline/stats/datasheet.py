"""The datasheet: the questions of Gebru et al., answered from a run's figures and records.

Source of the questions: T. Gebru et al., Datasheets for Datasets, arXiv 1803.09010, section 3.
Those that no table can answer (why, by whom, for how long) are answered by `[report]`, or said to
be open.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.core.provenance import LIMITS, Provenance, recipe_lines, removal_line, source_lines
from pipeline.core.reasons import Status
from pipeline.stats import charts, sections, wording

if TYPE_CHECKING:
    from pipeline.stats.page import Figures

_TOP = 12


@dataclass(frozen=True)
class Stated:
    """What people say of a dataset, each empty when nobody did. licence: of the release."""

    purpose: str = ""
    creators: str = ""
    funding: str = ""
    uses: str = ""
    maintenance: str = ""
    licence: str = ""


def datasheet(
    title: str,
    figures: "Figures",
    facts: Provenance,
    stated: Stated,
    limits: Mapping[str, wording.Limit],
) -> str:
    """The whole sheet, as Markdown. The same arguments give the same text."""
    parts = [
        f"# Datasheet of {_plain(title)}",
        "",
        "By the questions of Gebru et al., Datasheets for Datasets (arXiv 1803.09010). The numbers "
        "are those of the run's `stats` table.",
        "",
        *_motivation(stated),
        *_composition(figures),
        *_collection(figures, facts),
        *_preprocessing(figures, facts, limits),
        *_uses(stated),
        *_distribution(figures, stated),
        *_maintenance(facts, stated),
    ]
    return "\n".join(parts) + "\n"


def _asked(question: str, *answers: str) -> list[str]:
    return [f"**{question}**", "", *answers, ""]


def _said(answer: str, key: str) -> str:
    return _plain(answer) if answer else f"Not stated (`report.{key}`)."


def _plain(text: str) -> str:
    """Text in Markdown, on one line and without markup."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _motivation(stated: Stated) -> list[str]:
    return [
        "## Motivation",
        "",
        *_asked("For what purpose was the dataset created?", _said(stated.purpose, "purpose")),
        *_asked("Who created it, on behalf of whom?", _said(stated.creators, "creators")),
        *_asked("Who funded it?", _said(stated.funding, "funding")),
    ]


def _composition(figures: "Figures") -> list[str]:
    kept, judged = (figures.value("rows", "rows", b) for b in ("kept", "decisions"))
    samples = figures.value("release", "release", "samples") or kept
    size = charts.file_size(figures.value("release", "release", "bytes"))
    languages = [
        (_plain(row.code or "unknown"), *(charts.number(n) for n in (row.pages, row.found)),
         charts.number(row.kept))
        for row in sections.languages(figures)[:_TOP]
    ]  # fmt: skip
    return [
        "## Composition",
        "",
        *_asked(
            "What do the instances represent, and how many are there?",
            f"Pairs of a picture from the web and a text that stood beside it on a page: "
            f"{charts.number(samples)} in {size}.",
        ),
        *_asked(
            "Is it a sample of a larger set?",
            f"Yes: {charts.number(kept)} of {charts.number(judged)} pairs that were downloaded and "
            f"judged, of {charts.number(figures.value('rows', 'rows', 'pairs'))} found on pages. "
            "They are what the recipe below lets pass, and so not representative of the web.",
        ),
        *_asked(
            "What languages are there?",
            *_table(("language", "pages", "captions found", "pairs kept"), languages),
        ),
        *_asked("Where do pictures come from?", *_domains(figures)),
        *_asked(
            "Is there a label or target?",
            "No. The caption is what the page says; the similarity to the picture is a model's.",
        ),
        *_asked(
            "Are there errors, noise or redundancies?", *(f"- {limit}" for limit in LIMITS[:4])
        ),
        *_asked("Is it self-contained?", "Yes: pictures are stored; `url` credits their source."),
        *_asked(
            "Does it hold what is confidential, offensive, or about people?",
            "It may: it was collected from public pages and filtered by rules and models, not read "
            "by people. Pictures may show people, and captions may name them.",
        ),
    ]


def _domains(figures: "Figures") -> list[str]:
    spread = sections.concentration(figures).get("series", {}).get("kept")
    if not spread:
        return ["Nothing was kept."]
    told = ", ".join(
        f"{charts.share(share, 1)} of the largest {k:,}" if k > 1 else
        f"{charts.share(share, 1)} of the largest"
        for k, share in spread["top"].items()
    )  # fmt: skip
    return [
        f"{charts.number(spread['domains'])} registrable domains; half of the pairs are of the "
        f"largest {charts.number(spread['half'])}. Shares: {told or 'all of one'}. Gini "
        f"coefficient {spread['gini']:.3f}."
    ]


def _collection(figures: "Figures", facts: Provenance) -> list[str]:
    first, last = (figures.value("fetched", "fetched", b) for b in ("first", "last"))
    statuses = figures.series("status", "images")
    failed = sorted(
        ((status, n) for status, n in statuses.items() if status != Status.OK),
        key=lambda item: (-item[1], item[0]),
    )
    images = sum(statuses.values())
    refusing = [
        (wording.consent(v.bar.label), charts.number(v.bar.value), charts.number(v.domains))
        for v in sections.consent(figures)
    ]
    return [
        "## Collection process",
        "",
        *_asked("How was the data acquired?", *source_lines(facts)[:-1]),
        *_asked(
            "Over what time?",
            f"Pictures were downloaded from {_day(first)} to {_day(last)} (UTC)."
            if statuses.get(Status.OK)
            else "No picture was downloaded.",
        ),
        *_asked(
            "What could not be collected?",
            f"{charts.number(statuses.get(Status.OK, 0))} of {charts.number(images)} images were "
            "downloaded. The others:",
            "",
            *_table(
                ("why", "images"),
                ((wording.sentence(s, {}), charts.number(n)) for s, n in failed[:_TOP]),
            ),
        ),
        *_asked(
            "Did people consent, and could they object?",
            "robots.txt, opt-outs of pages and responses, and opt-out lists were honoured before "
            "and after a picture was fetched; nobody was asked for consent. What was found:",
            "",
            *_table(("verdict and source", "images", "domains"), refusing),
        ),
    ]


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _preprocessing(
    figures: "Figures", facts: Provenance, limits: Mapping[str, wording.Limit]
) -> list[str]:
    first = sorted(figures.series("reason", "first").items(), key=lambda item: (-item[1], item[0]))
    dropped = (
        (wording.sentence(reason, limits), charts.number(n)) for reason, n in first[: 2 * _TOP]
    )
    gone = sum(figures.series("duplicate_rule", "pictures").values())
    return [
        "## Preprocessing, cleaning, labelling",
        "",
        *_asked(
            "What was done?",
            "Pictures were decoded, made upright, scaled down and stored as JPEG; captions were "
            "normalised. Pairs were dropped by these rules, in this order:",
            "",
            *recipe_lines(facts)[:-1],
        ),
        *_asked(
            "What did that drop?",
            *(_table(("the first reason", "pairs"), dropped) if first else ["Nothing."]),
        ),
        *_asked(
            "What of duplicates?",
            f"{charts.number(gone)} pictures gave way to a near-duplicate that is kept.",
        ),
        *_asked(
            "Is the raw data saved?",
            "By whoever made the run: every picture that was downloaded and every measure; not in "
            "the release.",
        ),
    ]


def _uses(stated: Stated) -> list[str]:
    return [
        "## Uses",
        "",
        *_asked("What is it for, and what should it not be used for?", _said(stated.uses, "uses")),
        *_asked("What should its users know?", *(f"- {limit}" for limit in LIMITS)),
    ]


def _distribution(figures: "Figures", stated: Stated) -> list[str]:
    shards = charts.number(figures.value("release", "release", "shards"))
    return [
        "## Distribution",
        "",
        *_asked(
            "How is it distributed?",
            f"As {shards} WebDataset tars with a manifest of their SHA-256; see the dataset card.",
        ),
        *_asked(
            "Under what licence?",
            f"`{stated.licence or 'other'}`. Pictures and captions belong to their authors.",
        ),
    ]


def _maintenance(facts: Provenance, stated: Stated) -> list[str]:
    return [
        "## Maintenance",
        "",
        *_asked("Who maintains it, and how?", _said(stated.maintenance, "maintenance")),
        *_asked("How is something removed?", removal_line(facts)),
        *_asked(
            "Will it be updated?",
            "New versions add crawls and leave out what was taken down; each has a diff "
            "(`.meta/diff.json`), and older versions name what is not to be used (tombstones).",
        ),
    ]
