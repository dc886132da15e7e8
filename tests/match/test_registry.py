"""The registry's layout and search against brute force, without Spark."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.ids import image_id
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.match.registry import HASH_TABLES, TABLES, Registry, Release
from pipeline.match.released import MAX_RADIUS, Search, range_bits, search_range
from tests.match.hashes import U64, balanced64


def rows(hashes: U64, label: str = "old", texture: int = 80) -> pa.RecordBatch:
    names = [f"{label}{i}".encode().ljust(16, b".") for i in range(len(hashes))]
    return pa.RecordBatch.from_pydict(
        {
            "image_id": pa.array(names, pa.binary()),
            "fingerprint": pa.array([image_id(n.decode()) for n in names], pa.binary()),
            "hash64": pa.array(hashes.view(np.int64)),
            "hash256": pa.array([bytes(32)] * len(hashes), pa.binary()),
            "texture": pa.array(np.full(len(hashes), texture, np.int32)),
            "aspect": pa.array(np.ones(len(hashes))),
        }
    )


def add(to: Registry, name: str, batch: pa.RecordBatch, bucket_bits: int = 0) -> Registry:
    """Register rows as `pipeline.stages.register` does, in this process."""
    release_id = name.encode().hex().ljust(64, "0")
    counts = {}
    for table in TABLES:
        keyed = registry.keyed(table, batch, bucket_bits)
        counts[table.name] = [0] * (1 << bucket_bits)
        release = Release(name, release_id, batch.num_rows, counts)
        for bucket in range(1 << bucket_bits):
            here = keyed.filter(pa.array(keyed.column("bucket").to_numpy() == bucket))
            here = here.sort_by([("key", "ascending"), ("image_id", "ascending")])
            if here.num_rows:
                path = release.file(table, bucket)
                counts[table.name][bucket] = registry.write_file(to.store, path, [here])
    return to.with_release(release)


def found(search: Search, new: U64) -> list[tuple[int, bytes, int]]:
    """(new hash, released image, distance), of all ranges of the hash tables."""
    hits = []
    for number in range(1, len(TABLES)):
        for prefix in range(1 << search.range_bits):
            for batch in search_range(search, number, prefix, np.unique(new.view(np.int64))):
                columns = (batch.column(n).to_pylist() for n in ("word", "image_id", "distance"))
                hits += list(zip(*columns, strict=True))
    return sorted(hits)


def expected(old: pa.RecordBatch, new: U64, radius: int) -> list[tuple[int, bytes, int]]:
    hashes = old.column("hash64").to_numpy().view(np.uint64)
    distance = np.bitwise_count(np.unique(new.view(np.int64)).view(np.uint64)[:, None] ^ hashes)
    ids = old.column("image_id").to_pylist()
    words = np.unique(new.view(np.int64)).tolist()
    pairs = zip(*np.nonzero(distance <= radius), strict=True)
    return sorted((words[i], ids[j], int(distance[i, j])) for i, j in pairs)


def planted(rng: np.random.Generator, old: U64, count: int, flips: int) -> U64:
    near = old[rng.integers(0, len(old), count)]
    for _ in range(flips):
        near = near ^ (np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64))
    return near


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.integers(0, 6),
    bits=st.integers(0, 4),
    buckets=st.integers(0, 3),
    skewed=st.booleans(),
)
def test_the_search_finds_what_brute_force_finds_each_once(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    radius: int,
    bits: int,
    buckets: int,
    skewed: bool,
) -> None:
    rng = np.random.default_rng(seed)
    hashes = balanced64(rng, 400)
    if skewed:  # one third of all keys is the same
        hashes = hashes & ~np.uint64((1 << 40) - 1) if seed % 2 else hashes % np.uint64(1 << 12)
    first, second = rows(hashes[:300], "a"), rows(hashes[300:], "b")
    new = np.concatenate([planted(rng, hashes, 60, k) for k in range(8)] + [hashes[:5]])
    grown = Registry(Store(str(tmp_path_factory.mktemp("registry"))))
    grown = add(add(grown, "a", first, buckets), "b", second, 0)
    both = pa.Table.from_batches([first, second]).combine_chunks().to_batches()[0]
    wanted = expected(both, new, radius)
    assert len(wanted) >= 5
    assert found(Search(grown, radius, 20, bits), new) == wanted


def test_small_row_groups_and_chunks_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "ROW_GROUP_ROWS", 50)
    monkeypatch.setattr("pipeline.match.released._LOOKUPS", 500)
    rng = np.random.default_rng(5)
    old = rows(balanced64(rng, 1000))
    new = planted(rng, old.column("hash64").to_numpy().view(np.uint64), 300, 4)
    grown = add(Registry(Store(str(tmp_path))), "a", old, 1)
    path = grown.releases[0].file(HASH_TABLES[0], 0)
    assert pq.read_metadata(tmp_path / path).num_row_groups > 5
    assert found(Search(grown, 4, 20, 2), new) == expected(old, new, 4)


def test_a_key_that_many_share_is_searched_whole(tmp_path: Path) -> None:
    hashes = np.full(3000, 12345, np.uint64)
    old = rows(hashes)
    new = np.array([12345, 12345 ^ 0b1011], np.uint64)
    grown = add(Registry(Store(str(tmp_path))), "a", old)
    assert found(Search(grown, 3, 20), new) == expected(old, new, 3)
    assert len(expected(old, new, 3)) == 6000


def test_only_files_and_row_groups_that_are_hit_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    old = rows(balanced64(rng, 2000))
    new = old.column("hash64").to_numpy().view(np.uint64)[:1]
    monkeypatch.setattr(registry, "ROW_GROUP_ROWS", 20)
    grown = add(Registry(Store(str(tmp_path))), "a", old, 3)
    read: list[Any] = []
    plain = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, group, **k: (read.append(k), plain(self, group, **k))[1],
    )
    assert len(found(Search(grown, 2, 20), new)) == 1
    assert 3 <= len(read) <= 7, "one row group of each table, and the row that was found"


def test_flat_released_pictures_are_not_found_by_hash(tmp_path: Path) -> None:
    old = rows(np.array([7], np.uint64), texture=19)
    grown = add(Registry(Store(str(tmp_path))), "a", old)
    assert found(Search(grown, 4, 20), np.array([7], np.uint64)) == []
    assert len(found(Search(grown, 4, 19), np.array([7], np.uint64))) == 1


def test_equal_fingerprints_are_found_by_their_heads(tmp_path: Path) -> None:
    old = rows(balanced64(np.random.default_rng(7), 50), texture=0)
    grown = add(Registry(Store(str(tmp_path))), "a", old, 2)
    heads: npt.NDArray[np.int64] = TABLES[0].words(old.column("fingerprint")[3:5]).view(np.int64)
    batches = [
        batch
        for prefix in range(4)
        for batch in search_range(Search(grown, 4, 20, 2), 0, prefix, np.sort(heads))
    ]
    ids = sorted(i for b in batches for i in b.column("image_id").to_pylist())
    assert ids == sorted(old.column("image_id").to_pylist()[3:5])


def test_each_radius_has_the_flips_that_the_pigeonhole_principle_asks_for() -> None:
    masks = [len(registry.flip_masks(t.bits, t.flips(r))) for r in range(7) for t in HASH_TABLES]
    assert masks == [1] * 9 + [22, 22, 23] * 3 + [232, 232, 254]
    assert sum(t.bits for t in HASH_TABLES) == 64
    assert MAX_RADIUS // 3 == 2


def test_spread_loses_no_bit() -> None:
    single = np.uint64(1) << np.arange(64, dtype=np.uint64)
    assert np.bitwise_or.reduce(registry.spread(single)) == np.uint64(2**64 - 1)
    assert (np.bitwise_count(registry.spread(single)) == 1).all()


def test_ranges_grow_with_either_side() -> None:
    assert range_bits(10, 10) == 0
    assert range_bits(10**6, 10) == 2
    assert range_bits(10, 10**10) == 9
    assert range_bits(10**12, 10) == 12


def test_a_registry_of_other_hashes_is_refused_with_both_versions(tmp_path: Path) -> None:
    add(Registry(Store(str(tmp_path))), "a", rows(np.array([7], np.uint64)))
    data = json.loads((tmp_path / "registry.json").read_text())
    data["hash_version"] = "md5-of-the-name-1"
    (tmp_path / "registry.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"'md5-of-the-name-1'.*'dct64-.*another folder"):
        registry.load(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", '{"format": "pairmill-registry-1"}', '{"format": 9}'])
def test_a_damaged_registry_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "registry.json").write_text(text)
    with pytest.raises(InputError, match=r"match\.registry"):
        registry.load(str(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    grown = add(Registry(Store(str(tmp_path))), "a", rows(np.array([7], np.uint64)))
    path = grown.releases[0].file(HASH_TABLES[1], 0)
    (tmp_path / path).unlink()
    with pytest.raises(InputError, match="hash64_1"):
        found(Search(grown, 4, 20), np.array([7], np.uint64))


def test_no_registry_is_told_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make register"):
        registry.load(str(tmp_path / "none"))
