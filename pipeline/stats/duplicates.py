"""Figures of duplicates as text in DuckDB's SQL: groups, rules, distances, links, groups to look
at. Of the tables they name, `dropped` is `dropped()`, `owners` is `owners()` and `linked` is
`linked_edges()`.
"""

from collections.abc import Iterable

from pipeline.core.balance import MEASURES
from pipeline.core.reasons import MatchRule
from pipeline.stats import samples as chosen_by_chance

# Low edges of the bins of group sizes: each small size by itself, then 1, 2, 5 of every decade.
GROUP_EDGES = (2, 3, 4, 5, 6, *(n * 10**k for k in range(1, 7) for n in (1, 2, 5)))
_SIMILARITY_STEP = 0.02
_RELEASED = MatchRule.RELEASED.value


def dropped() -> str:
    """One row per picture that gave way: image_id, duplicate_of, rule, distance, similarity."""
    return (
        "SELECT DISTINCT image_id, duplicate_of, duplicate_rule AS rule, "
        "duplicate_distance AS distance, duplicate_similarity AS similarity "
        "FROM decisions WHERE duplicate_of IS NOT NULL"
    )


def owners() -> str:
    """The picture that each fingerprint at an edge gave way to or is: fingerprint, owner; UUIDs, as
    numbers are grouped and joined faster.

    None where all its pairs fail another bound. Captions over the most that are kept of a picture
    do not keep the picture out, nor do balance and caps, which come after.
    """
    after = ", ".join(
        f"'{measure}_{side}'"
        for measure in ("caption_rank", *MEASURES)
        for side in ("low", "high", "missing")
    )
    # The first of them before all: lists are slow to compare.
    is_after = f"reasons[1] IN ({after}) AND list_has_all([{after}], reasons)"
    is_in = f"len(reasons) = 0 OR duplicate_of IS NOT NULL OR ({is_after})"
    decided = (
        "(SELECT CAST(pair_id AS UUID) AS pair, "
        "CAST(coalesce(duplicate_of, image_id) AS UUID) AS owner "
        f"FROM decisions WHERE {is_in})"
    )
    ends = " UNION ALL ".join(
        f"SELECT CAST(fingerprint_{end} AS UUID) AS fingerprint FROM {table}"
        for table in ("neighbors", "copies")
        for end in "ab"
    )
    measured = (
        "(SELECT CAST(fingerprint AS UUID) AS fingerprint, CAST(pair_id AS UUID) AS pair "
        "FROM measures)"
    )
    return (
        f"SELECT fingerprint, min(owner) AS owner FROM {measured} "
        f"SEMI JOIN ({ends}) USING (fingerprint) JOIN {decided} USING (pair) GROUP BY fingerprint"
    )


def linked_edges() -> str:
    """Every edge with the pictures that its ends gave way to or are: rule, owner_a, owner_b: UUIDs,
    null for an end without one."""
    ends = ", ".join(f"CAST(fingerprint_{end} AS UUID) AS {end}" for end in "ab")
    edges = (
        f"(SELECT {ends}, rule FROM neighbors UNION ALL "
        f"SELECT {ends}, '{MatchRule.COPY.value}' AS rule FROM copies)"
    )
    return (
        f"SELECT e.rule, a.owner AS owner_a, b.owner AS owner_b FROM {edges} e "
        "LEFT JOIN owners a ON e.a = a.fingerprint LEFT JOIN owners b ON e.b = b.fingerprint"
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
        f"FROM dropped WHERE rule <> '{_RELEASED}' GROUP BY duplicate_of))"
    )
    yield (
        "SELECT 'duplicate_group' AS figure, series, bucket, CAST(n AS DOUBLE) AS value FROM "
        "(UNPIVOT (SELECT bucket, count(*) AS groups, CAST(sum(pictures) AS BIGINT) AS pictures, "
        f"max(pictures) AS largest FROM {sizes} GROUP BY bucket) "
        "ON groups, pictures, largest INTO NAME series VALUE n)"
    )
    yield _count("duplicate_rule", "'pictures'", "rule", "dropped")
    yield _count(
        "duplicate_distance", "rule", "CAST(distance AS VARCHAR)",
        "dropped WHERE distance IS NOT NULL",
    )  # fmt: skip
    for figure, source in (
        ("duplicate_similarity", "dropped WHERE similarity IS NOT NULL"),
        ("copy_similarity", "copies"),
    ):
        width = f"CAST({_SIMILARITY_STEP} AS DOUBLE)"
        step = f"floor(round(similarity / {width}, 6)) * {width}"
        yield _count(figure, "'copy'", f"printf('%.2f', {step})", source)
    yield _count("neighbor_distance", "rule", "CAST(distance AS VARCHAR)", "neighbors")
    joins = (
        "CASE WHEN owner_a IS NULL OR owner_b IS NULL THEN 'outside' "
        "WHEN owner_a = owner_b THEN 'inside' ELSE 'between' END"
    )
    yield _count("duplicate_edges", "rule", joins, "linked")


