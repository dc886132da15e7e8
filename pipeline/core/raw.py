"""Raw tars: the bytes of a part's pictures, written once by `download`, read by place ever after.

A member's name is its picture's image_id and the CRC-32C of its bytes. Readers take the header
along with the bytes and refuse what is not the picture they asked for, whole: should a lost task
come back and replace a tar whose rows another attempt committed, or a disk lose a bit, that is an
error and never a wrong picture under a caption.
"""

from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import merge_offset_ranges

from pipeline.core import ustar
from pipeline.core.errors import DamagedFile, InputError
from pipeline.core.storage import Store

FOLDER = "raw"
# Reading this much too much is cheaper than another request.
_MAX_GAP_BYTES = 64 << 10
_MAX_REQUEST_BYTES = 16 << 20


def path(part: int, round_: int = 0) -> str:
    """A raw tar of a part, relative to the run. round_: 0 is the first download; each later one
    that stored pictures (`retry`, `recheck`) has a tar of its own."""
    return f"{FOLDER}/part-{part:05d}{f'.r{round_}' if round_ else ''}.tar"


def _name(image_id: bytes, data: bytes) -> bytes:
    import google_crc32c

    return f"{image_id.hex()}.{google_crc32c.value(data):08x}.jpg".encode()


def _old_name(image_id: bytes) -> bytes:
    return f"{image_id.hex()}.jpg".encode()


class RawTar:
    """Appends pictures to a binary file and says where their bytes are. end: bytes that are in it
    already, of whole members."""

    def __init__(self, file: BinaryIO, end: int = 0) -> None:
        self._file = file
        self.end = end

    def append(self, image_id: bytes, data: bytes) -> int:
        """Write one member; the offset of its first data byte."""
        self._file.write(ustar.header(_name(image_id, data), len(data)))
        self._file.write(data)
        self._file.write(ustar.padding(len(data)))
        at = self.end + ustar.BLOCK
        self.end = at + ustar.padded(len(data))
        return at

    def close(self) -> None:
        """Write the end of the archive; the file itself stays open."""
        self._file.write(ustar.END)


# Columns of a table that make a Place, in its order.
PLACE = ("image_id", "part", "raw_round", "raw_offset", "raw_bytes")


class Place(NamedTuple):
    """Where a picture lies: `offset` of its first data byte in the part's tar of a round, `size` in
    bytes."""

    image_id: bytes
    part: int
    round: int
    offset: int
    size: int


def read(store: Store, places: Sequence[Place]) -> list[bytes]:
    """The pictures at the places, in the order given; read by part and offset, neighbours together.

    Memory: twice the sum of the sizes at most, and the gaps between them. Raises InputError when
    a tar is missing, DamagedFile when it is short or holds something else there.
    """
    distinct = sorted(set(places), key=lambda p: (p.part, p.round, p.offset, p.size, p.image_id))
    found = dict(zip(distinct, _fetch(store, distinct), strict=True))
    return [found[place] for place in places]


def _checked(store: Store, member: bytes, place: Place) -> bytes:
    """The data of a member that starts with its header."""
    data = member[ustar.BLOCK :]
    named = ustar.named(member[: ustar.BLOCK])
    # Older tars have the image_id alone.
    right = [
        (name, place.size) for name in (_name(place.image_id, data), _old_name(place.image_id))
    ]
    if len(data) != place.size or named not in right:
        raise DamagedFile(
            store.path(path(place.part, place.round)),
            f"it does not hold picture {place.image_id.hex()} of {place.size} bytes at offset "
            f"{place.offset}",
        )
    return data


def _fetch(store: Store, places: list[Place]) -> Iterator[bytes]:
    paths, starts, ends = merge_offset_ranges(
        [store.path(path(p.part, p.round)) for p in places],
        [p.offset - ustar.BLOCK for p in places],
        [p.offset + p.size for p in places],
        max_gap=_MAX_GAP_BYTES,
        max_block=_MAX_REQUEST_BYTES,
        sort=False,
    )
    try:
        blocks = _blocks(store, paths, starts, ends)
    except FileNotFoundError as error:
        raise InputError(
            f"a raw tar is missing: {error}; run the same command again: download asks for the "
            "pictures of that part anew"
        ) from None
    at = 0
    for place in places:
        where, stop = store.path(path(place.part, place.round)), place.offset + place.size
        while paths[at] != where or ends[at] < stop:
            at += 1
        start = place.offset - ustar.BLOCK - starts[at]
        yield _checked(store, blocks[at][start : stop - starts[at]], place)


def _blocks(store: Store, paths: list[str], starts: list[int], ends: list[int]) -> list[bytes]:
    fs = store.fs
    if not isinstance(fs, LocalFileSystem):
        blocks: list[bytes] = fs.cat_ranges(paths, starts, ends, on_error="raise")
        return blocks
    found = []
    opened, file = None, None
    try:
        for name, start, end in zip(paths, starts, ends, strict=True):
            if name != opened:
                if file is not None:
                    file.close()
                opened, file = name, open(name, "rb")  # noqa: SIM115
            assert file is not None
            file.seek(start)
            found.append(file.read(end - start))
    finally:
        if file is not None:
            file.close()
    return found
