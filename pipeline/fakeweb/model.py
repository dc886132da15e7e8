"""What the embedded web consists of: hosts, images, pages, links."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pipeline.core.reasons import Status
from pipeline.fakeweb.hostile import Kind

Lang = Literal["en", "ko"]


class Robots(StrEnum):
    """What a host's robots.txt says."""

    ABSENT = "absent"  # 404: everything is allowed
    OPEN = "open"
    REFUSED = "refused"  # 403, which allows everything. Source: RFC 9309 section 2.3.1.3
    PATH = "path"  # /private/ is disallowed, but for /private/press/
    PATH_MOVED = "path_moved"  # the same, behind a redirect
    PATH_LONG = "path_long"  # the same, and a megabyte of comments
    PATH_SLOW = "path_slow"  # the same, after a second
    ALL = "all"
    ERROR = "error"  # 503: nothing may be fetched. Source: RFC 9309 section 2.3.1.4
    SILENT = "silent"  # no answer, which is no better
    CLOSING = "closing"  # 404, and the connection is closed: the next one needs the name again


class Variant(StrEnum):
    """How an image was made from its picture."""

    ORIGINAL = "original"
    RESIZE = "resize"
    RECOMPRESS = "recompress"
    CROP = "crop"
    WATERMARK = "watermark"
    MIRROR = "mirror"
    COPY = "copy"  # the same bytes under another URL


class Encoding(StrEnum):
    """How an image's file is written."""

    JPEG = "jpeg"
    JPEG_CMYK = "jpeg_cmyk"
    JPEG_ROTATED = "jpeg_rotated"  # stored on its side, with an EXIF orientation
    PNG = "png"
    PNG_16 = "png_16"  # 16 bits per channel
    PNG_PALETTE = "png_palette"  # palette with a transparent corner
    WEBP = "webp"
    GIF = "gif"  # animated


class OptOut(StrEnum):
    """By what means an image is withheld from training."""

    NONE = ""
    PAGE = "page"  # its page says so, in a meta element or a header
    IMAGE_HEADER = "image_header"  # the image's own response says so
    ROBOTS_PATH = "robots_path"
    ROBOTS_HOST = "robots_host"
    ROBOTS_ERROR = "robots_error"  # robots.txt cannot be had, which forbids as well

    @property
    def is_known_before(self) -> bool:
        """True when the image must never be asked for."""
        return self not in (OptOut.NONE, OptOut.IMAGE_HEADER)


class Label(StrEnum):
    """What a caption is worth, known because it was made that way."""

    RIGHT = "right"
    WRONG = "wrong"  # describes another picture
    BOILERPLATE = "boilerplate"  # the same on very many images
    FILENAME = "filename"
    SHORT = "short"
    MISSING = "missing"  # no caption at all, or an empty one: no pair


class Form(StrEnum):
    """In which markup a link stands. WAT archives can express only SRC."""

    SRC = "src"
    SRCSET = "srcset"  # srcset alone, one candidate
    SRCSET_SIZES = "srcset_sizes"  # a small and a large candidate
    LAZY = "lazy"  # data-src, with a data: URL as src
    PICTURE = "picture"  # <picture> with the image as its <img>
    PICTURE_SOURCE = "picture_source"  # only the <source> names the image
    NOSCRIPT = "noscript"  # lazy, with a plain <img> in <noscript>


class Place(StrEnum):
    """Where the caption stands."""

    ALT = "alt"
    TITLE = "title"
    FIGCAPTION = "figcaption"
    ARIA_LABEL = "aria_label"
    LABELLED_BY = "labelled_by"  # in another element, named by aria-labelledby
    LINK_TEXT = "link_text"  # in the link around the image
    META_ALT = "meta_alt"  # og:image:alt, the image is og:image alone
    JSON_LD = "json_ld"  # of an ImageObject, and nowhere else


class Certificate(StrEnum):
    """What a host shows when TLS begins."""

    GOOD = "good"
    OTHER_NAME = "other_name"
    EXPIRED = "expired"
    UNKNOWN = "unknown"  # by an authority that no client knows


@dataclass(frozen=True, slots=True)
class Host:
    """scheme: of the URLs to it. address: None when the name does not resolve; several with a
    blank between. later: what the name resolves to from the second question on; None: the same."""

    name: str
    domain: str
    scheme: str
    robots: Robots = Robots.ABSENT
    address: str | None = "127.0.0.1"
    certificate: Certificate = Certificate.GOOD
    later: str | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """A registrable domain: its `www` host first, then those of its images."""

    name: str
    lang: Lang
    hosts: tuple[Host, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """An image URL and everything true of it.

    target: path and query in canonical form. picture: number of the scene it shows, or, when it
    has no body to show, that its right captions describe. quality: of the encoder, 1 to 100.
    source: index of the image a redirect leads to or a copy is of, -1 for none.
    optout_header: header of its response that withholds it, from us or from others, "" for none.
    or_else: a status that is as right as the expected one.
    """

    index: int
    host: str
    scheme: str
    target: str
    picture: int
    width: int
    height: int
    kind: Kind = Kind.SOUND
    variant: Variant = Variant.ORIGINAL
    encoding: Encoding = Encoding.JPEG
    quality: int = 85
    source: int = -1
    optout: OptOut = OptOut.NONE
    optout_header: str = ""
    expected: Status = Status.OK
    or_else: Status | None = None

    @property
    def url(self) -> str:
        """Canonical URL."""
        return f"{self.scheme}://{self.host}{self.target}"


@dataclass(frozen=True, slots=True)
class Link:
    """An image on a page. caption: normalised; "" when missing. small: index of the smaller
    candidate of a SRCSET_SIZES, else -1."""

    image: int
    caption: str
    label: Label
    form: Form = Form.SRC
    place: Place = Place.ALT
    small: int = -1


@dataclass(frozen=True, slots=True)
class Page:
    """optout: '' or 'meta:<name>:<content>' or 'header:<name>:<value>'. base: host whose root is
    the page's <base>, or ''. charset: how a WARC has it; charset_in: 'header', 'meta' or 'both'.
    """

    index: int
    url: str
    host: str
    lang: Lang
    archive: int
    is_wat: bool
    charset: str
    charset_in: str
    optout: str
    base: str
    links: tuple[Link, ...]
