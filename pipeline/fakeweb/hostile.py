"""What can go wrong with an image URL, and the status its download must end in."""

from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.reasons import Status


class Kind(StrEnum):
    """How a server treats the request for one image."""

    SOUND = "sound"  # 200, the right type, a whole picture
    # Not attacks, but what every downloader meets.
    REDIRECTED = "redirected"  # 301 to a sound picture
    JPEG_AS_HTML = "jpeg_as_html"  # a sound JPEG labelled text/html
    BUSY_ONCE = "busy_once"  # 429 with Retry-After: 1, then the picture
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_410 = "http_410"
    HTTP_451 = "http_451"
    HTTP_500 = "http_500"
    HTTP_503 = "http_503"
    BUSY = "busy"  # 429 for ever
    PLACEHOLDER = "placeholder"  # 200 and the same picture for every missing one of the host
    TINY = "tiny"  # a tracking pixel or icon
    EMPTY = "empty"  # 200 without a body
    HTML_AS_JPEG = "html_as_jpeg"  # an error page labelled image/jpeg
    TRUNCATED = "truncated"  # a JPEG cut in the middle, with the length of what is left
    # Attacks and breakage of the transport.
    SLOW_DRIP = "slow_drip"  # a byte now and then
    ENDLESS = "endless"  # a chunked body that goes on
    OVERSIZE = "oversize"  # a Content-Length of 200 MB
    REDIRECT_LOOP = "redirect_loop"
    REDIRECT_PRIVATE = "redirect_private"  # to 10.x, the metadata service or other loopback
    REDIRECT_FILE = "redirect_file"  # to file:///
    REDIRECT_NOWHERE = "redirect_nowhere"  # without Location
    BOMB = "bomb"  # a PNG of 20000 x 20000 in some hundred kB
    DISCONNECTED = "disconnected"  # the body ends before its Content-Length
    RESET = "reset"  # a TCP reset within the body
    GARBAGE = "garbage"  # not HTTP
    HUGE_HEADERS = "huge_headers"  # two megabytes of header lines
    DNS = "dns"  # the name does not resolve
    TLS = "tls"  # the certificate is for another name
    CLOSED_PORT = "closed_port"  # nothing listens there
    PRIVATE_NAME = "private_name"  # the name resolves to a private address
    PRIVATE_LITERAL = "private_literal"  # the URL's host is a private address
    MAPPED_LITERAL = "mapped_literal"  # and one written as IPv4-mapped IPv6


@dataclass(frozen=True)
class Hostility:
    """expected: status the download must end in. has_own_host: it would spoil a host for others."""

    expected: Status
    has_own_host: bool = True


HOSTILITIES = {
    Kind.REDIRECTED: Hostility(Status.OK, False),
    Kind.JPEG_AS_HTML: Hostility(Status.OK, False),
    Kind.BUSY_ONCE: Hostility(Status.OK),
    Kind.HTTP_403: Hostility(Status.HTTP_403),
    Kind.HTTP_404: Hostility(Status.HTTP_404, False),
    Kind.HTTP_410: Hostility(Status.HTTP_410, False),
    Kind.HTTP_451: Hostility(Status.HTTP_4XX, False),
    Kind.HTTP_500: Hostility(Status.HTTP_5XX),
    Kind.HTTP_503: Hostility(Status.HTTP_5XX),
    Kind.BUSY: Hostility(Status.HTTP_429),
    Kind.PLACEHOLDER: Hostility(Status.PLACEHOLDER),
    Kind.TINY: Hostility(Status.TOO_SMALL, False),
    Kind.EMPTY: Hostility(Status.EMPTY, False),
    Kind.HTML_AS_JPEG: Hostility(Status.NOT_AN_IMAGE, False),
    Kind.TRUNCATED: Hostility(Status.DECODE, False),
    Kind.SLOW_DRIP: Hostility(Status.TIMEOUT),
    Kind.ENDLESS: Hostility(Status.TOO_LARGE),
    Kind.OVERSIZE: Hostility(Status.TOO_LARGE),
    Kind.REDIRECT_LOOP: Hostility(Status.TOO_MANY_REDIRECTS),
    Kind.REDIRECT_PRIVATE: Hostility(Status.PRIVATE_ADDRESS),
    Kind.REDIRECT_FILE: Hostility(Status.BAD_REDIRECT),
    Kind.REDIRECT_NOWHERE: Hostility(Status.BAD_REDIRECT),
    Kind.BOMB: Hostility(Status.TOO_MANY_PIXELS),
    Kind.DISCONNECTED: Hostility(Status.DISCONNECTED),
    Kind.RESET: Hostility(Status.DISCONNECTED),
    Kind.GARBAGE: Hostility(Status.BAD_RESPONSE),
    Kind.HUGE_HEADERS: Hostility(Status.BAD_RESPONSE),
    Kind.DNS: Hostility(Status.DNS),
    Kind.TLS: Hostility(Status.TLS),
    Kind.CLOSED_PORT: Hostility(Status.CONNECT),
    Kind.PRIVATE_NAME: Hostility(Status.PRIVATE_ADDRESS),
    Kind.PRIVATE_LITERAL: Hostility(Status.PRIVATE_ADDRESS),
    Kind.MAPPED_LITERAL: Hostility(Status.PRIVATE_ADDRESS),
}

# Kinds whose response has a picture of the world as its body.
WITH_PICTURE = frozenset({Kind.SOUND, Kind.REDIRECTED, Kind.JPEG_AS_HTML, Kind.BUSY_ONCE})
# Kinds that never reach the server: nothing of theirs can be in its log.
UNREACHABLE = frozenset(
    {
        Kind.DNS,
        Kind.TLS,
        Kind.CLOSED_PORT,
        Kind.PRIVATE_NAME,
        Kind.PRIVATE_LITERAL,
        Kind.MAPPED_LITERAL,
    }
)

PRIVATE_TARGETS = (
    "http://10.0.0.1/admin.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.2/secret.jpg",
)
# Canonical (WHATWG) spellings: 10.0.0.7 in IPv4-mapped IPv6 is ::ffff:a00:7.
PRIVATE_LITERALS = ("192.168.1.10", "10.11.12.13", "172.16.0.9")
MAPPED_LITERALS = ("[::ffff:a00:7]", "[::ffff:c0a8:10a]")
# Above what systems hand out by themselves, and not among the ports that clients refuse.
CLOSED_PORT = 64999
