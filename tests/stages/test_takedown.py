"""Removal from releases: masked at once, gone from every byte of the next version, with a receipt."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.takedown import main
from pipeline.core import release
from pipeline.shards import removal
from pipeline.shards.coyo import COLUMNS, KEY
from pipeline.shards.verify import verify
from pipeline.stream.reader import Release
from pipeline.stream.tombstones import Tombstones
from tests.shards import plain_release, small_run

SAMPLES = 40
PER_SHARD = 10


def key(i: int) -> str:
    return f"{i:032x}"


def write(folder: Path) -> list[plain_release.Sample]:
    """Pictures of which no two have the same bytes, with what may be said of them."""
    rows: list[plain_release.Sample] = []
    for i in range(SAMPLES):
        record = {
            "key": key(i),
            "caption": f"caption {i:04}!",
            "url": f"https://img{i % 3}.site{i % 7}.example/{i}.jpg",
        }
        rows.append(
            (key(i), small_run.picture(i), f"caption {i:04}!".encode(), json.dumps(record).encode())
        )
    plain_release.write(folder, rows, PER_SHARD)
    for number in range(SAMPLES // PER_SHARD):
        path = folder / release.sidecar_path(f"{number:05}.tar")
        table = pq.read_table(path)
        own = range(number * PER_SHARD, (number + 1) * PER_SHARD)
        table = table.append_column("url", pa.array([json.loads(rows[i][3])["url"] for i in own]))
        table = table.append_column(
            "page_url", pa.array([f"https://page{i}.example/" for i in own])
        )
        table = table.append_column("sha256", pa.array([bytes([i]) * 32 for i in own], pa.binary()))
        pq.write_table(table, path, write_page_checksum=True)
        coyo = pa.table(
            {
                "url": table["url"],
                "text": [f"caption {i:04}!" for i in own],
                "key": [key(i) for i in own],
            },
            schema=pa.schema([COLUMNS.field("url"), COLUMNS.field("text"), KEY]),
        )
        beside = folder / release.coyo_path(f"{number:05}.tar")
        beside.parent.mkdir(exist_ok=True)
        pq.write_table(coyo, beside, write_page_checksum=True)
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[plain_release.Sample]]:
    folder = tmp_path_factory.mktemp("takedown") / "release"
    return folder, write(folder)


@pytest.fixture
def folder(made: tuple[Path, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "release"))


def take_down(folder: Path, lines: str, *more: str) -> int:
    listed = folder.parent / "list.txt"
    listed.write_text(lines, encoding="utf-8")
    return main([str(folder), "--list", str(listed), *more])


LIST = f"""# who asked, and when
pair:{key(3)}
sha256:{"11" * 32}
domain:site5.example
https://img0.site0.example/21.jpg
page29.example
"""
GONE = {3, 0x11, 21, 29} | set(range(5, SAMPLES, 7))


def test_what_is_named_is_masked_at_once(folder: Path) -> None:
    assert take_down(folder, LIST) == 0
    assert Tombstones(str(folder)).keys() == {key(i) for i in GONE}
    assert verify(str(folder)) == []  # nothing else of the release has changed
    receipt = json.loads(next((folder / ".meta/takedowns").glob("*.json")).read_text())
    assert receipt["id"] == Release(str(folder)).manifest.id and receipt["entries"] == 5
    assert set(receipt["keys"]) == {key(i) for i in GONE} and receipt["samples"] == len(GONE)
    assert receipt["by_rule"] == {
        "pair": 1, "sha256": 1, "url": 1, "domain": 1 + len(range(5, SAMPLES, 7)),
    }  # fmt: skip
    assert "example" not in json.dumps(receipt["by_rule"])


def all_bytes(folder: Path) -> bytes:
    """Every file of a release; tables by their values, for they are compressed."""
    found = []
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.append(file.read_bytes())
        if file.suffix == ".parquet":
            found.append(repr(pq.read_table(file).to_pylist()).encode())
    return b"".join(found)


def test_the_next_version_holds_no_byte_of_it_and_shares_the_rest(
    folder: Path, made: tuple[Path, list[plain_release.Sample]]
) -> None:
    out = folder.parent / "next"
    (folder / release.TOMBSTONES).write_text(key(0) + "\n")  # of an earlier request
    lines = f"pair:{key(3)}\nhttps://img0.site0.example/21.jpg\n"
    assert take_down(folder, lines, "--out", str(out)) == 0
    gone = {0, 3, 21}
    held = all_bytes(out)
    for i, (name, jpg, txt, record) in enumerate(made[1]):
        pieces = [name.encode(), jpg, txt, json.loads(record)["url"].encode()]
        assert [piece in held for piece in pieces] == [i not in gone] * 4, i
    assert verify(str(out)) == []
    assert [s.key for s in Release(str(out))] == [key(i) for i in range(SAMPLES) if i not in gone]
    assert not (out / release.TOMBSTONES).exists()
    told = (out / release.CARD).read_text()
    assert "`.meta/coyo/` holds" in told and "`num_faces`" in told.split("Of those that COYO")[1]
    assert "a random part of the set" in told.replace("\n", " ")
    for tar in ("00001.tar", "00003.tar", release.coyo_path("00001.tar")):
        assert os.path.samefile(folder / tar, out / tar)
    for tar in ("00000.tar", "00002.tar"):
        assert not os.path.samefile(folder / tar, out / tar)
    assert Release(str(out)).manifest.stages["made_of"] == Release(str(folder)).manifest.id


def test_a_shard_that_is_emptied_leaves_no_gap(folder: Path) -> None:
    out = folder.parent / "next"
    lines = "\n".join(f"pair:{key(i)}" for i in range(10, 20))
    assert take_down(folder, lines, "--out", str(out)) == 0
    manifest = Release(str(out)).manifest
    assert [s.path for s in manifest.shards] == ["00000.tar", "00001.tar", "00002.tar"]
    assert os.path.samefile(folder / "00003.tar", out / "00002.tar")
    assert verify(str(out)) == []


def test_a_purge_that_was_cut_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.shards import publish

    out = folder.parent / "next"
    lines = "\n".join(f"pair:{key(i)}" for i in (3, 13, 23))
    real, cuts = publish.write_shard, [True]

    def cut(store: Any, name: str, *rest: Any) -> Any:
        if name == "00002.tar" and cuts:
            raise OSError("cut")
        return real(store, name, *rest)

    monkeypatch.setattr(publish, "write_shard", cut)
    assert take_down(folder, lines, "--out", str(out)) == 1
    assert not (out / release.MANIFEST).exists()
    cuts.clear()
    assert take_down(folder, lines, "--out", str(out)) == 0
    assert verify(str(out)) == []
    assert [s.key for s in Release(str(out))] == [
        key(i) for i in range(SAMPLES) if i not in (3, 13, 23)
    ]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("pair:12\n", "line 1: '12' is not 32 hex digits"),
        ("# nothing\n\n", "names nothing"),
        ("ok.example\nnot a domain\n", "list.txt, line 2"),
        ("hash64:0011223344556677\n", "give REGISTRY"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_masked(
    folder: Path, lines: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert take_down(folder, lines) == 2
    assert told in capsys.readouterr().err
    assert not (folder / release.TOMBSTONES).exists()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), st.data())
def test_look_alikes_are_those_within_the_radius(hashes: list[int], data: st.DataObject) -> None:
    asked = data.draw(st.sampled_from(hashes)) ^ data.draw(st.integers(0, 0xFF))
    wide = data.draw(st.binary(min_size=32, max_size=32))
    others = [data.draw(st.binary(min_size=32, max_size=32)) for _ in hashes]
    others[0] = bytes([wide[0] ^ 0xFF, *wide[1:]])
    ids = [bytes([i]) * 16 for i in range(len(hashes))]
    batch = pa.record_batch(
        {
            "image_id": pa.array(ids, pa.binary()),
            "hash64": pa.array(np.array(hashes, np.uint64).view(np.int64)),
            "hash256": pa.array(others, pa.binary()),
        }
    )
    named = {"hash64": frozenset([asked.to_bytes(8, "big")]), "pdq": frozenset([wide])}
    removals = removal.Removals(removal.optout_lists.load([]), (), named)
    wanted = {
        i
        for i, (h, w) in enumerate(zip(hashes, others, strict=True))
        if (h ^ asked).bit_count() <= removal.RADIUS64
        or (int.from_bytes(w, "big") ^ int.from_bytes(wide, "big")).bit_count() <= removal.RADIUS256
    }
    assert {i[0] for i in removal.look_alikes([batch], removals)} == wanted
