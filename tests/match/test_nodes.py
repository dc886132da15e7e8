"""Nodes of a bucket, against the same by hand."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.match import nodes
from pipeline.match.tables import NODES

names = st.integers(0, 9).map(lambda n: b"%016d" % n)


@st.composite
def pictures(draw: st.DrawFn) -> list[dict[str, object]]:
    """A fingerprint names both hashes; texture and shape may differ among its pictures."""
    rows = []
    for fingerprint in draw(st.lists(names, max_size=30)):
        digit = fingerprint[-1]
        rows.append(
            {
                "fingerprint": fingerprint,
                "hash64": digit % 4 - 2,
                "hash256": bytes([digit]) * 32,
                "aspect": draw(st.sampled_from([0.5, 1.0, 1.5])),
                "texture": draw(st.integers(18, 22)),
            }
        )
    return rows


@given(pictures())
def test_one_node_for_each_fingerprint_with_texture(rows: list[dict[str, object]]) -> None:
    table = pa.Table.from_pylist(rows, schema=nodes.PICTURE)
    found, (seen, searched) = nodes.distinct(table, min_texture=20)
    expected = {}
    for name in {row["fingerprint"] for row in rows}:
        same = [row for row in rows if row["fingerprint"] == name]
        if min(row["texture"] for row in same) >= 20:  # type: ignore[type-var]
            aspect = min(row["aspect"] for row in same)  # type: ignore[type-var]
            expected[name] = (same[0]["hash64"], same[0]["hash256"], aspect)
    listed = found.to_pylist()
    assert found.schema.names == NODES.schema.names
    assert {r["fingerprint"]: (r["hash64"], r["hash256"], r["aspect"]) for r in listed} == expected
    assert len(listed) == len(expected)
    order = [row["hash64"] for row in listed]
    assert order == sorted(order)
    assert nodes.distinct_hashes(found).tolist() == sorted(set(order))
    assert seen.rows_in == len(rows)
    assert seen.kept == searched.rows_in == len({row["fingerprint"] for row in rows})
    assert searched.kept == len(expected)


@given(pictures(), st.integers(1, 4), st.lists(st.tuples(*[st.integers(-3, 2)] * 2), max_size=20))
def test_pairs_meet_all_nodes_of_both_their_hashes(
    rows: list[dict[str, object]], buckets: int, wanted: list[tuple[int, int]]
) -> None:
    wanted = list({pair for pair in wanted if pair[0] < pair[1]})
    all_nodes, _ = nodes.distinct(pa.Table.from_pylist(rows, schema=nodes.PICTURE), 0)
    bucket = nodes.bucket_of(all_nodes.column("hash64").to_numpy(), buckets)
    files = [all_nodes.filter(pa.array(bucket == b)) for b in range(buckets)]
    pairs = pa.table([*zip(*[(*p, 3) for p in wanted], strict=True)] or [[]] * 3, schema=nodes.PAIR)
    halves = pa.Table.from_batches(
        [nodes.first_halves(part, files[b]) for b, part in split(pairs, "hash_a", buckets)],
        nodes.HALF,
    )
    found = []
    for b, part in split(halves, "hash_b", buckets):
        found += nodes.second_halves(part, files[b]).to_pylist()
    for file in files:
        for batch in nodes.equal_hashes(file):
            found += batch.to_pylist()
    listed = all_nodes.to_pylist()
    expected = [
        (a["fingerprint"], b["fingerprint"], 3)
        for a in listed
        for b in listed
        if (a["hash64"], b["hash64"]) in wanted
    ]
    expected += [
        (*sorted((a["fingerprint"], b["fingerprint"])), 0)
        for i, a in enumerate(listed)
        for b in listed[i + 1 :]
        if a["hash64"] == b["hash64"]
    ]
    got = []
    by_name = {row["fingerprint"]: row for row in listed}
    for row in found:
        a, b = row["fingerprint_a"], row["fingerprint_b"]
        for name, side in ((a, "a"), (b, "b")):
            shown = {n: by_name[name][n] for n in nodes.SHOWN}
            assert {n: row[f"{n}_{side}"] for n in nodes.SHOWN} == shown
        got.append((a, b, 3) if row["distance"] else (*sorted((a, b)), 0))
    assert sorted(got) == sorted(expected)


def split(rows: pa.Table, column: str, buckets: int) -> list[tuple[int, pa.Table]]:
    bucket = nodes.bucket_of(rows.column(column).to_numpy(), buckets)
    return [(b, rows.filter(pa.array(bucket == b))) for b in range(buckets)]


def test_buckets_are_even_whatever_the_hashes() -> None:
    for hashes in (np.arange(10_000), np.arange(10_000) << 40, -np.arange(10_000)):
        counts = np.bincount(nodes.bucket_of(hashes.astype(np.int64), 7), minlength=7)
        assert counts.sum() == 10_000
        assert counts.min() == pytest.approx(10_000 / 7, rel=0.2)
