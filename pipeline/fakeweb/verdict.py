"""The evaluation of a run as text: what was found, what it should be, what is unexpected."""

import math
from collections.abc import Iterator, Mapping

from pipeline.fakeweb.gentleness import is_gentle

Figures = Mapping[str, float | int]

# They move more bits of a hash than a radius fit for billions of pictures allows, by design.
_BEYOND_HASHES = ("crop", "mirror")
_CAPTIONS = {
    "right": "fits its picture",
    "wrong": "of another picture",
    "boilerplate": "on many pictures",
    "filename": "a file name",
    "short": "too short",
}
_LEAST_RECALL = 0.95


def render(figures: Figures) -> str:
    """A section per step for a console of 100 columns; lines that start with ! need a look.

    Only sections whose figures are there are shown.
    """
    sections = (_extract, _consent, _downloads, _matches, _scores, _decisions)
    lines = [line for section in sections for line in section(figures)]
    odd = sum(line.startswith("!") for line in lines)
    verdict = "Everything as expected." if not odd else f"{odd} lines marked ! need a look."
    return "\n".join([*lines, verdict])


def _line(text: str, is_fine: bool) -> str:
    return f"{' ' if is_fine else '!'} {text}".rstrip()


def _share(value: float | int) -> str:
    return "none to judge" if math.isnan(value) else f"{value:.2%}"


def _extract(figures: Figures) -> Iterator[str]:
    if "extract.recall" not in figures:
        return
    recall, precision = figures["extract.recall"], figures["extract.precision"]
    yield "Pairs on the pages"
    yield _line(
        f"{figures['extract.pairs_found']:,} found of {figures['extract.pairs_expected']:,}: "
        f"recall {_share(recall)}, precision {_share(precision)}",
        min(recall, precision) > 0.999,
    )


def _consent(figures: Figures) -> Iterator[str]:
    if "consent.forbidden_images" not in figures:
        return
    asked, stored = figures["consent.forbidden_requested"], figures["consent.withheld_stored"]
    yield "Consent"
    yield _line(
        f"{asked:,} of {figures['consent.forbidden_images']:,} images that must not be asked for "
        "were asked for",
        asked == 0,
    )
    yield _line(
        f"{stored:,} of {figures['consent.withheld_images']:,} images whose owners opt out "
        "were stored",
        stored == 0,
    )
    yield from _gentleness(figures)


def _gentleness(figures: Figures) -> Iterator[str]:
    host, all_hosts = figures["server.max_open_per_host"], figures["server.max_open"]
    yield "Politeness, by the servers' own log"
    asked = f"{figures['server.requests']:,} requests to {figures['server.hosts']:,} hosts"
    if "server.limit_host_concurrency" in figures:
        yield _line(
            f"{asked}; at once at most {host:,} of {figures['server.limit_host_concurrency']:,} "
            f"to a host, {all_hosts:,} of {figures['server.limit_address_concurrency']:,} to the "
            "address",
            is_gentle(figures),
        )
        interval, early = figures["server.limit_host_interval_s"], figures["server.host_early_s"]
        yield _line(
            f"a host was asked every {interval:g} s at most; the log is up to {early:.2f} s late",
            is_gentle(figures),
        )
    else:
        yield _line(f"{asked}; at once at most {host:,} to a host", True)
    again = figures["server.robots_asked_again"]
    yield _line(
        f"{again:,} of {figures['server.robots_sites']:,} sites that had answered were asked for "
        "robots.txt again",
        again == 0,
    )


def _downloads(figures: Figures) -> Iterator[str]:
    if "download.images" not in figures:
        return
    fine: dict[str, list[str]] = {}
    odd = []
    for name, images in figures.items():
        head, *parts = name.split(".")
        if head == "download" and len(parts) == 3:
            kind, expected, got = parts
            if expected == got:
                fine.setdefault(expected, []).append(f"{kind} {images:,}")
            else:
                odd.append(
                    _line(f"{kind:24} {got:20} {images:>6,}   <- expected {expected}", False)
                )
    images, right = figures["download.images"], figures["download.as_expected"]
    yield "Downloads: status, and the kinds of server that must lead to it"
    yield _line(f"{right:,} of {images:,} images ended as they must", right == images)
    yield from odd
    for status, kinds in sorted(fine.items()):
        yield from _wrapped(status, kinds)
    for what in ("unknown", "missed"):
        if figures[f"download.{what}"]:
            yield _line(f"{figures[f'download.{what}']:,} images {what}", False)


def _wrapped(name: str, items: list[str]) -> Iterator[str]:
    """`name` and its items, in lines of at most 100 columns."""
    line = f"    {name:20}"
    for i, item in enumerate(items):
        text = f" {item}" + ("," if i + 1 < len(items) else "")
        if len(line) + len(text) > 100:
            yield line
            line = " " * 24
        line += text
    yield line


def _matches(figures: Figures) -> Iterator[str]:
    kinds = [n.split(".")[1] for n in figures if n.startswith("match.") and n.endswith(".recall")]
    if "match.unrelated_pictures_matched" not in figures:
        return
    yield "Near-duplicates found, by what was done to the picture"
    for kind in sorted(kinds, key=lambda k: (k in _BEYOND_HASHES, k)):
        recall, pairs = figures[f"match.{kind}.recall"], figures[f"match.{kind}.pairs"]
        is_beyond = kind in _BEYOND_HASHES
        note = "   beyond the radius by design: moves too many bits" if is_beyond else ""
        yield _line(
            f"  {kind:20} {recall:>7.1%} of {pairs:>6,}{note}",
            is_beyond or recall >= _LEAST_RECALL,
        )
    wrong = figures["match.unrelated_pictures_matched"]
    yield _line(f"  {'unrelated pictures':20} {wrong:>7,} matched by mistake", wrong == 0)


def _scores(figures: Figures) -> Iterator[str]:
    if "score.auc" not in figures:
        return
    langs = [(n.removeprefix("score.auc_"), v) for n, v in figures.items() if "auc_" in n]
    yield "Similarity: how often a right caption scores above a wrong one (AUC; 0.5 is chance)"
    for name, value in [("all", figures["score.auc"]), *langs]:
        shown = "no scores" if math.isnan(value) else f"{value:>7.4f}"
        # A threshold for a look, not a promise: chance is 0.5, the model's own test gives 0.99.
        yield _line(f"  {name:20} {shown}", math.isnan(value) or value >= 0.95)


def _decisions(figures: Figures) -> Iterator[str]:
    if "decide.precision" not in figures:
        return
    yield "Captions of downloaded pictures, by what they are"
    yield f"    {'caption':12} {'':20} {'pairs':>8} {'kept':>8}"
    for name, pairs in figures.items():
        head, *parts = name.split(".")
        if head == "decide" and len(parts) == 2 and parts[1] == "pairs":
            kept = figures[f"decide.{parts[0]}.kept"]
            what = _CAPTIONS.get(parts[0], "")
            yield f"    {parts[0]:12} {what:20} {pairs:>8,} {kept:>8,}"
    precision = figures["decide.precision"]
    yield _line(
        f"{_share(precision)} of the kept captions are right",
        math.isnan(precision) or precision > 0.95,
    )
    passed = figures["decide.right_captions_passed"]
    yield _line(
        f"{_share(passed)} of the right captions pass every filter on captions",
        math.isnan(passed) or passed > 0.9,
    )
