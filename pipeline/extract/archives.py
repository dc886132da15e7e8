"""Which archives to read: paths, globs, lists of paths, or a sample of a crawl."""

import gzip
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
from pipeline.extract.stream import open_archive

# Remote archives are looked at only so far: a run may name 100,000 of them.
_MAX_REMOTE_CHECKS = 16
_PROBE_BYTES = 4096
_CHECK_TRIES = 4
# Source: the ARC file format, Internet Archive 1996: the first line of the version block.
_ARC = b"filedesc://"


def list_archives(patterns: Sequence[str], base_url: str = "") -> list[str]:
    """The archives that paths, globs and `@lists` name (any fsspec URL), sorted, each once.

    A `@list` is a text file, gzip or not, with a path, URL or glob per line; a relative path that
    is not there is one below `base_url`, as in Common Crawl's `wat.paths.gz`. Raises InputError
    that names what is missing, or what is neither gzip nor WARC. Of remote archives only the first
    few are looked at.
    """
    found: set[str] = set()
    for pattern in patterns:
        if pattern.startswith("@"):
            is_remote = "://" in pattern and not pattern.startswith("@file://")
            for line in _lines(pattern[1:]):
                if is_remote and (line.startswith("/") or line.startswith(("file:", "local:"))):
                    raise InputError(f"{pattern}: {line!r} is a file of this machine, not of there")
                found.update(_expand(_absolute(line, base_url)))
        else:
            found.update(_expand(pattern))
    archives = sorted(found)
    _check(archives)
    return archives


def below(name: str, source: str) -> str:
    """A name that lists and indexes of a crawl give of an archive, which must lie below the crawl's
    base. Raises InputError for one that leads elsewhere. source: what gave it."""
    if "://" in name or name.startswith("/") or ".." in name.split("/"):
        raise InputError(f"{source}: {name!r} does not lie below the crawl's base URL")
    return name


def _absolute(line: str, base_url: str) -> str:
    is_relative = "://" not in line and not line.startswith("/")
    if not base_url or not is_relative or any(char in line for char in "*?["):
        return line
    return line if Path(line).exists() else posixpath.join(base_url, line)


def _expand(pattern: str) -> Iterable[str]:
    try:
        fs, path = fsspec.core.url_to_fs(pattern)
        is_local = isinstance(fs, LocalFileSystem)
        marks = "*[" if pattern.startswith(("http://", "https://")) else "*?["
        if not any(char in path for char in marks) or (is_local and fs.exists(path)):
            if is_local and not fs.isfile(path):
                kind = f"is a folder; name its files: {pattern}/*.warc.gz"
                raise InputError(
                    f"archive {pattern} {kind}" if fs.isdir(path) else f"no archive at {pattern}"
                )
            return [pattern]
        paths = fs.glob(path)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"archive {pattern} cannot be read: {error}") from None
    if not paths:
        raise InputError(f"no archive matches {pattern}")
    if is_local:
        # As given: what is written must not depend on the folder a run is started from.
        here = Path.cwd()
        return [p if pattern.startswith("/") else _relative(p, here) for p in paths]
    return [fs.unstrip_protocol(p) for p in paths]


def _relative(path: str, folder: Path) -> str:
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path


def _check(archives: Sequence[str]) -> None:
    remote = 0
    for archive in archives:
        if "://" in archive and not archive.startswith("file://"):
            remote += 1
            if remote > _MAX_REMOTE_CHECKS:
                continue
        try:
            with open_archive(archive, _PROBE_BYTES, _CHECK_TRIES, is_ahead=False) as file:
                start = file.read(_PROBE_BYTES)
        except IsADirectoryError:
            raise InputError(f"archive {archive} is a folder; name its files: *.warc.gz") from None
        except OSError as error:
            why = str(error)
            raise InputError(
                why if archive in why else f"archive {archive} cannot be read: {why}"
            ) from None
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
        with open_archive(path, max_tries=_CHECK_TRIES, is_ahead=False) as file:
            data = file.read()
        text = (gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data).decode("utf-8")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(
            f"list of archives {path} cannot be read ({error}); check the network and the crawl's "
            "name, or give archives of your own with extract.archives"
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


@lru_cache(maxsize=8)
def crawl_archives(
    base_url: str, crawl: str, kind: str, files: int, seed: int | None, first_file: int = 0
) -> tuple[str, ...]:
    """`files` archives of a crawl, sorted; 0 takes all from `first_file` on.

    kind: "wat" or "warc". seed: of the sample, drawn without replacement from all but those before
    `first_file`; None takes the range [first_file, first_file + files) of the sorted list. Source
    of the layout: commoncrawl.org, "Get started" (`crawl-data/<crawl>/<kind>.paths.gz`, paths
    relative to the base URL).
    """
    url = posixpath.join(base_url, "crawl-data", crawl, f"{kind}.paths.gz")
    paths = sorted({below(line, url) for line in _lines(url)})
    if not paths:
        raise InputError(f"list of archives {url} is empty")
    if first_file + files > len(paths) or first_file >= len(paths):
        wanted = f"files = {files}" + (f" from first_file = {first_file}" if first_file else "")
        raise InputError(f"{crawl} has {len(paths)} {kind} archives, fewer than {wanted}")
    paths = paths[first_file:]
    if files and seed is None:
        paths = paths[:files]
    elif files:
        paths = sorted(random.Random(seed).sample(paths, files))
    return tuple(posixpath.join(base_url, path) for path in paths)
