"""The `srcset` attribute: its candidates, by the standard's parsing algorithm.

Source: WHATWG HTML, section 4.8.4.3.10 "Parsing a srcset attribute" (html.spec.whatwg.org).
"""

from typing import NamedTuple

import numpy as np

from pipeline.core.jit import kernel, signed
from pipeline.core.strings import Bytes

_MAX_WIDTH_PX = 10**12
_COMMA, _OPEN, _CLOSE = 44, 40, 41


class Source(NamedTuple):
    """One image source. width: in pixels, 0 when not given. density: in pixels per CSS pixel."""

    url: str
    width: int = 0
    density: float = 1.0


def parse(text: str) -> list[Source]:
    """The valid candidates of a `srcset` value, in order; those with a parse error are left out."""
    data = text.encode()
    view = np.frombuffer(data, np.uint8)
    found, at = [], 0
    while at < len(data):
        at, start, stop, width, density = candidate(view, at, len(data))
        if start < stop:
            found.append(Source(data[start:stop].decode(), width, density))
    return found


@kernel
def is_white(byte: int) -> bool:
    """True for ASCII white space: tab, line feed, form feed, carriage return, space."""
    # The first comparison settles it for nearly every byte there is.
    return byte <= 32 and (byte == 32 or byte == 10 or byte == 9 or byte == 13 or byte == 12)


@kernel
def candidate(data: Bytes, at: int, stop: int) -> tuple[int, int, int, int, float]:
    """The next candidate of data[at:stop]: where the one after it begins, start and stop of its
    URL (equal when there is none or it is in error), its width and density as in Source."""
    while at < stop and (is_white(data[at]) or data[at] == _COMMA):
        at += 1
    start = at
    while at < stop and not is_white(data[at]):
        at += 1
    url_stop = at
    if url_stop > start and data[url_stop - 1] == _COMMA:
        while url_stop > start and data[url_stop - 1] == _COMMA:
            url_stop -= 1
        return at, start, url_stop, 0, 1.0
    width, height, density, is_good = -1, -1, -1.0, True
    while at < stop and data[at] != _COMMA:
        if is_white(data[at]):
            at += 1
            continue
        word, is_inside = at, False
        while at < stop and (is_inside or not (is_white(data[at]) or data[at] == _COMMA)):
            is_inside = data[at] != _CLOSE if is_inside else data[at] == _OPEN
            at += 1
        unit = data[at - 1]
        if unit == 119 or unit == 104:  # w, h
            number = _integer(data, word, at - 1)
            if number <= 0 or density >= 0 or (width if unit == 119 else height) >= 0:
                is_good = False
            elif unit == 119:
                width = number
            else:
                height = number
        elif unit == 120:  # x
            ratio = _float(data, word, at - 1)
            if ratio < 0 or density >= 0 or width >= 0 or height >= 0:
                is_good = False
            else:
                density = ratio
        else:
            is_good = False
    if height >= 0 and width < 0:
        is_good = False
    if at < stop:
        at += 1
    if not is_good:
        return at, start, start, 0, 1.0
    return at, start, url_stop, max(width, 0), 1.0 if density < 0 else density


@kernel
def _integer(data: Bytes, start: int, stop: int) -> int:
    """A string of digits as a number, at most _MAX_WIDTH_PX; -1 for anything else."""
    value = 0 if start < stop else -1
    for i in range(start, stop):
        if not 48 <= data[i] <= 57:
            return -1
        value = min(value * 10 + signed(data[i]) - 48, _MAX_WIDTH_PX)
    return value


@kernel
def _float(data: Bytes, start: int, stop: int) -> float:
    """A valid floating-point number (WHATWG HTML, section 2.3.4.3); below 0 for anything else.

    "-0" is 0.
    """
    i, is_negative = start, False
    if i < stop and data[i] == 45:
        is_negative = True
        i += 1
    value, digits, after = 0.0, 0, 0
    while i < stop and 48 <= data[i] <= 57:
        value = value * 10 + (signed(data[i]) - 48)
        digits += 1
        i += 1
    if i < stop and data[i] == 46:
        i += 1
        scale = 0.1
        while i < stop and 48 <= data[i] <= 57:
            value += (signed(data[i]) - 48) * scale
            scale /= 10
            after += 1
            i += 1
        if after == 0:
            return -1.0
    if digits + after == 0:
        return -1.0
    if i < stop and (data[i] | 32) == 101:
        i += 1
        is_small = i < stop and data[i] == 45
        if i < stop and (data[i] == 45 or data[i] == 43):
            i += 1
        exponent = _integer(data, i, stop)
        if exponent < 0:
            return -1.0
        value *= 10.0 ** (-min(exponent, 400) if is_small else min(exponent, 400))
        i = stop
    if i < stop:
        return -1.0
    return -value if is_negative and value > 0 else value
