"""Searching captions for the entries of a `word_lists.WordList`."""

import numpy as np
import numpy.typing as npt

from pipeline.core.codepoints import CharClass
from pipeline.core.hash_kernels import Flags, Keys, get
from pipeline.core.jit import allocating_kernel, kernel, signed
from pipeline.core.text_kernels import (
    HASH_START,
    Chars,
    Classes,
    Hashes,
    Longs,
    class_of,
    hash_end,
    hash_step,
    is_number,
    lower_of,
)

Asked = npt.NDArray[np.bool_]
Table = tuple[Keys, Flags]

# Flags of a table of words: the words so far are an entry; they begin one.
WHOLE, BEGINS = 1, 2
# Flags of `firsts`: an entry of one character; the first two of a longer one.
_ONE, _TWO = 1, 2
_HANGUL = int(CharClass.HANGUL)
# Characters of the longest Korean particle in the list.
_PARTICLE_CHARS = 3


@kernel
def joined(state: np.uint64, word: np.uint64) -> np.uint64:
    """The hash of several words in their order: of those before, and of one more."""
    return hash_end(hash_step(hash_step(HASH_START, state), word))


@kernel
def pair_of(first: np.uint64, second: np.uint64) -> np.uint64:
    """A bucket of `firsts` for two characters; of one alone, `second` is 0."""
    return (first * np.uint64(0x9E37) + second) & np.uint64(0xFFFF)


@allocating_kernel
def hash_entries(words: Hashes, ends: Longs, is_anywhere: Asked) -> tuple[Keys, Flags]:
    """(hashes, flags) of the entries that are words: of each entry whole, and of what begins it."""
    hashes = np.empty(len(words), np.uint64)
    flags = np.empty(len(words), np.uint8)
    found = 0
    for row in range(len(ends) - 1):
        if is_anywhere[row]:
            continue
        state = np.uint64(0)
        for i in range(ends[row], ends[row + 1]):
            state = words[i] if i == ends[row] else joined(state, words[i])
            hashes[found] = state
            flags[found] = WHOLE if i + 1 == ends[row + 1] else BEGINS
            found += 1
    return hashes[:found].copy(), flags[:found].copy()


@allocating_kernel
def hash_texts(values: Chars, ends: Longs, lower: Chars, chosen: Asked, firsts: Flags) -> Keys:
    """The hash of the characters of each chosen row; their first two are marked in `firsts`."""
    hashes = np.empty(len(chosen), np.uint64)
    found = 0
    for row in range(len(chosen)):
        first, size = ends[row], ends[row + 1] - ends[row]
        if not chosen[row] or size == 0:
            continue
        state = HASH_START
        for i in range(first, first + size):
            state = hash_step(state, lower_of(lower, values[i]))
        hashes[found] = hash_end(state)
        found += 1
        one = lower_of(lower, values[first])
        if size == 1:
            firsts[pair_of(one, np.uint64(0))] |= np.uint8(_ONE)
        else:
            firsts[pair_of(one, lower_of(lower, values[first + 1]))] |= np.uint8(_TWO)
    return hashes[:found].copy()


@kernel
def find_entries(
    text: tuple[Chars, Classes, Chars],
    tokens: tuple[Longs, Longs, Hashes, Longs],
    words: Table,
    particles: Table,
    most_words: int,
    asked: Asked,
    hits: Longs,
    covered: Longs,
) -> None:
    """Add the entries that are words, and the words they cover, to each row that is asked for."""
    values, classes, lower = text
    starts, stops, hashes, ends = tokens
    keys, flags = words
    for row in range(len(asked)):
        if not asked[row]:
            continue
        at = ends[row]
        while at < ends[row + 1]:
            state = hashes[at]
            seen = get(keys, flags, state)
            size = 1 if (seen & WHOLE) != 0 else 0
            more = 1
            while (seen & BEGINS) != 0 and more < most_words and at + more < ends[row + 1]:
                state = joined(state, hashes[at + more])
                seen = get(keys, flags, state)
                more += 1
                if (seen & WHOLE) != 0:
                    size = more
            if size == 0 and (class_of(classes, values[starts[at]]) & _HANGUL) != 0:
                size = has_particle(values, lower, starts[at], stops[at], words, particles)
            hits[row] += size > 0
            covered[row] += size
            at += max(size, 1)


