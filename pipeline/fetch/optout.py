"""Opt-outs that an image's own response states: X-Robots-Tag and TDM reservation."""

from collections.abc import Mapping

from pipeline.core.optout import header_words, is_reserved, strongest


def response_optout(headers: Mapping[str, str], agent: str) -> str | None:
    """The opt-out a response states, e.g. 'header:x-robots-tag:noai'; None when it states none.

    headers: a case-insensitive multi-mapping or a plain mapping. agent: our product token.
    """
    tags = [value for name, value in headers.items() if name.lower() == "x-robots-tag"]
    directive = strongest(header_words(tags, agent))
    if directive:
        return f"header:x-robots-tag:{directive}"
    reservations = (v for name, v in headers.items() if name.lower() == "tdm-reservation")
    return "header:tdm-reservation:1" if any(map(is_reserved, reservations)) else None
