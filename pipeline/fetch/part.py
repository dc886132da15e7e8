"""One part: every candidate asked for, decoded, its bytes appended to the raw tar, one row each."""

import asyncio
import resource
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import uvloop

from pipeline.core import optout_lists
from pipeline.core.accounts import Account
from pipeline.core.raw import RawTar
from pipeline.core.reasons import Status
from pipeline.fetch.client import Client, Fetched
from pipeline.fetch.guard import UrlError, parse_target
from pipeline.fetch.known_hosts import KnownHosts
from pipeline.fetch.limits import BodyMemory, Gates, Lease, backoff_s
from pipeline.fetch.picture import Picture
from pipeline.fetch.pool import DecoderPool, shared_pool
from pipeline.fetch.schedule import Job, Schedule
from pipeline.fetch.settings import DownloadSection

Row = dict[str, Any]

# What may go better a moment later. A certificate or a name will not.
_RETRIED = frozenset(
    {
        Status.CONNECT,
        Status.TIMEOUT,
        Status.DISCONNECTED,
        Status.BAD_RESPONSE,
        Status.HTTP_429,
        Status.HTTP_5XX,
    }
)
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


@dataclass
class PartResult:
    """rows: one per candidate, as the columns of `images` but `part`, ordered by image_id.
    account: of images, kept and dropped by status. cpu_s: decoder seconds by step."""

    rows: list[Row] = field(default_factory=list)
    account: Account = field(default_factory=lambda: Account("images"))
    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def download_part(
    candidates: Iterable[pa.RecordBatch],
    settings: DownloadSection,
    raw_file: BinaryIO,
    shares: Mapping[str, int] | None = None,
    known: KnownHosts | None = None,
) -> PartResult:
    """Download a part's candidates and write the raw tar.

    candidates: batches with at least the columns of `COLUMNS`. Their ids, URLs and rows are held in
        memory (about 3 KB each), never their bytes.
    shares: domains that several parts hold -> how many parts may ask them at the same time; each
        uses that fraction of the domain's rate. Placeholders are counted within the part.
    known: what robots.txt files said before; what is learnt is published there at the end.

    Raises only for what is wrong with this machine (disk full, no decoder process).
    """
    _raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Part(settings, raw_file, shares or {}, known).run(candidates))


class _Part:
    def __init__(
        self,
        settings: DownloadSection,
        raw_file: BinaryIO,
        shares: Mapping[str, int],
        known: KnownHosts | None,
    ) -> None:
        self._settings = settings
        self._shares = shares
        self._known = known
        self._optouts = optout_lists.load(settings.optout_lists)
        self._tar = RawTar(raw_file)
        self._rows: list[Row] = []
        self._result = PartResult()
        self._gates = Gates(settings)
        self._memory = BodyMemory(settings.body_memory_mb * 2**20)
        self._decoders: DecoderPool = shared_pool(
            settings.for_decoding(),
            settings.decode_workers,
            settings.decode_timeout_s,
            settings.decode_memory_mb * 2**20,
        )

    async def run(self, candidates: Iterable[pa.RecordBatch]) -> PartResult:
        jobs = [job for batch in candidates for job in self._jobs(batch)]
        if self._known is not None:
            self._known.load(job.host for job in jobs)
        schedule = Schedule(jobs, self._gates, self._settings.max_part_s)
        places = asyncio.Semaphore(self._settings.concurrency)
        async with Client(self._settings, self._gates, self._memory, self._known) as client:
            try:
                async with asyncio.TaskGroup() as tasks:
                    while True:
                        await places.acquire()
                        item = await schedule.next()
                        if item is None:
                            break
                        job, lease, why = item
                        if lease is None:
                            self._end(job, Fetched(Status.HOST_GIVEN_UP, why), schedule)
                            places.release()
                            continue
                        task = tasks.create_task(self._work(client, schedule, job, lease))
                        task.add_done_callback(lambda _: places.release())
            except BaseExceptionGroup as group:
                # One task's failure (disk full) is the part's; its siblings were cancelled by it.
                raise group.exceptions[0] from None
        self._tar.close()
        if self._known is not None:
            self._known.publish()
        _mark_placeholders(self._rows, {j.image_id: j.host for j in jobs}, self._settings)
        return self._finished()

    def _jobs(self, batch: pa.RecordBatch) -> list[Job]:
        """Jobs for the candidates that may be asked for; rows at once for those that may not."""
        columns = [batch.column(name).to_pylist() for name in COLUMNS]
        jobs = []
        listed = self._optouts.find(batch.column("url")).to_pylist()
        for image_id, url, domain, optout, entry in zip(*columns, listed, strict=True):
            if optout is not None or entry is not None:
                consent = f"page:{optout}" if optout is not None else f"list:{entry}"
                detail = optout if optout is not None else consent
                self._add(image_id, Fetched(Status.OPTED_OUT, detail, consent), None)
                continue
            try:
                host = parse_target(url).host
            except UrlError as error:
                self._add(image_id, Fetched(Status.BAD_URL, str(error)[:200]), None)
                continue
            jobs.append(Job(image_id, url, host, self._shares.get(domain, 1)))
        return jobs

    async def _work(self, client: Client, schedule: Schedule, job: Job, lease: Lease) -> None:
        gate = lease.gate
        fetched = await client.get(job.url, lease)
        may_retry = job.attempts < self._settings.retries and not gate.is_given_up
        if may_retry and fetched.status in _RETRIED:
            job.attempts += 1
            delay = backoff_s(self._settings.backoff_s, job.attempts, job.url)
            # The host's own word, which its gate keeps, comes before ours.
            schedule.retry(job, 0.0 if fetched.retry_after_s is not None else delay)
            return
        picture = None
        if fetched.body is not None and fetched.status is Status.OK:
            try:
                picture = await asyncio.wrap_future(self._decoders.submit(fetched.body))
            finally:
                self._memory.release(fetched.reserved_bytes)
        self._end(job, fetched, schedule, picture)

    def _end(
        self, job: Job, fetched: Fetched, schedule: Schedule, picture: Picture | None = None
    ) -> None:
        self._add(job.image_id, fetched, picture)
        schedule.finish()

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
                row["raw_offset"] = self._tar.append(image_id, picture.data)
                row["raw_bytes"] = len(picture.data)
            for step in ("decode_s", "hash_s", "encode_s"):
                self._result.cpu_s[step] += getattr(picture, step)
        self._rows.append(row)

    def _finished(self) -> PartResult:
        self._result.rows = sorted(self._rows, key=lambda row: bytes(row["image_id"]))
        for row in self._result.rows:
            if row["status"] == Status.OK:
                self._result.account.keep()
            else:
                self._result.account.drop(row["status"])
        return self._result


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


def _raise_file_limit() -> None:
    """Allow as many open connections as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
