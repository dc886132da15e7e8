"""Query parameters that say how a visitor came, never which picture is meant.

Only names that a vendor documents and that hardly mean anything else: a picture whose own
parameter is dropped would be lost in another. Compared without regard to case, after
percent-decoding.

Source: each vendor's documentation of its campaign parameters or click identifier, as named below,
and the references in https://github.com/mpchadwick/tracking-query-params-registry.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt

# Matomo, once Piwik. Not by the prefix `pk_`, which primary keys have too.
# Source: https://matomo.org/faq/reports/advanced-how-to-manually-build-campaign-tracking-urls/ and
# the older names its tracker still reads.
_MATOMO = [
    f"{prefix}_{name}"
    for prefix in ("mtm", "matomo", "pk", "piwik")
    for name in ("campaign", "cpn", "kwd", "keyword", "source", "medium", "content", "cid")
] + [f"{prefix}_{name}" for prefix in ("mtm", "matomo") for name in ("group", "placement")]

TRACKING = frozenset(
    [
        *("gclid", "gclsrc", "dclid", "wbraid", "gbraid", "gad_source", "gad_campaignid"),  # Google
        *("srsltid", "_ga", "_gl"),  # Google Merchant Center, Analytics across domains
        *("fbclid", "igshid"),  # Meta
        "msclkid",  # Microsoft
        "twclid",  # X
        "ttclid",  # TikTok
        "li_fat_id",  # LinkedIn
        "epik",  # Pinterest
        "rdt_cid",  # Reddit
        "sccid",  # Snapchat
        *("yclid", "ysclid", "_openstat"),  # Yandex
        *("mc_cid", "mc_eid"),  # Mailchimp
        *("_hsenc", "_hsmi", "__hstc", "__hssc", "__hsfp", "hsctatracking"),  # HubSpot
        "mkt_tok",  # Marketo
        *("s_cid", "s_kwcid"),  # Adobe
        "_kx",  # Klaviyo
        "_branch_match_id",  # Branch
        "irclickid",  # impact.com
        *("vero_id", "vero_conv"),  # Vero
        *("oly_anon_id", "oly_enc_id"),  # Olytics
        *_MATOMO,
    ]
)
# utm_: Google Analytics and all that copy it; hsa_: HubSpot ads.
TRACKING_PREFIXES = ("utm_", "hsa_")

MAX_NAME_BYTES = 32


# What a path and query must match to be changed by `without_tracking`; some match that are not. For
# RE2 as well.
MAYBE_TRACKING = (
    r"(?i)\?&*$|[?&](?:[^=&]*%|"
    + "|".join(re.escape(name) for name in sorted({*TRACKING, *TRACKING_PREFIXES}))
    + ")"
)


def without_tracking(url: str) -> str:
    """A URL without the tracking parameters of its query; a query of which nothing is left goes
    with its mark. url: has no fragment."""
    path, mark, query = url.partition("?")
    if not mark:
        return url
    kept = [p for p in query.split("&") if not _is_tracking(p.partition("=")[0])]
    return f"{path}?{'&'.join(kept)}" if any(kept) else path


def _is_tracking(name: str) -> bool:
    name = unquote_to_bytes(name).lower().decode("latin-1")
    return name in TRACKING or name.startswith(TRACKING_PREFIXES)


class Names(NamedTuple):
    """The same lists for a kernel, sorted by first byte.

    text: uint8 [names, MAX_NAME_BYTES], lower case. sizes: int32 [names]. is_prefix: bool
    [names]. starts: int32 [257]; names that begin with byte b are starts[b] to starts[b + 1].
    """

    text: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int32]
    is_prefix: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int32]


def kernel_names() -> Names:
    """TRACKING and TRACKING_PREFIXES as arrays. Raises ValueError for a name that does not fit."""
    names = sorted({*TRACKING, *TRACKING_PREFIXES})
    text = np.zeros((len(names), MAX_NAME_BYTES), np.uint8)
    for row, name in enumerate(names):
        if not 0 < len(name) < MAX_NAME_BYTES or not name.isascii() or name != name.lower():
            raise ValueError(f"no name of a tracking parameter: {name!r}")
        text[row, : len(name)] = np.frombuffer(name.encode(), np.uint8)
    return Names(
        text,
        np.array([len(name) for name in names], np.int32),
        np.array([name in TRACKING_PREFIXES for name in names], np.bool_),
        np.searchsorted(text[:, 0], np.arange(257)).astype(np.int32),
    )
