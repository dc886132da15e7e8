"""Killed anywhere and started again, the download gives every candidate exactly one row."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.core import raw
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.fakeweb.build import write_web
from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.serving import Served, serving
from pipeline.fetch.settings import DownloadSection
from tests.stages.download_process import download
from tests.stages.test_download import write_candidates

PARTS = 6
KILLS = 8


def settings(served: Served) -> DownloadSection:
    return DownloadSection(
        dns_servers=(served.dns_server,),
        dns_min_ttl_s=0.0,
        check_dns=False,
        contact="test@pairmill.example",
        ca_file=served.ca_file,
        port_map={80: served.http_port, 443: served.https_port},
        allowed_networks=("127.0.0.1/32",),
        min_side_px=32,
        timeout_s=5,
        decode_timeout_s=5,
        backoff_s=0.2,
        max_backoff_s=0.5,
        host_interval_s=0.0,
        host_failures=50,
        address_concurrency=1000,
        address_interval_s=0.0,
        open_parts=2,
    )


def rows(store: Store) -> list[dict[str, Any]]:
    parts = store.committed(IMAGES)
    return [r for p in parts for b in store.read_part(IMAGES, p) for r in b.to_pylist()]


def pictures(store: Store, found: list[dict[str, Any]]) -> list[bytes]:
    """The stored pictures; raises when one is not where its row says."""
    places = [raw.Place(*(r[name] for name in raw.PLACE)) for r in found if r["status"] == "ok"]
    return raw.read(store, places)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_again_and_again_every_candidate_has_one_row(forked: Any, tmp_path: Path) -> None:
    web, root = tmp_path / "web", tmp_path / "run"
    write_web(str(web), DemoSection(pages=60, processes=1))
    wanted = {
        row["image_id"]: row
        for row in pq.read_table(web / "truth/images.parquet").to_pylist()
        if row["is_candidate"] and not row["is_forbidden"]
    }
    urls = sorted(row["url"] for row in wanted.values())
    write_candidates(root, {p: urls[p::PARTS] for p in range(PARTS)})
    store = Store(str(root))
    chance = random.Random(4)
    with serving(str(web)) as served:
        cut = 0
        for _ in range(KILLS):
            process = forked.Process(target=download, args=(str(root), settings(served)))
            process.start()
            # Forked, it is at its work at once: from its first moments to the end of the parts.
            process.join(chance.uniform(0.1, 4.0))
            cut += process.is_alive()
            process.kill()
            process.join()
            found = rows(store)
            assert max(Counter(r["image_id"] for r in found).values(), default=1) == 1
            pictures(store, found)
        assert cut >= KILLS // 2
        process = forked.Process(target=download, args=(str(root), settings(served)))
        process.start()
        process.join(200)
        assert process.exitcode == 0
    found = rows(store)
    assert sorted(r["image_id"] for r in found) == sorted(wanted)
    assert len(store.committed(IMAGES)) == PARTS
    for row, picture in zip(
        [r for r in found if r["status"] == "ok"], pictures(store, found), strict=True
    ):
        assert len(picture) == row["raw_bytes"] and picture.startswith(b"\xff\xd8")
    assert not list(root.rglob(".writing-*"))
    wrong = [
        (r["status"], due["expected_status"], r["status_detail"])
        for r in found
        if (due := wanted[r["image_id"]])
        and r["status"] not in (due["expected_status"], due["other_status"])
        and due["expected_status"]
        != "placeholder"  # counted by part, and not over all of them here
    ]
    assert wrong == []
