import hashlib
import io
import json
import random
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.shards.__main__ import main
from pipeline.shards.verify import verify
from tests.shards import plain_release


def samples(count: int) -> list[plain_release.Sample]:
    found = []
    for i in range(count):
        key = hashlib.md5(b"%d" % i).hexdigest()
        jpg = b"\xff\xd8\xff" + random.Random(i).randbytes(500 + 37 * i)
        caption = f"caption {i}"
        record = json.dumps({"caption": caption, "key": key}).encode()
        found.append((key, jpg, caption.encode(), record))
    return found


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "release"
    plain_release.write(folder, samples(20), 7)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "release"))


def test_a_sound_release(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(str(folder)) == []
    assert main(["verify", str(folder)]) == 0
    assert "sound" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    ["00001.tar", ".meta/00001.idx", ".meta/00001.parquet", ".meta/manifest.json", "sizes.json"],
)
def test_any_flipped_byte_is_found_in_its_file(folder: Path, name: str) -> None:
    clean = (folder / name).read_bytes()
    # Every byte of the small ones would take long for nothing: a fixed random choice.
    for at in sorted(random.Random(name).sample(range(len(clean)), 25)):
        broken = bytearray(clean)
        broken[at] ^= 0x10
        if name == ".meta/manifest.json" and _is_provenance(clean, at):
            continue
        (folder / name).write_bytes(broken)
        problems = verify(str(folder))
        if name == ".meta/00001.parquet" and not problems:
            # Statistics and encodings may differ where nothing that is read does.
            read = pq.read_table(folder / name)
            assert read.equals(pq.read_table(io.BytesIO(clean))), f"byte {at} went unseen"
        elif name == ".meta/manifest.json":
            assert problems
        else:
            assert name in {p.path for p in problems}, f"byte {at} went unseen"
    (folder / name).write_bytes(clean)
    assert verify(str(folder)) == []


def _is_provenance(manifest: bytes, at: int) -> bool:
    start = manifest.index(b'"name"')
    return start <= at < manifest.index(b'"samples"')


def test_the_damaged_sample_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, jpg, _, _ = samples(20)[9]
    tar = folder / "00001.tar"
    tar.write_bytes(tar.read_bytes().replace(jpg, jpg[:-1] + bytes([jpg[-1] ^ 1])))
    problems = verify(str(folder))
    assert {(p.path, p.key) for p in problems} == {("00001.tar", key), ("00001.tar", None)}
    assert main(["verify", str(folder)]) == 1
    assert key in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["00000.tar", ".meta/00002.idx", ".meta/00000.parquet", "sizes.json", "README.md"]
)
def test_missing_cut_and_foreign_files_are_named(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).unlink()
    assert name in {p.path for p in verify(str(folder))}
    if name != "README.md":
        (folder / name).write_bytes(data[: len(data) // 2])
        assert name in {p.path for p in verify(str(folder))}
    (folder / name).write_bytes(data)
    (folder / ".writing-1-x.tar").write_bytes(b"")
    assert {p.path for p in verify(str(folder))} == {".writing-1-x.tar"}


def test_swapped_samples_are_found_though_every_hash_was_made_anew(
    folder: Path, tmp_path: Path
) -> None:
    wrong = samples(4)
    a, b = wrong[1], wrong[2]
    wrong[1] = (a[0], a[1], b[2], a[3])
    plain_release.write(tmp_path / "wrong", wrong, 7)
    assert {p.key for p in verify(str(tmp_path / "wrong"))} == {a[0]}


def test_coyos_columns_may_be_absent_but_not_of_some_tars_or_of_other_samples(
    folder: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    plain_release.write(whole, samples(20), 7, with_coyo=True)
    assert verify(str(whole)) == []
    first, second = (whole / ".meta" / "coyo" / f"0000{i}.parquet" for i in (0, 1))
    shutil.copy(second, first)
    (problem,) = verify(str(whole))
    assert "not about the samples" in problem.what and problem.path.endswith("00000.parquet")
    first.write_bytes(b"torn")
    (problem,) = verify(str(whole))
    assert "cannot be read" in problem.what
    first.unlink()
    (problem,) = verify(str(whole))
    assert (problem.path, problem.what) == (".meta/coyo/00000.parquet", "is missing")


def test_no_release_at_all(tmp_path: Path) -> None:
    (problem,) = verify(str(tmp_path))
    assert "no .meta/manifest.json" in problem.what
