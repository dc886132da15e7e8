"""Pictures are held against what a list says they were."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.ids import image_id
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.stages.verify import VerifySection, build, check, list_of_run

HASH = 0x8F0F00FF00F0A5C3
FILE = hashlib.sha256(b"the file").digest()
MD5 = hashlib.md5(b"the file").digest()  # noqa: S324
STATUSES = {"a": "ok", "b": "ok", "flat": "ok", "gone": "http_404", "kept": "ok"}
# As many pictures again as there are lists below.
QUERIES = ("", "?coyo", "?number", "?csv", "?json", "?adopted")


def url(name: str) -> str:
    return f"https://{name}.example/x.jpg"


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "run"))
    rows = []
    for (name, status), query in itertools.product(STATUSES.items(), QUERIES):
        key = image_id(url(name) + query)
        row: dict[str, Any] = {"image_id": key, "part": 0, "status": status}
        row |= {
            "consent": "adopted" if name == "kept" else "allowed",
            "fetch_ms": 1,
            "fetched_at": 0,
            "downloads": 1,
        }
        if status == "ok":
            texture = 5 if name == "flat" else 60
            row |= {"sha256": FILE, "hash64": signed(HASH), "md5": MD5, "texture": texture}
        rows.append(row)
    with store.publish(store.part_file(IMAGES, 0)) as file:
        pq.write_table(pa.Table.from_pylist(rows, IMAGES.schema), file)
    return store


def verdicts(spark: Any, store: Store, path: Path) -> dict[str, Any]:
    section = VerifySection(expected=(str(path),))
    assert check(section) == [[str(f), f.stat().st_size] for f in sorted(path.iterdir())]
    ctx: Context[VerifySection] = Context("verify", spark, store, section, {}, {})
    (account,) = build(ctx)
    account.check("test")
    found = spark.read.parquet(store.path("verified")).collect()
    assert account.rows_in == len(found)
    assert account.kept == sum(row["verdict"] == "exact" for row in found)
    return {row["url"]: (row["verdict"], row["distance"]) for row in found}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.spark
def test_by_what_public_lists_tell(spark: Any, store: Store, lists: Path) -> None:
    """Each file tells it in its own way; a verdict for every row."""
    other = hashlib.sha256(b"another").hexdigest()
    write(
        lists / "datacomp.parquet",
        [
            {"URL": url("a"), "sha256": FILE.hex().upper()},
            {"URL": url("a") + "#fragment", "sha256": FILE.hex()},
            {"URL": url("b"), "sha256": other},
            {"URL": url("flat"), "sha256": "no digest"},
            {"URL": url("gone"), "sha256": other},
            {"URL": url("never"), "sha256": other},
            {"URL": "x.jpg", "sha256": other},
        ],
    )
    write(
        lists / "coyo.parquet",
        [
            {"url": url("a") + "?coyo", "image_phash": f"{HASH ^ 0b101:016x}"},
            {"url": url("b") + "?coyo", "image_phash": f"{HASH ^ 0xFF:016x}"},
            {"url": url("flat") + "?coyo", "image_phash": f"{HASH:016x}"},
            {"url": url("gone") + "?coyo", "image_phash": None},
        ],
    )
    write(
        lists / "numbers.parquet",
        [
            {"image_url": url("a") + "?number", "sha256": b"\1" * 32, "hash64": signed(HASH)},
            {"image_url": url("b") + "?number", "sha256": FILE, "hash64": 0},
        ],
    )
    write(
        lists / "adopted.parquet",
        [{"url": url("kept") + "?adopted", "sha256": other}],
    )
    (lists / "laion.csv").write_text(
        f"URL,MD5\n{url('a')}?csv,{MD5.hex()}\n{url('b')}?csv,{'0' * 32}\n"
    )
    (lists / "more.jsonl").write_text(
        f'{{"url": "{url("a")}?json", "hash64": {signed(HASH)}}}\n'
        f'{{"url": "{url("b")}?json", "hash64": "{HASH:x}"}}\n{{broken\n'
    )
    found = verdicts(spark, store, lists)
    assert {u: verdict for u, (verdict, _) in found.items() if "?" not in u} == {
        url("a"): "exact",
        url("a") + "#fragment": "exact",
        url("b"): "changed",
        url("flat"): "untold",
        url("gone"): "missing",
        url("never"): "missing",
        "x.jpg": "bad_url",
        "": "bad_url",  # the broken line
    }
    assert {u.partition("://")[2]: told for u, told in found.items() if "?" in u} == {
        "a.example/x.jpg?coyo": ("same_looking", 2),
        "b.example/x.jpg?coyo": ("changed", 8),
        "flat.example/x.jpg?coyo": ("untold", None),
        "gone.example/x.jpg?coyo": ("missing", None),
        "a.example/x.jpg?number": ("same_looking", 0),
        "b.example/x.jpg?number": ("exact", HASH.bit_count()),
        "a.example/x.jpg?csv": ("exact", None),
        "b.example/x.jpg?csv": ("changed", None),
        "a.example/x.jpg?json": ("same_looking", 0),
        "b.example/x.jpg?json": ("same_looking", 0),
        "kept.example/x.jpg?adopted": ("untold", None),
    }


def test_a_list_that_tells_nothing_is_refused(store: Store, lists: Path) -> None:
    def refused(*paths: Path) -> pytest.ExceptionInfo[InputError]:
        with pytest.raises(InputError) as raised:
            check(VerifySection(expected=tuple(map(str, paths))))
        return raised

    write(lists / "list.parquet", [{"url": url("a"), "size": 3}])
    refused(lists).match(r"list.parquet does not say .*columns are url, size; needed .* sha256")
    (lists / "bad.parquet").write_bytes(b"no Parquet")
    refused(lists / "bad.parquet").match("bad.parquet cannot be read")
    refused(lists / "none.parquet").match("no list at .*none")


def test_the_list_is_that_of_the_run(store: Store) -> None:
    with pytest.raises(InputError, match="EXPECTED="):
        list_of_run(store)
    config = {"extract": {"lists": ["/data/a.parquet"], "url_column": "link"}}
    store.write_json("_stages/extract.json", {"state": "done", "config": config})
    assert list_of_run(store) == [
        'verify.expected=["/data/a.parquet"]',
        'verify.url_column="link"',
    ]
