"""Image links of an HTML page, with every caption candidate, in one pass over its bytes.

A tree is not built: what is needed of it (which link, figure, picture, noscript, svg or template an
image is in) is kept while tags go by. Cost grows with the page's bytes alone; 10,000 levels of
nesting are as cheap as none. The tests hold the result against a parser that builds the tree.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import kernel, signed
from pipeline.core.reasons import CaptionKind
from pipeline.core.strings import Bytes
from pipeline.extract import vocabulary as v
from pipeline.extract.entities import reference, resolve
from pipeline.extract.found import (
    BASE_START,
    HAS_FIGURE,
    HEAP,
    IN_NOSCRIPT,
    IS_COPY,
    LANG_START,
    LINK_FLAGS,
    LINKS,
    OVER_CAP,
    SAMPLE_BYTES,
    SAMPLE_START,
    SAMPLE_STOP,
    Rows,
    add_caption,
    add_link,
    add_meta,
    new_page,
)
from pipeline.extract.markup import (
    is_letter,
    name_end,
    raw_text_end,
    read_attributes,
    script_end,
    skip_bogus,
    skip_declaration,
)
from pipeline.extract.names import hash_name, hash_of, number_of
from pipeline.extract.srcset import candidate, is_white

_ALT, _TITLE, _FIGCAPTION, _ARIA_LABEL, _META_ALT, _, _LINK_TEXT = range(len(CaptionKind))
# A caption of this kind holds ids, which are looked up only on pages that have any.
LABELLED_BY = 100

_TAG_HASHES, _TAG_NUMBERS = v.TAGS
_META_HASHES, _META_NUMBERS = v.METAS
# Beyond it a link's text is the page's, under a link that was never closed.
_MAX_LINK_TEXT_BYTES = 2000
_MAX_FIGURES = 16
_LD_JSON = hash_of("application/ld+json")
_IMAGE_OBJECT = hash_of("imageobject")
_MAX_SOURCES = 4096
# A `data:` URL is told by its start; the rest can be megabytes.
_DATA_URL_BYTES = 64
_LT, _SLASH, _BANG, _QUESTION = 60, 47, 33, 63

Picks = npt.NDArray[np.float64]
(
    _NOSCRIPT, _TEMPLATE, _SVG, _FOREIGN, _IN_PICTURE, _ANCHOR_TEXT, _ANCHOR_LINK, _FIGURES,
    _SEEN, _PENDING, _TEXT, _OG_LINK, _TWITTER_LINK, _COPIED, _TWITTER_ALT,
) = range(15)  # fmt: skip
_FIGURE_LINK, _FIGURE_TEXT, _FIGURE_TEXT_STOP = range(3)


@kernel
def _put_text(body: Bytes, start: int, stop: int, scratch: Bytes, at: int) -> int:
    """Text as it reads: references resolved, each run of white space one space."""
    i = start
    while i < stop:
        byte = body[i]
        if is_white(byte):
            if at > 0 and scratch[at - 1] != 32:
                scratch[at] = 32
                at += 1
            i += 1
        elif byte == 38:
            i, at = reference(body, i, stop, False, scratch, at)
        else:
            scratch[at] = byte
            at += 1
            i += 1
    return at


@kernel
def is_blank(data: Bytes, start: int, stop: int) -> bool:
    """True when data[start:stop] is white space alone, or nothing."""
    at = start
    while at < stop and is_white(data[at]):
        at += 1
    return at >= stop


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
    given. pick: float64 [5] of start, stop, width, density, is_data; start < 0 for none."""
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
        value = 7
        for i in range(start, stop):
            value = (value * 1_000_003 + signed(heap[i])) & ((1 << 60) - 1)
        seen[count] = value
        return count + 1
    return count


