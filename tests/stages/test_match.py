"""The match stage: rows of `images` in, edges and counts out."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.errors import ConfigError, ContractError, PairmillError
from pipeline.core.ids import image_id
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES, NEIGHBORS
from pipeline.fetch.settings import DownloadSection
from pipeline.match import blocks
from pipeline.match.verify import hash256_distance
from pipeline.stages import match
from tests.match.hashes import (
    balanced,
    balanced64,
    flip,
    flip256,
    images_table,
    picture,
)


def context(spark: Any, root: Path, rows: list[dict[str, Any]], **config: Any) -> Context[Any]:
    store = Store(str(root))
    with store.publish_part(IMAGES, 0) as sink:
        sink.write(images_table(rows))
    section = match.MatchSection(**config)
    sections = {"run": RunSection(root=str(root)), "match": section, "download": DownloadSection()}
    return Context("match", spark, store, section, sections, {})


def run(ctx: Context[Any]) -> tuple[dict[frozenset[bytes], tuple[int, int]], dict[str, Any]]:
    accounts = match.build(ctx)
    for account in accounts:
        account.check("match")
    edges = pq.read_table(ctx.store.path(NEIGHBORS.name)).to_pylist()
    assert all(e["fingerprint_a"] < e["fingerprint_b"] for e in edges)
    assert all(e["rule"] == "perceptual" for e in edges)
    by_pair = {
        frozenset((e["fingerprint_a"], e["fingerprint_b"])): (e["distance"], e["distance256"])
        for e in edges
    }
    assert len(by_pair) == len(edges), "an edge was written twice"
    return by_pair, {a.unit: a for a in accounts}


@pytest.mark.spark
def test_edges_and_reasons_of_hand_made_pictures(spark: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    a, b, c, d, e = (int(h) for h in balanced64(rng, 5))
    wide = [bytes(h) for h in balanced(rng, 5, bits=256)]
    rows = [
        picture("a", a, wide[0]),
        picture("a again", a, wide[0], fingerprint=picture("a", a, wide[0])["fingerprint"]),
        picture("a near", flip(a, (0, 21, 42, 63)), flip256(wide[0], 48)),
        picture("a far", flip(a, (0, 1, 21, 42, 63)), wide[0]),  # 5 bits from a, 1 from "a near"
        picture("b", b, wide[1]),
        picture("b other256", flip(b, (5, 9)), flip256(wide[1], 49)),
        picture("c", c, wide[2]),
        picture("c wide", flip(c, (5, 9)), wide[2], original_width=700),
        picture("c wider", flip(c, (5,)), wide[2], original_width=760),
        picture("d", d, wide[3], texture=49),
        picture("d near", d, wide[3], texture=50),
        picture("e", e, wide[4]),
        picture("e same hash64", e, flip256(wide[4], 2)),
        picture("failed", a, wide[0]) | {"status": "http_404", "fingerprint": None},
    ]
    edges, accounts = run(context(spark, tmp_path, rows))
    fingerprints = {r["image_id"]: r["fingerprint"] for r in rows}

    def edge(*names: str) -> frozenset[bytes]:
        return frozenset(fingerprints[image_id(name)] for name in names)

    assert edges == {
        edge("a", "a near"): (4, 48),
        edge("a near", "a far"): (1, 48),
        edge("c", "c wide"): (2, 0),
        edge("c wide", "c wider"): (1, 0),
        edge("e", "e same hash64"): (0, 2),
    }
    assert accounts["pictures"].to_json() == {
        "unit": "pictures",
        "in": 13,
        "kept": 12,
        "dropped": {"same_fingerprint": 1},
    }
    assert accounts["searched_pictures"].dropped == {"low_texture": 1}
    assert accounts["candidate_pairs"].kept == 5
    assert accounts["candidate_pairs"].dropped == {"hash256_differs": 1, "shape_differs": 1}
    # Of distinct searched hashes: a-near, near-far, b, c-wide, c-wider, wide-wider.
    assert accounts["audited_neighbours"].to_json()["kept"] == 6


@pytest.mark.spark
def test_many_hashes_agree_with_brute_force(spark: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    hashes = balanced64(rng, 1500)
    near = hashes[rng.integers(0, 1500, 1500)]
    for _ in range(3):
        near = near ^ (np.uint64(1) << rng.integers(0, 64, 1500).astype(np.uint64))
    hashes = np.concatenate([hashes, near])
    same = bytes(32)
    rows = [picture(str(i), int(h), same) for i, h in enumerate(hashes)]
    edges, accounts = run(context(spark, tmp_path, rows, audit_rows=50))
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = {
        frozenset((rows[i]["fingerprint"], rows[j]["fingerprint"])): (int(distance[i, j]), 0)
        for i, j in zip(*np.nonzero(np.triu(distance <= 4, 1)), strict=True)
    }
    assert len(expected) > 1500
    assert edges == expected
    assert 0 < accounts["audited_neighbours"].kept < len(expected)


@pytest.mark.spark
def test_no_pictures_give_no_edges(spark: Any, tmp_path: Path) -> None:
    failed = picture("x", 1, bytes(32)) | {"status": "dns", "hash64": None, "fingerprint": None}
    edges, accounts = run(context(spark, tmp_path, [failed]))
    assert edges == {}
    assert accounts["pictures"].rows_in == 0


@pytest.mark.spark
def test_a_search_that_loses_pairs_fails_its_audit(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sabotaged(hashes: int, radius: int) -> blocks.BlockPlan:
        return blocks.BlockPlan(radius, 5, 1, blocks.make_plan(radius, 5).masks[:1])

    monkeypatch.setattr(match, "choose_plan", sabotaged)
    rng = np.random.default_rng(4)
    hashes = [int(h) for h in balanced64(rng, 200)]
    rows = [
        picture(f"{i}{k}", h ^ (k << (i % 60)), bytes(32))
        for i, h in enumerate(hashes)
        for k in (0, 1)
    ]
    ctx = context(spark, tmp_path, rows)
    with pytest.raises(PairmillError, match="missing from the search"):
        match.build(ctx)
    assert not ctx.store.exists(NEIGHBORS.name)


@pytest.mark.spark
def test_an_unsafe_radius_is_refused_before_the_search(spark: Any, tmp_path: Path) -> None:
    rows = [picture(str(i), 2**32 - 1 - i, bytes(32)) for i in range(3)]
    ctx = context(spark, tmp_path, rows, max_random_neighbours=1e-14)
    with pytest.raises(ConfigError, match="largest safe radius is 3"):
        match.build(ctx)
    assert not ctx.store.exists(NEIGHBORS.name)


def test_hash256_distance_counts_bits_and_refuses_other_lengths() -> None:
    a, b = bytes(32), bytes(31) + b"\x07"
    column = pa.array([a, a, b])
    assert hash256_distance(column, pa.array([a, b, b])).tolist() == [0, 3, 0]
    assert hash256_distance(column.slice(1), pa.array([a, a])).tolist() == [0, 3]
    assert hash256_distance(pa.array([], pa.binary()), pa.array([], pa.binary())).tolist() == []
    with pytest.raises(ContractError, match="32 bytes"):
        hash256_distance(pa.array([b"short"]), pa.array([a]))
