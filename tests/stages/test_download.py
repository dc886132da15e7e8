"""The stage: parts of the candidates become raw tars and rows, and only missing ones again."""

import asyncio
import hashlib
import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core import raw
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import ConfigError, InputError, PairmillError
from pipeline.core.ids import image_id
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, IMAGES
from pipeline.fakeweb.dnsd import DnsServer, Reply
from pipeline.fetch import tallies
from pipeline.fetch.settings import DownloadSection
from pipeline.stages.adopted import not_in
from pipeline.stages.download import STAGE, build, check
from tests.fetch.img2dataset import write_shard
from tests.fetch.pictures import encoded, photo
from tests.fetch.server import Handler, Request, WebServer
from tests.fetch.test_part import PHOTO, serving, settings


def waiting(seconds: float) -> Handler:
    async def handler(request: Request) -> None:
        await asyncio.sleep(seconds)
        await request.send(PHOTO)

    return handler


def candidate(url: str, part: int) -> dict[str, Any]:
    return {
        "image_id": image_id(url),
        "url": url,
        "canonical_url": url,
        "domain": url.split("/")[2],
        "page_optout": None,
        "pages": 1,
        "page_domains": 1,
        "captions": [],
        "part": part,
    }


def write_candidates(root: Path, parts: dict[int, list[str]]) -> None:
    for part, urls in parts.items():
        folder = root / "candidates" / f"part={part}"
        folder.mkdir(parents=True)
        rows = pa.Table.from_pylist([candidate(u, part) for u in urls], CANDIDATES.schema)
        pq.write_table(rows.drop_columns(["part"]), folder / "rows.parquet")


@pytest.mark.spark
def test_parts_are_downloaded_and_only_missing_ones_again(spark: Any, tmp_path: Path) -> None:
    root = tmp_path / "run"
    good = [f"http://{name}.test/x.jpg" for name in "abcd"]
    write_candidates(root, {0: [*good[:2], "http://a.test/none.jpg"], 3: good[2:]})
    with WebServer({"/x.jpg": serving()}) as server:
        store = Store(str(root))
        config = settings(tmp_path, server)
        ctx: Context[DownloadSection] = Context("download", spark, store, config, {}, {})
        (account,) = build(ctx)
        account.check("download")
        assert (account.unit, account.kept, account.dropped) == ("images", 4, {"http_404": 1})
        rows = [r for p in (0, 3) for b in store.read_part(IMAGES, p) for r in b.to_pylist()]
        assert sorted((r["part"], r["status"]) for r in rows) == [
            (0, "http_404"), (0, "ok"), (0, "ok"), (3, "ok"), (3, "ok"),
        ]  # fmt: skip
        for row in rows:
            if row["status"] == "ok":
                with tarfile.open(root / raw.path(row["part"])) as tar:
                    member = next(m for m in tar if m.name.startswith(f"{row['image_id'].hex()}."))
                    assert (member.offset_data, member.size) == (
                        row["raw_offset"],
                        row["raw_bytes"],
                    )
        # As after a kill between the tar of part 3 and its rows, with a half-written file left.
        (root / "images" / "part-00003.parquet").unlink()
        (root / raw.FOLDER / ".writing-1-part-00003.tar").write_bytes(b"half")
        before = (root / "images" / "part-00000.parquet").read_bytes()
        server.log.clear()
        (again,) = build(ctx)
        assert (again.kept, again.dropped) == (account.kept, account.dropped)
        assert {"fetch", "decode", "hash", "encode", "write"} <= again.cpu_s.keys()
        assert again.cpu_s["fetch"] > 0 and again.cpu_s["decode"] > 0
        assert {host for host, _ in server.log} == {"c.test", "d.test"}
        assert (root / "images" / "part-00000.parquet").read_bytes() == before
        assert sorted(p.name for p in (root / raw.FOLDER).iterdir()) == [
            "part-00000.tar", "part-00003.tar",
        ]  # fmt: skip


