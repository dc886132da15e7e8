"""Rows of PAIRS in, candidates and accounts out, through Spark."""

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, CAPTION, PAIRS
from pipeline.stages.dedupe import STAGE, DedupeSection, build, check
from tests.dedupe.oracle import compare, many, pair

pytestmark = pytest.mark.spark


def dedupe(spark, root: Path, rows: list[dict], files: int = 2, store=None, **settings):
    """(candidates by canonical URL, accounts by unit, part -> rows in file order)."""
    store = store or Store(str(root))
    for part in range(files):
        with Store(str(root)).publish_part(PAIRS, part) as sink:
            sink.write_rows(rows[part::files])
    section = DedupeSection(**settings)
    ctx = Context(STAGE.name, spark, store, section, {STAGE.name: section}, {})
    accounts = {a.unit: a for a in build(ctx)}
    for account in accounts.values():
        account.check("dedupe")
    parts = {}
    for folder in sorted(Path(root, "candidates").glob("part=*")):
        (file,) = folder.glob("*.parquet")  # exactly one
        parts[int(folder.name[5:])] = pq.ParquetFile(file).read().to_pylist()
    found = {row["canonical_url"]: row for rows in parts.values() for row in rows}
    assert ctx.read(CANDIDATES).count() == len(found) == accounts["images"].kept
    assert sorted(p.name for p in Path(root).iterdir()) == ["_progress", "candidates", "pairs"]
    return found, accounts, parts


def test_captions_of_one_image_are_gathered(spark, tmp_path: Path) -> None:
    rows = [
        pair("x", "a dog", "p2.example/", fragment="#2", kinds=2, lang="en"),
        pair("x", "a dog", "p1.example/", fragment="#1", lang="ko"),
        pair("x", "a dog", "p1.example/", optout="meta:noai", archive="b", lang="ko"),
        pair("x", "a cat", "p1.example/"),
        pair("y", "a dog", "p1.example/"),
        pair("y", None, "p3.example/", optout="tdm:1"),
        pair("z", None, "p3.example/", optout="tdm:1"),
    ]
    found, accounts, _ = dedupe(spark, tmp_path, rows)
    x, y = found["https://cdn.example/x"], found["https://cdn.example/y"]
    assert x["page_optout"] == "meta:noai" and y["page_optout"] == "tdm:1"
    assert (x["pages"], x["page_domains"], y["pages"]) == (2, 2, 2)
    captions = {c["caption"]: c for c in x["captions"]}
    assert [c["pair_id"] for c in x["captions"]] == sorted(c["pair_id"] for c in x["captions"])
    assert x["captions"][0].keys() == {f.name for f in CAPTION}
    assert captions["a dog"]["caption_kinds"] == 3 and captions["a dog"]["caption_kind"] == "alt"
    assert captions["a dog"]["pages"] == captions["a dog"]["caption_images"] == 2
    assert captions["a dog"]["caption_domains"] == 2
    assert captions["a cat"]["pages"] == captions["a cat"]["caption_images"] == 1
    assert (accounts["pairs"].rows_in, accounts["pairs"].kept) == (7, 3)
    assert accounts["pairs"].dropped == {"duplicate_pair": 2, "no_caption": 2}
    assert accounts["images"].dropped == {"no_caption": 1}
    compare(found, accounts, rows)


@pytest.mark.parametrize("bucket_rows", [100_000, 200], ids=["all together", "heavy keys apart"])
def test_every_row_and_count_is_the_oracles(spark, tmp_path: Path, bucket_rows) -> None:
    rows = many(700, bucket_rows)
    known = {r["image_id"] for r in rows if r["image_id"][0] % 5 == 0}
    known.add(rows[0]["image_id"])
    registry = tmp_path / "registry"
    registry.mkdir()
    for n, ids in enumerate((sorted(known)[::2], sorted(known))):
        pq.write_table(pa.table({"image_id": ids}), registry / f"{n}.parquet")
    settings = {"bucket_rows": bucket_rows, "parts": 3, "max_captions_per_image": 4}
    found, accounts, _ = dedupe(spark, tmp_path / "a", rows, registry=str(registry), **settings)
    compare(found, accounts, rows, known, 4)
    assert accounts["pairs"].rows_in == len(rows)


