"""One part: its candidates become jobs, what each gave becomes bytes in the raw tar and a row."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.core import optout_lists
from pipeline.core.accounts import Account
from pipeline.core.raw import RawTar
from pipeline.core.reasons import Status
from pipeline.fetch import placeholders
from pipeline.fetch.adopt import Place
from pipeline.fetch.fetched import Fetched
from pipeline.fetch.guard import UrlError, parse_target
from pipeline.fetch.ledger import (
    ASKED_AGAIN,
    UNKNOWN,
    Known,
    account_of,
    known_of,
    merge_all,
    retry_at,
    whole_seconds,
)
from pipeline.fetch.picture import Picture
from pipeline.fetch.schedule import Job
from pipeline.fetch.settings import DownloadSection

Row = dict[str, Any]

# Columns a part is downloaded by.
COLUMNS = ["image_id", "url", "domain", "page_optout"]
# CPU seconds that the decoder notes of a picture.
_DECODER_STEPS = tuple(
    name.removesuffix("_s") for name in Picture.__struct_fields__ if name.endswith("_s")
)


@dataclass
class PartResult:
    """rows: one per candidate, as the columns of `images` but `part`, ordered by image_id.
    account: of images, kept and dropped by status, with CPU seconds by step. asked: of those that
    were asked for again."""

    rows: list[Row] = field(default_factory=list)
    account: Account = field(default_factory=lambda: Account("images"))
    asked: Account = field(default_factory=lambda: Account(ASKED_AGAIN))


@dataclass
class PartFiles:
    """A part as it is handed to the downloader.

    candidates: batches with at least the columns of `COLUMNS`. raw_file: its raw tar, open.
    publish: stores what it gave, whole; called once, in a thread. discard: called in its place when
    the part is not finished. round: of the raw tar. earlier: rows that earlier rounds or crawls
    gave, by image_id; of these candidates only those in `due` are asked for again. adopted: by
    image_id, where pictures lie that need not be asked for. filtered: by image_id, why a candidate
    is not wanted; what is adopted, or stored by an earlier round, costs no request and is not left
    out. raw_bytes: of whole members that are in the raw tar already. is_released: the candidates
    are released, and are asked whether they are there and may be used, not for their bytes.
    """

    candidates: Iterable[pa.RecordBatch]
    raw_file: BinaryIO
    publish: Callable[[PartResult], None]
    discard: Callable[[], None]
    round: int = 0
    earlier: Mapping[bytes, Row] = field(default_factory=dict)
    due: Collection[bytes] = ()
    adopted: Mapping[bytes, Place] = field(default_factory=dict)
    filtered: Mapping[bytes, str] = field(default_factory=dict)
    raw_bytes: int = 0
    is_released: bool = False


class Part:
    """A part that is being downloaded. Ids, URLs and rows of its candidates are held in memory
    (about 3 KB each), never their bytes. open: jobs without a row. ended: told the status of each
    candidate as soon as it has one."""

    def __init__(
        self, files: PartFiles, settings: DownloadSection, ended: Callable[[str], None]
    ) -> None:
        self.files = files
        self._ended = ended
        self.open = 0
        self._settings = settings
        self._optouts = optout_lists.load(settings.optout_lists)
        self._tar = RawTar(files.raw_file, files.raw_bytes)
        self._rows: list[Row] = []
        self._urls: dict[bytes, str] = {}
        self.cpu_s = dict.fromkeys(("fetch", *_DECODER_STEPS, "write"), 0.0)

    def jobs(self, batch: pa.RecordBatch) -> Iterator[Job]:
        """Jobs for the candidates that may be asked for; rows at once for those that may not."""
        columns = [batch.column(name).to_pylist() for name in COLUMNS]
        listed = self._optouts.find(batch.column("url")).to_pylist()
        for image_id, url, _, optout, entry in zip(*columns, listed, strict=True):
            self._urls[image_id] = url
            is_withheld = optout is not None or entry is not None
            if not self._is_wanted(image_id, is_withheld=is_withheld):
                continue
            if is_withheld:
                consent = f"page:{optout}" if optout is not None else f"list:{entry}"
                detail = optout if optout is not None else consent
                self._add(image_id, Fetched(Status.OPTED_OUT, detail, consent), None)
                continue
            try:
                target = parse_target(url)
            except UrlError as error:
                self._add(image_id, Fetched(Status.BAD_URL, str(error)[:200]), None)
                continue
            place = self.files.adopted.get(image_id)
            if place is not None and place.size > self._settings.max_body_bytes:
                place = None
            known = self._known(image_id)
            reasons = self.files.filtered.get(image_id)
            if reasons is not None and place is None and known.sha256 is None:
                self._add(image_id, Fetched(Status.FILTERED, reasons[:200]), None)
                continue
            self.open += 1
            yield Job(image_id, url, target.origin, self, known=known, place=place)

    def _is_wanted(self, image_id: bytes, *, is_withheld: bool) -> bool:
        """False when the row that an earlier round or crawl gave stands. A picture does not that is
        stored and, as it turns out now, withheld."""
        row = self.files.earlier.get(image_id)
        if row is None or image_id in self.files.due:
            return True
        return is_withheld and row["status"] == Status.OK

    def _known(self, image_id: bytes) -> Known:
        row = self.files.earlier.get(image_id)
        known = known_of(row) if row is not None else UNKNOWN
        return known._replace(is_released=True) if self.files.is_released else known

    def end(self, job: Job, fetched: Fetched, picture: Picture | None = None) -> None:
        """Store what a job gave."""
        self._add(job.image_id, fetched, picture)
        self.open -= 1

    def _add(self, image_id: bytes, fetched: Fetched, picture: Picture | None) -> None:
        """Store a picture's bytes and note the candidate's row."""
        known = self._known(image_id)
        row: Row = {
            "image_id": image_id,
            "status": str(fetched.status),
            "status_detail": fetched.detail or None,
            "consent": fetched.consent,
            "http_status": fetched.http_status,
            "final_url": fetched.final_url,
            "content_type": fetched.content_type,
            "fetch_ms": fetched.fetch_ms,
            "body_bytes": len(fetched.body) if fetched.body is not None else None,
            "fetched_at": int(time.time()),
            "downloads": known.downloads + (fetched.status is not Status.FILTERED),
            "etag": fetched.etag,
            "last_modified": fetched.last_modified,
            "retry_after_s": whole_seconds(fetched.retry_after_s),
            "raw_round": None,
            "raw_offset": None,
            "raw_bytes": None,
        }
        for name in _PICTURE:
            row[name] = getattr(picture, name) if picture is not None else None
        if picture is not None:
            row["status"] = str(Status(picture.status))
            row["status_detail"] = picture.status_detail
            if picture.data is not None and picture.sha256 != known.sha256:
                started = time.thread_time()
                row["raw_offset"] = self._tar.append(image_id, picture.data)
                row["raw_bytes"] = len(picture.data)
                row["raw_round"] = self.files.round
                self.cpu_s["write"] += time.thread_time() - started
            for step in _DECODER_STEPS:
                self.cpu_s[step] += getattr(picture, f"{step}_s")
        row["retry_at"] = retry_at(
            Status(row["status"]),
            image_id,
            row["downloads"],
            row["fetched_at"],
            row["retry_after_s"],
            self._settings.waits,
        )
        if row["status"] not in (Status.OK, Status.NOT_MODIFIED):
            row["etag"] = row["last_modified"] = None
        self._rows.append(row)
        self._ended(row["status"])

    def publish(self) -> float:
        """Store the whole part; CPU seconds that took. Blocks; raises what storing raises."""
        started = time.thread_time()
        self._tar.close()
        rows, asked = merge_all(self.files.earlier, self._rows)
        known = self._settings.placeholder_hashes
        placeholders.mark(
            rows,
            self._urls,
            self._settings.placeholder_urls,
            placeholders.read_known(known) if known else frozenset(),
        )
        result = PartResult(rows, account_of(rows), asked)
        self.cpu_s["write"] += time.thread_time() - started
        result.account.cpu_s.update(self.cpu_s)
        self.files.publish(result)
        return time.thread_time() - started


_PICTURE = (
    "sha256",
    "md5",
    "format",
    "frames",
    "original_width",
    "original_height",
    "width",
    "height",
    "hash64",
    "hash256",
    "texture",
    "fingerprint",
    "turned64",
    "turned256",
)
