"""Which entries of a list of concepts each text names: hundreds of thousands of entries, in time
proportional to the text.

An entry is named where it stands in the text letter by letter, and begins and ends there as words
do: at an end of the text, at a space, a tab or a line break, or at one of the marks , . ; : ? ! `.
So far this is MetaCLIP's substring matching, but for entries that hold such a mark, which its code
never finds. Besides, where scripts have no spaces: a character of Han, kana, Thai, Lao, Burmese or
Khmer is a word by itself; and an entry that ends in Hangul may be followed by anything, as
particles are written behind the noun.

Source: Xu et al., "Demystifying CLIP Data" (arXiv 2309.16671), section 3.2, and its published
substr_matching.py, which spaces these marks and looks for the entry between spaces.

Every beginning of an entry that ends where a word may end is a row of a hash table, under a hash
that grows byte by byte. From each place of a text where a word may begin, the hash runs on for as
long as its table knows it. What is found is compared byte by byte, so that nothing is found by a
clash of hashes. Cost: each byte of a text once for every word that an entry in it has begun.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.codepoints import CharClass, class_table
from pipeline.core.concept_lists import read_entries
from pipeline.core.jit import allocating_kernel, kernel, signed
from pipeline.core.strings import Bytes, Ends, views

# What a place in a text is: a word may begin there, and end before it.
_BEGIN, _END = np.uint8(1), np.uint8(2)
# Kinds of characters.
_WORDLY, _SPACE, _MARK, _UNSPACED, _HANGUL = (np.uint8(n) for n in range(5))
_MARKS = ",.;:?!`"
_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_NO_ENTRY = np.int32(-1)


@lru_cache(maxsize=1)
def _kinds() -> npt.NDArray[np.uint8]:
    """The kind of every code point, uint8 [0x110000]."""
    classes = class_table()
    kinds = np.full(len(classes), _WORDLY)
    kinds[(classes & CharClass.HANGUL) > 0] = _HANGUL
    kinds[(classes & (CharClass.HAN | CharClass.KANA | CharClass.UNSPACED)) > 0] = _UNSPACED
    kinds[[ord(mark) for mark in _MARKS]] = _MARK
    kinds[[ord(space) for space in " \t\n\r"]] = _SPACE
    return kinds


@dataclass(frozen=True)
class Concepts:
    """A list of entries, ready to be looked for. Its number is an entry's place in the list.

    ends, data: the entries as `strings.views` gives them. hashes, entries: the table, of a power
    of two rows; entries is 1 + the entry's number, -1 for a beginning of one, 0 for a free row.
    """

    ends: Ends
    data: Bytes
    hashes: npt.NDArray[np.uint64]
    entries: npt.NDArray[np.int32]
    is_caseless: bool

    @classmethod
    def of(cls, entries: Sequence[str], ignore_case: bool = False) -> "Concepts":
        """From entries without spaces around them. Of equal ones the first is found."""
        texts = pa.array(entries, pa.string())
        ends, data = views(pc.utf8_lower(texts) if ignore_case else texts)
        places = _places(ends, data, _kinds())
        beginnings = int(np.count_nonzero(places & _END)) + len(entries)
        size = 1 << max(4, (2 * beginnings).bit_length())
        hashes, numbers = np.zeros(size, np.uint64), np.zeros(size, np.int32)
        _build(ends, data, places, hashes, numbers)
        return cls(ends, data, hashes, numbers, ignore_case)

    def named(self, texts: pa.Array) -> pa.ListArray:
        """The numbers of the entries that each text names, each once, ascending.

        texts: pa.string() [rows]; null names nothing. Returns pa.list_(pa.int32()) [rows] without
        nulls.
        """
        texts = pc.fill_null(texts.cast(pa.string()), "")
        ends, data = views(pc.utf8_lower(texts) if self.is_caseless else texts)
        places = _places(ends, data, _kinds())
        table = (self.ends, self.data, self.hashes, self.entries)
        found_ends = np.zeros(len(texts) + 1, np.int32)
        room = 1024 + 8 * len(texts)
        while True:
            found = np.empty(room, np.int32)
            needed = _find(ends, data, places, *table, found_ends, found)
            if needed <= room:
                break
            room = int(needed)
        values = pa.array(found[: found_ends[-1]])
        return pa.ListArray.from_arrays(pa.array(found_ends), values)


@lru_cache(maxsize=2)
def load(path: str, ignore_case: bool = False) -> Concepts:
    """`Concepts.of` the list at a path, once per process. Raises as `read_entries`."""
    return Concepts.of(read_entries(path), ignore_case)


def _places(ends: Ends, data: Bytes, kinds: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What each byte of the texts is: uint8 [bytes + rows], row i from ends[i] - ends[0] + i on,
    with one place behind its last byte."""
    places = np.zeros(int(ends[-1] - ends[0]) + len(ends) - 1, np.uint8)
    _mark_places(ends, data, kinds, places)
    return places


