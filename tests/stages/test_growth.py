"""The embedded web in a few crawls, one growth step each, held against one run over all of it.
With PAIRMILL_GROWTH_CRAWLS=10 in ten of them, which takes a quarter of an hour.

What is kept differs only as docs/growth.md says; no URL is asked for twice; and what the sites change
their minds about afterwards is found and goes.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.grow import main as grow_by
from jobs.line import run_stages
from jobs.recheck import main as recheck
from pipeline.core import release
from pipeline.core.ids import image_id
from pipeline.core.storage import Store
from pipeline.fakeweb.changes import Changes, write_changes
from pipeline.fakeweb.hostile import Kind
from pipeline.fakeweb.model import Robots
from pipeline.shards.verify import verify
from pipeline.stages import grow, register
from pipeline.stages.line import LINE
from pipeline.stream.reader import Release
from pipeline.stream.tombstones import Tombstones
from tests.stages.test_takedown import all_bytes

CRAWLS = int(os.environ.get("PAIRMILL_GROWTH_CRAWLS", "3"))
pytestmark = [
    pytest.mark.spark,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(600 + 300 * CRAWLS),
]

SETS = (
    "demo.pages=200",
    f"demo.archives={CRAWLS}",
    "dedupe.parts=2",
    "shard.samples_per_shard=10",
    "download.timeout_s=3",
    "download.silence_timeout_s=2",
    "download.decode_timeout_s=5",
    "download.retry_wait_s=1000000",  # nothing is due again
    "match.audit_rows=0",
)
# Reasons that come of what is counted over the rows of a crawl: see docs/growth.md.
COUNTED = {"caption_images_high"}

Row = dict[str, Any]


def words(folder: Path) -> list[str]:
    return [w for s in (*SETS, f"demo.folder={folder / 'web'}") for w in ("--set", s)]


def rows(folder: Path, table: str, *columns: str) -> list[Row]:
    return pq.read_table(folder / table, columns=list(columns) or None).to_pylist()


@dataclass(frozen=True)
class Fate:
    """What a run made of a pair. why: its first reason, or how its picture's download ended."""

    why: str
    image: bytes
    duplicate_of: bytes | None = None


class Milled:
    """A run: what it kept, and why not the rest."""

    def __init__(self, run: Path) -> None:
        self.run = run

    @cached_property
    def fates(self) -> dict[bytes, Fate]:
        found = {}
        status = {
            r["image_id"]: r["status"] for r in rows(self.run, "images", "image_id", "status")
        }
        for row in rows(self.run, "candidates"):
            for caption in row["captions"]:
                image = row["image_id"]
                found[caption["pair_id"]] = Fate(status.get(image, "unknown"), image)
        columns = ("pair_id", "image_id", "reason", "duplicate_of")
        for row in rows(self.run, "decisions", *columns):
            why = row["reason"] or "kept"
            found[row["pair_id"]] = Fate(why, row["image_id"], row["duplicate_of"])
        return found

    @cached_property
    def kept(self) -> dict[bytes, bytes]:
        """pair_id -> image_id."""
        return {pair: fate.image for pair, fate in self.fates.items() if fate.why == "kept"}


