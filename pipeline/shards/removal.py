"""What a removal list names in a release: by pair, by picture, by URL, host or domain.

A list is text in UTF-8, one entry a line; blank lines and lines that start with # are skipped:

    pair:<32 hex digits>       one sample, by its key
    sha256:<64 hex digits>     a picture, by the bytes that were received
    hash64:<16 hex digits>     pictures that look like it, within `RADIUS64` bits
    pdq:<64 hex digits>        pictures that look like it, within `RADIUS256` bits
    anything else              a URL, host:<name>, domain:<name> or a bare domain, as in opt-out
                               lists (`core.optout_lists`): of the picture, of the image that the
                               caption stood beside, or of its page
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import optout_lists
from pipeline.core.errors import InputError
from pipeline.core.optout_lists import OptoutList

# Source: the radii within which `match` takes two pictures for the same by default; PDQ's authors
# recommend 31 of 256 bits (ThreatExchange, pdq/README.md).
RADIUS64, RADIUS256 = 4, 31
_DIGITS = {"pair": 32, "sha256": 64, "hash64": 16, "pdq": 64}
_NAMED = re.compile(rf"\s*({'|'.join(_DIGITS)})\s*:\s*(\S*)\s*")
URL_COLUMNS = ("url", "caption_url", "page_url")
COLUMNS = ("key", "image_id", "sha256", *URL_COLUMNS)


@dataclass(frozen=True)
class Removals:
    """The entries of a list.

    named: digits in lower case, by kind of entry. addresses: the opt-out entries.
    address_lines: these as they were written, for the lists of later crawls.
    """

    addresses: OptoutList
    address_lines: tuple[str, ...] = ()
    named: Mapping[str, frozenset[bytes]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.address_lines) + sum(map(len, self.named.values()))

    def hashes(self, kind: str) -> npt.NDArray[np.uint8]:
        """The hashes of a kind: uint8 [entries, bytes]."""
        found = sorted(self.named.get(kind, ()))
        return np.frombuffer(b"".join(found), np.uint8).reshape(len(found), _DIGITS[kind] // 2)


def read(path: str) -> Removals:
    """The entries of a list. Raises InputError for a list that cannot be read, that names nothing,
    or has a line that is no entry."""
    try:
        with fsspec.open(path, "rt", encoding="utf-8-sig") as file:
            lines = file.read().split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"removal list {path} cannot be read: {error}") from None
    found = parsed(path, lines)
    if not len(found):
        raise InputError(f"removal list {path} names nothing")
    return found


def parsed(path: str, lines: Sequence[str]) -> Removals:
    """The entries of a list's lines; path: of the list, for messages. Raises InputError for a line
    that is no entry."""
    named: dict[str, set[bytes]] = {}
    others = []
    for number, line in enumerate(lines, 1):
        match = _NAMED.fullmatch(line)
        # Blank, so that lines keep their numbers.
        others.append("" if match else line)
        if match:
            kind, digits = match.groups()
            try:
                value = bytes.fromhex(digits)
            except ValueError:
                value = b""
            if 2 * len(value) != _DIGITS[kind]:
                raise InputError(
                    f"{path}, line {number}: {digits[:80]!r} is not {_DIGITS[kind]} hex digits"
                )
            named.setdefault(kind, set()).add(value)
    return Removals(
        _addresses(path, others),
        tuple(e for e in map(str.strip, others) if e and not e.startswith("#")),
        {kind: frozenset(values) for kind, values in named.items()},
    )


def _addresses(path: str, lines: list[str]) -> OptoutList:
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "list")
        own.write_text("\n".join(lines), encoding="utf-8")
        try:
            return optout_lists.load([str(own)])
        except InputError as error:
            raise InputError(str(error).replace(str(own), path)) from None


def found_in(
    table: pa.Table, removals: Removals, images: Mapping[bytes, str]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Which rows of a sample table are named, by rule: bool [rows] each.

    table: some of COLUMNS; a release that was made of a folder may lack some. images: image_id ->
    rule, of pictures that are named beside the list.
    """
    names = set(table.schema.names)
    found = {
        "pair": _is_in(table, "key", {v.hex().encode() for v in removals.named.get("pair", ())}),
        "sha256": _is_in(table, "sha256", removals.named.get("sha256", frozenset())),
    }
    for rule in sorted(set(images.values())):
        found[rule] = _is_in(table, "image_id", [i for i, own in images.items() if own == rule])
    for column in URL_COLUMNS:
        if column in names and len(removals.addresses):
            urls = table[column].combine_chunks().cast(pa.string())
            kinds = removals.addresses.find(urls)
            for kind in optout_lists.KINDS:
                hits = pc.fill_null(pc.equal(kinds, kind), False)
                before = found.get(kind, np.zeros(table.num_rows, bool))
                found[kind] = before | hits.to_numpy(zero_copy_only=False)
    return {rule: rows for rule, rows in found.items() if rows.any()}


def _is_in(table: pa.Table, column: str, values: Iterable[bytes]) -> npt.NDArray[np.bool_]:
    wanted = pa.array(sorted(values), pa.binary())
    if column not in table.schema.names or not len(wanted):
        return np.zeros(table.num_rows, bool)
    held = table[column].combine_chunks().cast(pa.binary())
    hits: npt.NDArray[np.bool_] = pc.is_in(held, wanted).to_numpy(zero_copy_only=False)
    return hits


def look_alikes(batches: Iterable[pa.RecordBatch], removals: Removals) -> Iterator[bytes]:
    """image_id of every picture of a registry that is within the radius of one of the list.

    batches: image_id, hash64 (int64), hash256 (32 bytes). Each is compared with each: cost grows
    with both, some 100 million comparisons a second.
    """
    hashes64 = removals.hashes("hash64").copy().view(">u8").astype(np.uint64).ravel()
    hashes256 = removals.hashes("pdq").copy().view(np.uint64)
    for batch in batches:
        near = np.zeros(batch.num_rows, bool)
        held64 = batch.column("hash64").to_numpy(zero_copy_only=False).view(np.uint64)
        for value in hashes64:
            near |= np.bitwise_count(held64 ^ value) <= RADIUS64
        held = b"".join(batch.column("hash256").to_pylist())
        held256 = np.frombuffer(held, np.uint64).reshape(batch.num_rows, -1)
        for words in hashes256:
            near |= np.bitwise_count(held256 ^ words).sum(1, dtype=np.int64) <= RADIUS256
        yield from batch.column("image_id").filter(pa.array(near)).to_pylist()
