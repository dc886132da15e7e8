"""One chaos run from its first job to its verdict."""

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import processes
from tests.chaos.folder import STAGES, Run, damage, release_digests
from tests.chaos.plan import Strike, plan
from tests.chaos.processes import Job
from tests.chaos.report import Blow, Verdict, line
from tests.conftest import ROOT

_POLL_S = 0.02
_FULL_S = 150.0  # a run on a full disk has so long to say so
_GOES_ON_S = 3.0
_DAMAGED = re.compile(r"^(/\S+) is damaged ")
_MOST_RESTARTS = 4  # without a strike in between
# So small a web has stretches in which nothing succeeds: it is hostile. Its names do resolve.
_ALARM = (
    'download.alarm="stop"',
    "download.alarm_rows=40",
    "download.alarm_min_ok_share=0",
    "download.alarm_max_dns_share=0.6",
)

# Nobody waits here until a failure is due again.
_RETRY_NOW = ((), ("--set", "download.retry_wait_s=0"))


@dataclass(frozen=True)
class Settings:
    """What was asked for; pages: of the embedded web."""

    seed: int
    strikes: int
    pages: int
    minutes: float


class TakesTooLong(Exception):
    """The time that was given is over."""


@dataclass
class Campaign:
    """disk: a small file system of its own for the run that is struck."""

    folder: Path
    disk: Path
    settings: Settings
    blows: list[Blow] = field(default_factory=list)
    starts: int = 0

    def __post_init__(self) -> None:
        self.run_ = Run(self.disk / "run", self.disk)
        self._deadline = time.monotonic() + self.settings.minutes * 60
        self._typical: dict[str, float] = {}
        self._job: Job | None = None
        self._ended: list[Job] = []
        self._is_retry_due = False

    def run(self) -> Verdict:
        """The whole of it. Whatever happens, every process that was started is ended."""
        began = time.monotonic()
        verdict = Verdict()
        try:
            peace = Run(self.folder / "peace", self.folder)
            strikes = plan(self.settings.seed, self.settings.strikes, STAGES)
            self._undisturbed(peace, strikes)
            wanted = release_digests(peace.root)
            for strike in strikes:
                self._strike(strike)
            self._finish()
            self._judge(wanted, verdict)
        except TakesTooLong as error:
            verdict.faults.append(str(error))
        finally:
            for job in [*self._ended, *([self._job] if self._job else [])]:
                job.end()
        verdict.faults += [f"strike {n}: {b.wrong}" for n, b in enumerate(self.blows, 1) if b.wrong]
        verdict.seconds = time.monotonic() - began
        return verdict

    # Jobs

    def _arguments(self, root: Path) -> list[str]:
        sets = [
            f"run.root={root}",
            f"demo.folder={self.folder / 'web'}",
            f"demo.pages={self.settings.pages}",
            "dedupe.parts=6",
            "shard.samples_per_shard=20",
            *_ALARM,
        ]
        return ["--config", str(ROOT / "conf/demo.toml"), *(w for s in sets for w in ("--set", s))]

    def _start(self, job: str = "run", *more: str) -> Job:
        self.starts += 1
        log = self.folder / f"{self.starts:03}-{job}.log"
        arguments = [*self._arguments(self.run_.root), *more]
        self._job = processes.start(job, arguments, log, self.disk / "spark")
        return self._job

    def _over(self) -> None:
        """The present job has ended."""
        if self._job is not None:
            self._ended.append(self._job)
            self._job = None
        subprocess.run(["rm", "-rf", str(self.disk / "spark")], check=False)

    def _wait(self, condition: Callable[[], bool], seconds: float = 3600.0) -> bool:
        """Wait for something, or for the end of the job; whether the job still runs."""
        until = time.monotonic() + seconds
        while True:
            if self._job is None or self._job.process.poll() is not None:
                return False
            if condition() or time.monotonic() > until:
                return True
            if time.monotonic() > self._deadline:
                raise TakesTooLong(f"not done within {self.settings.minutes:.0f} minutes")
            time.sleep(_POLL_S)

    def _undisturbed(self, peace: Run, strikes: Sequence[Strike]) -> None:
        """Mill it in peace. Where the other run will be asked for failures again, because its web
        went away, this one is too: some sites fail at first whatever befalls the run."""
        self._in_peace("run", peace)
        self._typical = {s: float(peace.record(s)["seconds"]) for s in STAGES}
        if any(strike.kind in ("silent", "gone") for strike in strikes):
            for job in ("retry", "retry", "run"):
                self._in_peace(job, peace)

    def _in_peace(self, job: str, peace: Run) -> None:
        self.starts += 1
        log = self.folder / f"{self.starts:03}-peace-{job}.log"
        arguments = [*self._arguments(peace.root), *_RETRY_NOW[job == "retry"]]
        self._job = processes.start(job, arguments, log, self.folder / "spark")
        self._wait(lambda: False)
        if self._job.process.returncode != 0:
            raise TakesTooLong(f"the undisturbed {job} failed: {self._job.said()}")
        self._over()

    # Strikes

    def _strike(self, strike: Strike) -> None:
        """Wait for the point of a strike, or the next one after it; strike; see what is said."""
        self._reach(strike)
        job = self._job
        assert job is not None
        stage = self.run_.current() or "end"
        after = time.time() - self.run_.begun_at(stage) if stage != "end" else 0.0
        blow = Blow(strike, stage, after, self.run_.parts(stage))
        self.blows.append(blow)
        getattr(self, f"_{strike.kind}")(job, blow, random.Random(strike.luck))
        print(line(len(self.blows), blow), file=sys.stderr, flush=True)

    def _reach(self, strike: Strike) -> None:
        for _ in range(_MOST_RESTARTS):
            if self._job is None and self.run_.is_done(strike.stage):
                self._start(strike.stage, "--redo")  # it went by: have it once more
            elif self._job is None:
                self._start()
            if self._wait(lambda: self._is_time(strike)):
                return
            self._ended_by_itself()
        raise TakesTooLong(f"{strike.stage} cannot be reached any more")

    def _is_time(self, strike: Strike) -> bool:
        current = self.run_.current()
        if current is None:
            return False
        if current != strike.stage:
            return STAGES.index(current) > STAGES.index(strike.stage)
        waited = time.time() - self.run_.begun_at(current)
        return waited >= strike.at * self._typical[current]

    def _ended_by_itself(self) -> None:
        """The job has ended without being struck: finished, or of what befell it before."""
        job = self._job
        assert job is not None
        said, status = job.said(), job.process.returncode
        self._over()
        blow = self.blows[-1] if self.blows else None
        if status == 0:
            if blow is not None and not blow.then:
                blow.then = "the run came to its end"
            return
        if blow is None:
            raise TakesTooLong(f"the run failed before it was struck: {said}")
        blow.said = f"{blow.said} / {said}" if blow.said else said
        if not said or job.has_traceback():
            blow.wrong = f"exit status {status}, and no plain line says why ({job.log.name})"
            raise TakesTooLong(_tail(job))
        if found := _DAMAGED.match(said):
            Path(found[1]).unlink(missing_ok=True)
            blow.then = _and(
                blow.then, f"removed {self._named(Path(found[1]))} as told, started again"
            )
        else:
            blow.then = _and(blow.then, "started again")

    def _named(self, file: Path) -> str:
        return str(file.relative_to(self.run_.root)) if file.is_relative_to(self.run_.root) else "?"

    def _driver(self, job: Job, blow: Blow, _: random.Random) -> None:
        job.kill()
        self._over()
        blow.then = "started again"

    def _worker(self, job: Job, blow: Blow, chance: random.Random) -> None:
        self._wait(lambda: bool(job.workers()), 1.0)
        workers = job.workers()
        if not workers:
            blow.what = "there was none, so the driver"
            self._driver(job, blow, chance)
            return
        victim = chance.choice(workers)
        victim.signal(signal.SIGKILL)
        blow.what = f"one of {len(workers)}"
        self._goes_on(blow)

    def _goes_on(self, blow: Blow) -> None:
        if self._wait(lambda: False, _GOES_ON_S):
            blow.then = "went on by itself"
        else:
            self._ended_by_itself()

    def _full(self, job: Job, blow: Blow, _: random.Random) -> None:
        filler = self.run_.fill()
        still_runs = self._wait(lambda: False, _FULL_S)
        for _again in range(_MOST_RESTARTS):
            if still_runs or not _DAMAGED.match(job.said()):
                break
            self._ended_by_itself()  # an earlier strike's damage, which it came upon first
            self.run_.fill()
            job = self._start()
            still_runs = self._wait(lambda: False, _FULL_S)
        filler.unlink()
        if still_runs:
            blow.wrong = f"it said nothing for {_FULL_S:.0f} s"
            job.kill()
            self._over()
        elif job.process.returncode == 0:
            self._over()
            blow.then = _and(blow.then, "had nothing left to write")
        else:
            before = blow.then
            self._ended_by_itself()
            blow.then = _and(before, "room made, started again")
            if "disk full" not in blow.said:
                blow.wrong = "it does not say that the disk is full"

    def _silent(self, job: Job, blow: Blow, chance: random.Random) -> None:
        server = job.server()
        if server is None:
            blow.what = "it was not served any more"
            return self._goes_on(blow)
        seconds = chance.uniform(1.0, 4.0)
        server.signal(signal.SIGSTOP)
        self._wait(lambda: False, seconds)
        server.signal(signal.SIGCONT)
        blow.what = f"for {seconds:.1f} s"
        self._is_retry_due = True
        self._goes_on(blow)
        return None

    def _gone(self, job: Job, blow: Blow, _: random.Random) -> None:
        """For the rest of this job: as its user, stop when the download has ended without it."""
        server = job.server()
        if server is None:
            blow.what = "it was not served any more"
            return self._goes_on(blow)
        server.signal(signal.SIGKILL)
        self._is_retry_due = True
        if self._wait(lambda: self.run_.is_done("download")):
            job.interrupt()
            if job.wait(60) is None:
                job.kill()
            self._over()
            blow.said = blow.said or "counted the failures by status"
            blow.then = "stopped by Ctrl-C, asked again by `make retry`"
        else:
            self._ended_by_itself()
        self._retry(blow)
        return None

    def _retry(self, blow: Blow) -> None:
        """What a user does when the network is back: finish the download, then ask again."""
        self._is_retry_due = False
        # A site that could not be reached is not asked for an hour; nobody waits for that here.
        subprocess.run(["rm", "-rf", str(self.folder / "web/hosts")], check=False)
        todo = ["download", "retry", "retry"]
        while todo:
            job = self._start(todo[0], *_RETRY_NOW[todo[0] == "retry"])
            self._wait(lambda: False)
            if job.process.returncode == 0:
                todo.pop(0)
                self._over()
            else:
                self._ended_by_itself()
        blow.then = _and(blow.then, "`make retry`, started again")

    def _damage(self, job: Job, blow: Blow, chance: random.Random) -> None:
        found = damage(self.run_, chance)
        if found is None:
            blow.what = "there was none yet, so the driver is killed"
            self._driver(job, blow, chance)
            return
        blow.what = f"{self._named(found[0])}, {found[1]}"
        self._goes_on(blow)

    # The end

    def _finish(self) -> None:
        """Let the run come to its end, as often as it takes."""
        for _ in range(2 * _MOST_RESTARTS):
            if self._job is None:
                self._start()
            self._wait(lambda: False)
            status = self._job.process.returncode if self._job else 1
            self._ended_by_itself()
            if status == 0 and self._is_retry_due:
                self._retry(self.blows[-1])
            elif status == 0:
                return
        raise TakesTooLong("it does not come to an end")

    def _judge(self, wanted: dict[str, str], verdict: Verdict) -> None:
        """Verify the release as a user does; shards that are told to be damaged are made again."""
        for attempt in range(3):
            told = self._verify()
            if not told:
                break
            if attempt == 2:
                verdict.faults.append(f"verify: {told[-1]}")
            self._mend(told, verdict)
        found = release_digests(self.run_.root)
        verdict.compared = len(found)
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                verdict.faults.append(f"release/{name} is not that of the undisturbed run")
        for left in self.run_.root.rglob(".writing-*"):
            verdict.faults.append(f"{self._named(left)} was left behind")

    def _verify(self) -> list[str]:
        """What `make verify RELEASE=` finds wrong."""
        release = str(self.run_.root / "release")
        command = [sys.executable, "-m", "jobs.release", "verify", release]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        return (done.stdout + done.stderr).splitlines() if done.returncode else []

    def _mend(self, told: list[str], verdict: Verdict) -> None:
        release = self.run_.root / "release"
        tars = {name for text in told for name in re.findall(r"\d{5,}\.tar", text)}
        for blow in self.blows:
            if blow.strike.kind == "damage" and any(name in blow.what for name in tars):
                blow.then = _and(blow.then, "verify named the shard, removed, made again")
        for name in tars:
            (release / name).unlink(missing_ok=True)
        if not tars:
            verdict.faults.append(f"verify names no shard: {told[-1]}")
        self._finish()


def _and(before: str, then: str) -> str:
    return f"{before}, {then}" if before else then


def _tail(job: Job) -> str:
    lines = job.log.read_text("utf-8", "replace").splitlines()
    return "a failure is not told: " + " / ".join(lines[-6:])
