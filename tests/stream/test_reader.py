import json
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.stream import reader
from pipeline.stream.reader import CorruptSample, Release
from tests.shards import plain_release
from tests.shards.test_verify import samples

SAMPLES = samples(23)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream") / "release"
    plain_release.write(folder, SAMPLES, 8)
    return folder


@pytest.mark.parametrize("read_bytes", [1, 3000, 4 << 20])
def test_all_samples_in_order_whatever_the_range_size(
    folder: Path, read_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_READ_BYTES", read_bytes)
    release = Release(str(folder))
    assert len(release) == 23
    assert [tuple(s) for s in release] == SAMPLES


@given(st.integers(0, 23), st.integers(0, 30))
def test_any_range(folder: Path, start: int, stop: int) -> None:
    release = Release(str(folder))
    assert [tuple(s) for s in release.samples(start, stop)] == SAMPLES[start:stop]


def test_a_range_of_one_shard(folder: Path) -> None:
    assert [tuple(s) for s in Release(str(folder)).read_shard(1, 2, 5)] == SAMPLES[10:13]


def test_from_another_file_system(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/release-of-test", recursive=True)
    try:
        assert [tuple(s) for s in Release("memory://release-of-test")] == SAMPLES
    finally:
        memory.rm("/release-of-test", recursive=True)


def test_a_flipped_byte_names_shard_sample_and_range(folder: Path) -> None:
    tar = folder / "00001.tar"
    clean = tar.read_bytes()
    at = clean.index(SAMPLES[11][1]) + 100
    try:
        tar.write_bytes(clean[:at] + bytes([clean[at] ^ 4]) + clean[at + 1 :])
        release = Release(str(folder))
        found = release.samples()
        before = [tuple(next(found)) for _ in range(11)]
        assert before == SAMPLES[:11]
        with pytest.raises(CorruptSample, match=r"00001\.tar: sample 3, bytes"):
            next(found)
        assert [tuple(s) for s in release.samples(12)] == SAMPLES[12:]
        tar.write_bytes(clean[: len(clean) // 2])
        with pytest.raises(CorruptSample, match=r"00001\.tar"):
            list(release.read_shard(1))
        tar.unlink()
        with pytest.raises(InputError, match=r"00001\.tar is missing"):
            list(release.read_shard(1))
    finally:
        tar.write_bytes(clean)


def test_damaged_metadata_is_an_input_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no release"):
        Release(str(tmp_path))
    manifest = json.loads((folder / ".meta" / "manifest.json").read_text())
    meta = tmp_path / ".meta"
    meta.mkdir()
    for broken in (b"{", b"\xff", b"[]", b"{}", json.dumps(manifest | {"samples": 1}).encode()):
        (meta / "manifest.json").write_bytes(broken)
        with pytest.raises(InputError, match=r"manifest\.json"):
            Release(str(tmp_path))
    (meta / "manifest.json").write_text(json.dumps(manifest))
    (meta / "00000.idx").write_bytes(b"not")
    with pytest.raises(InputError, match=r"00000\.idx is damaged"):
        next(iter(Release(str(tmp_path))))


def test_reading_loads_neither_torch_nor_spark_nor_pandas(folder: Path) -> None:
    code = (
        "import sys; from pipeline.stream.reader import Release\n"
        "print(sum(1 for _ in Release(sys.argv[1])), "
        "[m for m in ('torch', 'pyspark', 'webdataset', 'pandas') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "23 []"
