"""What is done with a finished release: cut down to a view, exported, made of a folder."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.release import main
from pipeline.core.release import INDEX, META, SIDECAR
from pipeline.fetch import adopt
from pipeline.shards.publish import shard_ranges
from pipeline.shards.verify import verify
from pipeline.stream import views
from pipeline.stream.reader import Release
from tests.fetch import img2dataset
from tests.shards import plain_release, small_run
from tests.shards.test_verify import samples as made_up

SAMPLES = sorted(made_up(40))


def samples() -> list[plain_release.Sample]:
    """Real JPEGs, with records that have a number and a text."""
    found = []
    for number, (key, _, txt, record) in enumerate(SAMPLES):
        told = json.loads(record) | {"url": f"https://a.example/{key}", "width": 48, "height": 48}
        found.append((key, small_run.picture(number % 5), txt, json.dumps(told).encode()))
    return found


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job") / "release"
    plain_release.write(folder, samples(), 9)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "release"))


def saved_view(folder: Path, condition: str) -> str:
    path = folder.parent / "some.view"
    views.save(views.select(str(folder), condition), str(path))
    return str(path)


def read(folder: Path) -> list[tuple[str, bytes, bytes, bytes]]:
    return [tuple(sample) for sample in Release(str(folder))]


def test_a_materialised_view_is_a_release_of_its_samples(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view, out = saved_view(folder, "key < '9'"), folder.parent / "small"
    gone = SAMPLES[2][0]
    (folder / META / "tombstones.txt").write_text(gone + "\n")
    given = ["--view", view, "--out", str(out), "--samples-per-shard", "6"]
    assert main(["materialise", str(folder), *given]) == 0
    wanted = [s for s in samples() if s[0] < "9" and s[0] != gone]
    assert read(out) == wanted
    assert verify(str(out)) == []
    sizes = json.loads((out / "sizes.json").read_text())
    assert max(sizes.values()) - min(sizes.values()) <= 1 and len(sizes) == round(len(wanted) / 6)
    manifest = Release(str(out)).manifest
    assert manifest.stages["release"] == Release(str(folder)).manifest.id
    assert main(["materialise", str(folder), *given]) == 1  # a release is never changed
    assert "never changed" in capsys.readouterr().err


def test_a_killed_materialisation_goes_on(folder: Path) -> None:
    view, out = saved_view(folder, "key < 'c'"), folder.parent / "small"
    given = ["materialise", str(folder), "--view", view, "--samples-per-shard", "6", "--out"]
    assert main([*given, str(out)]) == 0
    whole = small_run.files(out)
    # As a kill leaves it: a shard without its table, a half-written one, no manifest; and a shard
    # of an attempt at other sizes.
    (out / META / "manifest.json").unlink()
    (out / META / "00001.parquet").unlink()
    (out / ".writing-0-00001.tar").write_bytes(b"torn")
    (out / "00099.tar").write_bytes(b"of another attempt")
    (out / META / "00099.parquet").write_bytes(b"")
    kept = (out / "00000.tar").stat().st_ino
    assert main([*given, str(out)]) == 0
    assert small_run.files(out) == whole
    assert (out / "00000.tar").stat().st_ino == kept, "a finished shard was written again"


def test_what_is_under_a_tombstone_is_not_exported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, out = SAMPLES[11][0], folder.parent / "out"
    (folder / META / "tombstones.txt").write_text(gone + "\n")
    for layout in ("hf", "img2dataset", "energon-index"):
        given = ["export", str(folder), "--layout", layout, "--out", str(out)]
        assert main(given) == 1
        assert "1 tombstones" in capsys.readouterr().err and not out.exists()
    assert main(["materialise", str(folder), "--out", str(out)]) == 0
    assert [s.key for s in Release(str(out))] == [k for k, *_ in SAMPLES if k != gone]


def test_nothing_is_written_into_a_folder_of_something_else(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    view = saved_view(folder, "key < '9'")
    assert main(["materialise", str(folder), "--view", view, "--out", str(other)]) == 1
    assert [f.name for f in other.iterdir()] == ["thesis.txt"]


def test_the_samples_of_a_view_are_verified_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = saved_view(folder, "key < '9'")
    told = ["verify", str(folder), "--view", view]
    assert main(told) == 0
    tar = folder / "00003.tar"  # has none of them
    assert SAMPLES[27][0] > "9"
    tar.write_bytes(b"\0" * 2000)
    assert main(told) == 0
    assert main(["verify", str(folder)]) == 1
    first = folder / "00000.tar"
    broken = bytearray(first.read_bytes())
    broken[600] ^= 1
    first.write_bytes(broken)
    capsys.readouterr()
    assert main(told) == 1
    assert SAMPLES[0][0] in capsys.readouterr().out


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_shards_are_even_and_within_5_percent_of_the_target(samples: int, per_shard: int) -> None:
    ranges = shard_ranges(samples, per_shard)
    sizes = [stop - start for start, stop in ranges]
    assert ranges[0][0] == 0 and ranges[-1][1] == samples and min(sizes) > 0
    assert max(sizes) - min(sizes) <= 1
    if samples >= 10 * per_shard >= 1000:
        assert all(abs(size - per_shard) <= 0.05 * per_shard + 1 for size in sizes)


def test_a_release_is_told_about(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(sound)]) == 0
    out = capsys.readouterr().out
    assert "40 samples" in out and "| jpg_bytes | 40 |" in out


def test_img2dataset_layout_is_read_as_its_own(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "as-img2dataset"
    export = ["export", str(folder), "--layout", "img2dataset", "--out", str(out)]
    assert main(export) == 0
    base, shards = adopt.list_shards(str(out))
    assert [s.name for s in shards] == [f"{i:05d}" for i in range(5)]
    found = []
    for shard in shards:
        rows, account = adopt.read_shard(base, shard, lambda path: Path(path).open("rb"))
        assert not account.dropped
        for row in rows.to_pylist():
            place = adopt.Place(f"{base}/{row['file']}", row["offset"], row["size"], row["member"])
            found.append((row["url"], adopt.read_picture(place)))
    assert found == [(f"https://a.example/{key}", jpg) for key, jpg, *_ in samples()]
    with tarfile.open(out / "00001.tar") as tar:
        assert tar.getnames()[:4] == [
            "000010000.jpg", "000010000.json", "000010000.txt", "000010001.jpg",
        ]  # fmt: skip
        record = json.load(tar.extractfile("000010000.json"))  # type: ignore[arg-type]
    table = pq.read_table(out / "00001.parquet")
    assert table["key"].to_pylist()[0] == record["key"] == "000010000"
    assert record["uid"] == samples()[9][0] and record["status"] == "success"
    assert json.loads((out / "00001_stats.json").read_text())["successes"] == 9
    # Its resume takes every `*.json` for a shard's: the number comes before the first "_".
    assert all(int(f.name.split("_")[0]) >= 0 for f in out.glob("*.json"))
    before = small_run.files(out)
    (out / "00002_stats.json").unlink()
    assert main(export) == 0 and small_run.files(out) == before


def test_hf_layout_loads_by_path(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "as-hf"
    assert main(["export", str(folder), "--layout", "hf", "--out", str(out)]) == 0
    code = """
