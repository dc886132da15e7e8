"""Downloading part after part in one event loop: the next is opened as soon as what is open leaves
places idle, so that the slow end of one part holds up nothing else."""

import asyncio
import contextlib
import resource
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import BinaryIO

import pyarrow as pa
import uvloop

from pipeline.core.reasons import Status
from pipeline.core.storage import Superseded
from pipeline.fetch.adopt import read_picture
from pipeline.fetch.client import Client
from pipeline.fetch.coordinator import Address
from pipeline.fetch.fetched import Fetched
from pipeline.fetch.gate import backoff_s
from pipeline.fetch.known_hosts import KnownHosts
from pipeline.fetch.limits import Gates, Lease
from pipeline.fetch.memory import BodyMemory
from pipeline.fetch.part import Part, PartFiles, PartResult
from pipeline.fetch.picture import Picture
from pipeline.fetch.pool import DecoderPool, shared_pool
from pipeline.fetch.schedule import Job, Schedule
from pipeline.fetch.settings import DownloadSection
from pipeline.fetch.task_link import TaskLink

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
# What a damaged file in an adopted folder ends in; the net may have the picture whole.
_DAMAGED = frozenset({Status.DECODE, Status.NOT_AN_IMAGE})
# Pictures that are read from such a folder and decoded at once.
_ADOPTED_AT_ONCE = 16
# Rows that are turned into jobs, or jobs that end unasked, before other work has its turn.
_STEP = 512

NextPart = Callable[[], Awaitable[PartFiles | None]]
Ended = Callable[[str], None]


def _tell_nobody(status: str) -> None:
    pass


def download_parts(
    open_part: Callable[[int], PartFiles],
    settings: DownloadSection,
    coordinator: Address,
    hosts: KnownHosts | None = None,
    ended: Ended = _tell_nobody,
) -> None:
    """Download parts until the coordinator has none left: one task's work.

    open_part: opens the part with a number; called in a thread. hosts: what robots.txt
    files said before; what is learnt is published there. ended: told the status of each candidate
    as soon as it has one. Raises only for what is wrong with
    this machine (disk full, no decoder process) or when the coordinator is lost; parts that are not
    published by then are discarded.
    """

    async def run() -> None:
        link = await TaskLink.connect(coordinator)

        async def next_part() -> PartFiles | None:
            number = await link.claim()
            if number is None:
                return None
            files = await asyncio.to_thread(open_part, number)
            publish = files.publish

            def publish_and_tell(result: PartResult) -> None:
                with contextlib.suppress(Superseded):
                    publish(result)
                loop.call_soon_threadsafe(link.finished, number)

            files.publish = publish_and_tell
            return files

        loop = asyncio.get_running_loop()
        await _Flow(settings, link, hosts, ended).run(next_part)

    _run(run())


def download_part(
    candidates: Iterable[pa.RecordBatch],
    settings: DownloadSection,
    raw_file: BinaryIO,
    hosts: KnownHosts | None = None,
) -> PartResult:
    """Download one part, alone: with limits that no other task shares; writes the raw tar.

    candidates: see `PartFiles`. Raises only for what is wrong with this machine.
    """
    results: list[PartResult] = []
    parts = [PartFiles(candidates, raw_file, results.append, lambda: None)]

    async def next_part() -> PartFiles | None:
        return parts.pop() if parts else None

    _run(_Flow(settings, None, hosts, _tell_nobody).run(next_part))
    return results[0]


def _run(work: Awaitable[None]) -> None:
    async def main() -> None:
        await work

    _raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


