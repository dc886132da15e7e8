"""What a page says against use of its images: robots directives and TDM reservation."""

from collections.abc import Iterable

from pipeline.core.optout import (
    AGENTS,
    DIRECTIVES,
    header_words,
    is_reserved,
    meta_words,
    strongest,
)


def page_optout(headers: Iterable[tuple[str, str]], metas: Iterable[tuple[str, str]]) -> str | None:
    """The page's opt-out as "source:value", or None.

    headers: response headers, metas: (name, content) of `meta` elements; names in any case.
    Sources: "meta", "x-robots-tag", "tdm-header", "tdm-meta". The order of DIRECTIVES decides, then
    a meta goes before a header; TDM reservation comes last.
    """
    by_meta: set[str] = set()
    tags: list[str] = []
    reserved: str | None = None
    for name, content in metas:
        name = name.strip().lower()
        if name in AGENTS:
            by_meta |= meta_words(content)
        elif name == "tdm-reservation" and is_reserved(content):
            reserved = reserved or "tdm-meta:1"
    for name, value in headers:
        name = name.lower()
        if name == "x-robots-tag":
            tags.append(value)
        elif name == "tdm-reservation" and is_reserved(value):
            reserved = "tdm-header:1"
    in_meta, in_header = strongest(by_meta), strongest(header_words(tags))
    found = min(filter(None, (in_meta, in_header)), key=DIRECTIVES.index, default=None)
    if found is None:
        return reserved
    return f"meta:{found}" if found == in_meta else f"x-robots-tag:{found}"
