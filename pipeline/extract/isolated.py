"""Archives read in a process of their own: a record that crashes the parser costs itself.

The process notes each record before it turns to it. When it dies, runs out of memory or gets
nowhere, that record is counted as CRASHED and a new process goes on behind the last rows that
arrived: nothing is lost and nothing comes twice.
"""

import atexit
from collections.abc import Iterator

import pyarrow as pa

from pipeline.core.accounts import Account
from pipeline.core.errors import InputError
from pipeline.extract.inflate import READING_MEMBER
from pipeline.extract.process import Died, Process, end_templates
from pipeline.extract.task import Job, Limits

READER = "pipeline.extract.rows"


class IsolatedReader:
    """Reads archives one after the other, in a process that starts when it is first needed and is
    replaced when it dies. Not for two threads at once."""

    def __init__(self, limits: Limits, max_crashes: int, reader: str = READER) -> None:
        self._limits = limits
        self._max_crashes = max_crashes
        self._reader = reader
        self._process: Process | None = None

    def read(
        self,
        archive: str,
        accounts: list[Account],
        ranges: list[tuple[int, int]] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Batches of PAIRS of an archive, or of its records at some ranges.

        accounts: of records, links and pairs; what is counted is added. Raises InputError that
        names the archive when it cannot be read, or crashes the parser more than `max_crashes`
        times.
        """
        job = Job(archive, ranges)
        while True:
            try:
                yield from self._read(job, accounts)
                return
            except Died as death:
                self._blame(job, str(death))

    def _read(self, job: Job, accounts: list[Account]) -> Iterator[pa.RecordBatch]:
        if self._process is not None and self._process.has_ended:
            self.close()  # between two archives: no record is to blame
        if self._process is None:
            self._process = Process(self._limits, self._reader)
        process = self._process
        is_done = False
        try:
            process.send(job)
            while not is_done:
                answer, batch = process.receive()
                if answer.error:
                    is_done = True
                    raise InputError(_named(job.archive, answer.error))
                job.after = answer.after
                for account, new in zip(accounts, answer.accounts, strict=True):
                    account.add(Account.from_json(new))
                if batch is not None:
                    yield batch
                is_done = answer.is_done
        except Died:
            raise
        except BaseException:
            if not is_done:
                self.close()  # what it still sends belongs to nothing
            raise

    def _blame(self, job: Job, how: str) -> None:
        """Note the record that the process died of, or have it found."""
        assert self._process is not None
        note = self._process.notes.read()
        self.close()
        what = f"archive {job.archive}: the parser died ({how})"
        if not note.steps:
            raise InputError(f"{what} before the first record")
        place = tuple(note.place)
        if place[0] > job.careful_until and place[1] != READING_MEMBER:
            # Pages are read many at a time: any one since the last answer may be at fault.
            job.careful_until = place[0]
            return
        if place in job.crashed:
            raise InputError(f"{what} at byte {place[0]}, which had been left out for that")
        job.crashed = [*job.crashed, (place[0], place[1])]
        if len(job.crashed) > self._max_crashes:
            raise InputError(
                f"{what} at byte {place[0]}: more than extract.max_crashes = {self._max_crashes} "
                "records of this archive; look for the cause, or raise the bound"
            )

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            process.close()
            process.notes.close()


def _named(archive: str, error: str) -> str:
    return error if archive in error else f"archive {archive} cannot be read: {error}"


_readers: dict[tuple[Limits, int, str], IsolatedReader] = {}


def shared_reader(limits: Limits, max_crashes: int, reader: str = READER) -> IsolatedReader:
    """The reader of this process for these limits: one start serves all archives it reads."""
    key = (limits, max_crashes, reader)
    if key not in _readers:
        _readers[key] = IsolatedReader(*key)
    return _readers[key]


@atexit.register
def close_readers() -> None:
    """End the reading processes of this process."""
    while _readers:
        _readers.popitem()[1].close()
    end_templates()
