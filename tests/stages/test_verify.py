"""Pictures are held against what a list says they were."""

import hashlib
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
from pipeline.stages.verify import VerifySection, build, check

pytestmark = pytest.mark.spark

HASH = 0x8F0F00FF00F0A5C3
FILE = hashlib.sha256(b"the file").digest()
STATUSES = {"a": "ok", "b": "ok", "flat": "ok", "gone": "http_404"}


def url(name: str) -> str:
    return f"https://{name}.example/x.jpg"


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "run"))
    rows = []
    for name, status in STATUSES.items():
        row: dict[str, Any] = {"image_id": image_id(url(name)), "part": 0, "status": status}
        row |= {"consent": "allowed", "fetch_ms": 1, "fetched_at": 0, "downloads": 1}
        if status == "ok":
            texture = 5 if name == "flat" else 60
            row |= {"sha256": FILE, "hash64": signed(HASH), "texture": texture}
        rows.append(row)
    with store.publish(store.part_file(IMAGES, 0)) as file:
        pq.write_table(pa.Table.from_pylist(rows, IMAGES.schema), file)
    return store


def verdicts(spark: Any, store: Store, rows: list[dict[str, Any]]) -> dict[str, Any]:
    path = f"{store.root}-expected.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    section = VerifySection(expected=path)
    ctx: Context[VerifySection] = Context("verify", spark, store, section, {}, {})
    (account,) = build(ctx)
    account.check("test")
    assert account.rows_in == len(rows)
    found = spark.read.parquet(store.path("verified")).collect()
    assert account.kept == sum(row["verdict"] == "exact" for row in found)
    return {row["url"]: (row["verdict"], row["distance"]) for row in found}


def test_by_digest(spark: Any, store: Store) -> None:
    other = hashlib.sha256(b"another").hexdigest()
    rows = [
        {"URL": url("a"), "sha256": FILE.hex().upper()},
        {"URL": url("a") + "#fragment", "sha256": FILE.hex()},
        {"URL": url("b"), "sha256": other},
        {"URL": url("flat"), "sha256": "no digest"},
        {"URL": url("gone"), "sha256": other},
        {"URL": url("never"), "sha256": other},
        {"URL": "x.jpg", "sha256": other},
    ]
    found = {u: verdict for u, (verdict, _) in verdicts(spark, store, rows).items()}
    assert found == {
        url("a"): "exact",
        url("a") + "#fragment": "exact",
        url("b"): "changed",
        url("flat"): "untold",
        url("gone"): "missing",
        url("never"): "missing",
        "x.jpg": "bad_url",
    }


def test_by_perceptual_hash_as_coyo_has_it(spark: Any, store: Store) -> None:
    rows = [
        {"url": url("a"), "image_phash": f"{HASH ^ 0b101:016x}"},
        {"url": url("b"), "image_phash": f"{HASH ^ 0xFF:016x}"},
        {"url": url("flat"), "image_phash": f"{HASH:016x}"},
        {"url": url("gone"), "image_phash": None},
    ]
    assert verdicts(spark, store, rows) == {
        url("a"): ("same_looking", 2),
        url("b"): ("changed", 8),
        url("flat"): ("untold", None),
        url("gone"): ("missing", None),
    }


def test_by_bytes_and_numbers(spark: Any, store: Store) -> None:
    rows = [
        {"image_url": url("a"), "sha256": b"\1" * 32, "hash64": signed(HASH)},
        {"image_url": url("b"), "sha256": FILE, "hash64": 0},
    ]
    found = verdicts(spark, store, rows)
    assert found[url("a")] == ("same_looking", 0) and found[url("b")][0] == "exact"


def test_a_list_that_is_none_is_refused(spark: Any, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="EXPECTED="):
        check(VerifySection())
    with pytest.raises(InputError, match=r"columns url, size; needed are one of url, URL"):
        verdicts(spark, store, [{"url": url("a"), "size": 3}])
    bad = tmp_path / "list.parquet"
    bad.write_bytes(b"no Parquet")
    section = VerifySection(expected=str(bad))
    for path in (str(bad), str(tmp_path / "none.parquet")):
        section = VerifySection(expected=path)
        ctx: Context[VerifySection] = Context("verify", spark, store, section, {}, {})
        with pytest.raises(Exception, match=path):
            build(ctx)
