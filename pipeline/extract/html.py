"""Image links of an HTML page: `img` with its lazy attributes, `srcset`, `picture`, captions."""

from collections.abc import Mapping, Set
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.core.reasons import CaptionKind
from pipeline.extract import srcset
from pipeline.extract.page import Link, Page
from pipeline.extract.srcset import Source

# Where scripts keep the URL they put into `src` once the image scrolls into view; the first one
# that holds a URL is taken, and the `src` beside it is a placeholder.
# Source: lazysizes, lozad and vanilla-lazyload (data-src, data-srcset), jQuery Lazy Load and
# Magento (data-original), WP Rocket and a3 Lazy Load (data-lazy-src, data-lazy-srcset), Slick
# (data-lazy), FooGallery (data-src-fg), Autoptimize (data-src), Jetpack (data-lazy-src), and the
# list in the data processing code of OBELICS (Laurençon et al. 2023, arXiv 2306.16527).
LAZY_SRC = [
    "data-src",
    "data-original",
    "data-lazy-src",
    "data-lazy",
    "data-lazyload",
    "data-lazy-original",
    "data-src-fg",
    "data-original-src",
    "data-orig-src",
    "data-echo",
    "data-ll-src",
    "data-gt-lazy-src",
    "data-lateloadsrc",
    "data-img-src",
    "data-scroll-image",
    "data-url",
    "data-image",
    "data-hi-res-src",
    "data-actualsrc",
    "data-delayed-url",
    "data-defer-src",
    "data-cfsrc",
    "src2",
]
LAZY_SRCSET = ("data-srcset", "data-lazy-srcset", "data-original-set", "data-srcset-fg")

# Elements whose text does not flow into that of their neighbours.
_BLOCKS = frozenset(
    [
        "p",
        "div",
        "br",
        "li",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "tr",
        "td",
        "th",
        "table",
        "hr",
        "section",
    ]
)
_SILENT = frozenset(("script", "style", "noscript", "template"))
_KINDS = (
    (CaptionKind.ALT, "alt"),
    (CaptionKind.TITLE, "title"),
    (CaptionKind.ARIA_LABEL, "aria-label"),
)
_MAX_FIGURE_DEPTH = 12

Attributes = Mapping[str, str | None]


def read_page(body: bytes, max_links: int) -> Page:
    """A page from its HTML in UTF-8. Any bytes give a page; never raises for what they hold.

    An `img` inside `template` is no image; `noscript` copies of images that are on the page
    anyway are left out.
    """
    tree = LexborHTMLParser(body)
    page = Page()
    nodes = tree.css("html, base, meta, source, img")
    fallbacks = (
        {node.mem_id for node in tree.css("noscript img")} if b"noscript" in body else frozenset()
    )
    has_figures = b"figcaption" in body or b"FIGCAPTION" in body
    _Reader(page, max_links, fallbacks, has_figures).read(nodes)
    return page


class _Reader:
    """One pass over the nodes that matter, in document order."""

    def __init__(self, page: Page, max_links: int, fallbacks: Set[int], has_figures: bool) -> None:
        self.page = page
        self.max_links = max_links
        self.fallbacks = fallbacks
        self.has_figures = has_figures
        self.pictures: dict[int, list[Source]] = {}
        self.figures: dict[int, str] = {}
        self.seen: set[str] = set()
        self.held_back: list[tuple[int, set[str], Link]] = []

    def read(self, nodes: list[Any]) -> None:
        ordered: list[tuple[int, Link]] = []
        for order, node in enumerate(nodes):
            tag = node.tag
            if tag == "img":
                if len(ordered) >= self.max_links:
                    self.page.links_over_cap += 1
                    continue
                link, urls = self._link(node)
                if node.mem_id in self.fallbacks:
                    self.held_back.append((order, urls, link))
                else:
                    self.seen |= urls
                    ordered.append((order, link))
            else:
                self._other(tag, node)
        again = [(at, link) for at, urls, link in self.held_back if not urls & self.seen]
        self.page.links_over_cap += max(0, len(ordered) + len(again) - self.max_links)
        both = sorted(ordered + again[: self.max_links - len(ordered)], key=lambda item: item[0])
        self.page.links = [link for _, link in both]

    def _other(self, tag: str, node: LexborNode) -> None:
        page, attributes = self.page, node.attributes
        if tag == "source":
            parent = node.parent
            value = _first(attributes, LAZY_SRCSET) or attributes.get("srcset")
            if value and parent is not None and parent.tag == "picture":
                self.pictures.setdefault(parent.mem_id, []).extend(srcset.parse(value))
        elif tag == "meta":
            name = attributes.get("name") or attributes.get("http-equiv")
            content = attributes.get("content")
            if name and content:
                page.metas.append((name, content))
        elif tag == "base":
            if page.base_href is None:
                page.base_href = attributes.get("href")
        elif tag == "html" and page.lang is None:
            page.lang = attributes.get("lang") or attributes.get("xml:lang")

    def _link(self, node: LexborNode) -> tuple[Link, set[str]]:
        attributes = node.attributes
        sources = _sources(attributes)
        if self.pictures:
            parent = node.parent
            if parent is not None and parent.tag == "picture":
                sources += self.pictures.get(parent.mem_id, ())
        captions = [
            (kind, text) for kind, name in _KINDS if (text := attributes.get(name)) is not None
        ]
        if self.has_figures and (text := self._figure_text(node)):
            captions.append((CaptionKind.FIGCAPTION, text))
        return Link(_best(sources), captions), {source.url for source in sources}

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


def _first(attributes: Attributes, names: tuple[str, ...] | list[str]) -> str | None:
    """The first of the attributes that holds something like a URL (not JSON, not a template)."""
    if len(attributes) < 2:
        return None
    for name in names:
        value = attributes.get(name)
        if value and ("/" in value or "." in value) and "{" not in value and value[0] not in "[<":
            return value
    return None


def _best(sources: list[Source]) -> str:
    """The largest picture on offer; a `data:` URL only when there is nothing else; "" for none."""
    real = [source for source in sources if source.url[:5].lower() != "data:"]
    chosen = max(real or sources, key=lambda source: source.size, default=None)
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
