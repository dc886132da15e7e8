"""`match.turned`: mirror images and turned pictures as edges, once each."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.errors import ConfigError
from pipeline.core.ids import image_id
from pipeline.core.tables import NEIGHBORS
from pipeline.fetch.decode import decode
from pipeline.fetch.picture import DecodeSettings
from pipeline.stages import match
from tests.fetch.pictures import encoded, photo
from tests.match.hashes import picture
from tests.stages.test_match import context

TURN = Image.Transpose
SETTINGS = DecodeSettings(turned_hashes=True)


def row(name: str, image: Image.Image, quality: int = 92, **other: Any) -> dict[str, Any]:
    """A row of `images` as the download would write it."""
    found = decode(encoded(image, quality=quality), SETTINGS)
    kept = ("fingerprint", "texture", "original_width", "original_height", "turned64", "turned256")
    told = {name: getattr(found, name) for name in kept}
    assert found.hash64 is not None and found.hash256 is not None
    return picture(name, found.hash64 % 2**64, found.hash256, **told) | other


def run(ctx: Any) -> tuple[dict[frozenset[bytes], str], dict[str, Any]]:
    accounts = {account.unit: account for account in match.build(ctx)}
    for account in accounts.values():
        account.check("match")
    rows = pq.read_table(ctx.store.path(NEIGHBORS.name)).to_pylist()
    assert all(e["fingerprint_a"] < e["fingerprint_b"] for e in rows)
    edges = {frozenset((e["fingerprint_a"], e["fingerprint_b"])): e["rule"] for e in rows}
    assert len(edges) == len(rows), "an edge was written twice"
    return edges, accounts


@pytest.mark.spark
def test_turned_copies_are_edges_and_nothing_else(spark: Any, tmp_path: Path) -> None:
    scene = photo(400, 300, seed=1)
    mirrored = photo(400, 300, seed=3).transpose(TURN.FLIP_LEFT_RIGHT)
    symmetric = row("symmetric", photo(400, 400, seed=2))
    rows = [
        row("scene", scene),
        row("scene small", scene.resize((240, 180)), 60),
        row("scene mirrored", scene.transpose(TURN.FLIP_LEFT_RIGHT), 70),
        row("scene by 90", scene.transpose(TURN.ROTATE_90)),
        row("scene by 180", scene.transpose(TURN.ROTATE_180), 50),
        symmetric
        | {"turned64": [symmetric["hash64"]] * 7, "turned256": [symmetric["hash256"]] * 7},
        row("other", photo(400, 300, seed=3)),
        row("other mirrored, cut to a strip", mirrored, original_height=200),
        row("flat", photo(400, 300, seed=4), texture=49),
        row("flat mirrored", photo(400, 300, seed=4).transpose(TURN.FLIP_LEFT_RIGHT), texture=80),
    ]
    by_id = {r["image_id"]: r["fingerprint"] for r in rows}
    assert len(set(by_id.values())) == len(rows)

    def edge(*names: str) -> frozenset[bytes]:
        return frozenset(by_id[image_id(name)] for name in names)

    scenes = [name for name in ("scene", "scene small", "scene mirrored", "scene by 90")]
    expected = {edge(*pair): "turned" for pair in combinations([*scenes, "scene by 180"], 2)}
    expected[edge("scene", "scene small")] = "perceptual"
    edges, accounts = run(context(spark, tmp_path, rows, turned=True, radius=6))
    assert edges == expected
    turned = accounts["turned_pairs"]
    assert turned.kept == 9
    # Each is met from both sides; the strip is of another shape.
    assert turned.dropped["same_pair"] > 0 and turned.dropped["shape_differs"] > 0


@pytest.mark.spark
def test_pictures_without_turned_hashes_are_refused(spark: Any, tmp_path: Path) -> None:
    rows = [row("a", photo(seed=5)), picture("b", 7, bytes(32)), picture("c", 9, bytes(32))]
    ctx = context(spark, tmp_path, rows, turned=True)
    with pytest.raises(ConfigError, match="2 pictures have no turned hashes.*turned_hashes = true"):
        match.build(ctx)
    assert not ctx.store.exists(NEIGHBORS.name)


@pytest.mark.spark
def test_turned_hashes_count_towards_the_safe_radius(spark: Any, tmp_path: Path) -> None:
    rows = [row(str(seed), photo(seed=seed)) for seed in (6, 7)]
    # Two hashes are safe with this limit, the sixteen of both pictures in every turn are not.
    limit = match.refuse_unsafe(2, 4, 1.0, widest=6) * 2
    match.build(context(spark, tmp_path / "upright", rows, max_random_neighbours=limit))
    with pytest.raises(ConfigError, match="among 16 hashes"):
        match.build(
            context(spark, tmp_path / "turned", rows, max_random_neighbours=limit, turned=True)
        )
