"""Pairs by chance: the first of each kind after the seed's point are among those that are chosen."""

from collections import Counter

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline.stats import samples

_ROWS, _WANTED = 60_000, 3


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rare", [0, 1, 100])
def test_the_first_of_every_reason_are_chosen(
    seed: int, rare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever counts as a rare reason: it changes what is looked at, not what is found."""
    monkeypatch.setattr(samples, "_RARE", rare)
    chance = np.random.default_rng(seed)
    ids = [chance.bytes(16) for _ in range(_ROWS)]
    names = ["kept", "common", "other", "seldom", "once"]
    shares = [0.4, 0.4, 0.19, 0.00995, 0.00005]
    first = chance.choice(names, _ROWS, p=shares)
    reasons = [[] if name == "kept" else sorted({name, "other"}) for name in first]
    table = pa.table(
        {
            "pair_id": pa.array(ids, pa.binary(16)),
            "is_kept": first == "kept",
            "reasons": pa.array(reasons, pa.list_(pa.string())),
        }
    )
    connection = duckdb.connect()
    connection.from_arrow(table).create("decisions")
    counts = Counter(reason for told in reasons for reason in told)
    kept = sum(not told for told in reasons)
    rows = connection.sql(samples.chosen(seed, kept, _WANTED, counts, _WANTED)).fetchall()
    for reason in (None, *counts):
        mine = [
            pair
            for pair, told in zip(ids, reasons, strict=True)
            if (reason in told if reason else not told)
        ]
        mine.sort(key=lambda pair: samples.place(pair, seed))
        found = sorted((p for p, r in rows if r == reason), key=lambda p: samples.place(p, seed))
        assert found[:_WANTED] == mine[:_WANTED], reason
    assert len(rows) < _ROWS / 10 and len(set(rows)) == len(rows)
