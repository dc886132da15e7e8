"""The folder of a run under chaos: what is done in it, what it holds, and how it is damaged."""

import hashlib
import json
import os
import random
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.stages.line import LINE

STAGES = tuple(stage.name for stage in LINE)
_SECTORS = 4096
_DISK_MIB = 500


def mount(disk: Path) -> bool:
    """A small disk of its own at a place; False where that is not allowed."""
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(disk)]
    return subprocess.run(command, capture_output=True).returncode == 0


def unmount(disk: Path) -> None:
    """Take it away, whatever is in it."""
    subprocess.run(["umount", "--lazy", str(disk)], check=False)


@dataclass(frozen=True)
class Run:
    """A run's folder on a disk of its own, which can be filled."""

    root: Path
    disk: Path

    def record(self, stage: str) -> dict[str, Any]:
        """A stage's record; {} when it never started or is just being written."""
        try:
            return dict(json.loads((self.root / "_stages" / f"{stage}.json").read_text()))
        except (OSError, ValueError):
            return {}

    def is_done(self, stage: str) -> bool:
        return self.record(stage).get("state") == "done"

    def current(self) -> str | None:
        """The stage that is under way; None before the first and after the last."""
        return next((s for s in STAGES if self.record(s).get("state") == "started"), None)

    def begun_at(self, stage: str) -> float:
        """Unix seconds when its present attempt began."""
        return (self.root / "_stages" / f"{stage}.json").stat().st_mtime

    def parts(self, stage: str) -> str:
        """Of a stage that works in parts: how many are there, of how many; else ""."""
        try:
            noted = json.loads((self.root / "_progress" / f"{stage}.json").read_text())
        except (OSError, ValueError):
            return ""
        done = len(list((self.root / noted["table"]).glob("part-*.parquet")))
        return f"{done} of {noted['parts']} parts"

    def fill(self) -> Path:
        """Take all the room that is left; the file that takes it. The disk is one of its own."""
        assert self.disk.is_mount(), f"{self.disk} is part of somebody's disk"
        filler = self.disk / "filler"
        with filler.open("ab", buffering=0) as file:
            room = os.statvfs(self.disk)
            most = room.f_bavail * room.f_frsize - (2 << 20)  # others write meanwhile
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(1, most))
            file.seek(0, os.SEEK_END)
            for size in (1 << 16, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
        return filler

    def files(self) -> list[Path]:
        """Data that is there for good: files of tables, raw tars, shards."""
        found = [*self.root.rglob("*.parquet"), *self.root.rglob("*.tar")]
        return sorted(
            f for f in found
            if not any(p.startswith((".", "_")) for p in f.relative_to(self.root).parts)
        )  # fmt: skip


def damage(run: Run, chance: random.Random) -> tuple[Path, str] | None:
    """Damage a file as disks do; which, and how. None when there is nothing yet."""
    files = [f for f in run.files() if f.stat().st_size]
    if not files:
        return None
    file = chance.choice(files)
    size = file.stat().st_size
    how = chance.choice(("bit", "sector", "end"))
    if how == "end":
        keep = chance.randrange(size)
        os.truncate(file, keep)
        return file, f"cut to {keep} of {size} bytes"
    data = bytearray(file.read_bytes())
    at = chance.randrange(4, size)
    if how == "bit":
        data[at] ^= 1 << chance.randrange(8)
    else:
        start = at // _SECTORS * _SECTORS
        lost = data[start : start + _SECTORS]
        data[start : start + _SECTORS] = chance.randbytes(len(lost))
    with file.open("r+b") as opened:  # the same inode: writers and readers see it
        opened.write(data)
    return file, f"{'a bit' if how == 'bit' else 'a sector'} at byte {at} of {size}"


def release_digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file of a release; of the manifest without the ids of stages, which say how
    often they were asked."""
    found = {}
    release = root / "release"
    for file in sorted(p for p in release.rglob("*") if p.is_file()):
        data = file.read_bytes()
        if file.name == "manifest.json":
            told = json.loads(data)
            told.pop("stages")
            data = json.dumps(told, sort_keys=True).encode()
        found[str(file.relative_to(release))] = hashlib.sha256(data).hexdigest()
    return found
