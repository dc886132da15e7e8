"""Which of the addresses that an image's markup offers is the one to take: the largest picture.

A chosen source is a `pick`, float64 [5] of start and stop on the heap, width in pixels, density in
pixels per CSS pixel, and 1 for a `data:` URL; start is below 0 for none.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel
from pipeline.core.strings import Bytes
from pipeline.extract import vocabulary as v
from pipeline.extract.entities import resolve
from pipeline.extract.marks import Rows
from pipeline.extract.names import hash_exact
from pipeline.extract.srcset import candidate, is_white

# A `data:` URL is told by its start; the rest can be megabytes.
_DATA_URL_BYTES = 64

Picks = npt.NDArray[np.float64]


@kernel
def is_data_url(data: Bytes, start: int, stop: int) -> bool:
    """True when data[start:stop] begins with "data:", in any case."""
    return (
        stop - start >= 5
        and (data[start] | 32) == 100
        and (data[start + 1] | 32) == 97
        and (data[start + 2] | 32) == 116
        and (data[start + 3] | 32) == 97
        and data[start + 4] == 58
    )


@kernel
def cut(data: Bytes, start: int, stop: int, size: int) -> int:
    """Where the first `size` bytes of data[start:stop] end, not inside a character."""
    if stop - start <= size:
        return stop
    stop = start + size
    while stop > start and 0x80 <= data[stop] < 0xC0:
        stop -= 1
    return stop


@kernel
def _looks_like_url(body: Bytes, start: int, stop: int) -> bool:
    """True for something like a URL: no JSON, no template, no bare word."""
    if start >= stop or body[start] == 91 or body[start] == 60:
        return False
    found = False
    for i in range(start, stop):
        byte = body[i]
        if byte == 123:
            return False
        if byte == 47 or byte == 46:
            found = True
    return found


@kernel
def _consider(
    heap: Bytes, start: int, stop: int, width: int, density: float, pick: Picks, room: int
) -> int:
    """Keep heap[start:stop] as the best source if it is; then it is moved to `room`, whose end is
    given."""
    is_data = is_data_url(heap, start, stop)
    if pick[0] >= 0:
        if is_data and pick[4] == 0:
            return room
        if is_data == (pick[4] != 0) and not (
            width > pick[2] or (width == pick[2] and density > pick[3])
        ):
            return room
    if is_data:
        stop = cut(heap, start, stop, _DATA_URL_BYTES)
    for i in range(stop - start):
        heap[room + i] = heap[start + i]
    pick[0], pick[1], pick[2], pick[3] = room, room + stop - start, width, density
    pick[4] = 1.0 if is_data else 0.0
    return room + stop - start


@kernel
def _note(heap: Bytes, start: int, stop: int, seen: Rows, count: int) -> int:
    if count < len(seen):
        seen[count] = hash_exact(heap, start, stop)
        return count + 1
    return count


@kernel
def consider_srcset(
    body: Bytes, start: int, stop: int, heap: Bytes, room: int, pick: Picks, seen: Rows, count: int
) -> tuple[int, int, int]:
    """All candidates of a srcset; where the heap's room and the seen ones end, and how many."""
    # Decoded behind the room that the best one will take, so that nothing is overwritten.
    base = room + (stop - start)
    end = resolve(body, start, stop, True, heap, base)
    at, candidates = base, 0
    best_start, best_stop, best_width, best_density = -1, -1, -1, -1.0
    data_start, data_stop = -1, -1
    while at < end:
        at, first, last, width, density = candidate(heap, at, end)
        if first >= last:
            continue
        candidates += 1
        if is_data_url(heap, first, last):
            if data_start < 0:
                data_start, data_stop = first, last
            continue
        count = _note(heap, first, last, seen, count)
        if width > best_width or (width == best_width and density > best_density):
            best_start, best_stop, best_width, best_density = first, last, width, density
    if best_start >= 0:
        room = _consider(heap, best_start, best_stop, best_width, best_density, pick, room)
    elif data_start >= 0:
        room = _consider(heap, data_start, data_stop, 0, 1.0, pick, room)
    return room, count, candidates


@kernel
def lazy_attribute(body: Bytes, spans: Rows, first: int, stop: int) -> int:
    """The first attribute of a range that holds something like a URL; -1 for none."""
    for number in range(first, stop):
        if spans[number, 0] >= 0 and _looks_like_url(body, spans[number, 0], spans[number, 1]):
            return number
    return -1


@kernel
def consider_image(
    body: Bytes, spans: Rows, heap: Bytes, room: int, pick: Picks, seen: Rows, count: int
) -> tuple[int, int]:
    """The best source of an `img`'s own attributes; `srcset` goes before an equal `src`."""
    lazy_set = lazy_attribute(body, spans, v.FIRST_LAZY_SRCSET, v.ATTRIBUTE_NUMBERS)
    which = lazy_set if lazy_set >= 0 else v.SRCSET
    candidates = 0
    if spans[which, 0] >= 0:
        room, count, candidates = consider_srcset(
            body, spans[which, 0], spans[which, 1], heap, room, pick, seen, count
        )
    which = lazy_attribute(body, spans, v.FIRST_LAZY_SRC, v.FIRST_LAZY_SRCSET)
    if which < 0 and not (lazy_set >= 0 and candidates > 0):
        which = v.SRC
    if which >= 0 and spans[which, 0] >= 0:
        start, stop = spans[which, 0], spans[which, 1]
        while start < stop and is_white(body[start]):
            start += 1
        while stop > start and is_white(body[stop - 1]):
            stop -= 1
        if is_data_url(body, start, stop):
            stop = cut(body, start, stop, _DATA_URL_BYTES)
        base = room + (stop - start)
        end = resolve(body, start, stop, True, heap, base)
        if end > base and not is_data_url(heap, base, end):
            count = _note(heap, base, end, seen, count)
        room = _consider(heap, base, end, 0, 1.0, pick, room)
    return room, count
