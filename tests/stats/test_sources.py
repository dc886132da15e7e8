"""Failures and objections by domain, counted in SQL as plain Python counts them."""

from collections import Counter

import duckdb
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats import sources

Image = tuple[str, str, str]  # domain, status, consent
images = st.lists(
    st.tuples(
        st.sampled_from(["a.example", "b.example", "c.example", "d.example"]),
        st.sampled_from(["ok", "ok", "filtered", "timeout", "http_404"]),
        st.sampled_from(["allowed", "unknown", "adopted", "robots.txt", "meta:noai"]),
    ),
    max_size=60,
)


def figures(rows: list[Image], query: str) -> dict[tuple[str, str, str], float]:
    """A query of counts on the images of a run, each a candidate of its domain."""
    connection = duckdb.connect()
    ids = pa.array([n.to_bytes(16, "big") for n in range(len(rows))], pa.binary(16))
    domain, status, consent = (
        pa.array([row[place] for row in rows], pa.string()) for place in range(3)
    )
    for name, table in {
        "candidates": pa.table({"image_id": ids, "domain": domain}),
        "images": pa.table({"image_id": ids, "status": status, "consent": consent}),
    }.items():
        connection.from_arrow(table).create(name)
    connection.execute(f"CREATE TEMP TABLE hosts AS {sources.hosts()}")
    found = connection.sql(query).to_arrow_table().to_pylist()
    assert len({(r["figure"], r["series"], r["bucket"]) for r in found}) == len(found)
    return {(r["figure"], r["series"], r["bucket"]): r["value"] for r in found}


@given(images, st.integers(1, 4))
def test_the_hosts_that_failed_most(rows: list[Image], top: int) -> None:
    failed = Counter(d for d, s, _ in rows if s not in ("ok", "filtered"))
    ok = Counter(d for d, s, _ in rows if s == "ok")
    worst = sorted(failed, key=lambda d: (-failed[d], d))[:top]
    wanted = {("host", "asked", d): failed[d] + ok[d] for d in worst}
    wanted |= {("host", "ok", d): ok[d] for d in worst}
    wanted |= Counter(
        ("host_status", d, s) for d, s, _ in rows if d in worst and s not in ("ok", "filtered")
    )
    assert figures(rows, sources.by_host(top)) == wanted


@given(images, st.integers(1, 4))
def test_who_objects(rows: list[Image], top: int) -> None:
    each = Counter((c, d) for d, _, c in rows if c in ("robots.txt", "meta:noai"))
    wanted: dict[tuple[str, str, str], int] = {}
    for consent in {c for c, _ in each}:
        domains = sorted((d for c, d in each if c == consent), key=lambda d: (-each[consent, d], d))
        wanted["consent_domains", "domains", consent] = len(domains)
        wanted |= {("consent_domain", consent, d): each[consent, d] for d in domains[:top]}
    assert figures(rows, sources.objecting(top)) == wanted
