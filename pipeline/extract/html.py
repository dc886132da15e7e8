"""Image links of an HTML page, with every caption candidate, in one pass over its bytes.

A tree is not built: what is needed of it (which link, figure, picture, noscript, svg or template an
image is in) is kept while tags go by. Cost grows with the page's bytes alone; 10,000 levels of
nesting are as cheap as none. The tests hold the result against a parser that builds the tree.
"""

import numpy as np

from pipeline.core.jit import allocating_kernel, kernel, signed
from pipeline.core.reasons import CaptionKind
from pipeline.core.strings import Bytes
from pipeline.extract import vocabulary as v
from pipeline.extract.entities import reference, resolve
from pipeline.extract.head import is_blank, read_meta, read_script
from pipeline.extract.marks import (
    BASE_START,
    BODY_START,
    BODY_STOP,
    HAS_FIGURE,
    HEAP,
    IN_NOSCRIPT,
    IS_COPY,
    LANG_START,
    LINK_FLAGS,
    LINKS,
    OVER_CAP,
    PAGES,
    SAMPLE_BYTES,
    SAMPLE_START,
    SAMPLE_STOP,
    Rows,
    add_caption,
    add_link,
    new_page,
)
from pipeline.extract.markup import (
    find_lt,
    is_letter,
    name_end,
    raw_text_end,
    read_attributes,
    script_end,
    skip_bogus,
    skip_declaration,
)
from pipeline.extract.names import hash_name, number_of
from pipeline.extract.open_elements import (
    ANCHOR_LINK,
    ANCHOR_TEXT,
    COPIED,
    FIGURES,
    FOREIGN,
    IN_PICTURE,
    NOSCRIPT,
    OPEN_SIZE,
    PENDING,
    SEEN,
    SVG,
    TEMPLATE,
    TEXT,
    open_none,
)
from pipeline.extract.sources import Picks, consider_image, consider_srcset, lazy_attribute
from pipeline.extract.srcset import is_white

_ALT, _TITLE, _FIGCAPTION, _ARIA_LABEL, _, _, _LINK_TEXT, _ = range(len(CaptionKind))
# A caption of this kind holds ids, which are looked up only on pages that have any.
LABELLED_BY = 100

_TAG_HASHES, _TAG_NUMBERS = v.TAGS
# Beyond it a link's text is the page's, under a link that was never closed.
_MAX_LINK_TEXT_BYTES = 2000
_MAX_FIGURES = 16
_MAX_SOURCES = 4096
_LT, _SLASH, _BANG, _QUESTION = 60, 47, 33, 63

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
    now[COPIED] += max(stop - start, 0)
    # Captions of nested figures may hold each other: all together are kept to the room for them.
    if start >= stop or now[COPIED] > len(scratch):
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
    if now[ANCHOR_TEXT] >= 0 and now[ANCHOR_LINK] < state[LINKS]:
        start, stop = now[ANCHOR_TEXT], now[TEXT]
        if stop - start <= _MAX_LINK_TEXT_BYTES:
            _text_captions(
                scratch, start, stop, now[ANCHOR_LINK], _LINK_TEXT, 0, heap, links, captions,
                state, now,
            )  # fmt: skip
    now[ANCHOR_TEXT] = -1


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
    now[FIGURES] -= 1
    if now[FIGURES] >= _MAX_FIGURES:
        return
    figure = figures[now[FIGURES]]
    first, start, stop = figure[_FIGURE_LINK], figure[_FIGURE_TEXT], figure[_FIGURE_TEXT_STOP]
    if start >= 0 and first < state[LINKS]:
        if stop < 0:
            stop = now[TEXT]
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
    pick: Picks,
    seen: Rows,
    pending: Rows,
) -> None:
    """Note an image, with the best of its sources. pick: float64 [5], written over."""
    if state[LINKS] - first_link >= max_links:
        state[OVER_CAP] += 1
        return
    pick[:] = -1.0
    is_fallback = now[NOSCRIPT] > 0
    # What a noscript image offers is compared later with what the others do.
    before = now[SEEN]
    room, count = consider_image(body, spans, heap, state[HEAP], pick, seen, before)
    if now[IN_PICTURE] and picture[0] >= 0:
        is_larger = picture[2] > pick[2] or (picture[2] == pick[2] and picture[3] > pick[3])
        is_better = pick[4] != 0 and picture[4] == 0
        if pick[0] < 0 or is_better or (pick[4] == picture[4] and is_larger):
            for i in range(len(pick)):
                pick[i] = picture[i]
    state[HEAP] = room
    start, stop = (signed(pick[0]), signed(pick[1])) if pick[0] >= 0 else (room, room)
    link = add_link(page, start, stop, IN_NOSCRIPT if is_fallback else 0, links, state)
    if is_fallback:
        for i in range(before, count):
            if now[PENDING] < len(pending):
                pending[now[PENDING], 0] = link
                pending[now[PENDING], 1] = seen[i]
                now[PENDING] += 1
    else:
        now[SEEN] = count
    _attribute_caption(body, spans, v.ALT, link, _ALT, heap, captions, state)
    _attribute_caption(body, spans, v.TITLE, link, _TITLE, heap, captions, state)
    _attribute_caption(body, spans, v.ARIA_LABEL, link, _ARIA_LABEL, heap, captions, state)
    _attribute_caption(body, spans, v.ARIA_LABELLEDBY, link, LABELLED_BY, heap, captions, state)