def _count(figure: str, series: str, bucket: str, source: str) -> str:
    return (
        f"SELECT '{figure}' AS figure, {series} AS series, {bucket} AS bucket, "
        f"CAST(count(*) AS DOUBLE) AS value FROM {source} GROUP BY 2, 3"
    )


def links(most: int) -> str:
    """Pairs of kept pictures that edges link, at most `most` + 1 of them: a, b (UUIDs)."""
    return (
        "SELECT DISTINCT least(owner_a, owner_b) AS a, greatest(owner_a, owner_b) AS b "
        f"FROM linked WHERE owner_a <> owner_b LIMIT {most + 1}"
    )


def linked_sizes() -> str:
    """Pictures of the groups that are linked to another: image (the kept one, a UUID), pictures."""
    ends = (
        "(SELECT owner_a AS owner FROM linked WHERE owner_a <> owner_b "
        "UNION SELECT owner_b FROM linked WHERE owner_a <> owner_b)"
    )
    return (
        "SELECT image, count(*) + 1 AS pictures FROM "
        "(SELECT CAST(duplicate_of AS UUID) AS image FROM dropped) "
        f"SEMI JOIN {ends} ON owner = image GROUP BY image"
    )


def samples(seed: int, largest: int, per_rule: int, members: int) -> str:
    """Groups to look at, a row for each dropped picture that is shown.

    sheet ('largest', or the rule of the group's least sure member), place (from 1, of the group in
    its sheet), duplicate_of, pictures (dropped ones of the group), and of the picture: image_id,
    rule, distance, similarity, position (from 1, the surest first). Of groups with more than
    `members` dropped ones they are spread evenly, the last included.
    """
    unsure = "distance IS NOT NULL, distance DESC, similarity, rule"
    groups = (
        f"(SELECT duplicate_of, count(*) AS pictures, first(rule ORDER BY {unsure}) AS loosest "
        f"FROM dropped WHERE rule <> '{_RELEASED}' GROUP BY duplicate_of)"
    )
    chance = chosen_by_chance.place_sql("duplicate_of", seed)
    big = (
        f"(SELECT duplicate_of, pictures, loosest FROM {groups} "
        f"ORDER BY pictures DESC, duplicate_of LIMIT {largest})"
    )
    by_chance = (
        f"(SELECT *, row_number() OVER (PARTITION BY loosest ORDER BY {chance}, duplicate_of) "
        f"AS place FROM {groups} ANTI JOIN {big} USING (duplicate_of))"
    )
    chosen = (
        "(SELECT 'largest' AS sheet, duplicate_of, pictures, "
        f"row_number() OVER (ORDER BY pictures DESC, duplicate_of) AS place FROM {big} UNION ALL "
        f"SELECT loosest, duplicate_of, pictures, place FROM {by_chance} "
        f"WHERE place <= {per_rule})"
    )
    surest = "distance IS NULL, distance, similarity DESC, image_id"
    placed = (
        "(SELECT c.*, d.image_id, d.rule, d.distance, d.similarity, "
        f"row_number() OVER (PARTITION BY duplicate_of ORDER BY {surest}) AS position "
        f"FROM dropped d JOIN {chosen} c USING (duplicate_of))"
    )
    return (
        f"SELECT * FROM {placed} WHERE floor(position * {members} / pictures) > "
        f"floor((position - 1) * {members} / pictures) OR pictures <= {members}"
    )
