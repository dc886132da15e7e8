"""robots.txt: what a site lets the crawler ask for.

Source: RFC 9309, Robots Exclusion Protocol: one group of rules per product token, merged (2.2.1);
the longest match wins and Allow wins a tie (2.2.2); `*` and `$` (2.2.3); a 4xx answer allows
everything (2.3.1.3), a server error disallows everything (2.3.1.4); at least 500 KiB are parsed
(2.5). 429 counts as a server error here, since the site asks to be left alone. How broken lines are
read, which the RFC leaves open, follows Google's published parser, so that its published verdicts
hold (https://github.com/google/robotstxt). Crawl-delay is not in the RFC; it is honoured because
sites state it.

Written here because protego, the best of the libraries at hand, compares whole values of User-agent
lines (`User-agent: Pairmill/1.0` and `User-agent: Pairmill bot` would not bind us), lets junk end a
group, stumbles over half a byte order mark, and has no way to hand out the rules that hold for one
agent, which is what is kept between runs.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from pipeline.core.reasons import Status

MAX_BYTES = 500 * 1024
MAX_REDIRECTS = 5  # RFC 9309, section 2.3.1.2

_BOM = b"\xef\xbb\xbf"
_TOKEN = re.compile(rb"[A-Za-z_-]*")
_NUMBER = re.compile(rb"\d+(?:[.,]\d*)?|[.,]\d+")
_BLANK = b" \t\x0b\x0c\x00"
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
# What stands for itself: never to be percent-encoded, and compared decoded.
# Source: RFC 3986 section 2.3; RFC 9309 section 2.2.2.
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# Every other ASCII character is kept as it is. A URL's own `*` and `$` are written encoded.
_ASCII = bytes(range(0x80)).decode()
# Spellings that are common enough to be meant. Source: Google's parser.
_KEYS = (
    (b"user-agent", "agent"),
    (b"useragent", "agent"),
    (b"user agent", "agent"),
    (b"allow", "allow"),
    (b"disallow", "disallow"),
    (b"dissallow", "disallow"),
    (b"dissalow", "disallow"),
    (b"disalow", "disallow"),
    (b"diasllow", "disallow"),
    (b"disallaw", "disallow"),
    (b"crawl-delay", "delay"),
    (b"crawldelay", "delay"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One Allow or Disallow line. pattern: normalised, at least one byte. The path must hold
    `pieces` in this order, the first at its start and, when anchored, the last at its end."""

    is_allowed: bool
    pattern: bytes
    pieces: tuple[bytes, ...]
    is_anchored: bool

    def matches(self, path: bytes) -> bool:
        """True when the rule speaks about a normalised path. Linear, whatever the pattern."""
        first, *rest = self.pieces
        if not path.startswith(first):
            return False
        at = len(first)
        if not rest:
            return at == len(path) or not self.is_anchored
        last = rest.pop() if self.is_anchored else b""
        for piece in rest:
            at = path.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        return not self.is_anchored or (len(path) - len(last) >= at and path.endswith(last))


@dataclass(frozen=True)
class Rules:
    """What one robots.txt says to one product token.

    rules: the longest first, Allow before Disallow. crawl_delay_s: seconds between two requests
    that it asks for; 0: none. failure: why it could not be had or followed, with its detail; then
    nothing is allowed.
    """

    rules: tuple[Rule, ...] = ()
    crawl_delay_s: float = 0.0
    failure: tuple[Status, str] | None = None

    def allows(self, url: str) -> bool:
        """True when a URL of this site, in WHATWG serialisation, may be asked for."""
        if self.failure is not None:
            return False
        path = _normalised(_path(url), is_pattern=False)
        return next((rule.is_allowed for rule in self.rules if rule.matches(path)), True)

    def text(self) -> str:
        """A robots.txt of one group that says the same to everybody; empty when it says nothing."""
        lines = [
            f"{'Allow' if rule.is_allowed else 'Disallow'}: {rule.pattern.decode()}"
            for rule in self.rules
        ]
        lines += [f"Crawl-delay: {self.crawl_delay_s!r}"] if self.crawl_delay_s else []
        return "\n".join(["User-agent: *", *lines, ""]) if lines else ""


def parse(body: bytes, agent: str, max_bytes: int = MAX_BYTES) -> Rules:
    """What a robots.txt, of which the first `max_bytes` count, says to a product token.

    The groups that name it are merged; without any, those for `*` hold. Never raises: what cannot
    be read says nothing.
    """
    named, general = _Group(), _Group()
    is_named = is_general = in_rules = False
    is_known = False
    delay_s = 0.0
    for key, value in _lines(_utf8(body[:max_bytes])):
        if key == "agent":
            if in_rules:
                is_named = is_general = in_rules = False
                delay_s = 0.0
            if value[:1] == b"*" and (len(value) == 1 or value[1:2].isspace()):
                is_general = True
            elif _token(value) == agent.lower().encode():
                is_named = is_known = True
        elif key == "delay":
            # Ends no group (RFC 9309, section 2.2.4), so it holds for all who are named in this.
            delay_s = max(delay_s, _seconds(value))
        elif is_named or is_general:
            in_rules = True
            # A group for us and for everybody is ours.
            (named if is_named else general).add(value, key == "allow")
        group = named if is_named else general if is_general else None
        if group is not None:
            group.delay_s = max(group.delay_s, delay_s)
    return (named if is_known else general).rules()


