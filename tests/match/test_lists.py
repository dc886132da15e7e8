"""Lists of digests and hashes: what is read of them, what is refused, what is found in them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.hash_files import PACK, VERSION_KEY
from pipeline.match import lists
from pipeline.match.listed import Guard
from pipeline.match.lists import ListSection
from pipeline.match.multihash import HashIndex, flat_is_faster
from tests.match.hashes import balanced, flip256


def source(path: Path, **other: Any) -> ListSection:
    return ListSection(kind="block", path=str(path), **other)


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize(("bits", "radius"), [(64, 0), (64, 4), (64, 6), (256, 15), (256, 31)])
def test_multi_hash_finds_what_flat_finds(bits: int, radius: int) -> None:
    rng = np.random.default_rng(radius)
    rows = balanced(rng, 1000, bits)
    queries = np.repeat(rows[:100], 3, axis=0)
    for query in queries:  # up to radius + 2 bits away
        for bit in rng.choice(bits, rng.integers(0, radius + 3), replace=False):
            query[bit // 8] ^= 1 << (bit % 8)
    flat, multi = (HashIndex(rows, radius, is_flat).search(queries) for is_flat in (True, False))
    distance = np.bitwise_count(queries[:, None] ^ rows[None]).sum(axis=2)
    expected = {
        (i, j, distance[i, j]) for i, j in zip(*np.nonzero(distance <= radius), strict=True)
    }
    assert len(expected) > 100
    assert set(zip(*flat, strict=True)) == expected
    assert set(zip(*multi, strict=True)) == expected
    assert len(multi.query) == len(expected), "each once"


def test_which_way_is_faster_follows_size_and_radius() -> None:
    assert flat_is_faster(1000, 64, 4)
    assert not flat_is_faster(10**6, 64, 4)
    assert flat_is_faster(10**6, 256, 31)
    assert not flat_is_faster(10**6, 256, 15)


@given(st.lists(st.integers(0, 40)), st.lists(st.integers(0, 40)))
def test_digests_are_looked_up_exactly(listed: list[int], asked: list[int]) -> None:
    # Many share their first half, so that the second must decide.
    def halves(numbers: list[int]) -> Any:
        joined = b"".join((n % 3).to_bytes(8, "little") + n.to_bytes(8, "little") for n in numbers)
        return lists.as_halves(joined, 16)

    known = lists._distinct(halves(listed))
    assert len(known) == len(set(listed))
    assert lists.has_digests(known, halves(asked)).tolist() == [n in listed for n in asked]


def test_text_lists_of_every_kind(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    wide, narrow = balanced(rng, 2, 256), balanced(rng, 2, 64)
    (tmp_path / "a.sha256").write_text(f"# ours\n\n{sha('x').hex().upper()}\r\n{sha('y').hex()}")
    (tmp_path / "b.md5.txt").write_text(hashlib.md5(b"x").hexdigest() + "\n")
    (tmp_path / "c.pdq").write_text("\n".join(bytes(h).hex() for h in wide))
    (tmp_path / "d.hash64").write_text("\ufeff" + "\n".join(bytes(h).hex() for h in narrow))
    (tmp_path / ".hidden").write_text("not looked at")
    found = lists.read("all", source(tmp_path))
    assert {bytes(row.view(np.uint8)) for row in found.sha256} == {sha("x")[:16], sha("y")[:16]}
    assert [bytes(row.view(np.uint8)) for row in found.md5] == [hashlib.md5(b"x").digest()]
    assert found.hashes.column("hash256").to_pylist() == [*map(bytes, wide), None, None]
    signed = [int.from_bytes(bytes(h), "big", signed=True) for h in narrow]
    assert found.hashes.column("hash64").to_pylist() == [None, None, *signed]


SECRET = "ab" * 31


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("list.txt", {}, "not told"),
        ("list.sha256", {"digest": "pdq"}, "suffix says sha256"),
        ("list.sha256", {}, "line 2: not a sha256 of 64"),
        ("list.txt", {"digest": "md5"}, "line 2: not a md5 of 32"),
        ("list.hash64", {}, "line 2: not a hash64 of 16"),
    ],
)
def test_a_bad_list_is_told_by_file_and_line_alone(
    tmp_path: Path, name: str, settings: dict[str, str], message: str
) -> None:
    (tmp_path / name).write_text(f"# header\n{SECRET}\n")
    with pytest.raises(InputError, match=message) as caught:
        lists.read("mine", source(tmp_path / name, **settings))
    assert name in str(caught.value) and SECRET[:8] not in str(caught.value)


def test_missing_and_binary_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"match\.lists\.mine: no file"):
        lists.read("mine", source(tmp_path / "none.sha256"))
    (tmp_path / "a.sha256").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        lists.read("mine", source(tmp_path / "a.sha256"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not readable Parquet"):
        lists.read("mine", source(tmp_path / "a.parquet"))


def pack(path: Path, rows: list[dict[str, Any]], version: bytes | None = None) -> None:
    table = pa.Table.from_pylist(rows, PACK)
    if version is not None:
        table = table.replace_schema_metadata({VERSION_KEY: version})
    pq.write_table(table, path)


def row(name: str, hash64: int, hash256: bytes, texture: int = 80, aspect: float = 1.0) -> Any:
    md5 = hashlib.md5(name.encode()).digest()
    digests = {"name": name, "sha256": sha(name), "md5": md5}
    return digests | {"hash64": hash64, "hash256": hash256, "texture": texture, "aspect": aspect}


def test_a_pack_of_another_version_is_refused_with_both(tmp_path: Path) -> None:
    pack(tmp_path / "a.parquet", [row("a", 1, bytes(32))], b"dhash-0")
    with pytest.raises(InputError, match=r"a\.parquet.*'dhash-0'.*'dct64-.*make hash-pack"):
        lists.read("mine", source(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"hash64": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="state no version"):
        lists.read("mine", source(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"sha256": [b"short"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="row 1: sha256 is not 32 bytes"):
        lists.read("mine", source(tmp_path / "a.parquet"))


def test_identity_is_of_content_and_settings_not_of_the_place(tmp_path: Path) -> None:
    for name, text in (("a", sha("x").hex()), ("b", sha("x").hex()), ("c", sha("y").hex())):
        (tmp_path / f"{name}.sha256").write_text(text)
    a, b, c = (lists.identity("l", source(tmp_path / f"{n}.sha256")) for n in "abc")
    assert a == b != c
    assert a != lists.identity("l", source(tmp_path / "a.sha256", radius64=1))
    assert "path" not in a


def asked(name: str, hash64: int, hash256: bytes, aspect: float = 1.0) -> pa.RecordBatch:
    columns = {
        "fingerprint": pa.array([name.encode()], pa.binary()),
        "hash64": [hash64],
        "hash256": pa.array([hash256], pa.binary()),
        "aspect": [aspect],
    }
    return pa.RecordBatch.from_pydict(columns)


def test_hashes_match_by_the_rule_that_the_list_can_tell(tmp_path: Path) -> None:
    wide = [bytes(h) for h in balanced(np.random.default_rng(3), 3, 256)]
    pack(tmp_path / "a.parquet", [row("a", 0, wide[0]), row("flat", 7, wide[2], texture=19)])
    (tmp_path / "b.hash64").write_text("7fffffff00000000")
    guard = Guard("l", source(tmp_path), lists.read("l", source(tmp_path)), 48, 0.1, 20)

    def rules(hash64: int, hash256: bytes, aspect: float = 1.0) -> dict[int, int]:
        found = guard.by_hash(asked("x", hash64, hash256, aspect))
        return {r["rule"]: r["distance"] for batch in found for r in batch.to_pylist()}

    assert rules(-1, flip256(wide[0], 31)) == {2: 31}, "PDQ alone, whatever the other hash"
    assert rules(-1, flip256(wide[0], 32)) == {}
    assert rules(0b1111, flip256(wide[0], 48)) == {3: 4}, "both hashes and the shape"
    assert rules(0b1111, flip256(wide[0], 49)) == {}
    assert rules(0b1111, flip256(wide[0], 48), aspect=1.2) == {}
    assert rules(0b11111, flip256(wide[0], 48)) == {}
    assert rules(0x7FFFFFFF00000000, wide[1], aspect=9) == {3: 0}, "the list has nothing wider"
    assert rules(7, wide[2]) == {}, "flat pictures of a list match by digest alone"
