"""Filters before the download: what they leave out is never asked for, and everything is counted."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.caption_boilerplate import CaptionBoilerplate
from filters.caption_filename import CaptionFilename
from filters.caption_length import CaptionLength
from filters.concept_balance import ConceptBalance
from filters.pair_pages import PairPages
from pipeline.core import records
from pipeline.core.config import Config, RunSection
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Filter
from pipeline.core.ids import image_id, pair_id
from pipeline.core.run import amend, run
from pipeline.core.stage import Stage, StageSection
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, CAPTION, PAIR_VIEW
from pipeline.fetch.settings import DownloadSection
from pipeline.stages import download, filtered
from pipeline.stages.again import recheck, retry
from tests.fetch.img2dataset import write_shard
from tests.fetch.server import WebServer
from tests.fetch.test_part import PHOTO, serving, settings
from tests.filters.oracle import DATA, GOOD, measured, reasons
from tests.stages.test_download import candidate

pytestmark = pytest.mark.spark

LINE = (
    Stage("dedupe", (), (CANDIDATES,), StageSection, lambda ctx: []),
    download.STAGE,
)
GOOD_CAPTION = "a brown dog on the beach"


def url(name: str) -> str:
    return f"http://{name}.test/x.jpg"


def captioned(name: str, part: int, *captions: str, **other: Any) -> dict[str, Any]:
    row = candidate(url(name), part) | {
        key: value for key, value in other.items() if key in CANDIDATES.schema.names
    }
    spoken = [
        {n: GOOD[n] for n in CAPTION.names if n in GOOD}
        | {k: v for k, v in other.items() if k in CAPTION.names}
        | {"caption": caption, "pair_id": pair_id(row["image_id"], caption)}
        for caption in captions
    ]
    return row | {"captions": spoken, "pages": 1}


def write(root: Path, rows: list[dict[str, Any]]) -> None:
    for part in {row["part"] for row in rows}:
        folder = root / "candidates" / f"part={part}"
        folder.mkdir(parents=True)
        chosen = [row for row in rows if row["part"] == part]
        table = pa.Table.from_pylist(chosen, CANDIDATES.schema).drop_columns(["part"])
        pq.write_table(table, folder / "rows.parquet")
    record = {"stage": "dedupe", "state": "done", "id": "d", "config": {}, "inputs": {}}
    Store(str(root)).write_json(records.path("dedupe"), record)


ROWS = [
    captioned("good", 0, GOOD_CAPTION),
    captioned("mixed", 0, "dog", GOOD_CAPTION),
    captioned("short", 0, "dog", "cat"),
    captioned("file", 0, "IMG_1234.jpg", "dog"),
    captioned("many", 3, GOOD_CAPTION, pages=11),
    captioned("quiet", 3, "dog", page_optout="meta:noai"),
    captioned("none", 3),
    captioned("medium", 3, "dogs!"),
]
FILTERS: dict[str, Filter] = {
    "caption_length": CaptionLength(min_chars=6),
    "caption_filename": CaptionFilename(),
    "pair_pages": PairPages(max_pages=10),
}


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer({"/x.jpg": serving()}) as started:
        yield started


def config(tmp_path: Path, server: WebServer, filters: dict[str, Filter], **other: Any) -> Config:
    section = settings(tmp_path, server, filters_first=True, check_dns=False, **other)
    sections = {
        "run": RunSection(root=str(tmp_path / "run")),
        "dedupe": StageSection(),
        "download": section,
    }
    return Config(sections, filters)


def asked(server: WebServer) -> set[str]:
    return {host.removesuffix(".test") for host, _ in server.log}


def statuses(tmp_path: Path) -> dict[str, tuple[str, str | None, int]]:
    names = {image_id(row["url"]): row["domain"].removesuffix(".test") for row in ROWS}
    rows = pq.read_table(tmp_path / "run" / "images").to_pylist()
    assert len(rows) == len(ROWS)
    return {names[r["image_id"]]: (r["status"], r["status_detail"], r["downloads"]) for r in rows}


def test_what_is_left_out_is_never_asked_for(
    spark: Any, tmp_path: Path, server: WebServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "run", ROWS)
    (record,) = run(["download"], LINE, config(tmp_path, server, FILTERS))
    assert asked(server) == {"good", "mixed", "none"}
    (account,) = record["accounts"]
    assert account["in"] == 8 and account["kept"] == 3
    assert account["dropped"] == {"filtered": 4, "opted_out": 1}
    assert "4 requests saved by filters before the download" in capsys.readouterr().err
    found = statuses(tmp_path)
    assert found["short"] == ("filtered", "caption_chars_low", 0)
    assert found["file"] == ("filtered", "caption_chars_low, is_filename_like_high", 0)
    assert found["many"] == ("filtered", "pages_high", 0)
    assert found["quiet"][0] == "opted_out"
    assert {found[n][0] for n in ("good", "mixed", "none")} == {"ok"}


def test_a_looser_bound_is_settled_by_retry_without_another_download(
    spark: Any, tmp_path: Path, server: WebServer
) -> None:
    write(tmp_path / "run", ROWS)
    first = config(tmp_path, server, FILTERS)
    (before,) = run(["download"], LINE, first)
    server.log.clear()
    looser = config(tmp_path, server, FILTERS | {"caption_length": CaptionLength(min_chars=5)})
    with pytest.raises(ConfigError, match=r"min_chars: 6 -> 5\); `retry` settles that; or "):
        run(["download"], LINE, looser)
    with pytest.raises(ConfigError, match="`retry` settles that"):
        amend(download.STAGE, LINE, looser, recheck(section(looser), looser.filters))

    record = amend(download.STAGE, LINE, looser, retry(section(looser), looser.filters))
    assert record is not None and record["id"] != before["id"]
    assert asked(server) == {"medium"}
    assert statuses(tmp_path)["medium"] == ("ok", None, 1)
    images, again = record["accounts"]
    assert images["kept"] == 4 and images["dropped"] == {"filtered": 3, "opted_out": 1}
    assert (again["in"], again["kept"]) == (1, 1)
    assert run(["download"], LINE, looser)[0]["id"] == record["id"]

    # Back to what it was: nothing is downloaded, nothing is lost, and the stage is as it was.
    server.log.clear()
    assert amend(download.STAGE, LINE, first, retry(section(first), first.filters)) is None
    assert run(["download"], LINE, first)[0]["id"] == record["id"]
    assert statuses(tmp_path)["medium"][0] == "ok"
    # Without filters before the download all is asked for that was left out.
    none = replace(first, sections=first.sections | {"download": settings(tmp_path, server)})
    assert amend(download.STAGE, LINE, none, retry(section(none), none.filters)) is not None
    assert asked(server) == {"short", "file", "many"}
    assert {status for status, *_ in statuses(tmp_path).values()} == {"ok", "opted_out"}


def section(made: Config) -> DownloadSection:
    found = made.sections["download"]
    assert isinstance(found, DownloadSection)
    return found


def test_a_retry_that_is_cut_short_is_told_to_go_on(
    spark: Any, tmp_path: Path, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "run", ROWS)
    run(["download"], LINE, config(tmp_path, server, FILTERS))
    looser = config(tmp_path, server, {"pair_pages": PairPages()})
    again = retry(section(looser), looser.filters)

    def cut(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        amend(download.STAGE, LINE, looser, replace(again, build=cut))
    with pytest.raises(ConfigError, match="`retry` settles that"):
        run(["download"], LINE, looser)
    amend(download.STAGE, LINE, looser, again)
    run(["download"], LINE, looser)
    left = {name for name, (status, *_) in statuses(tmp_path).items() if status == "filtered"}
    assert left == {"many"}


def test_what_a_folder_of_another_downloader_has_is_not_left_out(
    spark: Any, tmp_path: Path, server: WebServer
) -> None:
    write(tmp_path / "run", ROWS)
    folder = tmp_path / "adopted"
    write_shard(folder, 0, [(url("short"), PHOTO)])
    run(["download"], LINE, config(tmp_path, server, FILTERS, adopt=str(folder)))
    found = statuses(tmp_path)
    assert found["short"][0] == "ok" and "short" not in asked(server)
    assert found["file"][0] == "filtered"


def early_reasons(chosen: Filter, batch: pa.RecordBatch) -> list[str | None]:
    """As `oracle.reasons`; of balance only whether an entry is named."""
    if isinstance(chosen, ConceptBalance):
        counts = measured(chosen, batch)["concept_count"]
        return [None if count else "concept_count_low" for count in counts]
    return reasons(chosen, batch)


def test_it_is_the_judgement_of_the_filters_over_every_caption(spark: Any) -> None:
    """Against plain Python, and however the candidates lie."""
    chance = random.Random(7)
    captions = ["dog", "a dog", "IMG_1.jpg", "DSC01234", GOOD_CAPTION, "another good caption", ""]
    rows = [
        captioned(
            f"h{n}",
            n % 5,
            *chance.sample(captions, chance.choice((0, 1, 1, 2, 3))),
            pages=chance.choice((1, 1, 1, 11)),
            caption_domain_images=chance.choice((1, 1, 1, 6)),
        )
        for n in range(300)
    ]
    concepts = str(DATA / "concepts.txt")  # dog, beach, ...
    filters = FILTERS | {
        "caption_boilerplate": CaptionBoilerplate(max_domain_images=5),
        "concept_balance": ConceptBalance(concepts=concepts),
    }
    due = {}
    for row in rows:
        spoken = [GOOD | caption for caption in row["captions"]]
        batch = pa.RecordBatch.from_pylist(spoken, schema=PAIR_VIEW)
        judged = [
            next((r for r in of_one if r), None)
            for of_one in zip(*(early_reasons(f, batch) for f in filters.values()), strict=True)
        ]
        if judged and all(judged):
            due[row["image_id"]] = ", ".join(sorted(set(map(str, judged))))
    assert 50 < len(due) < 250
    for slices in (1, 7):
        candidates = spark.createDataFrame(pa.Table.from_pylist(rows, CANDIDATES.schema))
        found = filtered.left_out(candidates.repartition(slices), filters).collect()
        assert {bytes(r["image_id"]): r["reasons"] for r in found} == due
        parts = {row["image_id"]: row["part"] for row in rows}
        assert all(parts[bytes(r["image_id"])] == r["part"] for r in found)