class Grown:
    """A dataset and what was asked for in each of its steps."""

    def __init__(self, root: Path, asked: list[list[Row]], web: Path) -> None:
        self.root, self.asked, self.web = root, asked, web

    @property
    def dataset(self) -> grow.Dataset:
        return grow.load(Store(str(self.root)))

    @cached_property
    def crawls(self) -> list[Milled]:
        return [Milled(self.root / f"crawls/c{i}") for i in range(CRAWLS)]

    def kept(self) -> dict[bytes, bytes]:
        """pair_id -> image_id, of the last version."""
        found = {}
        for table in sorted(Path(self.dataset.version, release.META).glob("*.parquet")):
            for row in pq.read_table(table, columns=["pair_id", "image_id"]).to_pylist():
                found[row["pair_id"]] = row["image_id"]
        return found

    @cached_property
    def step_of(self) -> dict[bytes, int]:
        """The step that released a picture."""
        return {
            i: n for n, crawl in reversed(list(enumerate(self.crawls))) for i in crawl.kept.values()
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("growth")


@pytest.fixture(scope="module")
def big(spark: Any, folder: Path) -> Milled:
    """One run over everything."""
    root = folder / "big"
    argv = ["--config", "conf/demo.toml", "--set", f"run.root={root}", *words(folder)]
    assert run_stages(*(stage.name for stage in LINE), argv=argv) == 0
    return Milled(root)


@pytest.fixture(scope="module")
def grown(spark: Any, folder: Path, big: Milled) -> Iterator[Grown]:
    """A step for each crawl; some of them die and are started again."""
    asked, root, log = [], folder / "dataset", folder / "web/access.jsonl"
    for crawl, archive in enumerate(sorted((folder / "web/archives").iterdir())):
        before = log.stat().st_size
        argv = ["--dataset", str(root), "--crawl", f"c{crawl}", "--config", "conf/demo.toml"]
        argv += ["--archives", str(archive), *words(folder)]
        with pytest.MonkeyPatch.context() as patch:
            died = {1: (grow, "publish_version"), 2: (register, "register")}.get(crawl)
            if died:
                patch.setattr(*died, dies)
                assert grow_by(argv) == 1
        assert grow_by(argv) == 0
        asked.append([json.loads(line) for line in log.read_bytes()[before:].splitlines()])
    yield Grown(root, asked, folder / "web")


def dies(*_: Any, **__: Any) -> None:
    raise OSError("died")


def explained(pair: bytes, big: Milled, grown: Grown) -> str:
    """By which rule a pair is kept by one of both; "" for none."""
    steps = [crawl.fates[pair] for crawl in grown.crawls if pair in crawl.fates]
    in_big = big.fates.get(pair)
    image = steps[0].image if steps else in_big.image if in_big else b""
    if pair in big.kept:
        if image in grown.step_of:
            return "its picture was released before, with another caption"
        for fate in steps:
            if fate.duplicate_of in grown.step_of:
                return "its picture gave way to one that an earlier step, or the same, released"
        return "counted over the crawl" if COUNTED & {f.why for f in steps} else ""
    assert in_big is not None
    if in_big.why in COUNTED or in_big.why == "placeholder":
        return "counted over the crawl"
    # Of a picture that gave way only the pairs say so that passed all else, its best caption first.
    gave_way = [f.duplicate_of for f in big.fates.values() if f.image == image and f.duplicate_of]
    if gave_way:
        better = gave_way[0]
        own = grown.step_of[image]
        if better not in grown.step_of or grown.step_of[better] > own:
            return "its picture came before the better one"
        # The better one is kept beside it: both have given way to a third that is not kept.
        return ""
    if in_big.why == "caption_rank_high":
        own = grown.crawls[grown.step_of[image]].fates
        better = [p for p, i in big.kept.items() if i == image]
        if better and all(p not in own or own[p].why in COUNTED for p in better):
            return "its picture was released before a better caption was found"
    return ""


def test_the_kept_set_is_that_of_one_run_but_for_what_came_first(big: Milled, grown: Grown) -> None:
    kept = grown.kept()
    assert len(kept) > 100
    differing = kept.keys() ^ big.kept.keys()
    why = {pair: explained(pair, big, grown) for pair in differing}
    print(Counter(why.values()), len(kept), len(big.kept))
    strange = [
        (
            pair in kept,
            big.fates.get(pair),
            [c.fates.get(pair) for c in grown.crawls if pair in c.fates],
            # The other captions of its picture there, and in each crawl.
            [
                (p.hex()[:6], f.why, [c.fates[p].why for c in grown.crawls if p in c.fates])
                for p, f in big.fates.items()
                if pair in big.fates and f.image == big.fates[pair].image
            ],
        )
        for pair, reason in why.items()
        if not reason
    ]
    assert strange == []
    # A picture with one caption here and another there counts twice; this web has many of both.
    assert len(differing) < 0.5 * len(kept)
    # What is kept of each of two that look alike is one.
    edges = rows(big.run, "neighbors", "fingerprint_a", "fingerprint_b")
    prints = {
        r["image_id"]: r["fingerprint"] for r in rows(big.run, "images", "image_id", "fingerprint")
    }
    held = {prints[i] for i in kept.values() if prints[i]}
    assert [e for e in edges if {e["fingerprint_a"], e["fingerprint_b"]} <= held] == []


def test_no_url_is_asked_for_twice(grown: Grown) -> None:
    routes = pq.read_table(grown.web / "files/routes.parquet", columns=["location"]).to_pylist()
    # Pictures that others are redirected to are asked for on their behalf.
    targets = {image_id(r["location"]).hex() for r in routes if r["location"]}
    seen: set[str] = set()
    asked = 0
    for step in grown.asked:
        images = {line["image"] for line in step if line["image"]} - targets
        assert images & seen == set()
        seen |= images
        asked += len(images)
    assert asked > 200
    taken = [
        a["in"]
        for crawl in grown.crawls
        for a in json.loads((crawl.run / "_stages/download.json").read_text())["accounts"]
        if a["unit"] == "taken_over"
    ]
    assert sum(taken) > 20  # there was something not to be asked for


def test_versions_are_whole_and_share_their_shards(grown: Grown) -> None:
    versions = grown.dataset.versions
    assert len(versions) == CRAWLS
    for before, after in zip(versions, versions[1:], strict=False):
        told = json.loads(Path(after, release.DIFF).read_text())
        old = {os.stat(tar).st_ino for tar in Path(before).glob("*.tar")}
        new = {os.stat(tar).st_ino for tar in Path(after).glob("*.tar")}
        assert len(new - old) >= 1 and len(old - new) <= told["shards_written"]
        assert (told["removed"] == 0) <= (old <= new)
    assert verify(versions[-1]) == []


def test_pictures_of_pages_that_opt_out_later_are_gone(grown: Grown) -> None:
    """A page of a later crawl says so of a picture that an earlier one released."""
    opted_out: dict[bytes, int] = {}
    for number, crawl in enumerate(grown.crawls):
        for row in rows(crawl.run, "pairs", "image_id", "page_optout"):
            if row["page_optout"]:
                opted_out.setdefault(row["image_id"], number)
    late = {i for i, n in opted_out.items() if grown.step_of.get(i, CRAWLS) < n}
    assert late, "the web has no such picture"
    assert late & set(grown.kept().values()) == set()
    receipts = list((grown.root / "registry/takedowns").glob("*.json"))
    causes = {json.loads(path.read_text())["cause"] for path in receipts}
    assert causes and all("opt out" in cause for cause in causes)


def samples_of(version: str) -> list[Row]:
    columns = ["key", "image_id", "url", "domain"]
    tables = sorted(Path(version, release.META).glob("*.parquet"))
    return [row for path in tables for row in pq.read_table(path, columns=columns).to_pylist()]


def host_of(url: str) -> str:
    return url.split("/")[2]


def test_opt_outs_that_came_later_are_found_and_taken_down(
    grown: Grown, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    version, log = grown.dataset.version, grown.web / "access.jsonl"
    samples = [s for s in samples_of(version) if s["key"] not in Tombstones(version).keys()]
    # One whole host is closed, and four pictures of others get something of their own.
    closed = Counter(host_of(s["url"]) for s in samples).most_common(1)[0][0]
    images = {s["image_id"]: s["url"] for s in samples if host_of(s["url"]) != closed}
    by_header, by_agent, by_other_agent, gone = list(images)[:4]
    headers = {
        by_header: "X-Robots-Tag: noai",
        by_agent: "X-Robots-Tag: pairmill: noimageai",
        by_other_agent: "X-Robots-Tag: googlebot: noindex",  # nothing to us
    }
    kinds = {gone.hex(): Kind.HTTP_410}
    changes = Changes({closed: Robots.ALL}, {i.hex(): h for i, h in headers.items()}, kinds)
    write_changes(str(grown.web), changes)
    wanted = {s["key"] for s in samples if host_of(s["url"]) == closed}
    wanted |= {s["key"] for s in samples if s["image_id"] in (by_header, by_agent, gone)}

    before = log.stat().st_size
    argv = ["--config", "conf/demo.toml", "--dataset", str(grown.root), *words(folder)]
    assert recheck(argv) == 0
    told = capfd.readouterr().out
    assert "header:x-robots-tag:noai" in told and "robots.txt" in told and "http:410" not in told
    asked = [json.loads(line) for line in log.read_bytes()[before:].splitlines()]
    answers: dict[str, list[int]] = {}
    for line in asked:
        if line["image"]:
            answers.setdefault(line["image"], []).append(line["status"])
    # Some sites send everybody away once, a second later they answer.
    strange = [a for a in answers.values() if not set(a) <= {206, 301, 410} and a != [429, 206]]
    assert strange == []
    assert not [line for line in asked if line["image"] and line["host"] == closed]
    robots = Counter((r["scheme"], r["host"]) for r in asked if r["target"] == "/robots.txt")
    assert closed in {host for _, host in robots} and set(robots.values()) == {1}
    assert not Tombstones(version).keys() & wanted

    # What was found is taken down without asking again; that a picture is gone counts when wanted.
    before = log.stat().st_size
    assert recheck([*argv, "--takedown", "--gone", "--purge"]) == 0
    assert log.stat().st_size == before
    assert Tombstones(version).keys() >= wanted
    after = grown.dataset.version
    assert after != version and verify(after) == []
    assert {s["key"] for s in samples_of(after)} == {s["key"] for s in samples} - wanted
    held = all_bytes(Path(after))
    for sample in Release(version):
        assert (sample.jpg in held) == (sample.key not in wanted)
    for url in {s["url"] for s in samples if s["key"] in wanted}:
        assert url.encode() not in held
    receipts = [json.loads(p.read_text()) for p in (grown.root / "registry/takedowns").iterdir()]
    receipts = [r for r in receipts if r["cause"] == "recheck"]
    assert {r["release"] for r in receipts} == set(grown.dataset.versions[:-1])
    (last,) = (r for r in receipts if r["release"] == version)
    assert set(last["keys"]) == wanted
    assert set(last["keys_by_rule"]) >= {"robots.txt", "header:x-robots-tag:noai", "http:410"}
    changes_told = json.loads(Path(after, release.DIFF).read_text())["removed_why"]
    assert "recheck: robots.txt" in changes_told and "recheck: http:410" in changes_told

    # No later crawl adds them again: the one that found most of them is milled once more.
    archive = sorted((grown.web / "archives").iterdir())[0]
    argv = ["--dataset", str(grown.root), "--crawl", "again", "--config", "conf/demo.toml"]
    assert grow_by([*argv, "--archives", str(archive), *words(folder)]) == 0
    assert grown.dataset.version == after
    assert "nothing published" in capfd.readouterr().out
