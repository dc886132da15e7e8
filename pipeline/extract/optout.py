"""What a page says about the use of its images: robots directives and TDM reservation."""

import re
from typing import NamedTuple

from pipeline.core.optout import (
    AGENTS,
    DIRECTIVES,
    header_words,
    is_reserved,
    meta_words,
    strongest,
)

# A statement is kept up to this length; real ones have some dozens of characters.
_MAX_CHARS = 500
_SPACES = re.compile(r"\s+")


class Statements(NamedTuple):
    """The columns of PAIRS that say what a page states, None where it states nothing.

    optout: what of it keeps its images out, as "source:value". robots_meta, robots_tag, tdm: all
    of it, for whomever it is meant.
    """

    optout: str | None = None
    robots_meta: str | None = None
    robots_tag: str | None = None
    tdm: str | None = None


class Named(NamedTuple):
    """Values by where they stood. metas: (agent, content) of robots metas. tags: X-Robots-Tag
    headers. meta_tdm, header_tdm: tdm-reservation; meta_policy, header_policy: tdm-policy."""

    metas: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    meta_tdm: tuple[str, ...] = ()
    header_tdm: tuple[str, ...] = ()
    meta_policy: tuple[str, ...] = ()
    header_policy: tuple[str, ...] = ()


def statements(named: Named) -> Statements:
    """What a page states. Agents in `named` are in lower case."""
    metas = "; ".join(f"{agent}: {_clean(content)}" for agent, content in named.metas)
    tags = "; ".join(map(_clean, named.tags))
    return Statements(_optout(named), _cut(metas), _cut(tags), _cut(_tdm(named)))


def _optout(named: Named) -> str | None:
    """The page's opt-out as "source:value", or None.

    Sources: "meta", "x-robots-tag", "tdm-header", "tdm-meta". The order of DIRECTIVES decides, then
    a meta goes before a header; TDM reservation comes last.
    """
    by_meta: set[str] = set()
    for agent, content in named.metas:
        if agent in AGENTS:
            by_meta |= meta_words(content)
    in_meta, in_header = strongest(by_meta), strongest(header_words(named.tags))
    found = min(filter(None, (in_meta, in_header)), key=DIRECTIVES.index, default=None)
    if found is not None:
        return f"meta:{found}" if found == in_meta else f"x-robots-tag:{found}"
    if any(map(is_reserved, named.header_tdm)):
        return "tdm-header:1"
    return "tdm-meta:1" if any(map(is_reserved, named.meta_tdm)) else None


def _tdm(named: Named) -> str:
    found = []
    for source, values, policies in (
        ("header", named.header_tdm, named.header_policy),
        ("meta", named.meta_tdm, named.meta_policy),
    ):
        if values:
            policy = f" policy:{_clean(policies[0])}" if policies else ""
            found.append(f"{source}:{_clean(values[0])}{policy}")
    return "; ".join(found)


def _clean(text: str) -> str:
    return _SPACES.sub(" ", text).strip().lower() if "://" not in text else text.strip()


def _cut(text: str) -> str | None:
    return text[:_MAX_CHARS] or None