@pytest.mark.spark
def test_placeholders_of_a_domain_that_is_split_are_counted_over_all_parts(
    spark: Any, tmp_path: Path
) -> None:
    """However the candidates are cut into parts, the same rows come out."""
    same = [f"http://a.test/same-{n}.jpg" for n in range(7)]
    moved = [f"http://a.test/moved-{n}.jpg" for n in range(6)]
    few = [f"http://b.test/few-{n}.jpg" for n in range(5)]
    own = [encoded(photo(seed=seed)) for seed in range(1, 6)]
    routes: dict[str, Handler] = {f"/{n}.jpg": serving(body) for n, body in enumerate(own)}
    routes |= {f"a.test/same-{n}.jpg": serving() for n in range(7)}
    routes |= {f"b.test/few-{n}.jpg": serving() for n in range(5)}
    login = serving(b"", "302 Found", Location="http://a.test/login.jpg")
    routes |= {f"a.test/moved-{n}.jpg": login for n in range(6)}
    routes["a.test/login.jpg"] = serving(own[0])
    urls = [*same, *moved, *few, *(f"http://a.test/{n}.jpg" for n in range(1, 5))]
    found: list[dict[bytes, tuple[Any, ...]]] = []
    with WebServer(routes) as server:
        config = settings(tmp_path, server)
        for parts in (1, 3):
            root = tmp_path / f"run-{parts}"
            write_candidates(root, {p: urls[p::parts] for p in range(parts)})
            store = Store(str(root))
            ctx: Context[DownloadSection] = Context("download", spark, store, config, {}, {})
            (account,) = build(ctx)
            account.check("download")
            assert (account.kept, account.dropped) == (9, {"placeholder": 13})
            rows = [
                r for p in store.committed(IMAGES)
                for b in store.read_part(IMAGES, p) for r in b.to_pylist()
            ]  # fmt: skip
            assert len(rows) == len(urls)
            stored = [r for r in rows if r["status"] == "ok"]
            assert all(raw.read(store, [raw.Place(*(r[c] for c in raw.PLACE)) for r in stored]))
            assert {r["hash64"] for r in rows if r["status"] == "placeholder"} == {None}
            asked = len(server.log)
            files = {f: f.read_bytes() for f in (root / "images").iterdir()}
            assert build(ctx)[0].dropped == {"placeholder": 13} and len(server.log) == asked
            assert files == {f: f.read_bytes() for f in (root / "images").iterdir()}
            assert not (root / "spread_placeholders").exists()
            server.log.clear()
            found.append({r["image_id"]: (r["status"], r["status_detail"]) for r in rows})
    assert found[0] == found[1]
    details = {found[0][image_id(url)][1] for url in [*same, *moved]}
    digest = hashlib.sha256(PHOTO).hexdigest()
    assert f"sha256 {digest} behind 7 URLs" in details and len(details) == 2


@pytest.mark.spark
def test_runs_that_share_a_hosts_table_ask_for_robots_txt_once(spark: Any, tmp_path: Path) -> None:
    urls = [f"http://{name}.test/x.jpg" for name in "abcd"]
    no = serving(b"User-agent: *\nDisallow: /\n")
    with WebServer({"/x.jpg": serving(), "d.test/robots.txt": no}) as server:
        config = settings(tmp_path, server, hosts_root=str(tmp_path / "shared"))
        for number in range(2):
            root = tmp_path / f"run-{number}"
            write_candidates(root, {0: urls[:2], 1: urls[2:]})
            server.log.clear()
            ctx: Context[DownloadSection] = Context(
                "download", spark, Store(str(root)), config, {}, {}
            )
            (account,) = build(ctx)
            assert (account.kept, account.dropped) == (3, {"robots": 1})
            asked = sorted(host for host, path in server.log if path == "/robots.txt")
            assert asked == ([f"{name}.test" for name in "abcd"] if number == 0 else [])
            assert "/x.jpg" not in server.asked("d.test")
        assert not (tmp_path / "run-0" / "hosts").exists()


def test_what_is_missing_is_refused_before_spark_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"download\.contact is required"):
        check(DownloadSection())
    with pytest.raises(InputError, match="hosts_file"):
        check(DownloadSection(contact="a@b.org", hosts_file=str(tmp_path / "none")))
    with pytest.raises(InputError, match="ca_file"):
        check(DownloadSection(contact="a@b.org", ca_file=str(tmp_path / "none")))
    assert check(DownloadSection(contact="a@b.org")) == {}


def test_ports_and_rates_are_no_part_of_the_identity() -> None:
    first = DownloadSection(port_map={80: 1}, hosts_file="a", timeout_s=1, contact="a@b.org")
    assert first.identity() == DownloadSection().identity()
    assert DownloadSection(jpeg_quality=80).identity() != DownloadSection().identity()


