"""Opt-outs that a response states: X-Robots-Tag and TDM reservation.

Sources: Google Search Central, "X-Robots-Tag" (syntax, agent-specific form, noindex, noimageindex,
none); DeviantArt, "noai and noimageai directives" (2022); TDM Reservation Protocol, W3C Community
Group (tdm-reservation: 1).
"""

from collections.abc import Iterable, Mapping

# Values that keep a picture out of a data set. `none` means noindex and nofollow.
REFUSING = ("noai", "noimageai", "noindex", "noimageindex", "none")
# Directives that have a value after a colon, and so are no agent's name.
_WITH_VALUE = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
)


def robots_tag(values: Iterable[str], agent: str) -> str | None:
    """The first refusing directive that applies to `agent`, in lower case; None when there is none.

    values: the header's values, one per occurrence. An agent's name in front ("bot: noindex")
    holds for the rest of that value.
    """
    wanted = agent.lower()
    for value in values:
        applies = True
        for item in value.lower().split(","):
            name, colon, rest = item.strip().partition(":")
            directive = name.strip()
            if colon and directive not in _WITH_VALUE:
                applies = directive in (wanted, "*")
                directive = rest.strip()
            if applies and directive in REFUSING:
                return directive
    return None


def response_optout(headers: Mapping[str, str], agent: str) -> str | None:
    """The opt-out a response states, e.g. 'header:x-robots-tag:noai'; None when it states none.

    headers: a case-insensitive multi-mapping (with `getall`) or a plain mapping.
    """
    getall = getattr(headers, "getall", None)
    if getall is not None:
        tags = getall("X-Robots-Tag", [])
    else:
        tags = [v for k, v in headers.items() if k.lower() == "x-robots-tag"]
    directive = robots_tag(tags, agent)
    if directive:
        return f"header:x-robots-tag:{directive}"
    reservation = next((v for k, v in headers.items() if k.lower() == "tdm-reservation"), "")
    return "header:tdm-reservation:1" if reservation.strip() == "1" else None
