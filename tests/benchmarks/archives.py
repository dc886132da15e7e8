"""Archives to measure extract on, in build/bench/inputs; written once, reused while they fit."""

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tests.benchmarks import pages
from tests.conftest import REAL_DATA

INPUTS = Path(__file__).resolve().parents[2] / "build" / "bench" / "inputs"
FILES = 8
FILE_BYTES = 40_000_000

Kind = Literal["wat", "warc"]
Origin = Literal["real", "generated"]


@dataclass(frozen=True)
class Input:
    """Archives of one kind.

    records: of all files. distinct_records, distinct_bytes: those that are not repeats, bytes
    compressed. real: as real archives have them, generated: made after them by `pages`.
    """

    kind: Kind
    origin: Origin
    paths: tuple[str, ...]
    records: int
    distinct_records: int
    distinct_bytes: int

    @property
    def files(self) -> list[Path]:
        return [Path(path) for path in self.paths]


def origin() -> Origin:
    """Which input is to be had here."""
    return "real" if REAL_DATA.is_dir() else "generated"


def archives(
    kind: Kind,
    origin: Origin,
    files: int = FILES,
    file_bytes: int = FILE_BYTES,
    root: Path = INPUTS,
) -> Input:
    """`files` archives of at least `file_bytes`, compressed.

    The distinct records follow each other over and over, through all files, each the same bytes
    every time. There are 10 MB of distinct real WAT (45 MB plain, of 37 archives), 30 MB of real
    pages (150 MB plain) and one file's worth of generated ones: more than a processor caches,
    and no cache of the pipeline holds texts or URLs. It holds hosts: see `forget`.
    """
    folder, made_from = root / f"{kind}-{origin}", _made_from(kind, origin, files, file_bytes)
    stamp = folder / "input.json"
    if stamp.exists():
        found = json.loads(stamp.read_text())
        if found.pop("made_from") == made_from:
            return Input(**found | {"paths": tuple(found["paths"])})
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    members = list(_real(kind) if origin == "real" else _generated(kind, file_bytes))
    paths, records, endless = [], 0, itertools.cycle(members)
    for number in range(files):
        path = folder / f"{number:02d}.warc{'.wat' if kind == 'wat' else ''}.gz"
        size = 0
        with path.open("wb") as file:
            while size < file_bytes:
                size += file.write(next(endless))
                records += 1
        paths.append(str(path))
    made = Input(kind, origin, tuple(paths), records, len(members), sum(map(len, members)))
    stamp.write_text(json.dumps(asdict(made) | {"made_from": made_from}))
    return made


def _made_from(kind: Kind, origin: Origin, files: int, file_bytes: int) -> str:
    """Changes whenever other files would be written."""
    sources = [Path(__file__), Path(pages.__file__)]
    texts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]
    sizes = [path.stat().st_size for path in _real_files(kind)] if origin == "real" else []
    return json.dumps([texts, sizes, files, file_bytes])


def _real_files(kind: Kind) -> list[Path]:
    return sorted((REAL_DATA / kind).glob(f"*.{kind}.gz"))


def _real(kind: Kind) -> Iterator[bytes]:
    for path in _real_files(kind):
        yield from html_members(path) if kind == "warc" else _members(path)


def _generated(kind: Kind, size: int) -> Iterator[bytes]:
    make, made = {"wat": pages.wat_members, "warc": pages.html_members}[kind], 0
    for number in itertools.count():
        for member in make(number):
            made += len(member)
            yield member
        if made >= size:
            return


def html_members(path: Path) -> Iterator[bytes]:
    """The gzip members of a WARC file that hold an HTML page with status 200, as they are."""
    for record, member in _records(path, parse_http=True):
        is_html = record.http_content_type in ("text/html", "application/xhtml+xml")
        headers = record.http_headers
        if record.headers["WARC-Type"] == "response" and headers and is_html:
            if headers.status_code == 200:
                yield member


def _members(path: Path) -> Iterator[bytes]:
    for _, member in _records(path, parse_http=False):
        yield member


def _records(path: Path, parse_http: bool) -> Iterator[tuple]:
    """(record, its gzip member) for each record of an archive with one record in each member."""
    from fastwarc.warc import ArchiveIterator

    data = path.read_bytes()
    with path.open("rb") as file:
        starts = [record.stream_pos for record in ArchiveIterator(file, parse_http=False)]
    if any(data[start : start + 2] != b"\x1f\x8b" for start in starts):
        raise ValueError(f"{path}: not every record has a gzip member of its own")
    with path.open("rb") as file:
        records = ArchiveIterator(file, parse_http=parse_http)
        for record, (start, end) in zip(
            records, itertools.pairwise([*starts, len(data)]), strict=True
        ):
            yield record, data[start:end]
