"""Opt-outs of publishers."""

import hashlib
from dataclasses import dataclass
from functools import cache

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import InputError
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

_HOST = r"(?i)^[a-z]+://(?:[^/?#@]*@)?(?P<host>\[[^\]]*\]|[^/?#:]*)"


@dataclass(frozen=True)
class Consent(Filter):
    """Whether nothing speaks against using the pair.

    Against it speak: an opt-out in the image's response or by robots.txt (`consent` is not
    'allowed'), one on a page the image is on (`page_optout`), and an entry of `optout_file`.

    optout_file: text, on any fsspec path, a domain or a URL per line; blank lines and lines that
        start with # are skipped. A domain covers its subdomains, whether the image or the page is
        there. A URL covers exactly that image or page, under http and https alike.

    Raises InputError when the file cannot be read or a line is neither.

    Source: Directive (EU) 2019/790, article 4(3): rights holders reserve the use for text and
    data mining by machine-readable means; LAION and the makers of img2dataset honour `noai` and
    `noimageai`; a list given by hand covers those who write instead.
    """

    optout_file: str | None = None

    reads = ("consent", "page_optout", "url", "page_url")
    measures = (column("is_consented", pa.int8(), "1: no opt-out is known"),)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        allowed = pc.and_(
            pc.fill_null(pc.equal(batch.column("consent"), "allowed"), False),
            batch.column("page_optout").is_null(),
        )
        if self.optout_file is not None:
            domains, urls = _optouts(self.optout_file)
            for name in ("url", "page_url"):
                allowed = pc.and_not(allowed, _listed(batch.column(name), domains, urls))
        return [allowed.cast(pa.int8())]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_consented", low=1),)

    def measure_settings(self) -> dict[str, object]:
        """The content of the list rather than its path: a longer list is another measure."""
        if self.optout_file is None:
            return {"optout_sha256": None}
        return {"optout_sha256": hashlib.sha256(_content(self.optout_file)).hexdigest()}


def _content(path: str) -> bytes:
    try:
        with fsspec.open(path, "rb") as file:
            return bytes(file.read())
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"filters.consent.optout_file = {path} cannot be read: {error}") from None


@cache
def _optouts(path: str) -> tuple[frozenset[str], pa.Array]:
    """The listed domains, and URLs without scheme. Loaded once per process."""
    domains, urls = set(), set()
    try:
        lines = _content(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"filters.consent.optout_file = {path} is not UTF-8: {error}") from None
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        host, slash, rest = entry.partition("://")[2].partition("/") if "://" in entry else (
            entry.partition("/")
        )  # fmt: skip
        try:
            host = host.strip(".").encode("idna").decode().lower()
        except UnicodeError:
            host = ""
        if not host or any(c.isspace() for c in entry):
            raise InputError(f"{path}, line {number}: {entry!r} is neither a domain nor a URL")
        if rest:
            urls.add(f"{host}{slash}{rest.partition('#')[0]}")
        else:
            domains.add(host)
    return frozenset(domains), pa.array(sorted(urls), pa.string())


def _listed(addresses: pa.Array, domains: frozenset[str], urls: pa.Array) -> pa.Array:
    """Which addresses are on the list: bool, one per row; a null address is not."""
    addresses = pc.fill_null(addresses, "")
    hosts = pc.utf8_lower(pc.struct_field(pc.extract_regex(addresses, _HOST), "host"))
    hosts = pc.fill_null(hosts, "").dictionary_encode()
    by_host = np.array([_covers(h, domains) for h in hosts.dictionary.to_pylist()], dtype=bool)
    by_row = by_host[hosts.indices.to_numpy()] if len(hosts) else np.zeros(0, dtype=bool)
    bare = pc.replace_substring_regex(addresses, r"(?i)^[a-z]+://|#.*$", "")
    return pc.or_(pa.array(by_row, pa.bool_()), pc.is_in(bare, value_set=urls))


def _covers(host: str, domains: frozenset[str]) -> bool:
    """Whether the host or a domain it is in is listed."""
    labels = host.rstrip(".").split(".")
    return any(".".join(labels[i:]) in domains for i in range(len(labels)))