def test_result_does_not_depend_on_order_partitions_or_the_way_taken(spark, tmp_path: Path) -> None:
    """And each way reads the pairs once."""
    rows = many(600, 7)
    settings = {"parts": 5, "giant_domain_images": 60, "max_captions_per_image": 3}
    first = dedupe(spark, tmp_path / "a", rows, files=1, **settings)
    compare(*first[:2], rows, cap=3)
    shuffled = random.Random(2).sample(rows, len(rows))
    before = spark.conf.get("spark.sql.shuffle.partitions")
    planned = len(_plans(spark))
    spark.conf.set("spark.sql.shuffle.partitions", "3")
    watched = WatchedStore(str(tmp_path / "b"))
    try:
        second = dedupe(
            spark, tmp_path / "b", shuffled, files=4, store=watched, bucket_rows=150, **settings
        )
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    assert first[2] == second[2]
    assert first[1] == second[1]
    one, other = (
        {f.parent.name: f.read_bytes() for f in Path(tmp_path, n).glob("candidates/*/*")}
        for n in "ab"
    )
    assert one == other
    opened = Path(f"{watched.root}.log").read_text(encoding="utf-8").split()
    read = [name for name in opened if "/pairs/" in name]
    assert sorted(Path(name).name for name in read) == [f"part-{n:05d}.parquet" for n in range(4)]
    plans = _plans(spark)[planned:]
    assert any(f"{watched.root}/dedupe_keys" in plan for plan in plans)
    assert not any(f"{watched.root}/pairs" in plan for plan in plans)


def test_domains_stay_together_but_giants_are_spread(spark, tmp_path: Path) -> None:
    rows = [
        pair(str(n), "x", "p", domain=["giant.example", "giant.example", "a.example"][n % 3])
        for n in range(300)
    ]
    _, _, parts = dedupe(spark, tmp_path, rows, parts=5, giant_domain_images=100)
    homes: dict[str, set[int]] = {}
    for part, rows in parts.items():
        assert [r["image_id"] for r in rows] == sorted(r["image_id"] for r in rows)
        for row in rows:
            homes.setdefault(row["domain"], set()).add(part)
    assert homes["giant.example"] == {0, 1, 2, 3, 4}
    assert len(homes["a.example"]) == 1


def test_missing_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no registry at dedupe\.registry"):
        check(DedupeSection(registry=str(tmp_path / "none.parquet")))


class WatchedFiles(LocalFileSystem):
    """Notes every file that is opened to read, by any process."""

    cachable = False

    def __init__(self, log: str) -> None:
        super().__init__()
        self.log = log

    def open(self, path, mode="rb", **options):
        if "r" in mode:
            with Path(self.log).open("a", encoding="utf-8") as log:
                log.write(f"{path}\n")
        return super().open(path, mode, **options)


class WatchedStore(Store):
    @property
    def fs(self) -> WatchedFiles:
        return WatchedFiles(self.root + ".log")


def _plans(spark) -> list[str]:
    """The physical plan of every query of the session so far."""
    found = spark._jsparkSession.sharedState().statusStore().executionsList()
    return [found.apply(i).physicalPlanDescription() for i in range(found.size())]


def _task_reads(spark, first: int) -> Iterator[list[int]]:
    """Bytes that each task read from shuffles, of each Spark stage from number `first` on."""
    jvm = spark.sparkContext._jvm
    none = jvm.java.util.ArrayList()
    quantiles = spark.sparkContext._gateway.new_array(jvm.double, 0)
    store = spark.sparkContext._jsc.sc().statusStore()
    stages = store.stageList(none, False, False, quantiles, none)
    for stage in (stages.apply(i) for i in range(stages.size())):
        if stage.stageId() >= first and stage.shuffleReadBytes():
            tasks = store.taskList(stage.stageId(), stage.attemptId(), 10_000)
            metrics = [tasks.apply(i).taskMetrics().get() for i in range(tasks.size())]
            reads = [m.shuffleReadMetrics() for m in metrics]
            yield [r.localBytesRead() + r.remoteBytesRead() for r in reads]


def _skewed(count: int) -> list[dict]:
    """Of ten pairs, three are of one image with one caption, on pages of one domain and of many;
    three of another image, each with a caption of its own; three of one caption, each with an
    image of its own; and nearly all of these images are on one domain."""
    rows = []
    for n in range(count):
        image, caption, domain = f"i{n}", f"caption {n}", "giant.example"
        page = f"p{n % 997}.example/{n}" if n % 2 else f"giant.example/{n}"
        if n % 10 < 3:
            image, caption = "pixel", "logo"
        elif n % 10 < 6:
            image = "placeholder"
        elif n % 10 < 9:
            caption = "photo"
        else:
            domain = f"d{n % 499}.example"
        rows.append(pair(image, caption, page, domain=domain, offset=n))
    return rows


def test_no_task_gets_all_of_a_key_that_holds_30_percent(spark, tmp_path: Path) -> None:
    rows = _skewed(5_000)
    first = spark.sparkContext._jsc.sc().dagScheduler().nextStageId()
    # Into 20 buckets: a key that went to one of them would be six times its share.
    settings = {"bucket_rows": 250, "max_captions_per_image": 20, "giant_domain_images": 300}
    found, accounts, _ = dedupe(spark, tmp_path, rows, parts=8, **settings)
    compare(found, accounts, rows, cap=20)
    stages = list(_task_reads(spark, first))
    # Small steps may well be uneven, or be put together by Spark: they do not grow with the rows.
    large = [reads for reads in stages if sum(reads) >= max(map(sum, stages)) / 4]
    assert max(map(len, large)) >= 20
    for reads in large:
        assert max(reads) <= 4 * sum(reads) / len(reads)
