"""The process that reads archives: jobs in, rows out, over one socket, until it is closed.

Forked from a template (`extract.template`). Parsing hostile bytes may crash, hang or exhaust memory
in native code; here that costs this process and one record.
"""

import importlib
import os
import resource
import signal
import socket
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import msgspec
import pyarrow as pa

from pipeline.core.accounts import Account
from pipeline.core.reasons import RecordReason
from pipeline.core.wire import read_frame, write_frame
from pipeline.extract.inflate import READING_MEMBER
from pipeline.extract.members import Place
from pipeline.extract.ranges import read_ranges
from pipeline.extract.record import Record
from pipeline.extract.records import read_many
from pipeline.extract.stream import open_archive
from pipeline.extract.stretch import Stretch
from pipeline.extract.task import Answer, Job, Notes, Start
from pipeline.extract.wat_members import WatMembers, WatRecords


class _Watched:
    """The archive's file; the time limit stands still while it is read."""

    def __init__(self, file: IO[bytes], clock: "_Clock") -> None:
        self._file = file
        self._clock = clock
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        with self._clock:
            return self._file.read(size)


class _Clock:
    """Around whatever waits for others. Otherwise the default action of SIGALRM ends the process
    should nobody be left to do so; a task ends it much earlier."""

    def __init__(self, notes: Notes, timeout_s: float) -> None:
        self._notes = notes
        self._timeout_s = 3 * timeout_s + 60

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._notes.wait(True)

    def __exit__(self, *args: object) -> None:
        self._notes.wait(False)
        signal.setitimer(signal.ITIMER_REAL, self._timeout_s)


class Reader:
    """Does jobs."""

    def __init__(self, connection: socket.socket, notes: Notes, start: Start) -> None:
        self._connection = connection
        self._notes = notes
        self._limits = start.limits
        self._parser: Any = importlib.import_module(start.reader)
        self._clock = _Clock(notes, start.limits.timeout_s)
        self._encoder = msgspec.msgpack.Encoder()
        self._at: Place | None = None

    def do(self, job: Job) -> None:
        """Answer one job. Raises what ends the process."""
        limits = self._limits
        rows = self._parser.PairRows(job.archive, limits.max_links_per_page)
        told = [Account("records"), Account("links"), Account("pairs")]
        self._notes.clear()
        self._at = Place(*job.after) if job.after else None
        try:
            with self._clock:
                opened = open_archive(
                    job.archive, limits.read_block_bytes, limits.max_tries, job.ranges is None
                )
            with opened as file:
                records = self._records(_Watched(file, self._clock), job, rows)  # type: ignore[arg-type]
                batches = self._parser.read_rows(
                    records, rows, limits.max_record_bytes, limits.batch_rows
                )
                for batch in batches:
                    self._answer(rows, told, batch)
            self._answer(rows, told, None)
        except OSError as error:
            self._send(Answer(error=str(error)))

    def _records(
        self, file: IO[bytes], job: Job, rows: Any
    ) -> Iterator[Stretch | WatRecords | Record]:
        """The records that are not accounted for yet, noted before they are handed on: one by one
        where that is asked for, else as they come, and of several the last one."""
        crashed = {(offset, inner) for offset, inner in job.crashed if inner != READING_MEMBER}
        skipped = {offset for offset, inner in job.crashed if inner == READING_MEMBER}
        # Where one page is to be told from others, all go the other way.
        wat = None if job.crashed or job.careful_until >= 0 else rows.wat
        for found in self._unread(file, job, skipped, wat):
            if isinstance(found, WatRecords):
                self._at = Place(found.last, 0)
                self._notes.write(*self._at)
                yield found
                continue
            several = (found,) if isinstance(found, Record) else found
            offsets = [found.offset] if isinstance(found, Record) else found.offsets.tolist()
            rows.is_one_by_one = offsets[0] <= job.careful_until
            if (
                len(offsets) > 1
                and not rows.is_one_by_one
                and crashed.isdisjoint((offset, 0) for offset in offsets)
            ):
                self._at = Place(offsets[-1], 0)
                self._notes.write(*self._at)
                yield found
                continue
            for record in several:
                self._at = Place(record.offset, record.inner)
                self._notes.write(*self._at)
                if self._at in crashed:
                    record = record._replace(block=b"", reason=RecordReason.CRASHED)
                yield record

    def _unread(
        self, file: IO[bytes], job: Job, skipped: set[int], wat: WatMembers | None
    ) -> Iterator[Stretch | WatRecords | Record]:
        most, gap = self._limits.max_record_bytes, self._limits.max_gap_bytes
        watch, after = self._notes.watch, self._at
        if job.ranges is not None:
            left = [r for r in job.ranges if after is None or r[0] > after.offset]
            yield from read_ranges(file, left, most, gap, watch, skipped)
            return
        records = read_many(file, most, after or Place(0, 0), watch, skipped, wat)
        if after is not None:
            next(records, None)  # just one record, which is accounted for
        yield from records

    def _answer(self, rows: Any, told: list[Account], batch: pa.RecordBatch | None) -> None:
        accounts = []
        for before, now in zip(told, (rows.records, rows.links, rows.pairs), strict=True):
            new = Account(now.unit, now.rows_in - before.rows_in, now.kept - before.kept)
            new.dropped = Counter(now.dropped) - before.dropped
            before.add(new)
            accounts.append(new.to_json())
        answer = Answer(self._at, accounts, batch is not None, is_done=batch is None)
        with self._clock:
            self._send(answer)
            if batch is not None:
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                write_frame(self._connection, sink.getvalue())

    def _send(self, answer: Answer) -> None:
        write_frame(self._connection, self._encoder.encode(answer))


def _limit_memory(more_bytes: int) -> None:
    """Let data grow by so much from here on. Address space would count what is only reserved."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/status", encoding="ascii") as status:
        told = dict(line.split(":", 1) for line in status)
    limit = int(told["VmData"].split()[0]) * 1024 + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def serve(connection: socket.socket, notes: Notes) -> None:
    """Do jobs until the other side closes, or something ends the process."""
    first = read_frame(connection)
    if first is None:
        return
    start = msgspec.msgpack.decode(first, type=Start)
    os.environb.clear()
    os.environb.update(start.environment)
    reader = Reader(connection, notes, start)
    _limit_memory(start.limits.memory_bytes)
    write_frame(connection, b"%d" % os.getpid())
    while (frame := read_frame(connection)) is not None:
        try:
            reader.do(msgspec.msgpack.decode(frame, type=Job))
        except MemoryError:
            write_frame(connection, msgspec.msgpack.encode(Answer(crash="out of memory")))
            return
        except Exception as error:  # noqa: BLE001 - of a parser: it costs the record
            where = traceback.extract_tb(error.__traceback__)[-1]
            why = f"{type(error).__name__}: {error} ({os.path.basename(where.filename)})"  # noqa: PTH119
            write_frame(connection, msgspec.msgpack.encode(Answer(crash=why)))
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
