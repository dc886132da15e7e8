"""Consent on the embedded web, from its server's log: nothing forbidden or listed is asked for, and
no site twice within a day for its robots.txt."""

import io
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.storage import Store
from pipeline.fakeweb.build import write_web
from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.serving import serving
from pipeline.fetch.flow import download_part
from pipeline.fetch.hosts_table import fold
from pipeline.fetch.known_hosts import KnownHosts
from pipeline.fetch.pool import close_pools
from pipeline.fetch.settings import DownloadSection

# Kinds that answer at once; what the others do is no matter of consent.
_KINDS = {"sound", "redirected", "jpeg_as_html", "http_403", "http_404", "http_503", "tiny"}


@pytest.mark.timeout(300)
def test_the_log_of_the_server_shows_that_consent_is_kept(tmp_path: Path) -> None:
    web = tmp_path / "web"
    write_web(str(web), DemoSection(pages=60, processes=1))
    images = pq.read_table(web / "truth/images.parquet").to_pylist()
    images = [row for row in images if row["kind"] in _KINDS or row["optout"] is not None]
    free = [row for row in images if row["expected_status"] == "ok"]
    listed_host, listed_url = (
        free[0]["host"],
        next(row["url"] for row in free if row["host"] != free[0]["host"]),
    )
    lists = tmp_path / "optouts.txt"
    lists.write_text(f"host:{listed_host}\n{listed_url}\n")
    candidates = pa.RecordBatch.from_pylist(
        [
            {
                "image_id": row["image_id"],
                "url": row["url"],
                "domain": row["host"],
                "page_optout": "meta:noai" if (row["optout"] or "").startswith("page") else None,
            }
            for row in images
        ]
    )
    store = Store(str(tmp_path / "hosts"))
    runs = []
    with serving(str(web)) as served:
        for number in range(2):
            Path(served.log_path).write_text("")
            config = DownloadSection(
                hosts_file=served.hosts_file,
                allowed_networks=("127.0.0.1/32",),
                port_map={80: served.http_port, 443: served.https_port},
                ca_file=served.ca_file,
                optout_lists=(str(lists),),
                host_interval_s=0.0,
                retries=0,
                placeholder_urls=0,
            )
            known = KnownHosts(store, config.user_agent, clock=lambda now=number: float(now))  # type: ignore[misc]
            result = download_part([candidates], config, io.BytesIO(), hosts=known)
            fold(store, lambda: 0.0)
            log = [json.loads(line) for line in Path(served.log_path).read_text().splitlines()]
            runs.append((result, log))
    close_pools()
    forbidden = {row["image_id"].hex() for row in images if row["is_forbidden"]}
    listed = {row["image_id"].hex() for row in images if row["host"] == listed_host}
    listed |= {row["image_id"].hex() for row in images if row["url"] == listed_url}
    assert forbidden and len(listed) >= 2
    for result, log in runs:
        asked = {line["image"] for line in log if line["image"] is not None}
        assert asked and not asked & (forbidden | listed)
        assert listed_host not in {line["host"] for line in log}
        consents = Counter(row["consent"] for row in result.rows)
        assert consents["list:url"] == 1 and consents["list:host"] >= 1
        assert consents["robots.txt"] > 0 and result.account.kept > 0
    first, second = (result.account for result, _ in runs)
    assert (first.kept, first.dropped) == (second.kept, second.dropped)
    times = [
        Counter((x["scheme"], x["host"]) for x in log if x["target"] == "/robots.txt")
        for _, log in runs
    ]
    assert times[0] and set(times[0].values()) == {1} and not times[1]
