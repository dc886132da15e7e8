"""What an earlier run asked for is taken over by a later one, and not asked for again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core import raw, records
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, IMAGES
from pipeline.fetch.settings import DownloadSection
from pipeline.stages import carried
from pipeline.stages.again import retry
from pipeline.stages.download import build, check
from tests.fetch.server import WebServer
from tests.fetch.test_part import PHOTO, serving, settings
from tests.stages.test_again import OTHER, Web, by_unit, picture
from tests.stages.test_download import candidate

pytestmark = pytest.mark.spark


def url(name: str) -> str:
    return f"http://{name}.test/x.jpg"


def candidates(
    root: Path, parts: Mapping[int, list[str]], opted_out: frozenset[str] = frozenset()
) -> None:
    for part, names in parts.items():
        folder = root / f"candidates/part={part}"
        folder.mkdir(parents=True)
        rows = [candidate(url(n), part) for n in names]
        for row, name in zip(rows, names, strict=True):
            row["page_optout"] = "meta:noai" if name in opted_out else None
        table = pa.Table.from_pylist(rows, CANDIDATES.schema).drop_columns(["part"])
        pq.write_table(table, folder / "rows.parquet")


def rows_of(root: Path) -> dict[str, dict[str, Any]]:
    store, found = Store(str(root)), {}
    for part in store.committed(IMAGES):
        for batch in store.read_part(IMAGES, part):
            found |= {row["image_id"]: row for row in batch.to_pylist()}
    names = {}
    for part in store.fs.ls(store.path("candidates"), detail=False):
        for row in pq.read_table(part, columns=["image_id", "url"]).to_pylist():
            names[row["url"].split("/")[2].removesuffix(".test")] = found[row["image_id"]]
    assert len(names) == len(found)
    return names


def asked(server: WebServer) -> set[str]:
    found = {host.removesuffix(".test") for host, path in server.log if path == "/x.jpg"}
    server.log.clear()
    return found


def test_only_what_is_new_or_due_is_asked_for(spark: Any, tmp_path: Path) -> None:
    pictures = {
        name: picture(level) for level, name in enumerate(("good", "withdrawn", "lost"), 40)
    }
    web = Web({f"{name}.test/x.jpg": serving(body) for name, body in pictures.items()})
    web |= {"busy.test/x.jpg": serving(status="503 Busy"), "new.test/x.jpg": serving()}
    web |= {"due.test/x.jpg": serving(status="503 Busy"), "filtered.test/x.jpg": serving(OTHER)}
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    candidates(first, {0: ["good", "withdrawn", "gone"], 4: ["lost", "busy", "due"]})
    second_has = {
        1: ["good", "new"],
        2: ["gone", "busy", "due"],
        3: ["withdrawn", "lost", "filtered"],
    }
    candidates(second, second_has, frozenset({"withdrawn"}))
    with WebServer(web) as server:
        config = settings(tmp_path, server, retries=0, retry_wait_s=1e6)

        def run(root: Path, **changes: Any) -> dict[str, Account]:
            changed = config.model_copy(update=changes)
            ctx: Context[DownloadSection] = Context(
                "download", spark, Store(str(root)), changed, {}, {}
            )
            return by_unit(build(ctx))

        run(first)
        asked(server)
        # One failure is due by now, and another raw tar than that of part 0 is gone.
        rows = [r for b in Store(str(first)).read_part(IMAGES, 4) for r in b.to_pylist()]
        for row in rows:
            if row["final_url"] == url("due"):
                row["fetched_at"] -= 2_000_000
        pq.write_table(
            pa.Table.from_pylist(rows, IMAGES.schema), first / "images/part-00004.parquet"
        )
        (first / "images/.part-00004.parquet.crc").unlink()  # of the rows that were there
        (first / raw.path(4)).unlink()
        web["due.test/x.jpg"] = serving(PHOTO)

        found = run(second, earlier=(str(first),))
        assert asked(server) == {"new", "due", "lost", "filtered"}
        taken = found[carried.TAKEN_OVER]
        assert (taken.kept, taken.dropped) == (1, {"http_404": 1, "http_5xx": 1, "opted_out": 1})
        assert found["images"].kept == 5
        before, after = rows_of(first), rows_of(second)
        for name in ("good", "gone", "busy"):
            place = ("part", "raw_offset")
            same = {key: after[name][key] for key in place}
            assert before[name] | same == after[name]
        assert after["due"]["downloads"] == 2 and after["due"]["status"] == "ok"
        assert after["withdrawn"]["status"] == "opted_out"
        for name in ("good", "lost"):
            places = [raw.Place(*(after[name][key] for key in raw.PLACE))]
            assert raw.read(Store(str(second)), places) == [pictures[name]]

        # Of several runs the last one counts; nothing but what nobody knows is asked for.
        candidates(third, {0: ["good", "due", "busy", "filtered"]})
        found = run(third, earlier=(str(first), str(second)))
        assert asked(server) == set()
        assert rows_of(third)["due"]["status"] == "ok"
        assert found[carried.TAKEN_OVER].kept == 3
        # What is taken over is due like anything else.
        web["busy.test/x.jpg"] = serving(PHOTO)
        store = Store(str(third))
        ctx: Context[DownloadSection] = Context("download", spark, store, config, {}, {})
        waiting = rows_of(third)["busy"]
        assert waiting["retry_at"] is not None
        made = replace(retry(config, {}), settle=None)
        assert made.find(store) == []
        assert by_unit(made.build(ctx, [0]))["asked again"].rows_in == 0


def test_what_has_no_download_is_refused(tmp_path: Path) -> None:
    config = DownloadSection(contact="me@example.org", earlier=(str(tmp_path),))
    with pytest.raises(InputError, match="holds no finished download"):
        check(config)
    store = Store(str(tmp_path))
    for stage, name in (("dedupe", "one"), ("download", "two")):
        store.write_json(records.path(stage), {"id": name})
    with store.publish_part(IMAGES, 0):
        pass
    assert check(config) == {"earlier": ["one"]}