@allocating_kernel
def _drop_copies(links: Rows, state: Rows, now: Rows, seen: Rows, pending: Rows) -> None:
    """Flag noscript images that the page shows anyway."""
    known = np.sort(seen[: now[SEEN]])
    for i in range(now[PENDING]):
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


@allocating_kernel
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
    now = np.empty(OPEN_SIZE, np.int64)
    open_none(now)
    first_link = state[LINKS]
    spans = np.full((v.ATTRIBUTE_NUMBERS, 2), -1, np.int64)
    figures = np.empty((_MAX_FIGURES, 3), np.int64)
    picture, pick = np.full(5, -1.0), np.full(5, -1.0)
    seen = np.empty(_MAX_SOURCES, np.int64)
    pending = np.empty((_MAX_SOURCES // 4, 2), np.int64)
    sample_end = -1
    at, stop = 0, len(body)
    while at < stop:
        if body[at] != _LT:
            end = find_lt(body, at, stop)
            text = now[TEXT]
            is_silent = now[NOSCRIPT] > 0 or now[TEMPLATE] > 0
            if (sample_end < 0 or now[ANCHOR_TEXT] >= 0 or now[FIGURES] > 0) and not is_silent:
                now[TEXT] = _put_text(body, at, end, scratch, text)
                if sample_end < 0 and now[TEXT] > SAMPLE_BYTES:
                    sample_end = now[TEXT]
            at = end
            continue
        if at + 1 >= stop:
            break
        byte = signed(body[at + 1])
        if byte == _BANG:
            at = skip_declaration(body, at, stop, now[SVG] > 0)
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
            now[TEXT] = _put_text(body, at, at + 1, scratch, now[TEXT])
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
            if tag == v.IMAGE and now[SVG] == 0:
                tag = v.IMG
            is_in_svg = now[SVG] > 0 and now[FOREIGN] == 0
            if is_in_svg and (tag >= v.BLOCK or tag == v.IMG or tag == v.META):
                now[SVG] = 0
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
                if now[TEMPLATE] > 0:
                    continue
                if tag == v.SCRIPT:
                    read_script(body, page, text, at, spans, heap, metas, state)
                elif tag == v.ESCAPABLE_TEXT and sample_end < 0 and name_stop - name == 5:
                    now[TEXT] = _put_text(body, text, at, scratch, now[TEXT])
                    now[TEXT] = _gap(scratch, now[TEXT])
                continue
            if tag == v.PLAINTEXT:
                break
            if tag == v.TEMPLATE:
                now[TEMPLATE] += 1
            if now[TEMPLATE] > 0:
                continue
            if tag == v.IMG:
                _image(
                    body, page, max_links, first_link, spans, heap, links, captions, state, now,
                    picture, pick, seen, pending,
                )  # fmt: skip
            elif tag == v.META:
                read_meta(
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
    while now[FIGURES] > 0:
        _close_figure(scratch, heap, links, captions, state, now, figures)
    if now[PENDING] > 0:
        _drop_copies(links, state, now, seen, pending)
    if sample_end < 0:
        sample_end = now[TEXT]
    state[SAMPLE_START] = state[HEAP]
    for i in range(min(sample_end, len(heap) - state[HEAP])):
        heap[state[HEAP]] = scratch[i]
        state[HEAP] += 1
    state[SAMPLE_STOP] = state[HEAP]


@allocating_kernel
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
            now[ANCHOR_TEXT], now[ANCHOR_LINK] = now[TEXT], state[LINKS]
    elif tag == v.PICTURE:
        now[IN_PICTURE] = 1
        picture[0] = -1.0
    elif tag == v.SOURCE:
        lazy = lazy_attribute(body, spans, v.FIRST_LAZY_SRCSET, v.ATTRIBUTE_NUMBERS)
        which = lazy if lazy >= 0 else v.SRCSET
        if now[IN_PICTURE] and spans[which, 0] >= 0:
            state[HEAP], count, _ = consider_srcset(
                body, spans[which, 0], spans[which, 1], heap, state[HEAP], picture, seen,
                now[SEEN],
            )  # fmt: skip
            if now[NOSCRIPT] == 0:
                now[SEEN] = count
    elif tag == v.FIGURE:
        now[TEXT] = _gap(scratch, now[TEXT])
        if now[FIGURES] < _MAX_FIGURES:
            figure = figures[now[FIGURES]]
            figure[_FIGURE_LINK] = state[LINKS]
            figure[_FIGURE_TEXT] = -1
            figure[_FIGURE_TEXT_STOP] = -1
        now[FIGURES] += 1
    elif tag == v.FIGCAPTION:
        now[TEXT] = _gap(scratch, now[TEXT])
        if 0 < now[FIGURES] <= _MAX_FIGURES and figures[now[FIGURES] - 1, _FIGURE_TEXT] < 0:
            figures[now[FIGURES] - 1, _FIGURE_TEXT] = now[TEXT]
    elif tag == v.NOSCRIPT:
        now[NOSCRIPT] = 1
    elif tag == v.SVG:
        if not is_closed:
            now[SVG] += 1
    elif tag == v.FOREIGN_OBJECT:
        if now[SVG] > 0 and not is_closed:
            now[FOREIGN] += 1
    elif tag == v.BASE:
        _save(body, spans[v.HREF, 0], spans[v.HREF, 1], BASE_START, heap, state)
    elif tag == v.HTML:
        _save(body, spans[v.LANG, 0], spans[v.LANG, 1], LANG_START, heap, state)
        _save(body, spans[v.XML_LANG, 0], spans[v.XML_LANG, 1], LANG_START, heap, state)
    elif tag == v.BLOCK:
        now[TEXT] = _gap(scratch, now[TEXT])


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
        now[TEMPLATE] = max(now[TEMPLATE] - 1, 0)
    if now[TEMPLATE] > 0:
        return
    if tag == v.A:
        _close_anchor(scratch, heap, links, captions, state, now)
    elif tag == v.PICTURE:
        now[IN_PICTURE] = 0
    elif tag == v.FIGURE:
        now[TEXT] = _gap(scratch, now[TEXT])
        if now[FIGURES] > 0:
            _close_figure(scratch, heap, links, captions, state, now, figures)
    elif tag == v.FIGCAPTION:
        if 0 < now[FIGURES] <= _MAX_FIGURES:
            figure = figures[now[FIGURES] - 1]
            if figure[_FIGURE_TEXT] >= 0 and figure[_FIGURE_TEXT_STOP] < 0:
                figure[_FIGURE_TEXT_STOP] = now[TEXT]
        now[TEXT] = _gap(scratch, now[TEXT])
    elif tag == v.NOSCRIPT:
        now[NOSCRIPT] = 0
    elif tag == v.SVG:
        now[SVG] = max(now[SVG] - 1, 0)
        if now[SVG] == 0:
            now[FOREIGN] = 0
    elif tag == v.FOREIGN_OBJECT:
        now[FOREIGN] = max(now[FOREIGN] - 1, 0)
    elif tag == v.BLOCK:
        now[TEXT] = _gap(scratch, now[TEXT])


@allocating_kernel
def read_pages(
    data: Bytes,
    places: Rows,
    max_links: int,
    heap: Bytes,
    scratch: Bytes,
    links: Rows,
    captions: Rows,
    metas: Rows,
    pages: Rows,
    state: Rows,
) -> int:
    """Read the HTML pages of Bodies; see Found. How many: all of them."""
    for row in range(len(places)):
        page = signed(state[PAGES])
        body = data[places[row, BODY_START] : places[row, BODY_STOP]]
        _read(body, page, max_links, heap, scratch, links, captions, metas, state)
        pages[page] = state
        state[PAGES] = page + 1
    return len(places)
