"""Lines of opt-out lists to digests: see `optout_lists` for what a line may be.

Entries in canonical form are read by the column, others one by one.
"""

import codecs
import re
from collections.abc import Iterator, Sequence

import ada_url
import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import ids
from pipeline.core.errors import InputError
from pipeline.core.tracking import without_tracking

Digests = npt.NDArray[np.uint64]

_BLOCK_BYTES = 16 * 2**20
_HTTP = re.compile(r"(?i)https?://[^/]")
_HOST = re.compile(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]")
# Entries that are in canonical form and need no parsing: kind, pattern, what comes off in front.
_NAME = r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z-]*[a-z]"
_PATH = r"/[A-Za-z0-9_~/-]+(?:\.[A-Za-z0-9_~-]+)?"
_PLAIN = (
    ("domain", rf"^(?:domain:)?{_NAME}$", "^domain:"),
    ("host", rf"^host:{_NAME}$", "^host:"),
    ("url", rf"^https?://{_NAME}{_PATH}$", "^https?://"),
)


def compiled(paths: Sequence[str]) -> Digests:
    """Digests of all entries, sorted, each once. Takes 50 bytes an entry meanwhile."""
    found = [np.empty((2, 0), np.uint64)]
    for path in paths:
        first_line = 1
        for block in blocks(path):
            lines = _lines(block, path, is_first=first_line == 1)
            found += _entries(lines, path, first_line)
            first_line += len(lines)
    every = np.concatenate(found, axis=1)
    every = every[:, np.argsort(every[0], kind="stable")]
    is_new = np.ones(every.shape[1], bool)
    is_new[1:] = (every[:, 1:] != every[:, :-1]).any(axis=0)
    return np.ascontiguousarray(every[:, is_new])


def blocks(path: str) -> Iterator[bytes]:
    """The content in blocks of whole lines. Raises InputError when it cannot be read."""
    try:
        with fsspec.open(path, "rb") as file:
            rest = b""
            while block := file.read(_BLOCK_BYTES):
                head, newline, tail = (rest + block).rpartition(b"\n")
                if newline:
                    yield head + newline
                rest = tail
            if rest:
                yield rest
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"opt-out list {path} cannot be read: {error}") from None


def _lines(block: bytes, path: str, *, is_first: bool) -> pa.Array:
    """The lines of a block without the blanks around them, as pa.string()."""
    if is_first:
        block = block.removeprefix(codecs.BOM_UTF8)
    try:
        block.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"opt-out list {path} is not UTF-8: {error}") from None
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    last = [] if block.endswith(b"\n") or not block else [len(block)]
    ends = np.concatenate([[0], ends, last]).astype(np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(block)]
    lines = pa.Array.from_buffers(pa.string(), len(ends) - 1, buffers)
    return pc.utf8_trim_whitespace(lines)


def _entries(lines: pa.Array, path: str, first_line: int) -> Iterator[Digests]:
    """Digests of the entries in some lines: those in canonical form by the column, others one by
    one."""
    done = pc.or_(pc.equal(lines, ""), pc.starts_with(lines, "#"))
    for kind, pattern, prefix in _PLAIN:
        is_plain = pc.and_not(pc.match_substring_regex(lines, pattern), done)
        texts = pc.replace_substring_regex(lines.filter(is_plain), prefix, "", max_replacements=1)
        yield digests(kind, texts)
        done = pc.or_(done, is_plain)
    numbers = np.flatnonzero(~done.to_numpy(zero_copy_only=False))
    for number, line in zip(
        numbers.tolist(), lines.take(pa.array(numbers)).to_pylist(), strict=True
    ):
        try:
            entry = _entry(line)
        except ValueError:
            raise InputError(
                f"{path}, line {first_line + number}: {line[:200]!r} is neither a domain nor a URL"
            ) from None
        yield np.frombuffer(ids.text_id(entry), np.uint64).reshape(2, 1)


def _entry(line: str) -> str:
    """Kind and text of one entry. Raises ValueError when it is none."""
    kind, colon, name = line.partition(":")
    if colon and kind in ("host", "domain"):
        host = ascii_host(name.strip())
        if not host or not _HOST.fullmatch(host):
            raise ValueError(line)
        return f"{kind}:{host}"
    address = line if "://" in line else f"https://{line}"
    # Without a scheme, "a@b" is an e-mail address.
    is_mail = "://" not in line and "@" in line
    if is_mail or not _HTTP.match(address) or any(c.isspace() for c in address):
        raise ValueError(line)
    url = ada_url.URL(address)
    host, rest = url.hostname.strip("."), without_tracking(url.pathname + url.search)
    if not host:
        raise ValueError(line)
    return f"domain:{host}" if rest == "/" else f"url:{host}{rest}"


def digests(kind: str, texts: pa.Array) -> Digests:
    """uint64 [2, texts], contiguous by row."""
    texts = pc.binary_join_element_wise(pa.scalar(f"{kind}:"), texts, "")
    return np.ascontiguousarray(ids.digests(texts).view(np.uint64).T)


def ascii_host(host: str) -> str:
    """The host in lower case, its Unicode labels as punycode; "" when it cannot be one."""
    if host.isascii():
        return host.strip(".").lower()
    try:
        return str(ada_url.URL(f"https://{host}").hostname).strip(".")
    except ValueError:
        return ""
