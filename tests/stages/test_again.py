"""`retry` asks for what may have passed and is due, `recheck` for what is stored; all else stays."""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.core import raw
from pipeline.core.accounts import Account
from pipeline.core.amendment import Amendment
from pipeline.core.context import Context
from pipeline.core.reasons import Status
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.fetch.settings import DownloadSection
from pipeline.stages.again import recheck, retry
from pipeline.stages.download import build
from tests.fetch.server import Handler, Request, WebServer
from tests.fetch.test_part import PHOTO, serving, settings
from tests.stages.test_download import write_candidates

pytestmark = pytest.mark.spark

GOOD, FAILS, LATER, GONE = (
    f"http://{name}.test/x.jpg" for name in ("good", "fails", "later", "gone")
)
ELSEWHERE = "http://elsewhere.test/x.jpg"


def picture(level: int) -> bytes:
    made = io.BytesIO()
    Image.effect_noise((64, 48), level).convert("RGB").save(made, "JPEG")
    return made.getvalue()


OTHER = picture(60)


class Web(dict[str, Handler]):
    """Routes that a test may change while the server runs."""


@pytest.fixture
def web() -> Web:
    return Web(
        {
            "good.test/x.jpg": serving(ETag='"one"'),
            "fails.test/x.jpg": serving(status="503 Busy"),
            "later.test/x.jpg": serving(status="503 Busy", Retry_After="7000"),
            "elsewhere.test/x.jpg": serving(),
        }
    )


@pytest.fixture
def run(spark: Any, tmp_path: Path, web: Web) -> Iterator[tuple[Context[Any], WebServer]]:
    """A finished download: part 0 holds all cases, part 3 one good picture."""
    root = tmp_path / "run"
    write_candidates(root, {0: [GOOD, FAILS, LATER, GONE], 3: [ELSEWHERE]})
    with WebServer(web) as server:
        config = settings(tmp_path, server, retries=0, retry_wait_s=0, recheck_after_s=0)
        ctx: Context[DownloadSection] = Context("download", spark, Store(str(root)), config, {}, {})
        (account,) = build(ctx)
        assert account.dropped == {"http_5xx": 2, "http_404": 1} and account.kept == 2
        server.log.clear()
        yield ctx, server


def rows_of(ctx: Context[Any]) -> dict[str, dict[str, Any]]:
    """Rows by host, each once."""
    rows = [
        row
        for part in ctx.store.committed(IMAGES)
        for batch in ctx.store.read_part(IMAGES, part)
        for row in batch.to_pylist()
    ]
    assert len({row["image_id"] for row in rows}) == len(rows) == 5
    return {row["final_url"].split("/")[2].removesuffix(".test"): row for row in rows}


def bytes_of(ctx: Context[Any], row: dict[str, Any]) -> bytes:
    (data,) = raw.read(ctx.store, [raw.Place(*(row[name] for name in raw.PLACE))])
    return data


def asked(server: WebServer) -> set[str]:
    return {host.removesuffix(".test") for host, path in server.log if path == "/x.jpg"}


def again(ctx: Context[Any], amendment: Callable[..., Amendment[Any]]) -> dict[str, Account]:
    made = amendment(ctx.config, ctx.filters)
    return by_unit(made.build(ctx, made.find(ctx.store)))


def by_unit(accounts: list[Account]) -> dict[str, Account]:
    for account in accounts:
        account.check("test")
    return {account.unit: account for account in accounts}


def test_first_download_says_when_to_ask_again(run: tuple[Context[Any], WebServer]) -> None:
    rows, now = rows_of(run[0]), time.time()
    assert rows["fails"]["retry_at"] <= now and rows["fails"]["downloads"] == 1
    assert 6900 < rows["later"]["retry_at"] - now < 7100
    assert rows["gone"]["retry_at"] is None and rows["good"]["retry_at"] is None
    assert rows["good"]["etag"] == '"one"' and rows["elsewhere"]["etag"] is None
    assert all(0 <= now - row["fetched_at"] < 60 for row in rows.values())
    assert rows["good"]["raw_round"] == 0 and rows["gone"]["raw_round"] is None