@kernel
def _mark_places(
    ends: Ends, data: Bytes, kinds: npt.NDArray[np.uint8], places: npt.NDArray[np.uint8]
) -> None:
    for row in range(len(ends) - 1):
        start, stop = ends[row], ends[row + 1]
        to = start - ends[0] + row - start
        before = _SPACE
        at = start
        while at < stop:
            lead = signed(data[at])
            size = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            size = min(size, stop - at)
            point = lead if lead < 0x80 else lead & (0xFF >> (size + 1))
            for i in range(1, size):
                point = (point << 6) | (signed(data[at + i]) & 0x3F)
            kind = kinds[point] if point < len(kinds) else _WORDLY
            place = np.uint8(0)
            if kind != _SPACE and (_SPACE <= before <= _UNSPACED or _MARK <= kind <= _UNSPACED):
                place |= _BEGIN
            if before >= _MARK or _SPACE <= kind <= _UNSPACED:
                place |= _END
            places[to + at] = place
            before = kind
            at += size
        places[to + stop] = _END


@kernel
def _row_of(
    wanted: np.uint64,
    text: Bytes,
    start: int,
    stop: int,
    ends: Ends,
    data: Bytes,
    hashes: npt.NDArray[np.uint64],
    entries: npt.NDArray[np.int32],
) -> int:
    """The table's row of text[start:stop], whose hash is `wanted`: that of the entry of these
    bytes, or else that of a beginning. Where there is neither, the free row that it would take,
    less the size of the table."""
    mask = len(hashes) - 1
    at = signed((wanted * _MIX) >> np.uint64(32)) & mask
    beginning = -1
    while entries[at] != 0:
        if hashes[at] == wanted:
            if entries[at] == _NO_ENTRY:
                beginning = at
            else:
                entry = entries[at] - 1
                first = ends[entry]
                same = ends[entry + 1] - first == stop - start
                i = 0
                while same and i < stop - start:
                    same = data[first + i] == text[start + i]
                    i += 1
                if same:
                    return at
        at = (at + 1) & mask
    return beginning if beginning >= 0 else at - len(hashes)


@kernel
def _build(
    ends: Ends,
    data: Bytes,
    places: npt.NDArray[np.uint8],
    hashes: npt.NDArray[np.uint64],
    entries: npt.NDArray[np.int32],
) -> None:
    """Fill the table: the entries first, then the beginnings that are no entries themselves."""
    for is_beginning in (False, True):
        for entry in range(len(ends) - 1):
            start, stop = ends[entry], ends[entry + 1]
            to = entry - ends[0]
            running = _OFFSET
            for i in range(start, stop):
                running = (running ^ np.uint64(data[i])) * _PRIME
                is_last = i + 1 == stop
                if is_last == is_beginning or not (is_last or places[to + i + 1] & _END):
                    continue
                row = _row_of(running, data, start, i + 1, ends, data, hashes, entries)
                if row < 0:
                    row += len(hashes)
                    hashes[row] = running
                    entries[row] = _NO_ENTRY if is_beginning else entry + 1


@kernel
def _find(
    ends: Ends,
    data: Bytes,
    places: npt.NDArray[np.uint8],
    entry_ends: Ends,
    entry_data: Bytes,
    hashes: npt.NDArray[np.uint64],
    entries: npt.NDArray[np.int32],
    found_ends: npt.NDArray[np.int32],
    found: npt.NDArray[np.int32],
) -> int:
    """Fill found and found_ends as far as there is room; how much room is enough."""
    count = 0
    for row in range(len(ends) - 1):
        stop, to = ends[row + 1], row - ends[0]
        before = count
        for start in range(ends[row], stop):
            if not places[to + start] & _BEGIN:
                continue
            running = _OFFSET
            for i in range(start, stop):
                running = (running ^ np.uint64(data[i])) * _PRIME
                if not places[to + i + 1] & _END:
                    continue
                at = _row_of(running, data, start, i + 1, entry_ends, entry_data, hashes, entries)
                if at < 0:
                    break
                if entries[at] > 0:
                    if count < len(found):
                        found[count] = entries[at] - 1
                    count += 1
        if count <= len(found) and count > before + 1:
            count = before + _sorted_once(found[before:count])
        found_ends[row + 1] = count
    return count


@allocating_kernel
def _sorted_once(numbers: npt.NDArray[np.int32]) -> int:
    """Sort numbers in place and leave each once at the front; how many these are."""
    numbers.sort()
    kept = 1
    for i in range(1, len(numbers)):
        if numbers[i] != numbers[kept - 1]:
            numbers[kept] = numbers[i]
            kept += 1
    return kept
