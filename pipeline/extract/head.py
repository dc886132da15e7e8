"""What a page says of images beside showing them: og:image, twitter:image, JSON-LD, robots."""

from pipeline.core.jit import kernel
from pipeline.core.reasons import CaptionKind
from pipeline.core.strings import Bytes
from pipeline.extract import vocabulary as v
from pipeline.extract.entities import resolve
from pipeline.extract.marks import (
    HEAP,
    LINKS,
    OVER_CAP,
    Rows,
    add_caption,
    add_link,
    add_meta,
)
from pipeline.extract.names import hash_name, hash_of, number_of
from pipeline.extract.open_elements import OG_LINK, TWITTER_ALT, TWITTER_LINK
from pipeline.extract.srcset import is_white

_META_ALT = list(CaptionKind).index(CaptionKind.META_ALT)
_META_HASHES, _META_NUMBERS = v.METAS
_LD_JSON = hash_of("application/ld+json")
_IMAGE_OBJECT = hash_of("imageobject")


@kernel
def is_blank(data: Bytes, start: int, stop: int) -> bool:
    """True when data[start:stop] is white space alone, or nothing."""
    at = start
    while at < stop and is_white(data[at]):
        at += 1
    return at >= stop


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
    """An og:image or twitter:image of a page, or the alt of one. now: see `open_elements`."""
    if kind == v.OG_IMAGE or kind == v.TWITTER_IMAGE:
        if state[LINKS] - first_link >= max_links:
            state[OVER_CAP] += 1
            return
        link = add_link(page, start, stop, 0, links, state)
        if kind == v.OG_IMAGE:
            now[OG_LINK] = link
        else:
            now[TWITTER_LINK] = link
            if now[TWITTER_ALT] >= 0:  # the alt came first
                row = now[TWITTER_ALT]
                add_caption(link, _META_ALT, row // 2**31, row % 2**31, captions, state)
                now[TWITTER_ALT] = -1
    elif kind == v.OG_IMAGE_ALT:
        if now[OG_LINK] >= 0:
            add_caption(now[OG_LINK], _META_ALT, start, stop, captions, state)
    elif kind == v.TWITTER_IMAGE_ALT:
        if now[TWITTER_LINK] >= 0:
            add_caption(now[TWITTER_LINK], _META_ALT, start, stop, captions, state)
        elif now[TWITTER_ALT] < 0:
            now[TWITTER_ALT] = start * 2**31 + stop


@kernel
def read_meta(
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
    """Judge a `meta` by its attributes' spans: an image, the alt of one, or a statement."""
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
def read_script(
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