class _Flow:
    """The pool of fetches of one event loop, over the parts that are open."""

    def __init__(
        self,
        settings: DownloadSection,
        link: TaskLink | None,
        hosts: KnownHosts | None,
        ended: Ended,
    ) -> None:
        self._settings = settings
        self._ended = ended
        self._link = link
        self._gates = Gates(settings, link)
        self._memory = BodyMemory(settings.body_memory_mb * 2**20)
        self._hosts = hosts or KnownHosts(None, settings.user_agent, settings.robots_max_age_s)
        self._hosts.sharing = link
        self._client = Client(settings, self._gates, self._memory, self._hosts)
        self._schedule = Schedule(self._gates, self._client)
        self._client.on_rules = self._schedule.learnt
        self._decoders: DecoderPool = shared_pool(
            settings.for_decoding(),
            settings.decode_workers,
            settings.decode_timeout_s,
            settings.decode_memory_mb * 2**20,
        )
        self._places = asyncio.Semaphore(settings.concurrency)
        self._adopting = asyncio.Semaphore(_ADOPTED_AT_ONCE)
        self._parts: dict[Part, asyncio.TimerHandle] = {}
        self._is_opening = False
        self._is_last_open = False
        self._cpu_at = time.process_time()

    async def run(self, next_part: NextPart) -> None:
        """Download what `next_part` gives until it gives None."""
        try:
            async with self._client, asyncio.TaskGroup() as tasks:
                listener = None
                if self._link is not None:
                    serving = self._link.serve(self._gates, self._schedule.needs)
                    listener = tasks.create_task(serving)
                await self._work_through(next_part, tasks)
                if listener is not None:
                    listener.cancel()
        except BaseExceptionGroup as group:
            # One task's failure (disk full) is the part's; its siblings were cancelled by it.
            raise group.exceptions[0] from None
        finally:
            for part in self._parts:
                part.files.discard()

    async def _work_through(self, next_part: NextPart, tasks: asyncio.TaskGroup) -> None:
        ended = 0
        while True:
            await self._places.acquire()
            while (item := self._schedule.take()) is None:
                if self._may_open():
                    self._is_opening = True
                    tasks.create_task(self._open(next_part, tasks))
                elif self._is_last_open and not self._parts:
                    return
                await self._schedule.wait()
            job, lease, outcome = item
            if lease is not None:
                task = tasks.create_task(self._fetch(job, lease, tasks))
                task.add_done_callback(lambda _: self._places.release())
                continue
            self._end(job, outcome or Fetched(), tasks)
            self._places.release()
            ended += 1
            if ended % _STEP == 0:
                await asyncio.sleep(0)

    def _may_open(self) -> bool:
        is_room = len(self._parts) < self._settings.open_parts
        return is_room and not (self._is_opening or self._is_last_open)

    async def _open(self, next_part: NextPart, tasks: asyncio.TaskGroup) -> None:
        files = await next_part()
        if files is None:
            self._is_last_open = True
        else:
            part = Part(files, self._settings, self._ended)
            loop = asyncio.get_running_loop()
            self._parts[part] = loop.call_later(
                self._settings.max_part_s,
                self._schedule.give_up,
                part,
                "the part took too long",
            )
            part.open = 1  # it is not finished before it is read
            jobs: list[Job] = []
            for batch in files.candidates:
                for at in range(0, batch.num_rows, _STEP):
                    jobs += part.jobs(batch.slice(at, _STEP))
                    await asyncio.sleep(0)
            # Once for the whole part: the table is read by the bucket, not by the host.
            await asyncio.to_thread(self._hosts.load, {job.origin[1] for job in jobs})
            adopted = [job for job in jobs if job.place is not None]
            if adopted:
                tasks.create_task(self._adopt(adopted, tasks))
                jobs = [job for job in jobs if job.place is None]
            for at in range(0, len(jobs), _STEP):
                self._schedule.add(jobs[at : at + _STEP])
                await asyncio.sleep(0)
            part.open -= 1
            self._finish_if_done(part, tasks)
        self._is_opening = False
        self._schedule.notify()

    async def _adopt(self, jobs: list[Job], tasks: asyncio.TaskGroup) -> None:
        """Take a part's pictures from an adopted folder, neighbours after each other."""
        for job in sorted(jobs, key=lambda job: job.place or ()):
            await self._adopting.acquire()
            task = tasks.create_task(self._take(job, tasks))
            task.add_done_callback(lambda _: self._adopting.release())

    async def _take(self, job: Job, tasks: asyncio.TaskGroup) -> None:
        """One adopted picture; asked for after all when it is not there whole."""
        assert job.place is not None
        picture = None
        reserved = await self._memory.reserve(job.place.size)
        try:
            body = await asyncio.to_thread(read_picture, job.place)
            if body is not None:
                picture = await asyncio.wrap_future(self._decoders.submit(body))
        finally:
            self._memory.release(reserved)
        if picture is None or picture.status in _DAMAGED:
            self._schedule.add([job])
            return
        part: Part = job.part
        part.end(job, Fetched(consent="adopted", body=body), picture)
        self._finish_if_done(part, tasks)

    async def _fetch(self, job: Job, lease: Lease, tasks: asyncio.TaskGroup) -> None:
        gate = lease.gate
        now = time.monotonic()
        job.ends_at = min(job.ends_at, now + min(job.left_s, self._settings.url_timeout_s))
        left_s = max(0.0, job.ends_at - now)
        fetched = await self._client.get(job.url, lease, left_s, job.hops, job.known)
        if fetched.moved_to is not None:
            job.hops = fetched.hops
            self._schedule.move(job, fetched.moved_to.href, fetched.moved_to.origin)
            return
        may_retry = job.attempts < self._settings.retries and not gate.is_given_up
        if may_retry and fetched.status in _RETRIED:
            job.attempts += 1
            delay = backoff_s(self._settings.backoff_s, job.attempts, job.url)
            # The host's own word, which its gate keeps, comes before ours.
            delay = delay if fetched.retry_after_s is None else fetched.retry_after_s
            if time.monotonic() + delay < job.ends_at:
                job.last = fetched
                self._schedule.retry(job, delay)
                return
        picture = None
        if fetched.body is not None and fetched.status is Status.OK:
            try:
                picture = await asyncio.wrap_future(self._decoders.submit(fetched.body))
            finally:
                self._memory.release(fetched.reserved_bytes)
        self._end(job, fetched, tasks, picture)

    def _end(
        self,
        job: Job,
        fetched: Fetched,
        tasks: asyncio.TaskGroup,
        picture: Picture | None = None,
    ) -> None:
        part: Part = job.part
        part.end(job, fetched, picture)
        self._schedule.finish(job)
        self._finish_if_done(part, tasks)

    def _finish_if_done(self, part: Part, tasks: asyncio.TaskGroup) -> None:
        if not part.open:
            self._parts[part].cancel()
            # What this process has used since the last part was finished, decoders apart.
            now = time.process_time()
            part.cpu_s["fetch"] += max(0.0, now - self._cpu_at - part.cpu_s["write"])
            self._cpu_at = now
            tasks.create_task(self._publish(part))

    async def _publish(self, part: Part) -> None:
        self._cpu_at += await asyncio.to_thread(part.publish)
        await asyncio.to_thread(self._hosts.publish)
        del self._parts[part]
        self._schedule.notify()


def _raise_file_limit() -> None:
    """Allow as many open connections as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
