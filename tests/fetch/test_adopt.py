"""What is read of a folder by img2dataset: its shards, places that hold the picture, and damage."""

import io
import tarfile
from functools import partial
from pathlib import Path
from typing import IO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.accounts import Account
from pipeline.core.errors import InputError
from pipeline.core.ustar import BLOCK
from pipeline.extract.stream import open_archive
from pipeline.fetch.adopt import (
    Place,
    Shard,
    identity,
    is_output,
    list_shards,
    read_picture,
    read_shard,
    tar_members,
)
from tests.fetch.img2dataset import Sample, write_shard

BODIES = [bytes([65 + at]) * size for at, size in enumerate((700, 512, 1, 30_000))]
SAMPLES: list[Sample] = [
    *((f"http://h.test/{at}.jpg", body) for at, body in enumerate(BODIES)),
    ("http://h.test/failed.jpg", None),
]


def opened(path: str) -> IO[bytes]:
    return open(path, "rb")


def taken(folder: Path) -> tuple[dict[str, bytes | None], Account]:
    """URL -> bytes at its place; the account of all shards."""
    base, shards = list_shards(str(folder))
    bodies, account = {}, Account("adopted pictures")
    for shard in shards:
        rows, of_shard = read_shard(base, shard, opened)
        account.add(of_shard)
        for row in rows.to_pylist():
            url = row.pop("url")
            bodies[url] = read_picture(Place(**row | {"file": f"{base}/{row['file']}"}))
    return bodies, account


@pytest.mark.parametrize("is_files", [False, True])
def test_pictures_are_found_at_their_places(tmp_path: Path, is_files: bool) -> None:
    write_shard(tmp_path, 0, SAMPLES, is_files=is_files)
    write_shard(tmp_path, 1, [("http://h.test/other.jpg", b"other")], is_files=is_files)
    bodies, account = taken(tmp_path)
    wanted = {url: body for url, body in SAMPLES if body is not None}
    assert bodies == wanted | {"http://h.test/other.jpg": b"other"}
    assert account.dropped == {"not_downloaded": 1}


def test_members_are_those_that_tarfile_finds_in_any_format() -> None:
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=kind) as tar:
            for at, body in enumerate(BODIES):
                member = tarfile.TarInfo(f"{at:09d}.jpg")
                member.size, member.mtime = len(body), 1.5  # type: ignore[assignment]
                tar.addfile(member, io.BytesIO(body))
            tar.addfile(tarfile.TarInfo("empty.jpg"))
        size = len(made.getvalue())
        made.seek(0)
        with tarfile.open(fileobj=made) as tar:
            wanted = [(m.name, m.offset_data, m.size) for m in tar]
        assert list(tar_members(made, size)) == wanted


def test_what_a_folder_glob_or_file_names(tmp_path: Path) -> None:
    folder = tmp_path / "2024"
    for number in (0, 1):
        write_shard(folder / "a", number, SAMPLES)
    write_shard(folder / "b", 2, SAMPLES, is_files=True)
    write_shard(folder / "a", 3, SAMPLES).unlink()  # not there
    (folder / "a" / "00004.tar").write_bytes(b"not finished")
    (folder / "a" / "00005_stats.json").write_text("{}")

    def names(pattern: str) -> tuple[str, list[str]]:
        base, shards = list_shards(f"{folder}/{pattern}")
        return str(Path(base).relative_to(folder)), [shard.name for shard in shards]

    assert names("a") == names("a/") == ("a", ["00000", "00001"])
    assert names("a/*.tar") == names("a/*.parquet") == names("a/0*") == ("a", ["00000", "00001"])
    assert names("a/00001.parquet") == ("a", ["00001"])
    assert names("*") == (".", ["a/00000", "a/00001", "b/00002"])
    assert names("b/*") == names("b") == ("b", ["00002"])
    _, shards = list_shards(str(folder / "a"))
    tar = (folder / "a" / "00000.tar").stat().st_size
    assert shards[0] == Shard("00000", (folder / "a" / "00000.parquet").stat().st_size, tar)


def test_identity_is_that_of_names_and_sizes_wherever_they_lie(tmp_path: Path) -> None:
    for place in ("here", "there/below"):
        write_shard(tmp_path / place, 0, SAMPLES)
    write_shard(tmp_path / "other", 0, SAMPLES[:2])
    here, there, other = (
        identity(str(tmp_path / p)) for p in ("here", "there/below", "other/*.tar")
    )
    assert here == there != other


