"""Environments of peers, and runs of both sides in turn."""

import json
import shutil
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENTS = ROOT / "build" / "peers"


@dataclass(frozen=True)
class Peer:
    """A tool to compare with. packages: all it needs, pinned. whole: installed before, with what
    they need themselves, which differs by machine.

    is_beside_ours: what it needs besides (torch) is taken from our environment, behind its own.
    """

    name: str
    packages: tuple[str, ...]
    whole: tuple[str, ...] = ()
    is_beside_ours: bool = False

    def python(self) -> Path:
        """The interpreter of its environment, which is made on the first call."""
        folder = ENVIRONMENTS / self.name
        python, stamp = folder / "bin" / "python", folder / "installed.json"
        wanted = json.dumps([*self.whole, *self.packages, sys.version])
        if stamp.exists() and stamp.read_text() == wanted:
            return python
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        if self.whole:
            subprocess.run([*install, *self.whole], check=True)
        subprocess.run([*install, "--no-deps", *self.packages], check=True)
        if self.is_beside_ours:
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            beside = folder / "lib" / version / "site-packages" / "ours.pth"
            beside.write_text(sysconfig.get_path("purelib") + "\n")
        stamp.write_text(wanted)
        return python


def call(command: Sequence[str | Path]) -> dict[str, Any]:
    """Run a side; the JSON object it prints last."""
    done = subprocess.run(
        [str(c) for c in command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def alternate(
    ours: Callable[[], dict[str, Any]], peer: Callable[[], dict[str, Any]], pairs: int
) -> dict[str, Any]:
    """Run both sides in turn; the figures of each and the median ratio, ours over the peer's.

    Pairs are compared with each other, so that a machine that slows down slows both.
    """
    sides: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    for pair in range(pairs):
        order = (("ours", ours), ("peer", peer))
        for name, side in order if pair % 2 == 0 else reversed(order):
            figures = side()
            rate = figures["items"] / figures["cpu_seconds"]
            sides[name].append(figures | {"items_per_core_second": round(rate, 2)})
    ratios = [
        o["items_per_core_second"] / p["items_per_core_second"]
        for o, p in zip(sides["ours"], sides["peer"], strict=True)
    ]
    return sides | {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(r, 3) for r in ratios],
    }
