"""`shard-write` and `shard-read` against webdataset."""

import itertools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import shards
from tests.benchmarks.peers.compare import ROOT, Peer, alternate, call

WEBDATASET = Peer(
    "webdataset", ("webdataset==1.0.2", "numpy==2.4.6", "PyYAML==6.0.3", "braceexpand==0.1.7")
)
_SIDE = ROOT / "tests" / "benchmarks" / "peers" / "webdataset_side.py"
_PAIRS = 5


def run_write() -> dict[str, Any]:
    """Both write the same samples; equivalent when each side's tars hold the same members."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ours, peer, samples = _sides(work)
        number = itertools.count()

        def write(side: list[str | Path]) -> dict[str, Any]:
            target = work / f"written-{next(number)}"
            figures = call([*side, "write", samples, target])
            shutil.rmtree(target)
            return figures

        call([*ours, "write", samples, work / "ours"])
        call([*peer, "write", samples, work / "peer"])
        # The peer's reader reads both: what ours wrote is what the peer would have.
        _check_equal(
            call([*peer, "digest", samples, work / "ours"]),
            call([*peer, "digest", samples, work / "peer"]),
        )
        return _result("shard-write", alternate(lambda: write(ours), lambda: write(peer), _PAIRS))


def run_read() -> dict[str, Any]:
    """Both read the same tars, in the page cache; ours verifies checksums, the peer has none."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ours, peer, samples = _sides(work)
        call([*ours, "write", samples, work / "ours"])
        _check_equal(
            call([*ours, "digest", samples, work / "ours"]),
            call([*peer, "digest", samples, work / "ours"]),
        )
        sides = [lambda s=s: call([*s, "read", samples, work / "ours"]) for s in (ours, peer)]
        return _result("shard-read", alternate(sides[0], sides[1], _PAIRS))


def _sides(work: Path) -> tuple[list[str | Path], list[str | Path], Path]:
    """Commands of ours and the peer, and the samples file both take."""
    samples = work / "samples.bin"
    shards.save(shards.make_samples(), samples)
    return (
        [sys.executable, "-m", "tests.benchmarks.shards"],
        [WEBDATASET.python(), _SIDE],
        samples,
    )


def _check_equal(a: dict[str, Any], b: dict[str, Any]) -> None:
    if a != b:
        raise AssertionError("the two sides do not give the same members")


def _result(workload: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {"workload": workload, "peer_name": WEBDATASET.packages[0], **figures}
