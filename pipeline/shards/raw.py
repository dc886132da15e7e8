"""Reads stored pictures out of the raw tars by range."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import merge_offset_ranges

from pipeline.core.errors import InputError

if TYPE_CHECKING:
    from pipeline.core.storage import Store

# Reading this much too much is cheaper than another request.
_MAX_GAP_BYTES = 64 << 10
_MAX_REQUEST_BYTES = 16 << 20
_JPEG_START = b"\xff\xd8\xff"

Range = tuple[int, int, int]  # part, offset in its raw tar, bytes


def raw_path(part: int) -> str:
    """The raw tar of a part, relative to the run."""
    return f"raw/part-{part:05d}.tar"


def read(store: "Store", ranges: Sequence[Range]) -> list[bytes]:
    """The bytes of each range, in the order given; read by part and offset, neighbours together.

    Memory: twice the sum of the ranges at most, and the gaps between them. Raises InputError when
    a raw tar is missing or short, or holds something else than a JPEG there.
    """
    distinct = sorted(set(ranges))
    found = dict(zip(distinct, _fetch(store, distinct), strict=True))
    return [found[r] for r in ranges]


def _fetch(store: "Store", ranges: list[Range]) -> Iterator[bytes]:
    paths, starts, ends = merge_offset_ranges(
        [store.path(raw_path(part)) for part, _, _ in ranges],
        [offset for _, offset, _ in ranges],
        [offset + size for _, offset, size in ranges],
        max_gap=_MAX_GAP_BYTES,
        max_block=_MAX_REQUEST_BYTES,
        sort=False,
    )
    try:
        blocks = _blocks(store, paths, starts, ends)
    except FileNotFoundError as error:
        raise InputError(f"a raw tar is missing: {error}; redo download") from None
    at = 0
    for part, offset, size in ranges:
        path = store.path(raw_path(part))
        while paths[at] != path or ends[at] < offset + size:
            at += 1
        start = offset - starts[at]
        data = blocks[at][start : start + size]
        if len(data) < size or not data.startswith(_JPEG_START):
            raise InputError(
                f"{path} holds no JPEG of {size} bytes at offset {offset}; redo download"
            )
        yield data


def _blocks(store: "Store", paths: list[str], starts: list[int], ends: list[int]) -> list[bytes]:
    fs = store.fs
    if not isinstance(fs, LocalFileSystem):
        blocks: list[bytes] = fs.cat_ranges(paths, starts, ends, on_error="raise")
        return blocks
    found = []
    opened, file = None, None
    try:
        for path, start, end in zip(paths, starts, ends, strict=True):
            if path != opened:
                if file is not None:
                    file.close()
                opened, file = path, open(path, "rb")  # noqa: SIM115
            assert file is not None
            file.seek(start)
            found.append(file.read(end - start))
    finally:
        if file is not None:
            file.close()
    return found
