"""Pictures that stand for another one: "image not available", a tracking pixel, a login page's."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.ids import text_id
from pipeline.core.reasons import Status
from pipeline.fetch.guard import UrlError, parse_target

Row = dict[str, Any]

# What only a stored picture has; a placeholder loses them again.
_STORED = (
    "width",
    "height",
    "raw_round",
    "raw_offset",
    "raw_bytes",
    "hash64",
    "hash256",
    "texture",
    "fingerprint",
    "turned64",
    "turned256",
    "etag",
    "last_modified",
)

_NOWHERE: Mapping[bytes, int] = {}


@lru_cache(maxsize=4)
def read_known(path: str) -> frozenset[bytes]:
    """The digests of a file of known placeholders: SHA-256 in hexadecimal, one in a line, and what
    follows it; lines that are empty or start with # count for nothing. Raises InputError."""
    known = set()
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                word = line.split("#")[0].split()
                if not word:
                    continue
                try:
                    digest = bytes.fromhex(word[0])
                except ValueError:
                    digest = b""
                if len(digest) != 32:
                    raise InputError(
                        f"download.placeholder_hashes {path}, line {number}: {word[0]!r} is no "
                        "SHA-256 in hexadecimal (64 digits)"
                    )
                known.add(digest)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"download.placeholder_hashes {path}: {error}") from None
    return frozenset(known)


def keys(row: Row, url: str) -> list[bytes]:
    """16 bytes that a picture shares with those of its host that have the same bytes, and 16 with
    those redirected to the same place, if it is redirected; none of what is no picture.

    row: of `images`, at least status, sha256 and final_url; placeholders count as well.
    """
    if row["status"] not in (Status.OK, Status.PLACEHOLDER):
        return []
    host, final = _host(url), row["final_url"]
    found = [text_id(f"{host} {row['sha256'].hex()}")]
    if final and _target(final) != _target(url):
        found.append(text_id(f"{host} > {final}"))
    return found


def mark(
    rows: list[Row],
    urls: Mapping[bytes, str],
    most: int,
    known: frozenset[bytes],
    elsewhere: Mapping[bytes, int] = _NOWHERE,
) -> int:
    """Give status `placeholder` to pictures that are known ones, and where more than `most` URLs of
    one host have the same bytes or are redirected to the same place; 0: only to known ones. How
    many rows it has changed.

    rows: of one part, changed in place; those that are placeholders already count too. urls: of
    the candidates by image_id. elsewhere: by key, how many there are in all parts, where that is
    more than `most`. The bytes stay in the raw tar, unused. The outcome depends on what the parts
    hold together, not on how many there are.
    """
    by_row = [keys(row, urls[row["image_id"]]) for row in rows]
    counts = Counter(key for found in by_row for key in found)
    counts |= {key: elsewhere[key] for key in counts.keys() & elsewhere.keys()}
    changed = 0
    for row, found in zip(rows, by_row, strict=True):
        why = _why(row, found, counts, most, known) if found else None
        if why is not None:
            changed += _mark(row, why)
    return changed


def _why(
    row: Row, found: list[bytes], counts: Mapping[bytes, int], most: int, known: frozenset[bytes]
) -> str | None:
    if row["sha256"] in known:
        return f"sha256 {row['sha256'].hex()} is a known one"
    if most and counts[found[0]] > most:
        return f"sha256 {row['sha256'].hex()} behind {counts[found[0]]} URLs"
    if most and len(found) > 1 and counts[found[1]] > most:
        return f"{counts[found[1]]} URLs are redirected to {row['final_url']}"[:200]
    return None


def _mark(row: Row, why: str) -> bool:
    """Whether that changed the row."""
    if row["status"] == Status.PLACEHOLDER and row["status_detail"] == why:
        return False
    row.update(dict.fromkeys(_STORED))
    row["status"] = str(Status.PLACEHOLDER)
    row["status_detail"] = why
    return True


def _host(url: str) -> str:
    try:
        return parse_target(url).host
    except UrlError:
        return url


def _target(url: str) -> str:
    try:
        return parse_target(url).href
    except UrlError:
        return url
