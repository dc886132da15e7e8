"""Figures of duplicates as Spark SQL text: groups, rules, distances, links, groups to look at.

As in `figures`, names in braces are the run's tables. `{dropped}` is `dropped()`, `{linked}` is
`linked_edges()`.
"""

from collections.abc import Iterable

from pipeline.core.balance import MEASURES
from pipeline.core.reasons import MatchRule

# Low edges of the bins of group sizes: each small size by itself, then 1, 2, 5 of every decade.
GROUP_EDGES = (2, 3, 4, 5, 6, *(n * 10**k for k in range(1, 7) for n in (1, 2, 5)))
_SIMILARITY_STEP = 0.02
_RELEASED = MatchRule.RELEASED.value


def dropped() -> str:
    """One row per picture that gave way: image_id, duplicate_of, rule, distance, similarity."""
    return (
        "SELECT DISTINCT image_id, duplicate_of, duplicate_rule AS rule, "
        "duplicate_distance AS distance, duplicate_similarity AS similarity "
        "FROM {decisions} WHERE duplicate_of IS NOT NULL"
    )


def linked_edges() -> str:
    """Every edge with the pictures that its ends gave way to or are: rule, owner_a, owner_b.

    An owner is null where all pairs of that end fail another bound. Captions over the most that
    are kept of a picture do not keep the picture out, nor do balance and caps, which come after.
    """
    is_after = " OR ".join(
        f"startswith(r, '{measure}_')" for measure in ("caption_rank", *MEASURES)
    )
    owner = (
        "(SELECT fingerprint, min(coalesce(duplicate_of, image_id)) AS owner FROM {judged} "
        f"WHERE duplicate_of IS NOT NULL OR forall(reasons, r -> {is_after}) "
        "GROUP BY fingerprint)"
    )
    edges = (
        "(SELECT fingerprint_a, fingerprint_b, rule FROM {neighbors} UNION ALL "
        f"SELECT fingerprint_a, fingerprint_b, '{MatchRule.COPY.value}' AS rule FROM {{copies}})"
    )
    return (
        f"SELECT e.rule, a.owner AS owner_a, b.owner AS owner_b FROM {edges} e "
        f"LEFT JOIN {owner} a ON e.fingerprint_a = a.fingerprint "
        f"LEFT JOIN {owner} b ON e.fingerprint_b = b.fingerprint"
    )


def counts() -> str:
    """Sizes of groups, pictures by rule, distances and similarities, edges by what they join."""
    return " UNION ALL ".join(f"SELECT * FROM ({query})" for query in _counts())


def _counts() -> Iterable[str]:
    low = "CASE " + " ".join(
        f"WHEN pictures >= {edge} THEN '{edge}'" for edge in reversed(GROUP_EDGES)
    )
    sizes = (
        f"(SELECT {low} END AS bucket, pictures FROM (SELECT count(*) + 1 AS pictures "
        f"FROM {{dropped}} WHERE rule <> '{_RELEASED}' GROUP BY duplicate_of))"
    )
    yield (
        "SELECT 'duplicate_group' AS figure, series, bucket, CAST(n AS DOUBLE) AS value FROM ("
        "SELECT bucket, stack(3, 'groups', count(*), 'pictures', sum(pictures), "
        f"'largest', max(pictures)) AS (series, n) FROM {sizes} GROUP BY bucket)"
    )
    yield _count("duplicate_rule", "'pictures'", "rule", "{dropped}")
    yield _count(
        "duplicate_distance", "rule", "CAST(distance AS STRING)",
        "{dropped} WHERE distance IS NOT NULL",
    )  # fmt: skip
    for figure, source in (
        ("duplicate_similarity", "{dropped} WHERE similarity IS NOT NULL"),
        ("copy_similarity", "{copies}"),
    ):
        step = f"floor(round(similarity / {_SIMILARITY_STEP}D, 6)) * {_SIMILARITY_STEP}D"
        yield _count(figure, "'copy'", f"format_string('%.2f', {step})", source)
    yield _count("neighbor_distance", "rule", "CAST(distance AS STRING)", "{neighbors}")
    joins = (
        "CASE WHEN owner_a IS NULL OR owner_b IS NULL THEN 'outside' "
        "WHEN owner_a = owner_b THEN 'inside' ELSE 'between' END"
    )
    yield _count("duplicate_edges", "rule", joins, "{linked}")


