"""One part: its candidates become jobs, what each gave becomes bytes in the raw tar and a row."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from pipeline.core.accounts import Account
from pipeline.core.raw import RawTar
from pipeline.core.reasons import Status
from pipeline.fetch.client import Fetched
from pipeline.fetch.guard import UrlError, parse_target
from pipeline.fetch.picture import Picture
from pipeline.fetch.schedule import Job
from pipeline.fetch.settings import DownloadSection

Row = dict[str, Any]

# What only a stored picture has; a placeholder loses them again.
_STORED = (
    "sha256",
    "width",
    "height",
    "raw_offset",
    "raw_bytes",
    "hash64",
    "hash256",
    "texture",
    "fingerprint",
)
# Columns a part is downloaded by.
COLUMNS = ["image_id", "url", "domain", "page_optout"]
# CPU seconds that the decoder notes of a picture.
_DECODER_STEPS = tuple(
    name.removesuffix("_s") for name in Picture.__struct_fields__ if name.endswith("_s")
)


@dataclass
class PartResult:
    """rows: one per candidate, as the columns of `images` but `part`, ordered by image_id.
    account: of images, kept and dropped by status, with CPU seconds by step."""

    rows: list[Row] = field(default_factory=list)
    account: Account = field(default_factory=lambda: Account("images"))


@dataclass
class PartFiles:
    """A part as it is handed to the downloader.

    candidates: batches with at least the columns of `COLUMNS`. raw_file: its raw tar, open.
    publish: stores what it gave, whole; called once, in a thread. discard: called in its place when
    the part is not finished.
    """

    candidates: Iterable[pa.RecordBatch]
    raw_file: BinaryIO
    publish: Callable[[PartResult], None]
    discard: Callable[[], None]


class Part:
    """A part that is being downloaded. Ids, URLs and rows of its candidates are held in memory
    (about 3 KB each), never their bytes. open: jobs without a row."""

    def __init__(self, files: PartFiles, settings: DownloadSection) -> None:
        self.files = files
        self.open = 0
        self._settings = settings
        self._tar = RawTar(files.raw_file)
        self._rows: list[Row] = []
        self._hosts: dict[bytes, str] = {}
        self.cpu_s = dict.fromkeys(("fetch", *_DECODER_STEPS, "write"), 0.0)

    def jobs(self, batch: pa.RecordBatch) -> Iterator[Job]:
        """Jobs for the candidates that may be asked for; rows at once for those that may not."""
        columns = [batch.column(name).to_pylist() for name in COLUMNS]
        for image_id, url, _, optout in zip(*columns, strict=True):
            if optout is not None:
                consent = f"page:{optout}"
                self._add(image_id, Fetched(Status.OPTED_OUT, optout, consent), None)
                continue
            try:
                target = parse_target(url)
            except UrlError as error:
                self._add(image_id, Fetched(Status.BAD_URL, str(error)[:200]), None)
                continue
            self._hosts[image_id] = target.host
            self.open += 1
            yield Job(image_id, url, target.origin, self)

    def end(self, job: Job, fetched: Fetched, picture: Picture | None = None) -> None:
        """Store what a job gave."""
        self._add(job.image_id, fetched, picture)
        self.open -= 1

    def _add(self, image_id: bytes, fetched: Fetched, picture: Picture | None) -> None:
        """Store a picture's bytes and note the candidate's row."""
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
            "raw_offset": None,
            "raw_bytes": None,
        }
        for name in _PICTURE:
            row[name] = getattr(picture, name) if picture is not None else None
        if picture is not None:
            row["status"] = str(Status(picture.status))
            row["status_detail"] = picture.status_detail
            if picture.data is not None:
                started = time.thread_time()
                row["raw_offset"] = self._tar.append(image_id, picture.data)
                row["raw_bytes"] = len(picture.data)
                self.cpu_s["write"] += time.thread_time() - started
            for step in _DECODER_STEPS:
                self.cpu_s[step] += getattr(picture, f"{step}_s")
        self._rows.append(row)

    def publish(self) -> float:
        """Store the whole part; CPU seconds that took. Blocks; raises what storing raises."""
        started = time.thread_time()
        self._tar.close()
        _mark_placeholders(self._rows, self._hosts, self._settings)
        result = PartResult(sorted(self._rows, key=lambda row: bytes(row["image_id"])))
        for row in result.rows:
            if row["status"] == Status.OK:
                result.account.keep()
            else:
                result.account.drop(row["status"])
        self.cpu_s["write"] += time.thread_time() - started
        result.account.cpu_s.update(self.cpu_s)
        self.files.publish(result)
        return time.thread_time() - started


_PICTURE = (
    "sha256",
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
)


def _mark_placeholders(
    rows: list[Row], hosts: Mapping[bytes, str], settings: DownloadSection
) -> None:
    """Give status `placeholder` to pictures whose bytes are behind too many URLs of one host.

    All candidates of a registrable domain are in one part, unless it is a giant one that was split;
    then the count is of the part alone. The bytes stay in the raw tar, unused.
    """
    if not settings.placeholder_urls:
        return
    found: dict[tuple[str, bytes], list[Row]] = defaultdict(list)
    for row in rows:
        if row["status"] == Status.OK:
            found[hosts[row["image_id"]], row["sha256"]].append(row)
    for (_, digest), same in found.items():
        if len(same) > settings.placeholder_urls:
            for row in same:
                row.update(dict.fromkeys(_STORED))
                row["status"] = str(Status.PLACEHOLDER)
                row["status_detail"] = f"sha256 {digest.hex()} behind {len(same)} URLs"
