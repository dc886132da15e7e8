"""Shuffled reading beside webdataset and MosaicML Streaming, and finding a place beside the latter."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import shards
from tests.benchmarks.peers.compare import ROOT, Peer, alternate, call
from tests.benchmarks.peers.shards import WEBDATASET

MOSAIC = Peer(
    "mosaicml-streaming",
    (
        "mosaicml-streaming==0.13.0",
        "python-snappy==0.7.3",
        "cramjam==2.14.0",
        "zstd==1.5.7.2",
        "catalogue==2.0.10",
    ),
    is_beside_ours=True,
)
_SIDES = ROOT / "tests" / "benchmarks" / "peers"
_OURS = [sys.executable, "-m", "tests.benchmarks.stream"]
_PAIRS = 3
# Shards of 10,000 samples: as many as MosaicML Streaming makes an order of in some ten seconds.
_RESUME_SHARDS = 1000


def run_read_webdataset() -> dict[str, Any]:
    """Both shuffled: webdataset within shards and a buffer of 1,000 samples, ours as it is."""
    with tempfile.TemporaryDirectory() as folder:
        ours, samples = _ours(Path(folder))
        peer = [WEBDATASET.python(), _SIDES / "webdataset_side.py"]
        found = alternate(
            lambda: call([*_OURS, "read", ours]),
            lambda: call([*peer, "shuffled", samples, ours]),
            _PAIRS,
        )
    return {"workload": "stream-read", "peer_name": WEBDATASET.packages[0], **found}


def run_read_mosaic() -> dict[str, Any]:
    """Both shuffled, the same samples each in its own format; ours verifies checksums."""
    with tempfile.TemporaryDirectory() as folder:
        ours, samples = _ours(Path(folder))
        peer = [MOSAIC.python(), _SIDES / "mosaic_side.py"]
        theirs = Path(folder) / "mds"
        call([*peer, "write", samples, theirs])
        found = alternate(
            lambda: call([*_OURS, "read", ours]),
            lambda: call([*peer, "read", "-", theirs]),
            _PAIRS,
        )
    return {"workload": "stream-read-mosaic", "peer_name": MOSAIC.packages[0], **found}


def run_resume_mosaic() -> dict[str, Any]:
    """From opening 10 million samples at 90% of an epoch to the first batch of 256; item: a start.

    The shards of both are links to one real shard."""
    with tempfile.TemporaryDirectory() as folder:
        ours, samples = _ours(Path(folder))
        peer = [MOSAIC.python(), _SIDES / "mosaic_side.py"]
        one, theirs = Path(folder) / "mds", Path(folder) / "many-mds"
        call([*peer, "write", samples, one])
        call([*peer, "many", one, theirs, str(_RESUME_SHARDS)])
        many = Path(folder) / "many"
        call([*_OURS, "many", ours, many, str(_RESUME_SHARDS)])
        found = alternate(
            lambda: call([*_OURS, "resume", many]),
            lambda: call([*peer, "resume", "-", theirs]),
            _PAIRS,
        )
    return {"workload": "stream-resume-mosaic", "peer_name": MOSAIC.packages[0], **found}


def _ours(work: Path) -> tuple[Path, Path]:
    """A release, and the samples file that a peer makes its own of."""
    samples = work / "samples.bin"
    made = shards.make_samples()
    shards.save(made, samples)
    shards.write(work / "release", made, shards.PER_SHARD)
    return work / "release", samples
