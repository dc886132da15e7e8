"""Which pairs the report shows: random ones that were kept or dropped, and extreme scores.

Random ones are those with the smallest hash of seed and pair_id, so that the same run always shows
the same. How many pairs there are of each kind is known, so only hashes under a threshold, some of
a hundred a kind, have to be looked at.
"""

from collections.abc import Mapping

# Pairs that are looked at beyond those wanted: by chance, fewer than wanted come out of twice as
# many and sixty less than once in 10^9 times (Poisson, wanted up to 200).
_SPARE = 60
_HASHES = 2**64


def _below(rows: int, wanted: int) -> int:
    """The hash up to which some more than `wanted` of `rows` pairs lie; all where there are few."""
    chance = min(1.0, (2 * wanted + _SPARE) / max(rows, 1))
    return min(2**63 - 1, int(chance * _HASHES) - 2**63)


def chosen(seed: int, kept: int, kept_wanted: int, reasons: Mapping[str, int], wanted: int) -> str:
    """Spark SQL of pairs by chance: pair_id, chance, is_kept, reasons.

    kept: how many pairs are; reasons: how many have each reason. Of each kind the pairs with the
    smallest chance are among these, as many as are wanted.
    """
    conditions = []
    if kept_wanted:
        conditions.append(f"(is_kept AND chance <= {_below(kept, kept_wanted)})")
    if reasons and wanted:
        limits = ", ".join(f"'{r}', {_below(rows, wanted)}L" for r, rows in sorted(reasons.items()))
        conditions.append(f"exists(reasons, r -> chance <= try_element_at(map({limits}), r))")
    return (
        "SELECT pair_id, chance, is_kept, reasons FROM ("
        f"SELECT pair_id, is_kept, reasons, xxhash64({seed}, pair_id) AS chance FROM {{decisions}}"
        f") WHERE {' OR '.join(conditions) or 'false'}"
    )


def extreme(order: str, most: int) -> str:
    """Spark SQL of the pairs with the highest (order "DESC") or lowest ("ASC") similarity."""
    return (
        "SELECT pair_id, CAST(clip_similarity AS DOUBLE) AS score FROM {measures} "
        "WHERE clip_similarity IS NOT NULL AND NOT isnan(clip_similarity) "
        f"ORDER BY score {order}, pair_id LIMIT {most}"
    )


def listed(ids: set[bytes]) -> str:
    """Ids as Spark SQL writes them, separated by commas."""
    return ", ".join(f"X'{one.hex()}'" for one in sorted(ids))
