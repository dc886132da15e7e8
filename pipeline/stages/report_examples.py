"""The report's part on single pairs and URLs to look at."""

from collections.abc import Mapping
from typing import Any

from pipeline.core.languages import UNDETERMINED
from pipeline.core.raw import PLACE, Place
from pipeline.stages.report_duplicates import pictures_of
from pipeline.stages.report_tables import Tables
from pipeline.stats import page, samples, sources, wording
from pipeline.stats.pictures import Album

_OF_DECISION = (
    "pair_id, is_kept, reasons, duplicate_of, duplicate_rule, duplicate_distance, "
    "duplicate_similarity"
)
_OF_MEASURES = (
    "pair_id, caption, caption_lang, page_lang, domain, clip_similarity, original_width, "
    "original_height"
)


def examples(
    section: Any, tables: Tables, album: Album, kept: int, reasons: Mapping[str, int]
) -> dict[str, list[page.Example]]:
    """Pairs to show, by group ('kept', 'reason:<reason>', 'highest', 'lowest'), in order.

    section: `[report]`. kept: how many pairs are kept; reasons: how many have each reason.
    """
    groups = _groups(section, tables, kept, reasons)
    wanted = {pair for pairs in groups.values() for pair in pairs}
    if not wanted:
        return {}
    told = _told_of(tables, wanted)
    others = {row["duplicate_of"] for row in told.values()} - {None}
    originals = pictures_of(tables, others)
    return {
        name: [_example(told[pair], album, originals) for pair in pairs]
        for name, pairs in groups.items()
    }


def _groups(
    section: Any, tables: Tables, kept: int, reasons: Mapping[str, int]
) -> dict[str, list[bytes]]:
    """Ids of the pairs of each group, in order."""
    seed, wanted = section.seed, section.examples_per_reason
    groups: dict[str, list[bytes]] = {}
    rows = tables.ask(samples.chosen(seed, kept, section.kept_examples, reasons, wanted))
    for row in sorted(rows, key=lambda row: samples.place(row["pair_id"], seed)):
        reason = row["reason"]
        group = groups.setdefault("kept" if reason is None else f"reason:{reason}", [])
        if len(group) < (section.kept_examples if reason is None else wanted):
            group.append(row["pair_id"])
    for name, order in (("highest", "DESC"), ("lowest", "ASC")):
        if section.extreme_examples:
            found = tables.ask(samples.extreme(order, section.extreme_examples))
            groups[name] = [row["pair_id"] for row in found]
    return groups


def _told_of(tables: Tables, wanted: set[bytes]) -> dict[bytes, dict[str, Any]]:
    """All that is shown of some pairs, by id."""
    # Joined, not IN: that way the other columns of all other rows are hardly looked at.
    mine = f"SEMI JOIN (SELECT unnest([{samples.listed(wanted)}]) AS pair_id) USING (pair_id)"
    places = ", ".join(PLACE)
    measured = tables.ask(f"SELECT {_OF_MEASURES}, {places} FROM measures {mine}")
    decided = tables.ask(f"SELECT {_OF_DECISION} FROM decisions {mine}")
    found = {row["pair_id"]: row for row in measured}
    for row in decided:
        found[row["pair_id"]] |= row
    return found


def _example(
    row: Mapping[str, Any], album: Album, originals: Mapping[bytes, tuple[str, str, Place]]
) -> page.Example:
    gave_way_to = row["duplicate_of"]
    _, _, other = originals.get(gave_way_to, ("", "", None)) if gave_way_to else ("", "", None)
    language = None if row["caption_lang"] == UNDETERMINED else row["caption_lang"]
    return page.Example(
        page.shorten(row["caption"]),
        page.language_tag(language, row["page_lang"]),
        row["domain"],
        row["clip_similarity"],
        f"{row['original_width']}\u00a0×\u00a0{row['original_height']}",
        tuple(row["reasons"]),
        album.picture(Place(*(row[name] for name in PLACE))),
        album.picture(other) if other else None,
        _duplicate(row),
    )


def _duplicate(row: Mapping[str, Any]) -> str | None:
    """How an example is the same as the picture it gave way to."""
    rule = row["duplicate_rule"]
    if rule is None:
        return None
    return wording.duplicate(rule, row["duplicate_distance"], row["duplicate_similarity"])


def failures(tables: Tables, seed: int, per_status: int) -> dict[str, list[page.Failure]]:
    """Example URLs of every status of a failed download, so many of each at most."""
    if not per_status:
        return {}
    found: dict[str, list[page.Failure]] = {}
    for row in tables.ask(sources.failures(seed, per_status)):
        detail = page.shorten(row["status_detail"] or "", 120) or None
        found.setdefault(row["status"], []).append(page.Failure(page.shorten(row["url"]), detail))
    return found
