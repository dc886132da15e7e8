"""Chunks as they come: in pieces that fit the processor's cache, each checked and taken apart."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import google_crc32c
import numpy as np
import numpy.typing as npt

from pipeline.stream.chunks import I32
from pipeline.stream.samples import Fields, fields

# Records of `release.INDEX`.
Index = npt.NDArray[np.void]

# With the copies that are made of it, well within a core's own cache.
_PIECE_BYTES = 256 << 10


class Pieces:
    """The samples of a chunk as pieces of its shard; a `reads.Use`.

    index: the records of all samples of the chunk, and one more. first: the row of its first
    sample. rows: those that are wanted, ascending; None for all.
    edges: where the pieces start and the last ends, in bytes of the shard: whole samples, and of
    several no more than a quarter of a megabyte.
    """

    def __init__(self, index: Index, first: int, rows: I32 | None) -> None:
        self._offsets: list[int] = index["offset"].tolist()
        self._crc32c: list[int] = index["crc32c"].tolist()
        self._first = first
        self._numbers: Sequence[int] = (
            range(len(index) - 1) if rows is None else (rows - first).tolist()
        )
        self.edges = _edges(self._offsets)

    @property
    def wanted(self) -> int:
        """How many samples are wanted."""
        return len(self._numbers)

    @property
    def wanted_bytes(self) -> int:
        """How many bytes the wanted samples are."""
        offsets = self._offsets
        return sum(offsets[number + 1] - offsets[number] for number in self._numbers)

    def __call__(self, start: int, data: memoryview) -> dict[int, Fields]:
        """The wanted samples of a piece by their row, but for those that are damaged."""
        piece = bytes(data)  # of which parts are had quicker than of a view
        array = np.frombuffer(piece, np.uint8)  # and are checked without being copied
        offsets, crc32c, checksum = self._offsets, self._crc32c, google_crc32c.value
        low = bisect_left(self._numbers, bisect_left(offsets, start))
        high = bisect_left(self._numbers, bisect_left(offsets, start + len(piece)))
        found = {}
        for number in self._numbers[low:high]:
            begin, end = offsets[number] - start, offsets[number + 1] - start
            if checksum(array[begin:end]) == crc32c[number]:
                try:
                    found[self._first + number] = fields(piece, begin)
                except ValueError:
                    continue  # its checksum is right, and yet it is no sample
        return found


def _edges(offsets: list[int]) -> list[int]:
    edges, number = offsets[:1], 0
    while number < len(offsets) - 1:
        number = max(number + 1, bisect_right(offsets, edges[-1] + _PIECE_BYTES) - 1)
        edges.append(offsets[number])
    return edges