@kernel
def _consider_srcset(
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
def _lazy(body: Bytes, spans: Rows, first: int, stop: int) -> int:
    """The first attribute of a range that holds something like a URL; -1 for none."""
    for number in range(first, stop):
        if spans[number, 0] >= 0 and _looks_like_url(body, spans[number, 0], spans[number, 1]):
            return number
    return -1


@kernel
def _consider_image(
    body: Bytes, spans: Rows, heap: Bytes, room: int, pick: Picks, seen: Rows, count: int
) -> tuple[int, int]:
    """The best source of an `img`'s own attributes; `srcset` goes before an equal `src`."""
    lazy_set = _lazy(body, spans, v.FIRST_LAZY_SRCSET, v.ATTRIBUTE_NUMBERS)
    which = lazy_set if lazy_set >= 0 else v.SRCSET
    candidates = 0
    if spans[which, 0] >= 0:
        room, count, candidates = _consider_srcset(
            body, spans[which, 0], spans[which, 1], heap, room, pick, seen, count
        )
    which = _lazy(body, spans, v.FIRST_LAZY_SRC, v.FIRST_LAZY_SRCSET)
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


@kernel
def _attribute_caption(
    body: Bytes,
    spans: Rows,
    number: int,
    link: int,
    kind: int,
    heap: Bytes,
    captions: Rows,
    state: Rows,
) -> None:
    start, stop = spans[number, 0], spans[number, 1]
    if start >= 0 and not is_blank(body, start, stop):
        first = state[HEAP]
        state[HEAP] = resolve(body, start, stop, True, heap, first)
        add_caption(link, kind, first, state[HEAP], captions, state)


@kernel
def _text_captions(
    scratch: Bytes,
    start: int,
    stop: int,
    first: int,
    kind: int,
    skipped: int,
    heap: Bytes,
    links: Rows,
    captions: Rows,
    state: Rows,
    now: Rows,
) -> None:
    """Text of the page becomes a caption of the links from `first` on that lack flag `skipped`."""
    while start < stop and scratch[start] == 32:
        start += 1
    while stop > start and scratch[stop - 1] == 32:
        stop -= 1
    at = state[HEAP]
    now[_COPIED] += max(stop - start, 0)
    # Captions of nested figures may hold each other: all together are kept to the room for them.
    if start >= stop or now[_COPIED] > len(scratch):
        return
    for i in range(stop - start):
        heap[at + i] = scratch[start + i]
    state[HEAP] = at + stop - start
    for link in range(first, state[LINKS]):
        if not links[link, LINK_FLAGS] & skipped:
            add_caption(link, kind, at, state[HEAP], captions, state)


@kernel
def _close_anchor(
    scratch: Bytes, heap: Bytes, links: Rows, captions: Rows, state: Rows, now: Rows
) -> None:
    if now[_ANCHOR_TEXT] >= 0 and now[_ANCHOR_LINK] < state[LINKS]:
        start, stop = now[_ANCHOR_TEXT], now[_TEXT]
        if stop - start <= _MAX_LINK_TEXT_BYTES:
            _text_captions(
                scratch, start, stop, now[_ANCHOR_LINK], _LINK_TEXT, 0, heap, links, captions,
                state, now,
            )  # fmt: skip
    now[_ANCHOR_TEXT] = -1


@kernel
def _close_figure(
    scratch: Bytes,
    heap: Bytes,
    links: Rows,
    captions: Rows,
    state: Rows,
    now: Rows,
    figures: Rows,
) -> None:
    now[_FIGURES] -= 1
    if now[_FIGURES] >= _MAX_FIGURES:
        return
    figure = figures[now[_FIGURES]]
    first, start, stop = figure[_FIGURE_LINK], figure[_FIGURE_TEXT], figure[_FIGURE_TEXT_STOP]
    if start >= 0 and first < state[LINKS]:
        if stop < 0:
            stop = now[_TEXT]
        _text_captions(
            scratch, start, stop, first, _FIGCAPTION, HAS_FIGURE, heap, links, captions, state, now
        )
    for link in range(first, state[LINKS]):
        links[link, LINK_FLAGS] |= HAS_FIGURE


@kernel
def _image(
    body: Bytes,
    page: int,
    max_links: int,
    first_link: int,
    spans: Rows,
    heap: Bytes,
    links: Rows,
    captions: Rows,
    state: Rows,
    now: Rows,
    picture: Picks,
    seen: Rows,
    pending: Rows,
) -> None:
    if state[LINKS] - first_link >= max_links:
        state[OVER_CAP] += 1
        return
    pick = np.full(5, -1.0)
    is_fallback = now[_NOSCRIPT] > 0
    # What a noscript image offers is compared later with what the others do.
    before = now[_SEEN]
    room, count = _consider_image(body, spans, heap, state[HEAP], pick, seen, before)
    if now[_IN_PICTURE] and picture[0] >= 0:
        is_larger = picture[2] > pick[2] or (picture[2] == pick[2] and picture[3] > pick[3])
        is_better = pick[4] != 0 and picture[4] == 0
        if pick[0] < 0 or is_better or (pick[4] == picture[4] and is_larger):
            pick[:] = picture
    state[HEAP] = room
    start, stop = (signed(pick[0]), signed(pick[1])) if pick[0] >= 0 else (room, room)
    link = add_link(page, start, stop, IN_NOSCRIPT if is_fallback else 0, links, state)
    if is_fallback:
        for i in range(before, count):
            if now[_PENDING] < len(pending):
                pending[now[_PENDING], 0] = link
                pending[now[_PENDING], 1] = seen[i]
                now[_PENDING] += 1
    else:
        now[_SEEN] = count
    _attribute_caption(body, spans, v.ALT, link, _ALT, heap, captions, state)
    _attribute_caption(body, spans, v.TITLE, link, _TITLE, heap, captions, state)
    _attribute_caption(body, spans, v.ARIA_LABEL, link, _ARIA_LABEL, heap, captions, state)
    _attribute_caption(body, spans, v.ARIA_LABELLEDBY, link, LABELLED_BY, heap, captions, state)


@kernel
def meta_image(
    kind: int,
    page: int,
    start: int,
    stop: int,
    max_links: int,
    first_link: int,
    links: Rows,
    captions: Rows,
    state: Rows,
    now: Rows,
) -> None:
    """An og:image or twitter:image of a page, or the alt of one. now: see `opened`."""
    if kind == v.OG_IMAGE or kind == v.TWITTER_IMAGE:
        if state[LINKS] - first_link >= max_links:
            state[OVER_CAP] += 1
            return
        link = add_link(page, start, stop, 0, links, state)
        if kind == v.OG_IMAGE:
            now[_OG_LINK] = link
        else:
            now[_TWITTER_LINK] = link
            if now[_TWITTER_ALT] >= 0:  # the alt came first
                row = now[_TWITTER_ALT]
                add_caption(link, _META_ALT, row // 2**31, row % 2**31, captions, state)
                now[_TWITTER_ALT] = -1
    elif kind == v.OG_IMAGE_ALT:
        if now[_OG_LINK] >= 0:
            add_caption(now[_OG_LINK], _META_ALT, start, stop, captions, state)
    elif kind == v.TWITTER_IMAGE_ALT:
        if now[_TWITTER_LINK] >= 0:
            add_caption(now[_TWITTER_LINK], _META_ALT, start, stop, captions, state)
        elif now[_TWITTER_ALT] < 0:
            now[_TWITTER_ALT] = start * 2**31 + stop


@kernel
def opened() -> Rows:
    """What is open while a page is read, int64 [15]: see the names at the top."""
    now = np.zeros(15, np.int64)
    now[_ANCHOR_TEXT] = -1
    now[_OG_LINK] = -1
    now[_TWITTER_LINK] = -1
    now[_TWITTER_ALT] = -1
    return now


@kernel
def _meta(
    body: Bytes,
    page: int,
    max_links: int,
    first_link: int,
    spans: Rows,
    heap: Bytes,
    links: Rows,
    captions: Rows,
    metas: Rows,
    state: Rows,
    now: Rows,
) -> None:
    if spans[v.CONTENT, 0] < 0:
        return
    for attribute in (v.NAME, v.PROPERTY, v.HTTP_EQUIV):
        start, stop = spans[attribute, 0], spans[attribute, 1]
        while start < stop and is_white(body[start]):
            start += 1
        while stop > start and is_white(body[stop - 1]):
            stop -= 1
        if start < 0 or start >= stop:
            continue
        kind = number_of(hash_name(body, start, stop), _META_HASHES, _META_NUMBERS)
        if kind == 0 or kind == v.LANGUAGE:
            continue
        first = state[HEAP]
        last = resolve(body, spans[v.CONTENT, 0], spans[v.CONTENT, 1], True, heap, first)
        if kind <= v.TWITTER_IMAGE_ALT:
            state[HEAP] = last
            if not is_blank(heap, first, last):
                meta_image(
                    kind, page, first, last, max_links, first_link, links, captions, state, now
                )
        elif kind != v.DESCRIPTION:
            state[HEAP] = last
            add_meta(page, kind, first, last, metas, state)
        return


@kernel
def _script(
    body: Bytes,
    page: int,
    start: int,
    stop: int,
    spans: Rows,
    heap: Bytes,
    metas: Rows,
    state: Rows,
) -> None:
    """Note the text of a JSON-LD script that speaks of an ImageObject."""
    first, last = spans[v.TYPE, 0], spans[v.TYPE, 1]
    if first < 0 or last - first < 19:
        return
    for i in range(first, last - 18):
        if (body[i] | 32) == 97 and hash_name(body, i, i + 19) == _LD_JSON:
            break
    else:
        return
    for i in range(start, stop - 10):
        if body[i] == 73 and body[i + 5] == 79 and hash_name(body, i, i + 11) == _IMAGE_OBJECT:
            at = state[HEAP]
            for j in range(stop - start):
                heap[at + j] = body[start + j]
            state[HEAP] = at + stop - start
            add_meta(page, v.JSON_LD, at, state[HEAP], metas, state)
            return


@kernel
def _drop_copies(links: Rows, state: Rows, now: Rows, seen: Rows, pending: Rows) -> None:
    """Flag noscript images that the page shows anyway."""
    known = np.sort(seen[: now[_SEEN]])
    for i in range(now[_PENDING]):
        at = np.searchsorted(known, pending[i, 1])
        if at < len(known) and known[at] == pending[i, 1]:
            links[pending[i, 0], LINK_FLAGS] |= IS_COPY


@kernel
def _save(body: Bytes, start: int, stop: int, which: int, heap: Bytes, state: Rows) -> None:
    """Keep an attribute of the page in state[which:which + 2], if there is none yet."""
    if start >= 0 and state[which] < 0:
        state[which] = state[HEAP]
        state[HEAP] = resolve(body, start, stop, True, heap, state[HEAP])
        state[which + 1] = state[HEAP]


@kernel
def _read(
    body: Bytes,
    page: int,
    max_links: int,
    heap: Bytes,
    scratch: Bytes,
    links: Rows,
    captions: Rows,
    metas: Rows,
    state: Rows,
) -> None:
    new_page(state)
    now = opened()
    first_link = state[LINKS]
    spans = np.full((v.ATTRIBUTE_NUMBERS, 2), -1, np.int64)
    figures = np.empty((_MAX_FIGURES, 3), np.int64)
    picture = np.full(5, -1.0)
    seen = np.empty(_MAX_SOURCES, np.int64)
    pending = np.empty((_MAX_SOURCES // 4, 2), np.int64)
    sample_end = -1
    at, stop = 0, len(body)
    while at < stop:
        if body[at] != _LT:
            end = at
            while end < stop and body[end] != _LT:
                end += 1
            text = now[_TEXT]
            is_silent = now[_NOSCRIPT] > 0 or now[_TEMPLATE] > 0
            if (sample_end < 0 or now[_ANCHOR_TEXT] >= 0 or now[_FIGURES] > 0) and not is_silent:
                now[_TEXT] = _put_text(body, at, end, scratch, text)
                if sample_end < 0 and now[_TEXT] > SAMPLE_BYTES:
                    sample_end = now[_TEXT]
            at = end
            continue
        if at + 1 >= stop:
            break
        byte = signed(body[at + 1])
        if byte == _BANG:
            at = skip_declaration(body, at, stop, now[_SVG] > 0)
        elif byte == _QUESTION:
            at = skip_bogus(body, at + 1, stop)
        elif byte == _SLASH:
            if at + 2 < stop and is_letter(body[at + 2]):
                name_stop = name_end(body, at + 2, stop)
                tag = number_of(hash_name(body, at + 2, name_stop), _TAG_HASHES, _TAG_NUMBERS)
                at, _ = read_attributes(body, name_stop, stop, False, spans)
                if tag > 0 and at >= 0:
                    _end_tag(tag, scratch, heap, links, captions, state, now, figures, picture)
            else:
                at = skip_bogus(body, at + 2, stop)
        elif not is_letter(byte):
            now[_TEXT] = _put_text(body, at, at + 1, scratch, now[_TEXT])
            at += 1
        else:
            name, name_stop = at + 1, name_end(body, at + 1, stop)
            tag = number_of(hash_name(body, name, name_stop), _TAG_HASHES, _TAG_NUMBERS)
            is_wanted = tag > 0 and tag <= v.SCRIPT
            at, is_closed = read_attributes(body, name_stop, stop, is_wanted, spans)
            if at < 0:
                break
            if tag == 0:
                continue
            if tag == v.IMAGE and now[_SVG] == 0:
                tag = v.IMG
            is_in_svg = now[_SVG] > 0 and now[_FOREIGN] == 0
            if is_in_svg and (tag >= v.BLOCK or tag == v.IMG or tag == v.META):
                now[_SVG] = 0
            if tag == v.SCRIPT or tag == v.RAW_TEXT or tag == v.ESCAPABLE_TEXT:
                if is_in_svg and (is_closed or tag != v.SCRIPT):
                    continue
                text = at
                if tag == v.SCRIPT:
                    at = script_end(body, at, stop)
                else:
                    at = raw_text_end(body, at, stop, _lower(body, name, name_stop))
                if at < 0:
                    break
                if now[_TEMPLATE] > 0:
                    continue
                if tag == v.SCRIPT:
                    _script(body, page, text, at, spans, heap, metas, state)
                elif tag == v.ESCAPABLE_TEXT and sample_end < 0 and name_stop - name == 5:
                    now[_TEXT] = _put_text(body, text, at, scratch, now[_TEXT])
                    now[_TEXT] = _gap(scratch, now[_TEXT])
                continue
            if tag == v.PLAINTEXT:
                break
            if tag == v.TEMPLATE:
                now[_TEMPLATE] += 1
            if now[_TEMPLATE] > 0:
                continue
            if tag == v.IMG:
                _image(
                    body, page, max_links, first_link, spans, heap, links, captions, state, now,
                    picture, seen, pending,
                )  # fmt: skip
            elif tag == v.META:
                _meta(
                    body, page, max_links, first_link, spans, heap, links, captions, metas, state,
                    now,
                )  # fmt: skip
            else:
                _start_tag(
                    tag, body, is_closed, spans, scratch, heap, links, captions, state, now,
                    figures, picture, seen,
                )  # fmt: skip
        if at < 0:
            break
    while now[_FIGURES] > 0:
        _close_figure(scratch, heap, links, captions, state, now, figures)
    if now[_PENDING] > 0:
        _drop_copies(links, state, now, seen, pending)
    if sample_end < 0:
        sample_end = now[_TEXT]
    state[SAMPLE_START] = state[HEAP]
    for i in range(min(sample_end, len(heap) - state[HEAP])):
        heap[state[HEAP]] = scratch[i]
        state[HEAP] += 1
    state[SAMPLE_STOP] = state[HEAP]


@kernel
def _lower(body: Bytes, start: int, stop: int) -> Bytes:
    name = np.empty(stop - start, np.uint8)
    for i in range(stop - start):
        byte = body[start + i]
        name[i] = byte + 32 if 65 <= byte <= 90 else byte
    return name


@kernel
def _gap(scratch: Bytes, at: int) -> int:
    """Part what stands before a block from what stands in it."""
    if at > 0 and scratch[at - 1] != 32:
        scratch[at] = 32
        return at + 1
    return at


@kernel
def _start_tag(
    tag: int,
    body: Bytes,
    is_closed: bool,
    spans: Rows,
    scratch: Bytes,
    heap: Bytes,
    links: Rows,
    captions: Rows,
    state: Rows,
    now: Rows,
    figures: Rows,
    picture: Picks,
    seen: Rows,
) -> None:
    """What a start tag opens, but for images and metas."""
    if tag == v.A:
        _close_anchor(scratch, heap, links, captions, state, now)
        if spans[v.HREF, 0] >= 0:
            now[_ANCHOR_TEXT], now[_ANCHOR_LINK] = now[_TEXT], state[LINKS]
    elif tag == v.PICTURE:
        now[_IN_PICTURE] = 1
        picture[0] = -1.0
    elif tag == v.SOURCE:
        lazy = _lazy(body, spans, v.FIRST_LAZY_SRCSET, v.ATTRIBUTE_NUMBERS)
        which = lazy if lazy >= 0 else v.SRCSET
        if now[_IN_PICTURE] and spans[which, 0] >= 0:
            state[HEAP], count, _ = _consider_srcset(
                body, spans[which, 0], spans[which, 1], heap, state[HEAP], picture, seen,
                now[_SEEN],
            )  # fmt: skip
            if now[_NOSCRIPT] == 0:
                now[_SEEN] = count
    elif tag == v.FIGURE:
        now[_TEXT] = _gap(scratch, now[_TEXT])
        if now[_FIGURES] < _MAX_FIGURES:
            figure = figures[now[_FIGURES]]
            figure[_FIGURE_LINK] = state[LINKS]
            figure[_FIGURE_TEXT] = -1
            figure[_FIGURE_TEXT_STOP] = -1
        now[_FIGURES] += 1
    elif tag == v.FIGCAPTION:
        now[_TEXT] = _gap(scratch, now[_TEXT])
        if 0 < now[_FIGURES] <= _MAX_FIGURES and figures[now[_FIGURES] - 1, _FIGURE_TEXT] < 0:
            figures[now[_FIGURES] - 1, _FIGURE_TEXT] = now[_TEXT]
    elif tag == v.NOSCRIPT:
        now[_NOSCRIPT] = 1
    elif tag == v.SVG:
        if not is_closed:
            now[_SVG] += 1
    elif tag == v.FOREIGN_OBJECT:
        if now[_SVG] > 0 and not is_closed:
            now[_FOREIGN] += 1
    elif tag == v.BASE:
        _save(body, spans[v.HREF, 0], spans[v.HREF, 1], BASE_START, heap, state)
    elif tag == v.HTML:
        _save(body, spans[v.LANG, 0], spans[v.LANG, 1], LANG_START, heap, state)
        _save(body, spans[v.XML_LANG, 0], spans[v.XML_LANG, 1], LANG_START, heap, state)
    elif tag == v.BLOCK:
        now[_TEXT] = _gap(scratch, now[_TEXT])


@kernel
def _end_tag(
    tag: int,
    scratch: Bytes,
    heap: Bytes,
    links: Rows,
    captions: Rows,
    state: Rows,
    now: Rows,
    figures: Rows,
    picture: Picks,
) -> None:
    """What an end tag closes."""
    if tag == v.TEMPLATE:
        now[_TEMPLATE] = max(now[_TEMPLATE] - 1, 0)
    if now[_TEMPLATE] > 0:
        return
    if tag == v.A:
        _close_anchor(scratch, heap, links, captions, state, now)
    elif tag == v.PICTURE:
        now[_IN_PICTURE] = 0
    elif tag == v.FIGURE:
        now[_TEXT] = _gap(scratch, now[_TEXT])
        if now[_FIGURES] > 0:
            _close_figure(scratch, heap, links, captions, state, now, figures)
    elif tag == v.FIGCAPTION:
        if 0 < now[_FIGURES] <= _MAX_FIGURES:
            figure = figures[now[_FIGURES] - 1]
            if figure[_FIGURE_TEXT] >= 0 and figure[_FIGURE_TEXT_STOP] < 0:
                figure[_FIGURE_TEXT_STOP] = now[_TEXT]
        now[_TEXT] = _gap(scratch, now[_TEXT])
    elif tag == v.NOSCRIPT:
        now[_NOSCRIPT] = 0
    elif tag == v.SVG:
        now[_SVG] = max(now[_SVG] - 1, 0)
        if now[_SVG] == 0:
            now[_FOREIGN] = 0
    elif tag == v.FOREIGN_OBJECT:
        now[_FOREIGN] = max(now[_FOREIGN] - 1, 0)
    elif tag == v.BLOCK:
        now[_TEXT] = _gap(scratch, now[_TEXT])


@kernel
def read_pages(
    data: Bytes,
    starts: Rows,
    stops: Rows,
    max_links: int,
    heap: Bytes,
    scratch: Bytes,
    links: Rows,
    captions: Rows,
    metas: Rows,
    pages: Rows,
    state: Rows,
) -> None:
    """Read the HTML pages data[starts[i]:stops[i]]; see Found."""
    for page in range(len(starts)):
        body = data[starts[page] : stops[page]]
        _read(body, page, max_links, heap, scratch, links, captions, metas, state)
        pages[page] = state
