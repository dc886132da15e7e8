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
    BUSY_SILENT = "busy_silent"  # the same, without Retry-After
    FORBIDDING = "forbidding"  # one of many pictures of a host that answers 403 to them all
    PLACEHOLDER = "placeholder"  # 200 and the same picture for every missing one of the host
    TINY = "tiny"  # a tracking pixel or icon
    EMPTY = "empty"  # 200 without a body
    HTML_AS_JPEG = "html_as_jpeg"  # an error page labelled image/jpeg
    SVG_AS_JPEG = "svg_as_jpeg"  # markup that draws a picture, labelled image/jpeg
    TRUNCATED = "truncated"  # a JPEG cut in the middle, with the length of what is left
    # Attacks and breakage of the transport.
    SILENT = "silent"  # the connection is taken, and nothing is said
    SLOW_DRIP = "slow_drip"  # a byte now and then
    ENDLESS = "endless"  # a chunked body that goes on
    OVERSIZE = "oversize"  # a Content-Length of 200 MB
    REDIRECT_LOOP = "redirect_loop"
    REDIRECT_PRIVATE = "redirect_private"  # to addresses that are not public, however written
    REDIRECT_FILE = "redirect_file"  # to file:///
    REDIRECT_NOWHERE = "redirect_nowhere"  # without Location
    BOMB = "bomb"  # a PNG of 20000 x 20000 in some hundred kB
    FRAMES_BOMB = "frames_bomb"  # a GIF of more frames than anyone looks at
    MEMORY_BOMB = "memory_bomb"  # a WebP of 34 bytes that wants a gigabyte
    SCANS_BOMB = "scans_bomb"  # a JPEG that keeps its decoder busy for minutes
    GZIP_BOMB = "gzip_bomb"  # a Content-Encoding that makes 80 MB of 80 kB
    SHORT_LENGTH = "short_length"  # the Content-Length is less than the picture
    DISCONNECTED = "disconnected"  # the body ends before its Content-Length
    RESET = "reset"  # a TCP reset within the body
    GARBAGE = "garbage"  # not HTTP
    HUGE_HEADERS = "huge_headers"  # two megabytes of header lines
    ENDLESS_HEADERS = "endless_headers"  # header lines that go on
    DNS = "dns"  # the name does not resolve
    TLS = "tls"  # the certificate is for another name
    TLS_EXPIRED = "tls_expired"  # it was good until a year ago
    TLS_UNKNOWN = "tls_unknown"  # it is signed by nobody that is known
    CLOSED_PORT = "closed_port"  # nothing listens there
    PRIVATE_NAME = "private_name"  # the name resolves to a private address
    MIXED_NAME = "mixed_name"  # to a private one first, and to that of the server
    REBOUND_NAME = "rebound_name"  # to that of the server, and to a private one when asked again
    PRIVATE_LITERAL = "private_literal"  # the URL's host is a private address
    MAPPED_LITERAL = "mapped_literal"  # and one that IPv6 hides: mapped, NAT64, 6to4


# What a redirect may say in place of a public address. Source: WHATWG URL, section 3.5, for the
# spellings of IPv4; RFC 4291, 6052 and 3056 for the IPv6 addresses that hold one.
PRIVATE_TARGETS = (
    "http://10.0.0.1/admin.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.2/secret.jpg",
    "http://0x7f.2/secret.jpg",
    "http://2886729729/secret.jpg",  # 172.16.0.1
    "http://0251.0376.0251.0376/latest/meta-data/",
    "http://[::1]/secret.jpg",
    "http://[::ffff:10.0.0.1]/admin.jpg",
    "http://[64:ff9b::a00:1]/admin.jpg",
    "http://0.0.0.0/secret.jpg",
)
PRIVATE_ADDRESSES = ("10.0.0.1", "169.254.169.254", "192.168.0.1", "100.64.0.1")
# In canonical (WHATWG) spelling, as they come out of a page.
PRIVATE_LITERALS = ("192.168.1.10", "10.11.12.13", "172.16.0.9", "224.0.0.1", "[fe80::1]", "[::1]")
# 10.0.0.7 and 192.168.1.10, mapped; 10.0.0.1 behind NAT64 and in 6to4.
MAPPED_LITERALS = ("[::ffff:a00:7]", "[::ffff:c0a8:10a]", "[64:ff9b::a00:1]", "[2002:a00:1::1]")


