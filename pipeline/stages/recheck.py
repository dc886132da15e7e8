"""Asks whether the pictures of a release may still be used: opt-outs that came after the download.

    <folder>/0001/              a pass
        recheck.json            what it asks of, and how far it has come
        candidates/, images/    its pictures by part, and what each gave
        hosts/                  robots.txt of its sites, asked for anew

Each picture's URL is asked for as a download does, with the same limits and lists, robots.txt once
for each site; of the picture itself the first byte is wanted, and the headers that come with it.
Parts that are finished are kept, so that a pass that is killed goes on.

Cost: the ids and URLs of the release, once; one request for each picture, of some hundred bytes.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import release
from pipeline.core.context import Context
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.reasons import Status
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, IMAGES
from pipeline.fetch.settings import DownloadSection
from pipeline.stages.download import open_part, sharing
from pipeline.stream.tombstones import Tombstones

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.fetch.part import PartFiles

RECORD = "recheck.json"
# What speaks of a picture that is gone, not of one that may not be used.
# Source: RFC 9110 sections 15.5.5 and 15.5.11, RFC 7725.
GONE = (404, 410, 451)
_PICTURES_PER_PART = 20_000
_READ = ("image_id", "url", "domain")
_FILE = pa.schema([f for f in CANDIDATES.schema if f.name != CANDIDATES.partition])


@dataclass(frozen=True)
class Selection:
    """Which pictures of a release are asked for. domains: registrable ones; none: all. slice: one
    of so many equal parts by image_id, from 1, so that one after the other gives all."""

    domains: tuple[str, ...] = ()
    slice: tuple[int, int] = (1, 1)

    @classmethod
    def parsed(cls, domains: Sequence[str], part: str) -> "Selection":
        """Of the command line: names of domains, and "3/30". Raises ConfigError."""
        number, slash, of = part.partition("/")
        try:
            chosen = (int(number), int(of)) if slash else (0, 0)
        except ValueError:
            chosen = (0, 0)
        if not 1 <= chosen[0] <= chosen[1]:
            raise ConfigError(f"SLICE = {part!r}: e.g. 3/30 for the third of thirty parts")
        return cls(tuple(sorted(domain.lower() for domain in domains)), chosen)

    def chosen(self, rows: pa.Table) -> pa.Table:
        """Those of some rows with image_id and domain."""
        if self.domains:
            wanted = pa.array(self.domains, pa.string())
            rows = rows.filter(pc.is_in(rows["domain"].cast(pa.string()), value_set=wanted))
        number, of = self.slice
        if of == 1:
            return rows
        # Ids are hashes.
        ids = rows["image_id"].to_pylist()
        own = [int.from_bytes(i[:8], "big") % of == number - 1 for i in ids]
        return rows.filter(pa.array(own, pa.bool_()))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"domains": list(self.domains), "slice": f"{self.slice[0]}/{self.slice[1]}"}


@dataclass(frozen=True)
class Withdrawal:
    """A picture that is not to be used any more. why: what says so, e.g. "robots.txt"."""

    image_id: bytes
    url: str
    why: str


def pass_folder(folder: Store, release_id: str, chosen: Selection) -> Store:
    """The pass to go on with: the last one, when it is not finished, else a new one. Raises
    ConfigError when the last one is not finished, and asks for other pictures."""
    asked = {"release": release_id, **chosen.to_json()}
    last = last_pass(folder)
    if last is not None and not is_finished(last):
        held = last.read_json(RECORD)
        differing = [
            f"{k}: {held.get(k)!r}, not {v!r}" for k, v in asked.items() if held.get(k) != v
        ]
        if differing:
            raise ConfigError(
                f"{last.root} is not finished and asks for others ({'; '.join(differing)}): finish "
                "it, or remove that folder"
            )
        return last
    number = int(last.root.rsplit("/", 1)[-1]) + 1 if last is not None else 1
    new = Store(folder.path(f"{number:04d}"))
    new.write_json(RECORD, {**asked, "state": "started"})
    return new


def last_pass(folder: Store) -> Store | None:
    """The last pass in a folder, None where there is none."""
    if not folder.exists(""):
        return None
    names = [str(path).rstrip("/").rsplit("/", 1)[-1] for path in folder.fs.ls(folder.root, False)]
    numbers = [name for name in names if name.isdigit() and folder.exists(f"{name}/{RECORD}")]
    return Store(folder.path(max(numbers, key=int))) if numbers else None


def is_finished(asked: Store) -> bool:
    """True when a pass has asked for all its pictures."""
    return bool(asked.read_json(RECORD)["state"] == "done")


def ask(spark: "SparkSession", asked: Store, url: str, config: DownloadSection) -> dict[str, int]:
    """Ask for the pictures of a pass; how many gave what, by status. url: of the release.

    Raises InputError when the release does not tell URLs, or has none that is chosen.
    """
    told = asked.read_json(RECORD)
    if "parts" not in told:
        chosen = Selection.parsed(told["domains"], told["slice"])
        told |= {"parts": _write_candidates(spark, asked, url, chosen)}
        asked.write_json(RECORD, told)
    # What sites say is asked for anew, also where runs share what they said.
    own = config.model_copy(update={"hosts_root": None, "adopt": "", "earlier": ()})
    ctx: Context[DownloadSection] = Context("recheck", spark, asked, own, {}, {})
    ctx.run_lanes(IMAGES, partial(sharing, ctx, partial(_open, asked)), range(told["parts"]))
    counts = Counter(row["status"] for row in _rows(asked, ["status"]))
    found = dict(sorted(counts.items()))
    asked.write_json(RECORD, told | {"state": "done", "statuses": found})
    return found


def _open(asked: Store, part: int) -> "PartFiles":
    return replace(open_part(asked, part), is_released=True)


def _write_candidates(spark: "SparkSession", asked: Store, url: str, chosen: Selection) -> int:
    """Write the chosen pictures of a release as candidates, by part; how many parts."""
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema

    held = Store(url)
    manifest = release.load(held.fs, held.root)
    tables = [held.path(release.sidecar_path(entry.path)) for entry in manifest.shards]
    with held.fs.open(tables[0], "rb") as file:
        missing = [name for name in _READ if name not in pq.read_schema(file).names]
    if missing:
        raise InputError(f"{url} does not tell {', '.join(missing)} of its samples")
    masked = Tombstones(url).keys()
    read = partial(_pictures, held, tables, chosen, masked)
    numbers = spark.range(0, len(tables), 1, min(len(tables), 1000))
    pictures = numbers.mapInArrow(read, "image_id binary, url string, domain string")
    # Of a picture whose samples tell several URLs the smallest; they are the same when canonical.
    pictures = pictures.groupBy("image_id").agg(
        F.min("url").alias("url"), F.min("domain").alias("domain")
    )
    total = pictures.count()
    if not total:
        raise InputError(f"{url} has no picture that is chosen and not masked")
    parts = -(-total // _PICTURES_PER_PART)
    asked.remove(CANDIDATES.name)
    kinds = {f.name: f.dataType for f in from_arrow_schema(_FILE)}
    filled = {
        "canonical_url": F.col("url"),
        "page_optout": F.lit(None),
        "pages": F.lit(0),
        "page_domains": F.lit(0),
        "captions": F.array(),
    }
    rows = pictures.withColumns({name: value.cast(kinds[name]) for name, value in filled.items()})
    (
        rows.withColumn("part", F.expr(f"cast(pmod(xxhash64(domain), {parts}) as int)"))
        .select(*_FILE.names, "part")
        .repartition("part")
        .write.partitionBy("part")
        .parquet(asked.path(CANDIDATES.name))
    )
    for part in range(parts):
        if not asked.exists(f"{CANDIDATES.name}/part={part}"):
            with asked.publish(f"{CANDIDATES.name}/part={part}/none.parquet") as file:
                pq.write_table(_FILE.empty_table(), file)
    return parts


def _pictures(
    held: Store,
    tables: Sequence[str],
    chosen: Selection,
    masked: frozenset[str],
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column("id").to_pylist():
            with held.fs.open(tables[number], "rb") as file:
                rows = pq.read_table(file, columns=["key", *_READ])
            if masked:
                gone = pc.is_in(rows["key"], value_set=pa.array(sorted(masked), pa.string()))
                rows = rows.filter(pc.invert(gone))
            yield from chosen.chosen(rows.select(list(_READ))).combine_chunks().to_batches()


def _rows(asked: Store, columns: list[str]) -> Iterator[dict[str, Any]]:
    for part in asked.committed(IMAGES):
        for batch in asked.read_part(IMAGES, part, columns):
            yield from batch.to_pylist()


def withdrawals(asked: Store, *, gone: bool) -> list[Withdrawal]:
    """The pictures of a finished pass that may not be used any more, by image_id; gone: also those
    whose URL is gone (see GONE). Memory: these."""
    found: dict[bytes, str] = {}
    columns = ["image_id", "status", "status_detail", "consent", "http_status"]
    for row in _rows(asked, columns):
        why = _why(row, gone=gone)
        if why:
            found[row["image_id"]] = why
    urls: dict[bytes, str] = {}
    ids = pa.array(sorted(found), pa.binary())
    for part in asked.committed(IMAGES) if found else ():
        for batch in asked.read_part(CANDIDATES, part, ["image_id", "url"]):
            some = batch.filter(pc.is_in(batch.column("image_id"), value_set=ids))
            urls |= {row["image_id"]: row["url"] for row in some.to_pylist()}
    return [Withdrawal(i, urls[i], found[i]) for i in sorted(found)]


def _why(row: Mapping[str, Any], *, gone: bool) -> str:
    """What says that a picture may not be used any more; "" for nothing."""
    if row["status"] == Status.OPTED_OUT:
        return str(row["consent"])
    # With a detail: it could not be asked for at the pace that the site wants.
    if row["status"] == Status.ROBOTS and row["status_detail"] is None:
        return "robots.txt"
    if gone and row["http_status"] in GONE:
        return f"http:{row['http_status']}"
    return ""


def list_digest(found: Sequence[Withdrawal]) -> str:
    """Names what was found: SHA-256 over ids and reasons, hex."""
    digest = hashlib.sha256()
    for one in found:
        digest.update(one.image_id + one.why.encode())
    return digest.hexdigest()
