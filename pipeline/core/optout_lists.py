"""Opt-out lists that are given by hand: whose pictures and pages are not to be used.

A list is text on any fsspec path, in UTF-8, one entry a line:

    https://example.com/a/b.jpg    this URL, under http and https alike; without a path: the domain
    host:img.example.com           all URLs of this host
    domain:example.com             all URLs of this domain and of every host under it
    example.com                    the same

User, port, fragment and tracking parameters (see `tracking`) of a URL count for nothing. Blank
lines and lines that start with # are skipped. Lists may have many millions of entries: they become
sorted 16-byte digests in a file of this machine's cache, which all processes map into memory, so
that an entry takes 16 bytes once.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import ids, optout_entries
from pipeline.core.errors import InputError
from pipeline.core.optout_entries import Digests, ascii_host, blocks, digests
from pipeline.core.tracking import MAYBE_TRACKING, without_tracking

_LAYOUT = 2  # of the cached file
# Kinds of entries, the most specific first: of several the first is told.
KINDS = ("url", "host", "domain")
# Scheme, user, port and fragment are left aside.
_PARTS = (
    r"(?i)^[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>\[[^\]]*\]|[^/?#:]*)(?::\d*)?(?P<rest>[^#]*)"
)


class OptoutList:
    """The entries of all lists together.

    digests: uint64 [2, entries], little-endian halves of BLAKE2b-128 of kind and text, sorted by
    the first half.
    """

    def __init__(self, digests: Digests) -> None:
        self._first, self._second = digests

    def __len__(self) -> int:
        return len(self._first)

    def find(self, urls: pa.Array) -> pa.Array:
        """For every URL the kind of the entry it is under, as pa.string(); null: none.

        urls: pa.string(), in WHATWG serialisation; null is under none.
        """
        if not len(self) or not len(urls):
            return pa.nulls(len(urls), pa.string())
        parts = pc.extract_regex(pc.fill_null(urls, ""), _PARTS)
        hosts = pc.fill_null(pc.struct_field(parts, "host"), "").dictionary_encode()
        names = [ascii_host(host) for host in hosts.dictionary.to_pylist()]
        rests = _canonical(pc.fill_null(pc.struct_field(parts, "rest"), ""))
        bare = pc.binary_join_element_wise(
            pa.array(names, pa.string()).take(hosts.indices), rests, ""
        )
        rows = hosts.indices.to_numpy()
        in_domain = self._in_domains(names)[rows]
        on_host = self._has("host", pa.array(names, pa.string()))[rows]
        is_listed = self._has("url", bare)
        kind = np.select([is_listed, on_host, in_domain], [0, 1, 2], -1)
        return pa.array(KINDS, pa.string()).take(pa.array(kind, mask=kind < 0))

    def find_one(self, url: str) -> str | None:
        """The kind of the entry that one URL is under; None: none."""
        if not len(self):
            return None
        bare = without_tracking(url.partition("#")[0].partition("://")[2])
        authority = re.split(r"[/?]", bare, maxsplit=1)[0]
        name, rest = ascii_host(_host(authority)), bare[len(authority) :]
        if self._has_one("url", name + rest):
            return "url"
        if self._has_one("host", name):
            return "host"
        return "domain" if any(self._has_one("domain", n) for n in _parents(name)) else None

    def _in_domains(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        parents = [list(_parents(name)) for name in names]
        owners = np.repeat(np.arange(len(names)), [len(found) for found in parents])
        flat = pa.array([name for found in parents for name in found], pa.string())
        hits = owners[self._has("domain", flat)]
        return np.bincount(hits, minlength=len(names)).astype(bool)

    def _has(self, kind: str, texts: pa.Array) -> npt.NDArray[np.bool_]:
        """Which texts are entries of a kind."""
        wanted = digests(kind, texts)
        at = np.searchsorted(self._first, wanted[0])
        found = np.zeros(len(texts), bool)
        alive = np.arange(len(texts))
        # Equal first halves are rare, so that this ends after one turn, nearly always.
        while len(alive):
            alive = alive[at[alive] < len(self)]
            alive = alive[self._first[at[alive]] == wanted[0, alive]]
            is_hit = self._second[at[alive]] == wanted[1, alive]
            found[alive[is_hit]] = True
            alive = alive[~is_hit]
            at[alive] += 1
        return found

    def _has_one(self, kind: str, text: str) -> bool:
        digest = np.frombuffer(ids.text_id(f"{kind}:{text}"), np.uint64)
        at = int(np.searchsorted(self._first, digest[0]))
        while at < len(self) and self._first[at] == digest[0]:
            if self._second[at] == digest[1]:
                return True
            at += 1
        return False


def load(paths: Sequence[str]) -> OptoutList:
    """The entries of some lists, compiled on first use on this machine and mapped into memory.

    Raises InputError when a list cannot be read or a line is no entry.
    """
    # A process may outlive what a path holds.
    return _load(tuple(paths), tuple(_version(path) for path in paths))


def identity(paths: Sequence[str]) -> list[str]:
    """SHA-256 of every list's content, in hex: what a list is, wherever it lies. Raises InputError
    when one cannot be read."""
    found = []
    for path in paths:
        digest = hashlib.sha256()
        for block in blocks(path):
            digest.update(block)
        found.append(digest.hexdigest())
    return found


@lru_cache(maxsize=4)
def _load(paths: tuple[str, ...], versions: tuple[object, ...]) -> OptoutList:
    contents = hashlib.sha256("".join(identity(paths)).encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    kept = folder / "pairmill" / f"optouts-{_LAYOUT}-{contents}.npy"
    with suppress(OSError, ValueError, EOFError):
        return OptoutList(np.load(kept, mmap_mode="r"))
    digests = optout_entries.compiled(paths)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            np.save(file, digests)
        Path(file.name).replace(kept)
        return OptoutList(np.load(kept, mmap_mode="r"))
    except OSError:  # a user without a home, as some clusters run executors
        return OptoutList(digests)


def _version(path: str) -> object:
    try:
        fs, name = fsspec.core.url_to_fs(path)
        info = fs.info(name)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"opt-out list {path} cannot be read: {error}") from None
    known = ("mtime", "ETag", "LastModified", "last_modified", "updated")
    return info.get("size"), *(str(info.get(name)) for name in known)


def _canonical(rests: pa.Array) -> pa.Array:
    """Paths and queries without tracking parameters; few have any."""
    may_change = pc.match_substring_regex(rests, MAYBE_TRACKING)
    if not pc.any(may_change).as_py():
        return rests
    changed = [without_tracking(rest) for rest in rests.filter(may_change).to_pylist()]
    return pc.replace_with_mask(rests, may_change, pa.array(changed, pa.string()))


def _host(netloc: str) -> str:
    """The host of a URL's authority."""
    name = netloc.rpartition("@")[2]
    return name[: name.find("]") + 1] if name.startswith("[") else name.partition(":")[0]


def _parents(name: str) -> Iterator[str]:
    """The name itself and every domain it is in."""
    while name:
        yield name
        name = name.partition(".")[2]
