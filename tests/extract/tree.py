"""An oracle for the HTML kernel: the same links and captions, read from a tree that Lexbor builds."""

from collections.abc import Mapping
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.core.reasons import CaptionKind
from pipeline.extract import srcset
from pipeline.extract.srcset import Source
from pipeline.extract.vocabulary import LAZY_SRC, LAZY_SRCSET

_BLOCKS = frozenset(
    "p div br li ul ol dl dt dd h1 h2 h3 h4 h5 h6 tr td th table hr section".split()
)
_SILENT = frozenset(("script", "style", "noscript", "template"))
_KINDS = (
    (CaptionKind.ALT, "alt"),
    (CaptionKind.TITLE, "title"),
    (CaptionKind.ARIA_LABEL, "aria-label"),
)
_MAX_FIGURE_DEPTH = 12

Attributes = Mapping[str, str | None]


class Link(NamedTuple):
    """One image on a page. src: as the page has it. captions: kinds and texts as found."""

    src: str
    captions: list[tuple[CaptionKind, str]]


def read_links(body: bytes) -> list[Link]:
    """Every `img` of a page, but noscript copies."""
    tree = LexborHTMLParser(body)
    nodes = tree.css("source, img")
    fallbacks = {node.mem_id for node in tree.css("noscript img")}
    return _Reader(fallbacks).read(nodes)


class _Reader:
    """One pass over the nodes that matter, in document order."""

    def __init__(self, fallbacks: set[int]) -> None:
        self.fallbacks = fallbacks
        self.pictures: dict[int, list[Source]] = {}
        self.figures: dict[int, str] = {}

    def read(self, nodes: list[LexborNode]) -> list[Link]:
        found: list[tuple[bool, set[str], Link]] = []
        seen: set[str] = set()
        for node in nodes:
            if node.tag == "source":
                self._source(node)
                continue
            link, urls = self._link(node)
            is_fallback = node.mem_id in self.fallbacks
            if not is_fallback:
                seen |= urls
            found.append((is_fallback, urls, link))
        return [link for is_fallback, urls, link in found if not (is_fallback and urls & seen)]

    def _source(self, node: LexborNode) -> None:
        attributes = node.attributes
        value = _first(attributes, LAZY_SRCSET) or attributes.get("srcset")
        if value and node.parent is not None and node.parent.tag == "picture":
            self.pictures.setdefault(node.parent.mem_id, []).extend(srcset.parse(value))

    def _link(self, node: LexborNode) -> tuple[Link, set[str]]:
        attributes = node.attributes
        sources = _sources(attributes)
        parent = node.parent
        if parent is not None and parent.tag == "picture":
            sources += self.pictures.get(parent.mem_id, ())
        captions = [(kind, attributes.get(name) or "") for kind, name in _KINDS]
        captions.append((CaptionKind.FIGCAPTION, self._figure_text(node)))
        urls = {source.url for source in sources if source.url}
        return Link(_best(sources), captions), urls

    def _figure_text(self, node: LexborNode) -> str:
        above = node.parent
        for _ in range(_MAX_FIGURE_DEPTH):
            if above is None:
                break
            if above.tag == "figure":
                if above.mem_id not in self.figures:
                    caption = above.css_first("figcaption")
                    self.figures[above.mem_id] = _text(caption) if caption is not None else ""
                return self.figures[above.mem_id]
            above = above.parent
        return ""


def _sources(attributes: Attributes) -> list[Source]:
    """Every URL an `img` offers; `srcset` first, as it goes before an equal `src`."""
    found: list[Source] = []
    lazy_set = _first(attributes, LAZY_SRCSET)
    if value := lazy_set or attributes.get("srcset"):
        found = srcset.parse(value)
    src = _first(attributes, LAZY_SRC)
    if src is None and not (lazy_set and found):
        src = attributes.get("src")
    if src is not None:
        found.append(Source(src.strip()))
    return found


def _first(attributes: Attributes, names: list[str]) -> str | None:
    """The first of the attributes that holds something like a URL (not JSON, not a template)."""
    for name in names:
        value = attributes.get(name)
        if value and ("/" in value or "." in value) and "{" not in value and value[0] not in "[<":
            return value
    return None


def _best(sources: list[Source]) -> str:
    """The largest picture on offer; a `data:` URL only when there is nothing else; "" for none."""
    real = [source for source in sources if source.url[:5].lower() != "data:"]
    chosen = max(real or sources, key=lambda source: (source.width, source.density), default=None)
    return chosen.url if chosen else ""


def _text(node: LexborNode) -> str:
    """Text as it reads: inline elements run on, blocks part words, scripts are silent."""
    parts: list[str] = []
    for child in node.traverse(include_text=True):
        if child.is_text_node:
            parent = child.parent
            if parent is None or parent.tag not in _SILENT:
                parts.append(child.text_content or "")
        elif child.tag in _BLOCKS:
            parts.append(" ")
    return "".join(parts)