@dataclass(frozen=True)
class Hostility:
    """expected: status the download must end in; or_else: another that is as right, for it depends
    on what came first. has_own_host: it would spoil a host for others.
    least, most: so many of it there are at least, and at most."""

    expected: Status
    has_own_host: bool = True
    or_else: Status | None = None
    least: int = 1
    most: int | None = None


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
    Kind.BUSY_SILENT: Hostility(Status.HTTP_429),
    Kind.FORBIDDING: Hostility(Status.HTTP_403, or_else=Status.HOST_FORBIDS),
    Kind.PLACEHOLDER: Hostility(Status.PLACEHOLDER),
    Kind.TINY: Hostility(Status.TOO_SMALL, False),
    Kind.EMPTY: Hostility(Status.EMPTY, False),
    Kind.HTML_AS_JPEG: Hostility(Status.NOT_AN_IMAGE, False),
    Kind.SVG_AS_JPEG: Hostility(Status.NOT_AN_IMAGE, False),
    Kind.TRUNCATED: Hostility(Status.DECODE, False),
    Kind.SILENT: Hostility(Status.TIMEOUT),
    Kind.SLOW_DRIP: Hostility(Status.TIMEOUT),
    Kind.ENDLESS: Hostility(Status.TOO_LARGE),
    Kind.OVERSIZE: Hostility(Status.TOO_LARGE),
    Kind.REDIRECT_LOOP: Hostility(Status.TOO_MANY_REDIRECTS),
    Kind.REDIRECT_PRIVATE: Hostility(Status.PRIVATE_ADDRESS, least=len(PRIVATE_TARGETS)),
    Kind.REDIRECT_FILE: Hostility(Status.BAD_REDIRECT),
    Kind.REDIRECT_NOWHERE: Hostility(Status.BAD_REDIRECT),
    Kind.BOMB: Hostility(Status.TOO_MANY_PIXELS),
    Kind.FRAMES_BOMB: Hostility(Status.TOO_MANY_FRAMES),
    Kind.MEMORY_BOMB: Hostility(Status.DECODE),
    # Each takes a core for as long as `download.decode_timeout_s`.
    Kind.SCANS_BOMB: Hostility(Status.DECODE, most=1),
    Kind.GZIP_BOMB: Hostility(Status.TOO_LARGE),
    Kind.SHORT_LENGTH: Hostility(Status.DECODE, or_else=Status.BAD_RESPONSE),
    Kind.DISCONNECTED: Hostility(Status.DISCONNECTED),
    Kind.RESET: Hostility(Status.DISCONNECTED),
    Kind.GARBAGE: Hostility(Status.BAD_RESPONSE),
    Kind.HUGE_HEADERS: Hostility(Status.BAD_RESPONSE),
    Kind.ENDLESS_HEADERS: Hostility(Status.BAD_RESPONSE),
    Kind.DNS: Hostility(Status.DNS),
    Kind.TLS: Hostility(Status.TLS),
    Kind.TLS_EXPIRED: Hostility(Status.TLS),
    Kind.TLS_UNKNOWN: Hostility(Status.TLS),
    Kind.CLOSED_PORT: Hostility(Status.CONNECT),
    Kind.PRIVATE_NAME: Hostility(Status.PRIVATE_ADDRESS, least=len(PRIVATE_ADDRESSES)),
    Kind.MIXED_NAME: Hostility(Status.OK),
    Kind.REBOUND_NAME: Hostility(Status.PRIVATE_ADDRESS),
    Kind.PRIVATE_LITERAL: Hostility(Status.PRIVATE_ADDRESS, least=len(PRIVATE_LITERALS)),
    Kind.MAPPED_LITERAL: Hostility(Status.PRIVATE_ADDRESS, least=len(MAPPED_LITERALS)),
}

# Kinds whose response has a picture of the world as its body.
WITH_PICTURE = frozenset(
    {
        Kind.SOUND,
        Kind.REDIRECTED,
        Kind.JPEG_AS_HTML,
        Kind.BUSY_ONCE,
        Kind.MIXED_NAME,
        Kind.SHORT_LENGTH,
    }
)
# Kinds whose image never reaches the server: nothing of theirs can be in its log.
UNREACHABLE = frozenset(
    {
        Kind.DNS,
        Kind.TLS,
        Kind.TLS_EXPIRED,
        Kind.TLS_UNKNOWN,
        Kind.CLOSED_PORT,
        Kind.PRIVATE_NAME,
        Kind.REBOUND_NAME,
        Kind.PRIVATE_LITERAL,
        Kind.MAPPED_LITERAL,
    }
)

# Above what systems hand out by themselves, and not among the ports that clients refuse.
CLOSED_PORT = 64999