def answered(http_status: int, body: bytes, agent: str) -> Rules:
    """The rules that an answer to a request for robots.txt stands for."""
    if http_status == 429 or http_status >= 500:
        return Rules(failure=(Status.ROBOTS_UNAVAILABLE, f"robots.txt answered {http_status}"))
    return parse(body, agent) if 200 <= http_status < 300 else Rules()


class _Group:
    """The merged rules for one product token."""

    def __init__(self) -> None:
        self._found: dict[tuple[bytes, bool], Rule] = {}
        self.delay_s = 0.0

    def add(self, value: bytes, is_allowed: bool) -> None:
        pattern = _normalised(value, is_pattern=True)
        self._put(pattern, is_allowed)
        # A folder whose index page is allowed is allowed itself. Source: Google's parser.
        folder, slash, page = pattern.rpartition(b"/")
        if is_allowed and slash and page.startswith(b"index.htm"):
            self._put(folder + b"/$", is_allowed)

    def _put(self, pattern: bytes, is_allowed: bool) -> None:
        if not pattern:
            return  # Forbids nothing, and allows nothing that a longer rule forbids.
        is_anchored = pattern.endswith(b"$")
        # Elsewhere than at the end, "$" is a character like any other.
        literal = (pattern[:-1] if is_anchored else pattern).replace(b"$", b"%24")
        first, *rest = literal.split(b"*")
        pieces = [piece for piece in rest[:-1] if piece] + rest[-1:]
        rule = Rule(is_allowed, pattern, (first, *pieces), is_anchored)
        self._found[pattern, is_allowed] = rule

    def rules(self) -> Rules:
        def order(rule: Rule) -> tuple[int, bool, bytes]:
            return -len(rule.pattern), not rule.is_allowed, rule.pattern

        return Rules(tuple(sorted(self._found.values(), key=order)), self.delay_s)


def _utf8(body: bytes) -> bytes:
    """The text without its byte order mark, of which servers send parts, in UTF-8."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if body.startswith(mark):
            return body[2:].decode(encoding, "replace").encode("utf-8", "replace")
    for size in (3, 2, 1):
        if body.startswith(_BOM[:size]):
            return body[size:]
    return body


def _lines(text: bytes) -> Iterator[tuple[str, bytes]]:
    """The lines that say something to a crawler: what, and their value."""
    for line in text.replace(b"\r", b"\n").split(b"\n"):
        line = line.partition(b"#")[0].strip(_BLANK)
        key, colon, value = line.partition(b":")
        if not colon:
            # "Disallow /x" is meant, prose is not.
            words = line.split()
            if len(words) != 2:
                continue
            key, value = words
        key = key.strip(_BLANK).lower()
        kind = next((kind for name, kind in _KEYS if key.startswith(name)), None)
        if kind is not None:
            yield kind, value.strip(_BLANK)


def _token(value: bytes) -> bytes:
    """The product token of a User-agent line: what follows its letters is a version or prose."""
    found = _TOKEN.match(value)
    return found[0].lower() if found else b""


def _seconds(value: bytes) -> float:
    found = _NUMBER.match(value)
    try:
        seconds = float(found[0].replace(b",", b".")) if found else 0.0
    except ValueError:
        return 0.0
    # So that it can be written and read again.
    return seconds if math.isfinite(seconds) else 1e9


def _path(url: str) -> bytes:
    """Path and query of a URL; the path is at least "/"."""
    rest = url.partition("#")[0].partition("://")[2] or url
    at = re.search(r"[/?]", rest)
    path = rest[at.start() :] if at else "/"
    return ("/" + path if path.startswith("?") else path).encode("utf-8", "replace")


def _normalised(path: bytes, *, is_pattern: bool) -> bytes:
    """A path as it is compared: everything outside of ASCII percent-encoded, what needs no encoding
    decoded, digits of the rest in upper case.

    A pattern's `*` and `$` are operators; those of a URL, and a pattern's encoded ones, stand for
    themselves and are written encoded.
    """
    if not path.isascii():
        path = quote_from_bytes(path, safe=_ASCII).encode()
    if b"%" in path:
        path = _ESCAPE.sub(_unescaped, path)
    if not is_pattern:
        path = path.replace(b"*", b"%2A").replace(b"$", b"%24")
    return path


def _unescaped(found: "re.Match[bytes]") -> bytes:
    octet = int(found[0][1:], 16)
    return bytes([octet]) if octet in _UNRESERVED else found[0].upper()
