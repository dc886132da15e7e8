"""Hashes of the pictures of a folder or of tars, as a list for `match.lists`."""

import argparse
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

import filters
from jobs.line import EXTRA
from pipeline.core.errors import InputError
from pipeline.core.hash_files import PACK
from pipeline.core.run import guarded, load_config
from pipeline.core.storage import Store
from pipeline.fetch.hash_pack import File, find, hash_row, is_picture
from pipeline.fetch.picture import DecodeSettings
from pipeline.stages.line import LINE

_ROWS_PER_GROUP = 10_000
_LINE_EVERY_S = 10.0
Hashed = tuple[File, tuple[dict[str, Any] | None, str, str]]


def hash_all(files: Iterator[File], settings: DecodeSettings, workers: int) -> Iterator[Hashed]:
    """Each picture with what it hashes to, in order. Memory: some files per worker.

    Raises InputError when a picture ends the process that decodes it.
    """
    if workers == 1:
        for file in files:
            yield file, hash_row(file, settings)
        return
    with ProcessPoolExecutor(workers) as pool:
        waiting: deque[tuple[File, Future[Any]]] = deque()
        try:
            for file in files:
                waiting.append((file, pool.submit(hash_row, file, settings)))
                if len(waiting) >= 4 * workers:
                    yield waiting[0][0], waiting[0][1].result()
                    waiting.popleft()
            while waiting:
                yield waiting[0][0], waiting[0][1].result()
                waiting.popleft()
        except BrokenProcessPool:
            near = ", ".join(file.name for file, _ in waiting)
            raise InputError(f"one of these pictures crashes the decoder: {near}") from None


def write_pack(images: str, out: str, settings: DecodeSettings, workers: int) -> Counter[str]:
    """Write the hash pack of some pictures; how many there are by status, `other_files` besides.

    Each picture that has no hashes is named on stderr. Raises InputError when none has.
    """
    settings = msgspec.structs.replace(settings, md5=True)
    counts: Counter[str] = Counter()
    told = time.monotonic()

    def pictures() -> Iterator[File]:
        for file in find(images):
            if is_picture(file, settings):
                yield file
            else:
                counts["other_files"] += 1

    folder, _, name = out.rpartition("/")
    rows: list[dict[str, Any]] = []
    with (
        Store(folder or ".").publish(name) as sink,
        pq.ParquetWriter(sink, PACK, compression="zstd") as writer,
    ):
        for file, (row, status, detail) in hash_all(pictures(), settings, workers):
            counts[status] += 1
            if row is None:
                print(f"hash-pack: {file.name}: {status}: {detail}", file=sys.stderr)
            else:
                rows.append(row)
            if len(rows) >= _ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, PACK))
                rows = []
            if time.monotonic() - told > _LINE_EVERY_S:
                told = time.monotonic()
                print(f"hash-pack: {counts['ok']:,} pictures", file=sys.stderr, flush=True)
        writer.write_table(pa.Table.from_pylist(rows, PACK))
        if not counts["ok"]:
            raise InputError(f"{images} holds no picture that can be hashed")
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    parser = argparse.ArgumentParser(description="Pairmill: hash-pack")
    parser.add_argument("--config", required=True, help="the recipe whose [download] decodes")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--images", required=True, help="folder, tar, glob of tars; any URL")
    parser.add_argument("--out", required=True, help="the Parquet file to write")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(argv)

    def work() -> None:
        if not args.out.endswith(".parquet"):
            raise InputError(f"--out {args.out}: a hash pack is a .parquet file")
        config = load_config(args.config, args.set, LINE, filters.load(), EXTRA)
        download: Any = config.sections["download"]
        counts = write_pack(args.images, args.out, download.for_decoding(), max(1, args.workers))
        others = "; ".join(f"{reason} {n:,}" for reason, n in sorted(counts.items()) if n)
        print(f"hash-pack: {args.out}: {others}", file=sys.stderr)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