def _count(figure: str, series: str, bucket: str, source: str) -> str:
    return (
        f"SELECT '{figure}' AS figure, {series} AS series, {bucket} AS bucket, "
        f"CAST(count(*) AS DOUBLE) AS value FROM {source} GROUP BY 2, 3"
    )


def links(most: int) -> str:
    """Pairs of kept pictures that edges link, at most `most` + 1 of them: a, b."""
    return (
        "SELECT DISTINCT least(owner_a, owner_b) AS a, greatest(owner_a, owner_b) AS b "
        f"FROM {{linked}} WHERE owner_a <> owner_b LIMIT {most + 1}"
    )


def linked_sizes() -> str:
    """Pictures of the groups that are linked to another: image_id of the kept one, pictures."""
    ends = (
        "(SELECT owner_a AS owner FROM {linked} WHERE owner_a <> owner_b "
        "UNION SELECT owner_b FROM {linked} WHERE owner_a <> owner_b)"
    )
    return (
        "SELECT duplicate_of AS image_id, count(*) + 1 AS pictures FROM {dropped} "
        f"LEFT SEMI JOIN {ends} ON owner = duplicate_of GROUP BY duplicate_of"
    )


def samples(seed: int, largest: int, per_rule: int, members: int) -> str:
    """Groups to look at, a row for each dropped picture that is shown.

    sheet ('largest', or the rule of the group's least sure member), place (from 1, of the group in
    its sheet), duplicate_of, pictures (dropped ones of the group), and of the picture: image_id,
    rule, distance, similarity, position (from 1, the surest first). Of groups with more than
    `members` dropped ones they are spread evenly, the last included.
    """
    unsure = "struct(distance IS NULL AS is_copy, distance, -similarity AS unlike)"
    groups = (
        f"(SELECT duplicate_of, count(*) AS pictures, max_by(rule, {unsure}) AS loosest "
        f"FROM {{dropped}} WHERE rule <> '{_RELEASED}' GROUP BY duplicate_of)"
    )
    chance = f"xxhash64({seed}, duplicate_of)"
    big = (
        f"(SELECT duplicate_of, pictures, loosest FROM {groups} "
        f"ORDER BY pictures DESC, duplicate_of LIMIT {largest})"
    )
    by_chance = (
        f"(SELECT *, row_number() OVER (PARTITION BY loosest ORDER BY {chance}, duplicate_of) "
        f"AS place FROM {groups} LEFT ANTI JOIN {big} USING (duplicate_of))"
    )
    chosen = (
        "(SELECT 'largest' AS sheet, duplicate_of, pictures, "
        f"row_number() OVER (ORDER BY pictures DESC, duplicate_of) AS place FROM {big} UNION ALL "
        f"SELECT loosest, duplicate_of, pictures, place FROM {by_chance} "
        f"WHERE place <= {per_rule})"
    )
    surest = "distance IS NULL, distance, similarity DESC, image_id"
    placed = (
        "(SELECT /*+ BROADCAST(c) */ c.*, d.image_id, d.rule, d.distance, d.similarity, "
        f"row_number() OVER (PARTITION BY duplicate_of ORDER BY {surest}) AS position "
        f"FROM {{dropped}} d JOIN {chosen} c USING (duplicate_of))"
    )
    return (
        f"SELECT * FROM {placed} WHERE floor(position * {members} / pictures) > "
        f"floor((position - 1) * {members} / pictures) OR pictures <= {members}"
    )