@kernel
def has_particle(
    values: Chars, lower: Chars, start: int, stop: int, words: Table, particles: Table
) -> int:
    """1 when values[start:stop] is an entry of a word with a Korean particle behind it, else 0."""
    state = HASH_START
    for i in range(start, stop - 1):
        state = hash_step(state, lower_of(lower, values[i]))
        if stop - i - 1 > _PARTICLE_CHARS:
            continue
        if (get(words[0], words[1], hash_end(state)) & WHOLE) != 0:
            rest = HASH_START
            for j in range(i + 1, stop):
                rest = hash_step(rest, lower_of(lower, values[j]))
            if get(particles[0], particles[1], hash_end(rest)) != 0:
                return 1
    return 0


@kernel
def find_anywhere(
    values: Chars,
    ends: Longs,
    lower: Chars,
    entries: Table,
    firsts: Flags,
    most_chars: int,
    asked: Asked,
    hits: Longs,
    covered: Longs,
) -> None:
    """Add the entries that are found anywhere, each as a word, to each row that is asked for."""
    keys, flags = entries
    for row in range(len(asked)):
        if not asked[row]:
            continue
        at, stop = signed(ends[row]), signed(ends[row + 1])
        while at < stop:
            one = lower_of(lower, values[at])
            size = 0
            if firsts[pair_of(one, np.uint64(0))] & _ONE:
                size = 1 if get(keys, flags, hash_end(hash_step(HASH_START, one))) != 0 else 0
            if at + 1 < stop and firsts[pair_of(one, lower_of(lower, values[at + 1]))] & _TWO:
                state = hash_step(HASH_START, one)
                for i in range(at + 1, min(stop, at + most_chars)):
                    state = hash_step(state, lower_of(lower, values[i]))
                    if get(keys, flags, hash_end(state)) != 0:
                        size = i + 1 - at
            hits[row] += size > 0
            covered[row] += size > 0
            at += max(size, 1)


@allocating_kernel
def find_phrases(
    text: tuple[Chars, Classes, Chars],
    tokens: tuple[Longs, Longs, Hashes, Longs],
    whole: Table,
    beginnings: Table,
    endings: Table,
    most_whole: int,
    most_beginning: int,
    most_ending: int,
    is_whole: npt.NDArray[np.int8],
    is_edge: npt.NDArray[np.int8],
) -> None:
    """(is_whole) rows whose words, numbers left aside, are an entry of `whole`; (is_edge) rows that
    begin with an entry of `beginnings` or end with one of `endings`. Only words of scripts with
    spaces are seen."""
    values, classes, _ = text
    starts, stops, hashes, ends = tokens
    kept = np.empty(max(most_whole, 1), np.uint64)
    for row in range(len(is_whole)):
        first, stop = ends[row], ends[row + 1]
        size = 0
        for i in range(first, stop):
            if not is_number(values, classes, starts[i], stops[i]):
                if size < most_whole:
                    kept[size] = hashes[i]
                size += 1
            if size > most_whole:
                break
        is_whole[row] = 0
        if 0 < size <= most_whole:
            state = kept[0]
            for i in range(1, size):
                state = joined(state, kept[i])
            is_whole[row] = (get(whole[0], whole[1], state) & WHOLE) != 0
        is_edge[row] = begins_with(hashes, first, stop, beginnings, most_beginning)
        for size in range(1, min(most_ending, stop - first) + 1):
            if is_edge[row] != 0:
                break
            state = hashes[stop - size]
            for i in range(stop - size + 1, stop):
                state = joined(state, hashes[i])
            is_edge[row] = (get(endings[0], endings[1], state) & WHOLE) != 0


@kernel
def begins_with(hashes: Hashes, first: int, stop: int, phrases: Table, most: int) -> bool:
    """Whether the words from first to stop begin with an entry of a table."""
    if first == stop:
        return False
    state = hashes[first]
    seen = get(phrases[0], phrases[1], state)
    for i in range(first + 1, min(stop, first + most)):
        if (seen & WHOLE) != 0 or (seen & BEGINS) == 0:
            break
        state = joined(state, hashes[i])
        seen = get(phrases[0], phrases[1], state)
    return (seen & WHOLE) != 0
