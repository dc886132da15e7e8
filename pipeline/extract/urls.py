"""Image URLs: resolved against the page, judged, and brought to one canonical form.

The canonical form is the WHATWG serialisation (lower-case host, IDNA, default port and dot segments
removed, percent-encoding), without the fragment and without the query parameters in TRACKING.
"""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_plus

import ada_url
import tldextract

from pipeline.core.ids import image_id
from pipeline.core.reasons import LinkReason

# Servers refuse longer ones; 8,000 octets is what they should take at least.
# Source: RFC 9110, section 4.1.
MAX_URL_CHARS = 8_000

# Parameters that say how a visitor came, never which picture is meant.
# Source: each vendor's documentation of its click identifier: Google (utm_*, gclid, gclsrc, dclid,
# wbraid, gbraid, _ga, _gl), Meta (fbclid, igshid), Microsoft (msclkid), X (twclid), TikTok
# (ttclid), LinkedIn (li_fat_id), Yandex (yclid, _openstat), Mailchimp (mc_cid, mc_eid), HubSpot
# (_hsenc, _hsmi), Marketo (mkt_tok), Adobe (s_cid), Matomo (mtm_*, pk_*), Vero (vero_id),
# Olytics (oly_*).
TRACKING = frozenset(
    [
        "gclid",
        "gclsrc",
        "dclid",
        "wbraid",
        "gbraid",
        "_ga",
        "_gl",
        "fbclid",
        "igshid",
        "msclkid",
        "twclid",
        "ttclid",
        "li_fat_id",
        "yclid",
        "_openstat",
        "mc_cid",
        "mc_eid",
        "_hsenc",
        "_hsmi",
        "mkt_tok",
        "s_cid",
        "vero_id",
        "oly_anon_id",
        "oly_enc_id",
    ]
)
TRACKING_PREFIXES = ("utm_", "mtm_", "pk_")

_SCHEME = re.compile(r"[\x00-\x20]*([a-zA-Z][a-zA-Z0-9+.\-]*):")
_IPV4 = re.compile(r"[0-9]+(\.[0-9]+){3}")
# The list inside the package: no network, no cache on disk.
_suffixes = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


class ImageUrl(NamedTuple):
    """An image's address. url: absolute, as given. canonical_url: what image_id is made of."""

    url: str
    canonical_url: str
    domain: str
    image_id: bytes


def resolve(raw: str, base: str) -> ImageUrl | LinkReason:
    """The image a page means by `raw`, or why it means none.

    base: the page's base URL (see `base_url`). Resolved first and judged after, so that relative
    URLs are not lost.
    """
    scheme = _SCHEME.match(raw, 0, 64)
    if scheme and scheme[1].lower() == "data":
        return LinkReason.DATA_URL
    if len(raw) > MAX_URL_CHARS or not raw or raw.isspace():
        return LinkReason.BAD_URL
    try:
        url = ada_url.join_url(base, raw)
    except (ValueError, UnicodeError):
        return LinkReason.BAD_URL
    if not url.startswith(("http://", "https://")):
        return LinkReason.NOT_HTTP
    if len(url) > MAX_URL_CHARS:
        return LinkReason.BAD_URL
    canonical = canonical_url(url)
    return ImageUrl(url, canonical, registrable_domain(host_of(url)), image_id(canonical))


def canonical_url(url: str) -> str:
    """The canonical form of a URL that is already in WHATWG serialisation."""
    url = url.partition("#")[0]
    path, mark, query = url.partition("?")
    if not mark:
        return url
    kept = [p for p in query.split("&") if not _is_tracking(p.partition("=")[0])]
    return f"{path}?{'&'.join(kept)}" if any(kept) else path


def _is_tracking(name: str) -> bool:
    if "%" in name:
        name = unquote_plus(name)
    name = name.lower()
    return name in TRACKING or name.startswith(TRACKING_PREFIXES)


def base_url(page_url: str, base_href: str | None) -> str:
    """What the relative URLs of a page are resolved against: its `base` element, or its own URL.

    A base that is no http(s) URL is ignored. Source: WHATWG HTML, section 4.2.3.
    """
    if base_href and len(base_href) <= MAX_URL_CHARS:
        try:
            base = ada_url.join_url(page_url, base_href)
        except (ValueError, UnicodeError):
            return page_url
        if base.startswith(("http://", "https://")):
            return str(base)
    return page_url


def page_url(raw: str | None) -> str | None:
    """A page's own URL in WHATWG form; None when it is not http(s)."""
    if not raw:
        return None
    try:
        url = ada_url.normalize_url(raw.strip("<> "))
    except (ValueError, UnicodeError):
        return None
    return str(url) if url.startswith(("http://", "https://")) else None


def host_of(url: str) -> str:
    """The host of an http(s) URL in WHATWG serialisation, without port and credentials."""
    start = url.index("://") + 3
    authority = re.split(r"[/?#]", url[start:], maxsplit=1)[0].rpartition("@")[2]
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]


@lru_cache(maxsize=65_536)
def registrable_domain(host: str) -> str:
    """The domain that was registered to get this host: `img.example.co.kr` -> `example.co.kr`.

    By the ICANN part of the public suffix list; a top-level domain it does not know counts as a
    suffix. An address or a single label is its own domain.
    """
    host = host.rstrip(".").lower()
    if host.startswith("[") or _IPV4.fullmatch(host):
        return host
    found = _suffixes(host)
    if found.domain and found.suffix:
        return f"{found.domain}.{found.suffix}"
    if found.suffix and not found.domain:
        return host
    return ".".join(host.split(".")[-2:])
