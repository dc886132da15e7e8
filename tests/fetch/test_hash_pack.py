"""Hash packs: pictures of folders and tars to rows of hashes, the rest named and counted."""

import hashlib
import io
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.hash_pack import main, write_pack
from pipeline.core.errors import InputError
from pipeline.core.hash_files import PACK, VERSION_KEY
from pipeline.core.ids import HASH_VERSION
from pipeline.fetch.decode import decode
from pipeline.fetch.picture import DecodeSettings
from tests.fetch.pictures import encoded, photo

DEFAULT = DecodeSettings()


@pytest.mark.parametrize("workers", [1, 2])
def test_folders_and_tars(tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    images = tmp_path / "images"
    (images / "a").mkdir(parents=True)
    body = encoded(photo(200, 120), quality=90)
    (images / "a" / "one.jpg").write_bytes(body)
    (images / "no-suffix").write_bytes(encoded(photo(64, 64), "PNG"))
    (images / "cut.jpg").write_bytes(body[:500])
    (images / "labels.txt").write_text("dog")
    with tarfile.open(images / "shard-0.tar", "w") as tar:
        for name, data in (("000.jpg", body), ("000.cls", b"7"), ("001.jpg", b"")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    out = tmp_path / "pack.parquet"
    counts = write_pack(str(images), str(out), DEFAULT, workers)
    assert counts == {"ok": 3, "decode": 1, "empty": 1, "other_files": 2}
    told = capsys.readouterr().err
    assert "cut.jpg: decode" in told and "shard-0.tar/001.jpg: empty" in told
    table = pq.read_table(out)
    assert table.schema.names == PACK.names
    assert table.schema.metadata[VERSION_KEY] == HASH_VERSION.encode()
    rows = {row["name"]: row for row in table.to_pylist()}
    assert list(rows) == ["a/one.jpg", "no-suffix", "shard-0.tar/000.jpg"]
    expected = decode(body, DEFAULT)
    row = rows["a/one.jpg"]
    assert row["hash64"] == expected.hash64 and row["hash256"] == expected.hash256
    assert row["sha256"] == hashlib.sha256(body).digest()
    assert row["md5"] == hashlib.md5(body).digest()
    assert row["aspect"] == 200 / 120
    assert rows["shard-0.tar/000.jpg"] | {"name": ""} == row | {"name": ""}


def test_nothing_to_hash_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    out = tmp_path / "pack.parquet"
    with pytest.raises(InputError, match="no file at"):
        write_pack(str(tmp_path / "images"), str(out), DEFAULT, 1)
    (tmp_path / "images" / "a.txt").write_text("x")
    with pytest.raises(InputError, match="no picture"):
        write_pack(str(tmp_path / "images"), str(out), DEFAULT, 1)
    (tmp_path / "images" / "b.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(InputError, match=r"b\.tar cannot be read"):
        write_pack(str(tmp_path / "images"), str(out), DEFAULT, 1)
    assert [f.name for f in tmp_path.iterdir()] == ["images"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(encoded(photo(64, 64), "PNG"))
    argv = ["--config", "conf/demo.toml", "--images", str(tmp_path / "*.png"), "--workers", "1"]
    assert main([*argv, "--out", str(tmp_path / "p.parquet")]) == 0
    assert "ok 1" in capsys.readouterr().err
    assert main([*argv, "--out", str(tmp_path / "p.csv")]) == 2
