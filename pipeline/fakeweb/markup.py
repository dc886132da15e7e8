"""How a page writes a link down: the many spellings of one URL and of one caption."""

import html
import json
import re
import unicodedata
import zlib
from urllib.parse import unquote

import numpy as np

from pipeline.fakeweb.hostile import Kind
from pipeline.fakeweb.model import Form, Image, Link, Page, Place

BLANK = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
_TRACKERS = ("utm_source=feed", "utm_source=newsletter&utm_medium=email", "utm_campaign=spring")
_LAZY_ATTRIBUTES = ("data-src", "data-original", "data-lazy-src")


def base_url(page: Page, schemes: dict[str, str]) -> str:
    """What the page's relative URLs are relative to. schemes: host name -> scheme."""
    return f"{schemes[page.base]}://{page.base}/assets/" if page.base else page.url


def write_url(rng: np.random.Generator, image: Image, base: str) -> str:
    """The image's URL as a page might give it: relative to `base`, or absolute, with noise."""
    scheme, _, rest = base.partition("://")
    base_host, _, base_path = rest.partition("/")
    draw = rng.random()
    if (image.scheme, image.host) == (scheme, base_host) and draw < 0.75:
        return image.target if draw < 0.45 else "../" * base_path.count("/") + image.target[1:]
    if image.scheme == scheme and draw < 0.15:
        return f"//{image.host}{image.target}"
    if draw > 0.8:
        return _noisy_url(rng, image)
    return image.url


def _noisy_url(rng: np.random.Generator, image: Image) -> str:
    """Another spelling of the same canonical URL."""
    scheme, host, target = image.scheme, image.host, image.target
    if image.kind is Kind.MAPPED_LITERAL:
        return f"{scheme}://{host.upper()}{target}"
    noise = int(rng.integers(7))
    if noise == 0:
        return f"{image.url}#photo-{image.index}"
    if noise == 1 and ":" not in host:
        return f"{scheme}://{host}:{443 if scheme == 'https' else 80}{target}"
    if noise == 2:
        return f"{scheme.upper()}://{host.upper()}{target}"
    if noise == 3:
        tracker = _TRACKERS[int(rng.integers(len(_TRACKERS)))]
        return f"{image.url}{'&' if '?' in target else '?'}{tracker}"
    if noise == 4:
        return f"{scheme}://{host}/archive/..{target.replace('/', '/./', 1)}"
    if noise == 5:
        return f"  {image.url}\n"
    return f"{scheme}://{host}{unquote(target)}"


def write_text(rng: np.random.Generator, caption: str) -> str:
    """The caption with white space that normalisation takes away."""
    draw = rng.random()
    if draw < 0.06:
        return f"  {caption} "
    if draw < 0.10:
        return caption.replace(" ", "\n      ", 1)
    if draw < 0.14:
        return caption.replace(" ", "  ", 2)
    if draw < 0.17:
        return caption.replace(" ", "\u00a0", 1)
    return caption


def _attribute(rng: np.random.Generator, text: str) -> str:
    """Text as the value of an HTML attribute or as element text, with entities."""
    if rng.random() < 0.02:
        text = unicodedata.normalize("NFD", text)  # as one system's file dialogs give Hangul
    escaped = html.escape(text)
    if text and rng.random() < 0.08:
        first = re.search(r"\w", text)
        if first and text.isascii() and escaped == text:
            at = first.start()
            return f"{text[:at]}&#{ord(text[at])};{text[at + 1 :]}"
    return escaped.replace("\u00a0", "&nbsp;")


def write_link(
    rng: np.random.Generator, link: Link, images: tuple[Image, ...], base: str
) -> str:  # fmt: skip
    """One link as HTML."""
    address = write_url(rng, images[link.image], base)
    url = html.escape(address)
    text = _attribute(rng, write_text(rng, link.caption))
    if link.place is Place.META_ALT:
        return (
            f'<meta property="og:image" content="{url}">\n'
            f'<meta property="og:image:alt" content="{text}">'
        )
    if link.place is Place.JSON_LD:
        return _json_ld(address, link.caption)
    named = _named(rng, link, text)
    if link.form is Form.SRC:
        markup = f'<img src="{url}"{named}>'
    elif link.form is Form.SRCSET:
        markup = f'<img srcset="{url.strip()} 1x"{named}>'
    elif link.form is Form.SRCSET_SIZES:
        small = html.escape(images[link.small].url)
        markup = (
            f'<img srcset="{small} 320w, {url.strip()} 640w" sizes="(max-width: 640px) 50vw, 100vw"'
            f"{named}>"
        )
    elif link.form is Form.LAZY:
        lazy = _LAZY_ATTRIBUTES[int(rng.integers(len(_LAZY_ATTRIBUTES)))]
        markup = f'<img class="lazyload" src="{BLANK}" {lazy}="{url}"{named}>'
    elif link.form is Form.PICTURE:
        markup = (
            f'<picture><source srcset="{url.strip()} 2x" media="(min-width: 800px)">'
            f'<img src="{url}"{named}></picture>'
        )
    elif link.form is Form.PICTURE_SOURCE:
        markup = (
            f'<picture><source srcset="{url.strip()}">'
            f'<img src="{BLANK}"{named}></picture>'
        )  # fmt: skip
    else:
        markup = (
            f'<img class="lazy" src="{BLANK}" data-src="{url}"{named}>'
            f'<noscript><img src="{url}"{named}></noscript>'
        )
    if link.place is Place.FIGCAPTION:
        return f"<figure>{markup}<figcaption>{text}</figcaption></figure>"
    if link.place is Place.LINK_TEXT:
        return f'<a href="/picture/{link.image}">{markup} <span>{text}</span></a>'
    if link.place is Place.LABELLED_BY:
        return f'{markup}<p id="{_label(link)}">{text}</p>'
    return markup


def _label(link: Link) -> str:
    """An id that no other caption of the page has."""
    return f"label-{link.image}-{zlib.crc32(link.caption.encode()):x}"


def _json_ld(address: str, caption: str) -> str:
    image = {"@type": "ImageObject", "contentUrl": address, "caption": caption}
    data = {"@context": "https://schema.org", "@graph": [image]}
    text = json.dumps(data).replace("<", "\\u003c")
    return f'<script type="application/ld+json">{text}</script>'


def _named(rng: np.random.Generator, link: Link, text: str) -> str:
    """The attributes that carry the caption, with a blank before."""
    if not link.caption:
        return ("", ' alt=""', ' alt=" "')[int(rng.integers(3))]
    if link.place is Place.LABELLED_BY:
        return f' aria-labelledby="{_label(link)}"'
    if link.place in (Place.FIGCAPTION, Place.LINK_TEXT):
        return ""
    name = {Place.ALT: "alt", Place.TITLE: "title", Place.ARIA_LABEL: "aria-label"}[link.place]
    # Text is escaped for either kind of quote.
    quote = "'" if rng.random() < 0.1 else '"'
    return f" {name}={quote}{text}{quote}"
