"""`extract-wat` against cc2dataset."""

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import ada_url
import pyarrow.parquet as pq

from tests.benchmarks.archives import Input, Origin, archives, origin
from tests.benchmarks.peers.compare import ROOT, Peer, alternate, call
from tests.conftest import REAL_DATA

CC2DATASET = Peer(
    "cc2dataset",
    (
        "cc2dataset==1.5.0",
        "FastWARC==2.0.1",
        "brotli==1.2.0",
        "pysimdjson==7.0.2",
        "fsspec==2026.9.0",
        "loguru==0.7.3",
    ),
)
_SIDE = ROOT / "tests" / "benchmarks" / "peers" / "cc2dataset_side.py"
_PAIRS, _FILES = 5, 4
_MAX_RECORD_BYTES, _MAX_LINKS = 32 << 20, 10_000


def run_wat() -> dict[str, Any]:
    """Real archives where they are at hand."""
    return _compare("extract-wat", origin())


def run_wat_generated() -> dict[str, Any]:
    """Generated archives."""
    return _compare("extract-wat-generated", "generated")


def _compare(workload: str, origin: Origin) -> dict[str, Any]:
    """Both read the same files whole; items are the records in them.

    Equivalent: every image with a caption that the peer finds is among our pairs, but for what
    `missing` names. The peer's function drops no repeats within a file, and neither does ours: both
    leave that to a later stage. Ours reads more: titles and og:image, use headers and metas,
    canonical URLs, ids and languages.
    """
    source = archives("wat", origin)
    files = source.files[:_FILES]
    peer: list[str | Path] = [CC2DATASET.python(), _SIDE]
    ours: list[str | Path] = [sys.executable, "-m", "tests.benchmarks.extract"]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        call([*peer, "rows", rows, files[0]])
        checked = check(source, [json.loads(line) for line in rows.open()])
    # Every file begins where the last one ended, so the numbers of their records differ.
    records = call([*ours, *files])["records"]
    figures = alternate(
        lambda: call([*ours, *files]) | {"items": records},
        lambda: call([*peer, "read", *files]) | {"items": records},
        _PAIRS,
    )
    about = {"workload": workload, "peer_name": CC2DATASET.packages[0], "input": source.origin}
    return about | {"checked": checked} | figures


def check(source: Input, theirs: list[list[str]]) -> dict[str, int]:
    """How many of the peer's distinct (uid, url, alt, page) are among our pairs of the first file,
    and why others are not. Raises AssertionError when one is missing for no good reason."""
    counts: Counter[str] = Counter()
    if source.origin == "real":
        _check_peer(theirs)
    ours, pages = _read(source.files[0])
    for _, url, alt, page in theirs:
        counts[missing(url, alt, page, ours, pages)] += 1
    if counts["unexplained"]:
        raise AssertionError(f"ours lacks {counts['unexplained']} pairs of the peer: {counts}")
    return dict(counts)


def missing(url: str, alt: str, page: str, ours: set[tuple[str, str]], pages: set[str]) -> str:
    """ "found" when ours has the peer's row, or why it has not.

    ours: URLs and normalised captions. pages: the addresses of the pages that ours kept.
    """
    from pipeline.extract.captions import normalise_text

    caption, address = normalise_text(alt), _address(url)
    if address is not None and (address, caption) in ours:
        return "found"
    if not caption:
        return "caption of white space"
    if address is None:
        return "no valid URL"
    if "if(this.src!=" in url:
        return "script in place of a URL"
    if address == _address(page):
        return "empty URL, which names the page itself"
    if page not in pages:
        return "page with another status than 200"
    return "unexplained"


def _check_peer(theirs: list[list[str]]) -> None:
    """That the peer here finds what it is known to find in the real archives."""
    expected = pq.read_table(REAL_DATA / "expected" / "cc2dataset-image.parquet", columns=["uid"])
    if {uid for uid, *_ in theirs} != set(expected["uid"].to_pylist()):
        raise AssertionError("the peer does not find the rows it is known to find")


def _read(path: Path) -> tuple[set[tuple[str, str]], set[str]]:
    """Our (url, caption) of an archive, and the addresses of its pages that have status 200."""
    from pipeline.extract.records import read_records
    from pipeline.extract.rows import PairRows, read_archive

    pairs: set[tuple[str, str]] = set()
    pages: set[str] = set()
    with path.open("rb") as file:
        for batch in read_archive(file, PairRows(path.name, _MAX_LINKS), _MAX_RECORD_BYTES, 8192):
            pairs.update(zip(batch["url"].to_pylist(), batch["caption"].to_pylist(), strict=True))
        file.seek(0)
        for record in read_records(file, _MAX_RECORD_BYTES):
            if record.kind == "metadata" and _status(record.block) == "200":
                pages.add(record.url or "")
    return pairs, pages


def _status(block: bytes) -> str | None:
    """The status in a WAT record, of a whole parser; None where it holds no response."""
    try:
        found = json.loads(block)["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]
        return str(found["Response-Message"]["Status"])
    except (ValueError, KeyError):
        return None


def _address(url: str) -> str | None:
    """In WHATWG form."""
    try:
        return ada_url.normalize_url(url)
    except ValueError:
        return None
