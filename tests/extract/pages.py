"""Pages as the kernels read them, for tests."""

from pipeline.core.reasons import CaptionKind
from pipeline.extract.findings import Findings, collect, read_pages
from pipeline.extract.found import Found
from pipeline.extract.page import Page

URL = "https://page.example/a/b.html"
KINDS = list(CaptionKind)


def read_html(*bodies: str | bytes, max_links: int = 10_000) -> Findings:
    """What pages of this HTML hold."""
    pages = [
        Page(URL, 0, False, body.encode() if isinstance(body, str) else body) for body in bodies
    ]
    found = Found()
    read_pages(pages, max_links, found)
    return collect(max_links, found)


def links(found: Findings, page: int = 0) -> list[tuple[str, dict[CaptionKind, str]]]:
    """(source, caption by kind) of every link of a page, in document order."""
    rows = [i for i, of in enumerate(found.link_pages.tolist()) if of == page]
    captions: dict[int, dict[CaptionKind, str]] = {row: {} for row in rows}
    texts = found.captions.to_pylist()
    for link, kind, text in zip(found.caption_links, found.caption_kinds, texts, strict=True):
        if int(link) in captions:
            captions[int(link)].setdefault(KINDS[kind], text)
    rows.sort(key=lambda row: found.link_positions[row])
    return [(found.sources[row].as_py(), captions[row]) for row in rows]
