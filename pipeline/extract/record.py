"""One WARC record, and its header as it is read when it is not written as nearly all are."""

import re
from typing import NamedTuple

from pipeline.core.reasons import RecordReason

# A version line and the name of a field: what a record that follows another one starts with.
RECORD_START = re.compile(rb"WARC/[01]\.[0-9]+\r?\n[A-Za-z][A-Za-z-]*:")
# Of records that can hold a page; the blocks of others are not kept.
WANTED = frozenset({"response", "metadata", "resource"})
_FOLD = re.compile(rb"\r?\n[ \t]+")


class Record(NamedTuple):
    """One WARC record, or one stretch of the archive that cannot be read.

    kind: WARC-Type; "" for damage. offset: of the record (its gzip member) in the archive file, in
    bytes. url: WARC-Target-URI. content_type: of the block. block: the record's content; empty when
    `reason` says why it was not read, or the kind is none that can hold a page. inner: bytes into
    the member's plain content; (offset, inner) is another one for every record of an archive.
    """

    kind: str
    offset: int
    url: str | None
    content_type: str
    block: bytes
    reason: RecordReason | None
    inner: int = 0


class Head(NamedTuple):
    """What counts of a record's header. size: in bytes, with the empty line that ends it. length:
    of the block; None when it is not told."""

    size: int
    kind: str
    length: int | None
    url: str | None
    content_type: str


NO_HEAD = Head(0, "", None, None, "")


def read_head(head: bytes, size: int) -> Head:
    """What a header says. head: without the empty line that ends it; size: with it."""
    if head.find(b"WARC/", 5) > 0 and RECORD_START.search(head, 5):
        return NO_HEAD  # it was cut, and another record's header follows
    # As nearly every archive spells them; the others are looked for without regard to case.
    length = _value(head, b"\nContent-Length: ")
    kind = _value(head, b"\nWARC-Type: ")
    url = _value(head, b"\nWARC-Target-URI: ")
    content_type = _value(head, b"\nContent-Type: ")
    if length is None or kind is None or url is None or content_type is None:
        others: dict[bytes, bytes] = {}
        for line in _FOLD.sub(b" ", head).split(b"\n")[1:]:
            name, _, value = line.partition(b":")
            others.setdefault(name.strip().lower(), value.strip())
        length = others.get(b"content-length") if length is None else length
        kind = others.get(b"warc-type", b"unknown") if kind is None else kind
        url = others.get(b"warc-target-uri") if url is None else url
        content_type = others.get(b"content-type", b"") if content_type is None else content_type
    return Head(
        size,
        kind.decode("latin-1").lower() or "unknown",
        int(length) if length and length.isdigit() and len(length) < 16 else None,
        None if url is None else decode_url(url),
        content_type.decode("latin-1").lower(),
    )


def decode_url(field: bytes) -> str:
    """The URL that a field gives."""
    # Source: WARC 1.1, section 5.10: earlier writers put the URI in angle brackets.
    return field.strip(b"<>").decode("utf-8", "replace")


def _value(head: bytes, name: bytes) -> bytes | None:
    at = head.find(name)
    if at < 0:
        return None
    at += len(name)
    end = head.find(b"\n", at)
    if end < 0:
        return head[at:].strip()
    is_folded = head.startswith((b" ", b"\t"), end + 1)
    return None if is_folded else head[at:end].strip()
