"""Pictures that stand for another one are told by their bytes, their address or their hash."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.fetch.placeholders import keys, mark, read_known
from tests.fetch.server import WebServer
from tests.fetch.test_part import PHOTO, download, serving, settings

DIGEST = hashlib.sha256(b"known").digest()


def row(key: int, content: int, final_url: str | None = None) -> dict[str, Any]:
    return {
        "image_id": bytes([key]),
        "status": "ok",
        "status_detail": None,
        "sha256": bytes([content]) * 32,
        "final_url": final_url,
        "raw_offset": 512,
        "hash64": 1,
    }


def marked(rows: list[dict[str, Any]], urls: list[str], most: int, known: bytes = b"") -> list[int]:
    by_id = {r["image_id"]: url for r, url in zip(rows, urls, strict=True)}
    mark(rows, by_id, most, frozenset([known] if known else []))
    for r in rows:
        is_placeholder = r["status"] == "placeholder"
        assert (r["raw_offset"] is None) == (r["hash64"] is None) == is_placeholder
        assert bool(r["status_detail"]) == is_placeholder and r["sha256"]
    return [r["image_id"][0] for r in rows if r["status"] == "placeholder"]


def test_same_bytes_behind_many_urls_of_a_host() -> None:
    urls = [f"http://a.test/{i}" for i in range(4)] + ["http://b.test/x"]
    rows = [row(0, 7), row(1, 7), row(2, 7), row(3, 8), row(4, 7)]
    assert marked(rows, urls, 3) == []
    assert marked(rows, urls, 2) == [0, 1, 2]
    # One more of them later: those that are marked already count.
    assert marked([*rows, row(5, 7)], [*urls, "http://a.test/5"], 2) == [0, 1, 2, 5]
    assert marked([row(i, 7) for i in range(9)], [f"http://a.test/{i}" for i in range(9)], 0) == []


def test_many_urls_of_a_host_that_are_redirected_to_one() -> None:
    login = "http://a.test/login.jpg"
    urls = [f"http://a.test/{i}" for i in range(3)] + [login, "http://b.test/0"]
    rows = [row(i, 10 + i, login) for i in range(5)]
    assert marked(rows, urls, 3) == []
    assert marked(rows, urls, 2) == [0, 1, 2]


def test_what_is_counted_over_all_parts_is_what_one_part_would_count() -> None:
    urls = [f"http://a.test/{i}" for i in range(6)]
    login = "http://a.test/login.jpg"

    def made() -> list[dict[str, Any]]:
        return [row(i, 7 if i < 4 else 10 + i, login if i % 2 else None) for i in range(6)]

    def by_id(rows: list[dict[str, Any]]) -> dict[bytes, str]:
        return {r["image_id"]: urls[r["image_id"][0]] for r in rows}

    together = made()
    mark(together, by_id(together), 2, frozenset())
    assert {r["status_detail"] is None for r in together} == {True, False}
    for cut in range(1, 6):
        parts = [made()[:cut], made()[cut:]]
        for rows in parts:
            mark(rows, by_id(rows), 2, frozenset())
        counts = Counter(
            key for rows in parts for r in rows for key in keys(r, by_id(rows)[r["image_id"]])
        )
        heavy = {key: urls for key, urls in counts.items() if urls > 2}
        for rows in parts:
            mark(rows, by_id(rows), 2, frozenset(), heavy)
            assert mark(rows, by_id(rows), 2, frozenset(), heavy) == 0
        assert [*parts[0], *parts[1]] == together


def test_known_ones() -> None:
    rows = [row(0, 7), row(1, 8)]
    urls = ["http://a.test/0", "http://a.test/1"]
    assert marked(rows, urls, 0, known=bytes([8]) * 32) == [1]


def test_a_file_of_known_ones(tmp_path: Path) -> None:
    file = tmp_path / "known.txt"
    file.write_text(f"# a comment\n\n{DIGEST.hex()}  not-available.png\n{'AB' * 32}\n")
    assert read_known(str(file)) == {DIGEST, b"\xab" * 32}
    for bad in ("abc", "xy" * 32, "ab" * 31):
        other = tmp_path / f"{len(bad)}{bad[:2]}.txt"
        other.write_text(f"{DIGEST.hex()}\n{bad}\n")
        with pytest.raises(InputError, match=r"line 2: .* is no SHA-256"):
            read_known(str(other))
    with pytest.raises(InputError, match="placeholder_hashes"):
        read_known(str(tmp_path / "none"))


def test_a_known_one_is_downloaded_once_and_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "known.txt"
    file.write_text(hashlib.sha256(PHOTO).hexdigest())
    with WebServer({"/x.jpg": serving()}) as server:
        config = settings(tmp_path, server, placeholder_hashes=str(file))
        rows, result, _ = download(config, "http://a.test/x.jpg")
    assert rows["http://a.test/x.jpg"]["status"] == "placeholder"
    assert result.account.dropped == {"placeholder": 1}