@pytest.mark.spark
def test_broken_names_stop_the_stage_before_anything_is_asked(spark: Any, tmp_path: Path) -> None:
    root = tmp_path / "run"
    hosts = [f"h{n}.test" for n in range(8)]
    write_candidates(root, {0: [f"http://{h}/x.jpg" for h in hosts[:4]],
                            1: [f"http://{h}/x.jpg" for h in hosts[4:]]})  # fmt: skip
    store = Store(str(root))
    with (
        WebServer({"/x.jpg": serving()}) as web,
        DnsServer({"*": Reply(rcode="REFUSED")}) as broken,
        DnsServer({h: Reply(("127.0.0.1",)) for h in hosts}) as good,
    ):

        def built(**changes: Any) -> list[Account]:
            config = settings(tmp_path, web, **{"hosts_file": None, "ipv6": "off", **changes})
            ctx: Context[DownloadSection] = Context("download", spark, store, config, {}, {})
            return build(ctx)

        with pytest.raises(InputError, match=r"8 of 8 names had no answer .*download\.dns_servers"):
            built(dns_servers=(broken.address,))
        assert not web.log and not store.committed(IMAGES)
        (account,) = built(dns_servers=(good.address,))
        assert (account.kept, account.dropped) == (8, {})
        # A finished stage needs no names.
        broken.log.clear()
        assert built(dns_servers=(broken.address,))[0].kept == 8
        assert not broken.log
        # Skipped when told so: then every picture says what is wrong.
        shutil.rmtree(root / "images")
        (skipped,) = built(dns_servers=(broken.address,), check_dns=False)
        assert skipped.dropped == {"dns_unavailable": 8}


@pytest.mark.spark
@pytest.mark.parametrize("mode", ["warn", "stop"])
def test_the_alarm_warns_or_stops(
    spark: Any,
    tmp_path: Path,
    mode: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tallies, "_READ_EVERY_S", 0.2)
    root = tmp_path / "run"
    slow = "http://slow.test/x.jpg"
    write_candidates(root, {0: [f"http://h{n}.test/none.jpg" for n in range(40)] + [slow]})
    store = Store(str(root))
    # Holds the part open until after a tally has been written, every 5 s.
    web_routes = {"/x.jpg": waiting(12.0)}
    with WebServer(web_routes) as web:
        patience = {"timeout_s": 30.0, "silence_timeout_s": 30.0}
        config = settings(tmp_path, web, alarm=mode, alarm_rows=30, **patience)
        ctx: Context[DownloadSection] = Context("download", spark, store, config, {}, {})
        if mode == "stop":
            with pytest.raises(PairmillError, match=r"stopped by download\.alarm.*only 0% of"):
                build(ctx)
            assert not store.committed(IMAGES)
        else:
            (account,) = build(ctx)
            assert account.dropped == {"http_404": 40} and account.kept == 1
            (line,) = [x for x in capsys.readouterr().err.splitlines() if "warning" in x]
            assert "only 0% of the last 40 images are kept" in line and "http_404" in line