def test_what_is_no_output_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"download\.adopt = .*none cannot be read"):
        list_shards(str(tmp_path / "none"))
    (tmp_path / "00000.tar").write_bytes(bytes(1024))
    with pytest.raises(InputError, match="holds no shard of img2dataset: expected are 00000"):
        list_shards(str(tmp_path))
    pq.write_table(pa.table({"url": ["x"], "text": ["y"]}), tmp_path / "00000.parquet")
    with pytest.raises(InputError, match=r"00000\.parquet lacks key, status.* it has url, text"):
        list_shards(f"{tmp_path}/*")
    (tmp_path / "00000.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"00000\.parquet is not readable Parquet"):
        list_shards(f"{tmp_path}/")
    assert not is_output(str(tmp_path)) and not is_output(str(tmp_path / "none"))
    write_shard(tmp_path / "good", 0, SAMPLES)
    assert is_output(str(tmp_path / "good"))


def test_a_shard_whose_parquet_is_cut_is_named(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, SAMPLES)
    write_shard(tmp_path, 1, SAMPLES)
    path = tmp_path / "00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"00001\.parquet is not readable"):
        taken(tmp_path)


@given(st.data())
def test_damage_costs_what_it_touches(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A stretch of a tar is overwritten, or its end is lost: whatever lies outside is still found,
    and nothing is found that is not a picture under its own name."""
    folder = tmp_path_factory.mktemp("damaged")
    tar = write_shard(folder, 0, SAMPLES)
    whole = tar.read_bytes()
    with tarfile.open(tar) as file:
        # From the first header of a picture, extended ones included, to its last byte.
        spans = {m.name: (m.offset, m.offset_data + m.size) for m in file if "jpg" in m.name}
    at = data.draw(st.integers(0, len(whole)))
    until = len(whole)
    if data.draw(st.booleans()):
        until = data.draw(st.integers(at, min(len(whole), at + 3000)))
        tar.write_bytes(whole[:at] + b"\xa5" * (until - at) + whole[until:])
    else:
        tar.write_bytes(whole[:at])
    bodies, account = taken(folder)
    account.keep(len(bodies))
    account.check("test")
    assert account.rows_in == len(SAMPLES)
    for number, body in enumerate(BODIES):
        start, end = spans[f"00000{number:04d}.jpg"]
        found = bodies.get(f"http://h.test/{number}.jpg")
        if end <= at or until <= start:
            assert found == body
        elif found is not None:
            assert len(found) == len(body)


def test_a_tar_that_is_gone_or_changed_gives_no_picture(tmp_path: Path) -> None:
    tar = write_shard(tmp_path, 0, SAMPLES)
    base, (shard,) = list_shards(str(tmp_path))
    rows, _ = read_shard(base, shard, opened)
    places = [Place(str(tar), r["offset"], r["size"], r["member"]) for r in rows.to_pylist()]
    assert [read_picture(place) for place in places] == BODIES
    # A step aside, another name, another size.
    first = places[0]
    for wrong in (
        first._replace(offset=first.offset + BLOCK),
        first._replace(member="000000001.jpg"),
        first._replace(size=first.size - 1),
        first._replace(offset=0),
    ):
        assert read_picture(wrong) is None
    tar.write_bytes(tar.read_bytes()[: places[3].offset + 5])
    assert [read_picture(place) for place in places] == [*BODIES[:3], None]
    tar.unlink()
    assert [read_picture(place) for place in places] == [None] * 4
    assert read_shard(base, shard, opened)[1].dropped == {"not_downloaded": 1, "not_in_shard": 4}


def test_a_folder_on_another_file_system(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, SAMPLES)
    fs = fsspec.filesystem("memory")
    fs.put(f"{tmp_path}/*", "/adopted-test/a/", recursive=True)
    try:
        for pattern in ("memory://adopted-test/a", "memory://adopted-test/*/*.tar"):
            base, (shard,) = list_shards(pattern)
            assert base.startswith("memory://")
            rows, _ = read_shard(base, shard, partial(open_archive, block_bytes=1 << 16))
            places = [Place(*(row[name] for name in Place._fields)) for row in rows.to_pylist()]
            whole = [p._replace(file=f"{base}/{p.file}") for p in places]
            assert [read_picture(place) for place in whole] == BODIES
    finally:
        fs.rm("/adopted-test", recursive=True)
