"""What a page gives, whether it was read from HTML or from WAT metadata."""

from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.core.reasons import CaptionKind


class Link(NamedTuple):
    """One image on a page. src: as the page has it. captions: kinds and texts as found."""

    src: str
    captions: list[tuple[CaptionKind, str]]


@dataclass
class Page:
    """One page's image links in document order, and what holds for all of them.

    base_href: the `base` element's value. metas: (name, content). links_over_cap: further image
    links that were not taken.
    """

    base_href: str | None = None
    lang: str | None = None
    metas: list[tuple[str, str]] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    links_over_cap: int = 0
