"""Balance and caps in plain Python: what `stages.balance` is held against."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import xxhash

from pipeline.core.balance import Cap, Draw
from pipeline.core.filter import Filter

Row = dict[str, Any]


def hashed(*values: bytes | str | int) -> int:
    """Spark's xxhash64 of some values (an int is a long) as an unsigned number: XXH64, each value
    seeded by the hash of those before, the first by 42."""
    seed = 42
    for value in values:
        if isinstance(value, int):
            value = value.to_bytes(8, "little", signed=True)
        data = value.encode() if isinstance(value, str) else value
        seed = xxhash.xxh64_intdigest(data, seed=seed)
    return seed


def ranks(rows: list[Row], cap: Cap) -> dict[bytes, int]:
    """The place of every pair in its group; 0 where it is in none."""

    def order(row: Row) -> tuple[float, bytes]:
        if cap.by == "hash":
            return hashed(row["pair_id"], cap.rank, cap.seed), row["pair_id"]
        similarity = row["similarity"]
        return (2.0 if math.isnan(similarity) else -similarity), row["pair_id"]

    found, sizes = {}, Counter[str]()
    for row in sorted(rows, key=order):
        group = row[cap.group]
        found[row["pair_id"]] = sizes[group] if group else 0
        sizes[group] += 1
    return found


def drawn(rows: list[Row], draw: Draw) -> set[bytes]:
    """The pairs that one of their entries draws, or that have none."""
    counts = Counter(entry for row in rows for entry in row[draw.entries])

    def draws(pair_id: bytes, entry: int) -> bool:
        number = hashed(pair_id, entry.to_bytes(4, "little"), draw.seed)
        return (number >> 11) * 2.0**-53 < draw.max_pairs / counts[entry]

    return {
        row["pair_id"]
        for row in rows
        if not row[draw.entries] or any(draws(row["pair_id"], e) for e in row[draw.entries])
    }


def judged(rows: list[Row], filters: Mapping[str, Filter]) -> dict[bytes, list[str]]:
    """The reasons of every pair, after all."""
    reasons = {row["pair_id"]: list(row["reasons"]) for row in rows}
    for chosen in filters.values():
        passing = [row for row in rows if not reasons[row["pair_id"]]]
        if isinstance(chosen, Cap):
            for pair_id, rank in ranks(passing, chosen).items():
                if rank >= chosen.max_pairs:
                    reasons[pair_id] = [f"{chosen.rank}_high"]
        elif isinstance(chosen, Draw):
            kept = drawn(passing, chosen)
            for row in passing:
                if row["pair_id"] not in kept:
                    reasons[row["pair_id"]] = ["is_balanced_low"]
    return reasons