import json, sys
from datasets import load_dataset
for row in load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2]):
    print(json.dumps([row["key"], row["text"], row["image"].size]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(out), str(tmp_path / "cache")],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows == [[key, txt.decode(), [48, 48]] for key, _, txt, _ in samples()]


def test_energon_layout_has_the_offsets_of_every_sample(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "as-energon"
    assert main(["export", str(folder), "--layout", "energon-index", "--out", str(out)]) == 0
    for tar in sorted(out.glob("*.tar")):
        offsets = np.frombuffer((out / f"{tar.name}.idx").read_bytes(), "<u8").tolist()
        with tarfile.open(tar) as archive:
            members = archive.getmembers()
            # What `prepare` notes: where each base name begins, and where reading ended.
            assert offsets == [*(m.offset for m in members[::3]), archive.offset]
        index = np.frombuffer((folder / META / f"{tar.stem}.idx").read_bytes(), INDEX)
        assert offsets == index["offset"].tolist()
    info = json.loads((out / ".nv-meta" / ".info.json").read_text())
    assert info["shard_counts"] == json.loads((folder / "sizes.json").read_text())


def test_a_folder_of_img2dataset_becomes_a_release(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "images", tmp_path / "release"
    png = io.BytesIO()
    small_run.Image.new("RGB", (9, 9)).save(png, "PNG")
    urls = [f"https://host{i % 3}.example/{i}.jpg" for i in range(30)]
    pictures = [small_run.picture(i) for i in range(30)]
    pictures[4], pictures[5] = png.getvalue(), None  # type: ignore[call-overload]
    given = list(zip(urls, pictures, strict=True))
    img2dataset.write_shard(folder, 0, given[:10])
    img2dataset.write_shard(folder, 1, given[10:20], is_files=True)
    # The same URL with the same caption in another shard.
    img2dataset.write_shard(folder, 2, [given[0], *given[21:]])
    assert main(["import", str(folder), "--out", str(out), "--samples-per-shard", "9"]) == 0
    told = capsys.readouterr().out
    assert "1 rows left out: not_downloaded" in told and "1 rows left out: not_jpeg" in told
    assert "1 rows left out: repeated" in told
    assert verify(str(out)) == []
    found = {json.loads(s.json)["url"]: s for s in Release(str(out))}
    wanted = {u: p for u, p in given if p is not None and u not in (urls[4], urls[20])}
    assert {url: sample.jpg for url, sample in found.items()} == wanted
    keys = [s.key for s in Release(str(out))]
    assert keys == sorted(keys)
    record = json.loads(found[urls[12]].json)
    assert record["caption"] == "caption 2" and record["domain"] == "host0.example"
    assert record["width"] == 64 and "original_width" not in record  # which is null there
    schema = pq.read_schema(out / META / "00000.parquet")
    assert schema.names[: len(SIDECAR)] == SIDECAR.names and "original_width" in schema.names
    assert main(["import", str(tmp_path / "none"), "--out", str(tmp_path / "x")]) == 1
    assert "none" in capsys.readouterr().err
