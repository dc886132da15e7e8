"""The cache of chunks on a disk."""

import os
from pathlib import Path

import pytest

from pipeline.stream.cache import DiskCache


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    cache = DiskCache(str(tmp_path / "c"), 10_000)
    for number in range(9):
        cache.put(str(number), bytes(1000))
        os.utime(tmp_path / "c" / str(number), (number, number))
    assert cache.get("0") == bytes(1000), "used just now"
    for number in range(9, 12):
        cache.put(str(number), bytes(1000))
        assert size(tmp_path / "c") <= 10_000
    assert cache.get("0") and cache.get("11") and cache.get("1") is None


def test_a_folder_is_looked_at_by_what_was_written_not_by_how_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    scandir = os.scandir

    def look(path: object) -> object:
        looks.append(path)
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", look)
    cache = DiskCache(str(tmp_path / "c"), 1_000_000)
    for number in range(1000):
        cache.put(str(number), bytes(2000))
        assert size(tmp_path / "c") <= 1_000_000
    ours = [path for path in looks if isinstance(path, Path)]
    assert 150 < len(ours) < 250, "a look for every 10,000 bytes"


def test_one_that_is_dropped_is_gone(tmp_path: Path) -> None:
    cache = DiskCache(str(tmp_path / "c"), 10_000)
    cache.put("a", b"1")
    cache.drop("a")
    cache.drop("never there")
    assert cache.get("a") is None
