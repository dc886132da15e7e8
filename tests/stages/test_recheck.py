"""What of a release may still be used: asked politely, once each, and without the pictures."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.recheck import main as command
from pipeline.core import release
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.ids import image_id
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.match import registry
from pipeline.stages import recheck
from pipeline.stages.recheck import Selection
from pipeline.stream.tombstones import Tombstones
from tests.fetch.server import Request, WebServer
from tests.fetch.test_part import serving, settings
from tests.shards import plain_release, small_run
from tests.stages.test_again import Web

HOSTS = (
    "same",
    "plain",
    "header",
    "agent",
    "other",
    "closed",
    "gone",
    "legal",
    "busy",
    "masked",
    "listed",
)
URLS = {name: f"http://{name}.test/x.jpg" for name in HOSTS}


@given(st.integers(1, 40), st.lists(st.binary(min_size=16, max_size=16), unique=True))
def test_slices_are_all_of_it_each_once(of: int, ids: list[bytes]) -> None:
    rows = pa.table({"image_id": pa.array(ids, pa.binary()), "domain": ["a.example"] * len(ids)})
    slices = [Selection.parsed([], f"{i}/{of}").chosen(rows) for i in range(1, of + 1)]
    assert sorted(i for s in slices for i in s["image_id"].to_pylist()) == sorted(ids)
    assert Selection.parsed(["B.example"], "1/1").chosen(rows).num_rows == 0
    assert Selection.parsed(["A.Example"], "1/1").chosen(rows).num_rows == len(ids)


@pytest.mark.parametrize("part", ["0/3", "4/3", "x/3", "3", "1/0", "-1/2"])
def test_a_slice_that_is_none_is_refused(part: str) -> None:
    with pytest.raises(ConfigError, match="SLICE"):
        Selection.parsed([], part)


def write_release(folder: Path) -> None:
    """One sample of each host, in shards of four; one is masked."""
    rows: list[plain_release.Sample] = []
    for number, name in enumerate(HOSTS):
        key = image_id(URLS[name]).hex()
        rows.append((key, small_run.picture(number), b"x", b"{}"))
    plain_release.write(folder, rows, 4)
    for shard, path in enumerate(sorted((folder / release.META).glob("*.parquet"))):
        table = pq.read_table(path)
        names = HOSTS[4 * shard : 4 * shard + 4]
        table = table.append_column("url", pa.array([URLS[n] for n in names]))
        table = table.append_column("domain", pa.array([f"{n}.test" for n in names]))
        pq.write_table(table, path)
    (folder / release.TOMBSTONES).write_text(image_id(URLS["masked"]).hex() + "\n")


@pytest.mark.spark
def test_what_was_opted_out_since_is_found(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_release(tmp_path / "release")
    ranges: list[str | None] = []

    async def partly(request: Request) -> None:
        ranges.append(request.headers.get("range"))
        await request.send(b"\xff", "206 Partial Content", {"Content-Range": "bytes 0-0/99"})

    async def robots(request: Request) -> None:
        await request.send(b"User-agent: *\nDisallow: /\n")

    web = Web({f"{name}.test/x.jpg": serving() for name in HOSTS})
    web |= {
        "same.test/x.jpg": partly,
        "header.test/x.jpg": serving(X_Robots_Tag="noai"),
        "agent.test/x.jpg": serving(X_Robots_Tag="googlebot: none, pairmill: noimageai"),
        "other.test/x.jpg": serving(X_Robots_Tag="googlebot: noindex"),
        "closed.test/robots.txt": robots,
        "gone.test/x.jpg": serving(status="410 Gone"),
        "legal.test/x.jpg": serving(status="451 Unavailable"),
        "busy.test/x.jpg": serving(status="503 Busy"),
    }
    listed = tmp_path / "list.txt"
    listed.write_text("host:listed.test\n")
    monkeypatch.setattr(recheck, "_PICTURES_PER_PART", 2)
    with WebServer(web) as server:
        config = settings(tmp_path, server, retries=0, optout_lists=(str(listed),))
        url, folder = str(tmp_path / "release"), Store(str(tmp_path / "recheck"))
        asked = recheck.pass_folder(folder, "one", Selection())
        counts = recheck.ask(spark, asked, url, config)
        assert counts == {
            "http_410": 1, "http_4xx": 1, "http_5xx": 1, "not_modified": 3, "opted_out": 3, "robots": 1,
        }  # fmt: skip
        assert ranges == ["bytes=0-0"]
        hosts = [host.removesuffix(".test") for host, path in server.log if path == "/x.jpg"]
        assert sorted(hosts) == sorted(set(HOSTS) - {"closed", "masked", "listed"})
        robots_asked = [host for host, path in server.log if path == "/robots.txt"]
        assert len(robots_asked) == len(set(robots_asked))
        server.log.clear()

        # As after a kill: what is there is not asked for again.
        told = asked.read_json(recheck.RECORD)
        asked.write_json(
            recheck.RECORD, {k: told[k] for k in told if k != "statuses"} | {"state": "started"}
        )
        with pytest.raises(ConfigError, match="is not finished and asks for others"):
            recheck.pass_folder(folder, "one", Selection.parsed([], "1/2"))
        lost = next(iter(asked.committed(IMAGES)))
        Path(asked.path(asked.part_file(IMAGES, lost))).unlink()
        again = recheck.pass_folder(folder, "one", Selection())
        assert again.root == asked.root
        assert recheck.ask(spark, again, url, config) == counts
        assert 0 < len(server.log) < len(HOSTS)

    def found(*, gone: bool) -> dict[str, str]:
        names = {url: name for name, url in URLS.items()}
        return {names[one.url]: one.why for one in recheck.withdrawals(asked, gone=gone)}

    opted_out = {
        "header": "header:x-robots-tag:noai",
        "agent": "header:x-robots-tag:noimageai",
        "closed": "robots.txt",
        "listed": "list:host",
    }
    assert found(gone=False) == opted_out
    assert found(gone=True) == opted_out | {"gone": "http:410", "legal": "http:451"}
    assert recheck.is_finished(asked)
    assert recheck.pass_folder(folder, "one", Selection()).root.endswith("0002")
    with pytest.raises(InputError, match="no picture that is chosen"):
        last = recheck.pass_folder(folder, "one", Selection())
        last.write_json(
            recheck.RECORD,
            {"release": "one", "domains": ["nowhere.test"], "slice": "1/1", "state": "started"},
        )
        recheck.ask(spark, last, url, config)


def test_a_release_without_urls_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_release.write(tmp_path, [("0" * 32, small_run.picture(1), b"x", b"{}")], 4)
    asked = recheck.pass_folder(Store(str(tmp_path / "recheck")), "one", Selection())
    assert json.loads(Path(asked.path(recheck.RECORD)).read_text())["state"] == "started"
    with pytest.raises(InputError, match="does not tell url, domain"):
        recheck._write_candidates(None, asked, str(tmp_path), Selection())  # type: ignore[arg-type]


@pytest.mark.spark
def test_the_command_tells_then_takes_down_without_asking_again(
    spark: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_release(tmp_path / "release")
    held = tmp_path / "registry"
    held.mkdir()
    empty = {"format": registry.FORMAT, "hash_version": registry.HASH_VERSION, "releases": []}
    (held / registry.MANIFEST).write_text(json.dumps(empty))
    web = Web({f"{name}.test/x.jpg": serving() for name in HOSTS})
    web |= {
        "header.test/x.jpg": serving(X_Robots_Tag="noai"),
        "gone.test/x.jpg": serving(status="404 Not Found"),
    }
    with WebServer(web) as server:
        config = settings(tmp_path, server)
        sets = [
            'run.web="live"',
            f"run.root={tmp_path / 'run'}",
            f'download.hosts_file="{config.hosts_file}"',
            f"download.port_map={{80 = {server.port}}}",
        ]
        given = ["--config", "conf/demo.toml", "--release", str(tmp_path / "release")]
        given += ["--registry", str(held), *(word for s in sets for word in ("--set", s))]
        assert command(given) == 0
        told = capfd.readouterr().out
        assert "1 http_404" in told and "1 header:x-robots-tag:noai" in told and "gone" not in told
        masked = {image_id(URLS["masked"]).hex()}
        assert Tombstones(str(tmp_path / "release")).keys() == masked
        server.log.clear()
        assert command([*given, "--takedown", "--gone"]) == 0
        assert not server.log
    masked |= {image_id(URLS[name]).hex() for name in ("header", "gone")}
    assert Tombstones(str(tmp_path / "release")).keys() == masked
    assert (held / "optouts.txt").read_text().split() == sorted(
        (URLS["header"], URLS["gone"]), key=lambda url: image_id(url)
    )
    (receipt,) = ((json.loads(p.read_text())) for p in (held / "takedowns").iterdir())
    assert receipt["cause"] == "recheck" and receipt["by_rule"] == {
        "header:x-robots-tag:noai": 1, "http:404": 1, "url": 2,
    }  # fmt: skip
