"""Pictures that stand for another one: "image not available", a tracking pixel, a login page's."""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pipeline.core.errors import InputError
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


def mark(rows: list[Row], urls: Mapping[bytes, str], most: int, known: frozenset[bytes]) -> None:
    """Give status `placeholder` to pictures that are known ones, and where more than `most` URLs of
    one host have the same bytes or are redirected to the same place; 0: only to known ones.

    rows: of one part, changed in place; those that are placeholders already count too. urls: of
    the candidates by image_id. All candidates of a registrable domain are in one part, unless it is
    a giant one that was split; then the count is of the part alone. The bytes stay in the raw tar,
    unused.
    """
    by_bytes: dict[tuple[str, bytes], list[Row]] = defaultdict(list)
    by_target: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["status"] not in (Status.OK, Status.PLACEHOLDER):
            continue
        if row["sha256"] in known:
            _mark(row, f"sha256 {row['sha256'].hex()} is a known one")
        url = urls[row["image_id"]]
        host = _host(url)
        by_bytes[host, row["sha256"]].append(row)
        if row["final_url"] and _target(row["final_url"]) != _target(url):
            by_target[host, row["final_url"]].append(row)
    if most:
        for (_, digest), same in by_bytes.items():
            if len(same) > most:
                for row in same:
                    _mark(row, f"sha256 {digest.hex()} behind {len(same)} URLs")
        for (_, target), same in by_target.items():
            if len(same) > most:
                for row in same:
                    _mark(row, f"{len(same)} URLs are redirected to {target}"[:200])


def _mark(row: Row, why: str) -> None:
    if row["status"] == Status.OK:
        row.update(dict.fromkeys(_STORED))
        row["status"] = str(Status.PLACEHOLDER)
        row["status_detail"] = why


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
