"""The `srcset` attribute: its candidates, by the standard's parsing algorithm.

Source: WHATWG HTML, section 4.8.4.3.10 "Parsing a srcset attribute" (html.spec.whatwg.org).
"""

import re
from typing import NamedTuple

_WHITE = " \t\n\f\r"
_SKIP = re.compile(r"[ \t\n\f\r,]*")
_URL = re.compile(r"[^ \t\n\f\r]*")
_INTEGER = re.compile(r"[0-9]+")
_FLOAT = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Source(NamedTuple):
    """One image source. width: in pixels, 0 when not given. density: in pixels per CSS pixel."""

    url: str
    width: int = 0
    density: float = 1.0

    @property
    def size(self) -> tuple[int, float]:
        """Sort key: a stated width beats a density; more pixels beat fewer."""
        return (self.width, self.density)


def parse(text: str) -> list[Source]:
    """The valid candidates of a `srcset` value, in order; those with a parse error are left out."""
    found: list[Source] = []
    at, end = 0, len(text)
    while True:
        skipped = _SKIP.match(text, at)
        at = skipped.end() if skipped else at
        if at >= end:
            return found
        word = _URL.match(text, at)
        assert word is not None  # the pattern matches the empty string
        url, at = word[0], word.end()
        descriptors: list[str] = []
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            descriptors, at = _descriptors(text, at)
        source = _source(url, descriptors)
        if source:
            found.append(source)


def _descriptors(text: str, at: int) -> tuple[list[str], int]:
    """Descriptor words up to a comma outside parentheses, and where the next candidate starts."""
    words: list[str] = []
    current: list[str] = []
    depth = False
    for i in range(at, len(text)):
        char = text[i]
        if depth:
            current.append(char)
            depth = char != ")"
        elif char == ",":
            return _with(words, current), i + 1
        elif char in _WHITE:
            words, current = _with(words, current), []
        else:
            current.append(char)
            depth = char == "("
    return _with(words, current), len(text)


def _with(words: list[str], current: list[str]) -> list[str]:
    return [*words, "".join(current)] if current else words


def _source(url: str, descriptors: list[str]) -> Source | None:
    """A candidate from its descriptors; None when they contradict the standard."""
    width: int | None = None
    density: float | None = None
    height: int | None = None
    for word in descriptors:
        value, unit = word[:-1], word[-1]
        if unit == "w" and _INTEGER.fullmatch(value):
            if width is not None or density is not None or int(value[:12]) == 0:
                return None
            width = int(value[:12])
        elif unit == "x" and _FLOAT.fullmatch(value):
            if width is not None or density is not None or height is not None:
                return None
            density = float(value)
            if density < 0:
                return None
        elif unit == "h" and _INTEGER.fullmatch(value):
            if height is not None or density is not None or int(value[:12]) == 0:
                return None
            height = int(value[:12])
        else:
            return None
    if height is not None and width is None:
        return None
    return Source(url, width or 0, 1.0 if density is None else density)
