"""What keeps an image out of a data set: directives of robots metas and X-Robots-Tag headers.

One rule for pages (`extract`) and for the images' own responses (`fetch`).
Sources: `noindex`, `noimageindex`, `none` and the header's agent-specific form: Google Search
Central, "Robots meta tag, data-nosnippet, and X-Robots-Tag specifications"; `noai`, `noimageai`:
DeviantArt's directives of 2022, honoured by dataset downloaders; `tdm-reservation`: W3C TDM
Reservation Protocol, sections 5 and 6.
"""

import re
from collections.abc import Collection, Iterable

# The most specific first: of several, the first one is stored.
DIRECTIVES = ("noimageai", "noai", "noimageindex", "noindex", "none")

# Whose directives are taken as meant for us: everybody's, our own, and those for collectors of
# training data. A directive for one search engine (googlebot, bingbot) says nothing to us.
AGENTS = frozenset(
    [
        "*",
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
_NAME = re.compile(r"[a-z_*][a-z0-9_.*-]*")
# Directives that hold a colon themselves: what stands before it is no agent.
_VALUED = frozenset(("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"))


def strongest(words: Collection[str]) -> str | None:
    """The first of DIRECTIVES among lower-case words; None when there is none."""
    return next((directive for directive in DIRECTIVES if directive in words), None)


def meta_words(content: str) -> set[str]:
    """The lower-case words of a robots meta's content."""
    return set(_SPLIT.split(content.lower()))


def header_words(values: Iterable[str], agent: str = "") -> set[str]:
    """The lower-case words of X-Robots-Tag headers that are meant for AGENTS or for `agent`.

    values: one per header. `name: a, b` binds what follows in that header, up to the next name.
    """
    ours = AGENTS | {agent.lower()}
    found: set[str] = set()
    for value in values:
        is_ours = True
        for item in value.lower().split(","):
            name, colon, rest = item.partition(":")
            if colon and name.strip() in _VALUED:
                continue
            # Not every colon follows a name: "unavailable_after: Tue, 25 Jun 2030 15:00:00 GMT".
            if colon and _NAME.fullmatch(name.strip()):
                is_ours = name.strip() in ours
                item = rest
            if is_ours:
                found.update(_SPLIT.split(item.strip()))
    return found


def is_reserved(value: str) -> bool:
    """True when the value of a `tdm-reservation` header or meta reserves the rights."""
    return value.strip() == "1"