def test_retry_asks_only_for_what_is_due(run: tuple[Context[Any], WebServer], web: Web) -> None:
    ctx, server = run
    untouched = ctx.store.fs.cat_file(ctx.store.path(ctx.store.part_file(IMAGES, 3)))
    before = rows_of(ctx)
    found = again(ctx, retry)
    assert asked(server) == {"fails"}
    assert found["asked again"].dropped == {"http_5xx": 1}
    assert rows_of(ctx)["fails"]["downloads"] == 2

    web["fails.test/x.jpg"] = serving(OTHER)
    found = again(ctx, retry)
    assert (found["asked again"].kept, found["asked again"].dropped) == (1, {})
    assert found["images"].kept == 3 and found["images"].dropped == {"http_5xx": 1, "http_404": 1}
    rows = rows_of(ctx)
    assert rows["fails"]["downloads"] == 3 and rows["fails"]["retry_at"] is None
    assert rows["fails"]["raw_round"] == 2 and bytes_of(ctx, rows["fails"]) == OTHER
    assert bytes_of(ctx, rows["good"]) == PHOTO
    for name in ("good", "later", "gone", "elsewhere"):
        assert rows[name] == before[name]
    assert ctx.store.fs.cat_file(ctx.store.path(ctx.store.part_file(IMAGES, 3))) == untouched

    server.log.clear()
    assert again(ctx, retry)["asked again"].rows_in == 0
    assert not server.log and rows_of(ctx) == rows


def test_retry_ends_after_so_many_downloads(run: tuple[Context[Any], WebServer]) -> None:
    ctx, server = run
    ctx = replace(ctx, config=ctx.config.model_copy(update={"max_downloads": 2}))
    again(ctx, retry)
    assert rows_of(ctx)["fails"]["retry_at"] is None
    server.log.clear()
    again(ctx, retry)
    assert not server.log


def test_retry_cut_between_tar_and_rows_goes_on(
    run: tuple[Context[Any], WebServer], web: Web
) -> None:
    ctx, server = run
    web["fails.test/x.jpg"] = serving(OTHER)
    rows = ctx.store.part_file(IMAGES, 0)
    old = ctx.store.fs.cat_file(ctx.store.path(rows))
    again(ctx, retry)
    # As after a kill: the tar of the round is there, its rows are not; a file is half written.
    with ctx.store.publish(rows, is_table=True) as file:
        file.write(old)
    half = ctx.store.path(raw.FOLDER, ".writing-1-part-00000.r1.tar")
    ctx.store.fs.pipe_file(half, b"half")
    assert bytes_of(ctx, rows_of(ctx)["good"]) == PHOTO
    assert again(ctx, retry)["asked again"].kept == 1
    assert bytes_of(ctx, rows_of(ctx)["fails"]) == OTHER and not ctx.store.fs.exists(half)


def conditional(etag: str, body: bytes = PHOTO) -> Handler:
    async def handler(request: Request) -> None:
        if request.headers.get("if-none-match") == etag:
            await request.send(status="304 Not Modified", headers={"ETag": etag})
        else:
            await request.send(body, headers={"ETag": etag})

    return handler


def test_recheck_tells_the_same_from_another_and_from_gone(
    run: tuple[Context[Any], WebServer], web: Web
) -> None:
    ctx, server = run
    before = rows_of(ctx)
    web["good.test/x.jpg"] = conditional('"one"', b"not to be sent")
    found = again(ctx, recheck)
    assert asked(server) == {"good", "elsewhere"}
    assert (found["asked again"].kept, found["asked again"].dropped) == (2, {})
    after = rows_of(ctx)
    for name in ("good", "elsewhere"):
        assert after[name]["fetched_at"] >= before[name]["fetched_at"]
        same = {"fetched_at": before[name]["fetched_at"]}
        assert after[name] | same == before[name]
        assert bytes_of(ctx, after[name]) == PHOTO

    web["good.test/x.jpg"] = conditional('"two"', OTHER)
    del web["elsewhere.test/x.jpg"]
    found = again(ctx, recheck)
    assert found["asked again"].kept == 0
    assert found["asked again"].dropped == {"changed": 1, "http_404": 1}
    after = rows_of(ctx)
    assert bytes_of(ctx, after["good"]) == OTHER and after["good"]["etag"] == '"two"'
    assert after["elsewhere"]["status"] == "http_404" and after["elsewhere"]["raw_offset"] is None


def test_recheck_keeps_what_cannot_be_asked_for_and_withdraws_what_is_forbidden(
    run: tuple[Context[Any], WebServer], web: Web
) -> None:
    ctx, _ = run
    before = rows_of(ctx)
    web["good.test/x.jpg"] = serving(status="500 Oops")
    web["elsewhere.test/x.jpg"] = serving(X_Robots_Tag="noai")
    found = again(ctx, recheck)
    assert found["asked again"].dropped == {"not_reached": 1, "opted_out": 1}
    after = rows_of(ctx)
    assert after["good"] == before["good"]
    assert after["elsewhere"]["status"] == Status.OPTED_OUT
    assert after["elsewhere"]["raw_offset"] is None and after["elsewhere"]["sha256"] is None


def test_recheck_leaves_what_was_seen_lately(run: tuple[Context[Any], WebServer]) -> None:
    ctx, server = run
    ctx = replace(ctx, config=ctx.config.model_copy(update={"recheck_after_s": 3600.0}))
    assert again(ctx, recheck)["asked again"].rows_in == 0
    assert not server.log