@pytest.mark.spark
def test_pictures_of_an_adopted_folder_are_not_asked_for(spark: Any, tmp_path: Path) -> None:
    """Only what is not in there, failed there or is damaged there is; opt-outs hold all the same."""
    names = ("here", "files", "failed", "absent", "damaged", "broken", "optout", "listed", "twice")
    urls = {name: f"http://{name}.test/x.jpg" for name in names}
    adopted = [encoded(photo(seed=seed)) for seed in range(1, 6)]
    folder = tmp_path / "adopted"
    tar = write_shard(
        folder,
        0,
        [
            # Tracking parameters are no part of what a picture is.
            (urls["here"] + "?utm_source=x", adopted[0]),
            (urls["failed"], None),
            (urls["damaged"], adopted[1]),
            (urls["broken"], b"no picture at all"),
            (urls["optout"], adopted[2]),
            (urls["listed"], adopted[2]),
            (urls["twice"], adopted[3]),
            ("http://elsewhere.test/y.jpg", adopted[2]),
            ("no address", adopted[2]),
        ],
    )
    write_shard(
        folder, 1, [(urls["files"], adopted[4]), (urls["twice"], adopted[4])], is_files=True
    )
    whole = tar.read_bytes()
    at = whole.index(adopted[1])
    tar.write_bytes(whole[: at - 300] + bytes(100) + whole[at - 200 :])
    root = tmp_path / "run"
    write_candidates(root, {0: list(urls.values())[:5], 1: list(urls.values())[5:]})
    path = root / "candidates/part=1/rows.parquet"
    rows = pq.ParquetFile(path).read().to_pylist()
    rows[1]["page_optout"] = "meta:noai"
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    (tmp_path / "optouts.txt").write_text("host:listed.test\n")
    with WebServer({"/x.jpg": serving()}) as server:
        store = Store(str(root))
        config = settings(
            tmp_path, server, adopt=str(folder), optout_lists=(str(tmp_path / "optouts.txt"),)
        )
        ctx: Context[DownloadSection] = Context("download", spark, store, config, {}, {})
        images, pictures = build(ctx)
        assert (images.kept, images.dropped) == (7, {"opted_out": 2})
        assert (pictures.rows_in, pictures.kept) == (11, 8)
        assert pictures.dropped == {"not_downloaded": 1, "not_in_shard": 1, "bad_url": 1}
        asked = {"failed", "absent", "damaged", "broken"}
        # Nothing at all, robots.txt included.
        assert {host for host, _ in server.log} == {f"{name}.test" for name in asked}
        found = {
            r["image_id"]: r
            for p in (0, 1)
            for b in store.read_part(IMAGES, p)
            for r in b.to_pylist()
        }
        by_name = {name: found[image_id(url)] for name, url in urls.items()}
        bodies = dict.fromkeys(asked, PHOTO) | {
            "here": adopted[0], "files": adopted[4], "twice": adopted[3],
        }  # fmt: skip
        for name, body in bodies.items():
            row = by_name[name]
            assert row["sha256"] == hashlib.sha256(body).digest(), name
            assert row["consent"] == ("allowed" if name in asked else "adopted")
            assert (row["http_status"] == 200) == (name in asked)
            assert row["status"] == "ok" and row["hash256"] is not None
            (stored,) = raw.read(store, [raw.Place(*(row[c] for c in raw.PLACE))])
            assert Image.open(io.BytesIO(stored)).size == (row["width"], row["height"])
        assert by_name["optout"]["consent"] == "page:meta:noai"
        assert by_name["listed"]["consent"] == "list:host"
        # The index is made once, and is not asked of the folder again.
        (root / "images/part-00001.parquet").unlink()
        server.log.clear()
        index = {f: f.stat().st_mtime_ns for f in root.glob("adopted*/**/*.parquet")}
        again = build(ctx)
        assert [(a.kept, a.dropped) for a in again] == [
            (a.kept, a.dropped) for a in (images, pictures)
        ]
        assert {host for host, _ in server.log} == {"broken.test"}
        assert index == {f: f.stat().st_mtime_ns for f in root.glob("adopted*/**/*.parquet")}
        # Names are tried of what is asked for alone.
        first = next(store.read_part(CANDIDATES, 0, ["image_id", "url"]))
        assert set(not_in(store, 0, first)) == {urls[n] for n in ("failed", "absent", "damaged")}


def test_an_adopted_folder_is_part_of_the_identity_and_its_path_is_not(tmp_path: Path) -> None:
    photos = [("http://a.test/x.jpg", PHOTO)]
    for place in ("one", "two"):
        write_shard(tmp_path / place, 0, photos)
    write_shard(tmp_path / "more", 0, photos * 9)
    one, two, more = (
        DownloadSection(contact="a@b.org", adopt=str(tmp_path / p)) for p in ("one", "two", "more")
    )
    assert one.identity() == two.identity() == DownloadSection().identity()
    assert check(one) == check(two) != check(more)
    with pytest.raises(InputError, match=r"download\.adopt = .*none cannot be read"):
        check(DownloadSection(contact="a@b.org", adopt=str(tmp_path / "none")))
    assert set(STAGE.folders) == {
        raw.FOLDER, "adopted", "adopted_places", "carried", "spread_placeholders", "filtered_first",
    }  # fmt: skip


@pytest.mark.spark
def test_an_adopted_folder_without_its_tars_is_told(spark: Any, tmp_path: Path) -> None:
    write_shard(tmp_path / "adopted", 0, [("http://a.test/x.jpg", PHOTO)]).write_bytes(bytes(5000))
    write_candidates(tmp_path / "run", {0: ["http://a.test/x.jpg"]})
    with WebServer({"/x.jpg": serving()}) as server:
        config = settings(tmp_path, server, adopt=str(tmp_path / "adopted"))
        store = Store(str(tmp_path / "run"))
        ctx: Context[DownloadSection] = Context("download", spark, store, config, {}, {})
        with pytest.raises(InputError, match=r"no picture that its 1 shards .*00000\.parquet"):
            build(ctx)
        assert not server.log
