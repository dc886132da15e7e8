"""Which archives to read: paths, globs, lists of paths, or a sample of a crawl."""

import posixpath
import random
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.core.errors import InputError
from pipeline.extract.members import GZIP_MAGIC

# Remote archives are looked at only so far: a run may name 100,000 of them.
_MAX_REMOTE_CHECKS = 16
_PROBE_BYTES = 4096
# Source: the ARC file format, Internet Archive 1996: the first line of the version block.
_ARC = b"filedesc://"


def list_archives(patterns: Sequence[str]) -> list[str]:
    """The archives that paths, globs and `@lists` name (any fsspec URL), sorted, each once.

    A `@list` is a text file, gzip or not, with a path or glob per line. Raises InputError that
    names what is missing, or what is neither gzip nor WARC.
    """
    found: set[str] = set()
    for pattern in patterns:
        if pattern.startswith("@"):
            found.update(list_archives(_lines(pattern[1:])))
        else:
            found.update(_expand(pattern))
    archives = sorted(found)
    _check(archives)
    return archives


def _expand(pattern: str) -> Iterable[str]:
    try:
        fs, path = fsspec.core.url_to_fs(pattern)
        is_glob = any(char in path for char in "*?[") and not fs.exists(path)
        paths = fs.glob(path) if is_glob else [path] if fs.isfile(path) else []
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"archive {pattern} cannot be read: {error}") from None
    if not paths:
        if not is_glob and fs.isdir(path):
            raise InputError(f"archive {pattern} is a folder; name its files: {pattern}/*.warc.gz")
        kind = "no archive matches" if is_glob else "no archive at"
        raise InputError(f"{kind} {pattern}")
    if not is_glob:
        return [pattern]
    if isinstance(fs, LocalFileSystem):
        # As given: what is written must not depend on the folder a run is started from.
        here = Path.cwd()
        return [p if pattern.startswith("/") else _relative(p, here) for p in paths]
    return [fs.unstrip_protocol(p) for p in paths]


def _relative(path: str, folder: Path) -> str:
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path


def _check(archives: Sequence[str]) -> None:
    remote = 0
    for archive in archives:
        fs, path = fsspec.core.url_to_fs(archive)
        if not isinstance(fs, LocalFileSystem):
            remote += 1
            if remote > _MAX_REMOTE_CHECKS:
                continue
        try:
            with fs.open(path, "rb") as file:
                start = file.read(_PROBE_BYTES)
        except IsADirectoryError:
            raise InputError(f"archive {archive} is a folder; name its files: *.warc.gz") from None
        except OSError as error:
            raise InputError(f"archive {archive} cannot be read: {error}") from None
        if fault := _fault(start):
            raise InputError(f"archive {archive} {fault}")


def _fault(start: bytes) -> str | None:
    """Why a file that starts like this is no archive. What is damaged is one, as far as it can be
    read: only a first gzip member that is sound and holds something else speaks against it."""
    if start.startswith(b"WARC/"):
        return None
    if start.startswith(_ARC):
        return "is an ARC file; convert it to WARC"
    if not start.startswith(GZIP_MAGIC):
        return "is not gzip or WARC"
    try:
        text = zlib.decompressobj(31).decompress(start, _PROBE_BYTES)
    except zlib.error:
        return None
    if text.startswith(_ARC):
        return "is an ARC file; convert it to WARC"
    return "is gzip, but holds no WARC record" if text and b"WARC/" not in text else None


def _lines(path: str) -> list[str]:
    try:
        with fsspec.open(path, "rt", compression="infer", encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, ValueError, ImportError) as error:
        why = "" if path in str(error) else f" ({error})"
        raise InputError(
            f"list of archives {path} cannot be read{why}; check the network and the crawl's name, "
            "or give archives of your own with extract.archives"
        ) from None
    return [line for line in lines if line]


@lru_cache(maxsize=8)
def sample_crawl(base_url: str, crawl: str, kind: str, files: int, seed: int) -> tuple[str, ...]:
    """`files` archives of a crawl, sampled without replacement by `seed`, sorted; 0 takes all.

    kind: "wat" or "warc". Source of the layout: commoncrawl.org, "Get started"
    (`crawl-data/<crawl>/<kind>.paths.gz`, paths relative to the base URL).
    """
    url = posixpath.join(base_url, "crawl-data", crawl, f"{kind}.paths.gz")
    paths = sorted(set(_lines(url)))
    if not paths:
        raise InputError(f"list of archives {url} is empty")
    if files > len(paths):
        raise InputError(f"{crawl} has {len(paths)} {kind} archives, fewer than files = {files}")
    if files:
        paths = sorted(random.Random(seed).sample(paths, files))
    return tuple(posixpath.join(base_url, path) for path in paths)
