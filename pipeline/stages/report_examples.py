"""The report's part on single pairs and URLs to look at."""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame

from pipeline.core.context import Context
from pipeline.core.languages import UNDETERMINED
from pipeline.core.raw import PLACE, Place
from pipeline.stages.report_duplicates import pictures_of, sql
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
    ctx: Context[Any], tables: Mapping[str, DataFrame], album: Album, kept: int,
    reasons: Mapping[str, int],
) -> dict[str, list[page.Example]]:  # fmt: skip
    """Pairs to show, by group ('kept', 'reason:<reason>', 'highest', 'lowest'), in order.

    kept: how many pairs are kept; reasons: how many have each reason.
    """
    groups = _groups(ctx, tables, kept, reasons)
    wanted = {pair for pairs in groups.values() for pair in pairs}
    if not wanted:
        return {}
    told = _told_of(ctx, tables, wanted)
    others = {row["duplicate_of"] for row in told.values()} - {None}
    originals = pictures_of(ctx, tables["measures"], {bytes(other) for other in others})
    return {
        name: [_example(told[pair], album, originals) for pair in pairs]
        for name, pairs in groups.items()
    }


def _groups(
    ctx: Context[Any], tables: Mapping[str, DataFrame], kept: int, reasons: Mapping[str, int]
) -> dict[str, list[bytes]]:
    """Ids of the pairs of each group, in order."""
    section = ctx.config
    query = samples.chosen(
        section.seed, kept, section.kept_examples, reasons, section.examples_per_reason
    )
    groups: dict[str, list[bytes]] = {}
    limits = {"kept": section.kept_examples}
    for row in sorted(sql(ctx, query, tables).collect(), key=lambda r: (r.chance, r.pair_id)):
        for name in ("kept",) if row.is_kept else tuple(f"reason:{r}" for r in row.reasons):
            group = groups.setdefault(name, [])
            if len(group) < limits.get(name, section.examples_per_reason):
                group.append(bytes(row.pair_id))
    for name, order in (("highest", "DESC"), ("lowest", "ASC")):
        if section.extreme_examples:
            rows = sql(ctx, samples.extreme(order, section.extreme_examples), tables).collect()
            groups[name] = [bytes(row.pair_id) for row in rows]
    return groups


def _told_of(
    ctx: Context[Any], tables: Mapping[str, DataFrame], wanted: set[bytes]
) -> dict[bytes, dict[str, Any]]:
    """All that is shown of some pairs, by id."""
    ids = samples.listed(wanted)
    places = ", ".join(PLACE)
    measured = sql(
        ctx,
        f"SELECT {_OF_MEASURES}, {places} FROM {{measures}} WHERE pair_id IN ({ids})",
        tables,
    ).collect()
    decided = sql(
        ctx, f"SELECT {_OF_DECISION} FROM {{decisions}} WHERE pair_id IN ({ids})", tables
    ).collect()
    found = {bytes(row.pair_id): row.asDict() for row in measured}
    for row in decided:
        found[bytes(row.pair_id)] |= row.asDict()
    return found


def _example(
    row: Mapping[str, Any], album: Album, originals: Mapping[bytes, tuple[str, str, Place]]
) -> page.Example:
    gave_way_to = row["duplicate_of"]
    _, _, other = (
        originals.get(bytes(gave_way_to), ("", "", None)) if gave_way_to else ("", "", None)
    )
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


def failures(ctx: Context[Any], tables: Mapping[str, DataFrame]) -> dict[str, list[page.Failure]]:
    """Example URLs of every status of a failed download."""
    if not ctx.config.failed_urls:
        return {}
    query = sources.failures(ctx.config.seed, ctx.config.failed_urls)
    found: dict[str, list[page.Failure]] = {}
    for row in sql(ctx, query, tables).collect():
        failure = page.Failure(
            page.shorten(row.url), page.shorten(row.status_detail or "", 120) or None
        )
        found.setdefault(row.status, []).append(failure)
    return found
