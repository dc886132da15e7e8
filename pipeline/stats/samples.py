"""Which pairs the report shows: random ones that were kept or dropped, and extreme scores.

An id is a digest, so ids lie evenly in their range, and those that follow a point in it are as good
as drawn by lot. The seed is the point: the same run always shows the same. How many pairs there are
of each kind is known, so only a stretch that holds some of a hundred a kind has to be looked at.
"""

import hashlib
from collections.abc import Mapping

from pipeline.core.ids import ID_BYTES

# Pairs that are looked at beyond those wanted: by chance, fewer than wanted come out of twice as
# many and sixty less than once in 10^9 times (Poisson, wanted up to 200).
_SPARE = 60
# A reason is rare when more than one in so many ids would have to be looked at for it.
_RARE = 100
_IDS = 1 << (8 * ID_BYTES)


def start(seed: int) -> bytes:
    """The id that a seed begins with."""
    return hashlib.sha256(str(seed).encode()).digest()[:ID_BYTES]


def place(one: bytes, seed: int) -> tuple[bool, bytes]:
    """Sorts ids as they follow the seed's, round the end."""
    return one < start(seed), one


def place_sql(column: str, seed: int) -> str:
    """SQL of what sorts a column of ids as `place` does."""
    is_before = f"CASE WHEN {column} < {blob(start(seed))} THEN 1 ELSE 0 END"
    return f"(encode(CAST({is_before} AS VARCHAR)) || {column})"


def _stretch(seed: int, rows: int, wanted: int) -> tuple[bool, bytes]:
    """The ids among which some more than `wanted` of `rows` lie, from the seed's on, all of them
    where rows are few: whether they go round the end of all ids, and the first one behind them.
    """
    first = int.from_bytes(start(seed), "big")
    length = min(_IDS, (2 * wanted + _SPARE) * _IDS // max(rows, 1))
    is_round, end = divmod(first + length, _IDS)
    return bool(is_round), end.to_bytes(ID_BYTES, "big")


def chosen(seed: int, kept: int, kept_wanted: int, reasons: Mapping[str, int], wanted: int) -> str:
    """DuckDB's SQL of pairs by chance: pair_id, reason (null: a kept pair).

    kept: how many pairs are; reasons: how many have each reason. Of each kind the first by `place`
    are among these, as many as are wanted; a pair is there once for each of its reasons.
    """
    first = blob(start(seed))
    inside = (
        f"CASE WHEN is_round THEN pair_id >= {first} OR pair_id < until "
        f"ELSE pair_id >= {first} AND pair_id < until END"
    )
    queries = []
    if kept_wanted:
        limit = _limits(seed, {"": kept}, kept_wanted)
        queries.append(
            f"SELECT pair_id, CAST(NULL AS VARCHAR) AS reason FROM decisions, {limit} "
            f"WHERE is_kept AND {inside}"
        )
    if reasons and wanted:
        queries.append(
            "SELECT pair_id, reason FROM (SELECT pair_id, unnest(reasons) AS reason FROM decisions "
            f"WHERE NOT is_kept AND ({_may_be(seed, reasons, wanted)})) "
            f"JOIN {_limits(seed, reasons, wanted)} ON reason = name WHERE {inside}"
        )
    return " UNION ALL ".join(queries) or (
        "SELECT pair_id, CAST(NULL AS VARCHAR) AS reason FROM decisions WHERE false"
    )


def _may_be(seed: int, reasons: Mapping[str, int], wanted: int) -> str:
    """SQL of a cheap condition on dropped pairs, which all hold that are chosen: a rare reason, or
    an id in the stretch of the rarest of the others."""
    rare = [name for name, rows in reasons.items() if rows < _RARE * (2 * wanted + _SPARE)]
    rows = min((rows for name, rows in reasons.items() if name not in rare), default=0)
    conditions = []
    if rare:
        named = ", ".join(f"'{name}'" for name in rare)
        conditions.append(f"list_has_any(reasons, [{named}])")
    if rows:
        is_round, end = _stretch(seed, rows, wanted)
        way = "OR" if is_round else "AND"
        conditions.append(f"pair_id >= {blob(start(seed))} {way} pair_id < {blob(end)}")
    return " OR ".join(f"({condition})" for condition in conditions)


def _limits(seed: int, rows: Mapping[str, int], wanted: int) -> str:
    """A table of stretches by name: name, is_round, until."""
    values = []
    for name, count in sorted(rows.items()):
        is_round, until = _stretch(seed, count, wanted)
        values.append(f"('{name}', {str(is_round).lower()}, {blob(until)})")
    return f"(VALUES {', '.join(values)}) limits(name, is_round, until)"


def extreme(order: str, most: int) -> str:
    """DuckDB's SQL of the pairs with the highest (order "DESC") or lowest ("ASC") similarity."""
    return (
        "SELECT pair_id, CAST(clip_similarity AS DOUBLE) AS score FROM measures "
        "WHERE clip_similarity IS NOT NULL AND NOT isnan(clip_similarity) "
        f"ORDER BY score {order}, pair_id LIMIT {most}"
    )


def blob(data: bytes) -> str:
    """Bytes as DuckDB's SQL writes them."""
    return "'" + "".join(f"\\x{byte:02X}" for byte in data) + "'::BLOB"


def listed(ids: set[bytes]) -> str:
    """Ids as DuckDB's SQL writes them, separated by commas."""
    return ", ".join(map(blob, sorted(ids)))
