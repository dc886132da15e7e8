"""What a page says against use of its images: robots directives and TDM reservation."""

import re
from collections.abc import Iterable

# Directives that keep an image out, the most specific first: the first one found is stored.
# Source: `noai` and `noimageai`: DeviantArt's directives of 2022, honoured by dataset downloaders;
# `noindex`, `noimageindex`, `none`: Google Search Central, "Robots meta tag specifications".
DIRECTIVES = ("noimageai", "noai", "noimageindex", "noindex", "none")

# Whose directives are taken as meant for us: everybody's, our own, and those for collectors of
# training data. A directive for one search engine (googlebot, bingbot) says nothing to us.
AGENTS = frozenset(
    [
        "robots",
        "pairmill",
        "ccbot",
        "img2dataset",
        "gptbot",
        "google-extended",
        "anthropic-ai",
        "claudebot",
        "applebot-extended",
        "bytespider",
        "meta-externalagent",
    ]
)

_SPLIT = re.compile(r"[,;\s]+")
# Directives that hold a colon themselves: what stands before it is no agent.
_VALUED = frozenset(("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"))


def page_optout(headers: Iterable[tuple[str, str]], metas: Iterable[tuple[str, str]]) -> str | None:
    """The page's opt-out as "source:value", or None.

    headers: response headers, metas: (name, content) of `meta` elements; names in any case.
    Sources: "meta", "x-robots-tag", "tdm-header", "tdm-meta". A meta goes before a header, the
    order of DIRECTIVES before both, and TDM reservation comes last.
    Source of `tdm-reservation`: W3C TDM Reservation Protocol, sections 5 and 6 ("1" reserves).
    """
    by_meta: set[str] = set()
    by_header: set[str] = set()
    reserved: str | None = None
    for name, content in metas:
        name = name.strip().lower()
        if name in AGENTS:
            by_meta.update(_SPLIT.split(content.lower()))
        elif name == "tdm-reservation" and content.strip() == "1":
            reserved = reserved or "tdm-meta:1"
    for name, value in headers:
        name = name.lower()
        if name == "x-robots-tag":
            by_header |= _header_directives(value.lower())
        elif name == "tdm-reservation" and value.strip() == "1":
            reserved = "tdm-header:1"
    if by_meta or by_header:
        for directive in DIRECTIVES:
            if directive in by_meta:
                return f"meta:{directive}"
            if directive in by_header:
                return f"x-robots-tag:{directive}"
    return reserved


def _header_directives(value: str) -> set[str]:
    """Directives of an X-Robots-Tag value that are meant for us.

    `agent: a, b` binds what follows, up to the next agent, to that agent.
    """
    found: set[str] = set()
    is_ours = True
    for item in value.split(","):
        agent, colon, rest = item.partition(":")
        if colon and agent.strip() not in _VALUED:
            is_ours = agent.strip() in AGENTS
            item = rest
        if is_ours:
            found.update(_SPLIT.split(item.strip()))
    return found
