"""Opt-outs of publishers."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import InputError
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

# Scheme, user, port and fragment are left aside.
_PARTS = r"(?i)^[a-z]+://(?:[^/?#@]*@)?(?P<host>\[[^\]]*\]|[^/?#:]*)(?::\d*)?(?P<rest>[^#]*)"


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
        parts = re.match(_PARTS, entry if "://" in entry else f"https://{entry}")
        host = _ascii(parts["host"]) if parts else ""
        if not parts or not host or any(c.isspace() for c in entry):
            raise InputError(f"{path}, line {number}: {entry!r} is neither a domain nor a URL")
        if parts["rest"] in ("", "/"):
            domains.add(host)
        else:
            urls.add(host + parts["rest"])
    return frozenset(domains), pa.array(sorted(urls), pa.string())


def _listed(addresses: pa.Array, domains: frozenset[str], urls: pa.Array) -> pa.Array:
    """Which addresses are on the list: bool, one per row; a null address is not."""
    parts = pc.extract_regex(pc.fill_null(addresses, ""), _PARTS)
    hosts = pc.fill_null(pc.struct_field(parts, "host"), "").dictionary_encode()
    ascii_hosts = [_ascii(host) for host in hosts.dictionary.to_pylist()]
    by_host = np.array([_covers(host, domains) for host in ascii_hosts], dtype=bool)
    rows = hosts.indices.to_numpy()
    bare = pc.binary_join_element_wise(
        pa.array(ascii_hosts, pa.string()).take(hosts.indices),
        pc.fill_null(pc.struct_field(parts, "rest"), ""),
        "",
    )
    on_list = pc.is_in(bare, value_set=urls)
    return pc.or_(pa.array(by_host[rows], pa.bool_()), on_list)


def _ascii(host: str) -> str:
    """The host in lower case, its Unicode labels as punycode; "" when it cannot be one."""
    try:
        return host.strip(".").lower().encode("idna").decode()
    except UnicodeError:
        return ""


def _covers(host: str, domains: frozenset[str]) -> bool:
    """Whether the host or a domain it is in is listed."""
    labels = host.split(".")
    return any(".".join(labels[i:]) in domains for i in range(len(labels)))
