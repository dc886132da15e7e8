"""Hash packs: what the pictures of an evaluation set or a block list hash to.

Pictures go through the decoder of the download, with its settings, so that hashes agree.
"""

import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec

from pipeline.core.errors import InputError
from pipeline.core.hash_files import PACK
from pipeline.core.reasons import Status
from pipeline.fetch.decode import decode
from pipeline.fetch.picture import SIGNATURE_BYTES, DecodeSettings, has_signature

# A file with one of these is meant to be a picture, whatever it holds.
_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif"),
    *(".bmp", ".tif", ".tiff", ".avif", ".jp2", ".ico"),
)
_TARS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class File:
    """A file that may be a picture, as it was found. name: relative, or <tar>/<member>."""

    name: str
    body: bytes


def find(path: str) -> Iterator[File]:
    """All files of a folder, and the members of its tars; or of one tar, a glob, or one file.

    In order of their names. Memory: one file. Raises InputError when there is nothing, or a tar is
    damaged.
    """
    try:
        fs, root = fsspec.core.url_to_fs(path)
        if any(sign in root for sign in "*?["):
            found, base = sorted(map(str, fs.glob(root))), posixpath.dirname(root)
        elif fs.isfile(root):
            found, base = [root], posixpath.dirname(root)
        else:
            found, base = (sorted(fs.find(root)) if fs.exists(root) else []), root
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not found:
        raise InputError(f"no file at {path}")
    for file in found:
        name = posixpath.relpath(file, base)
        try:
            if name.endswith(_TARS):
                yield from _members(name, fs, file)
            else:
                yield File(name, bytes(fs.cat_file(file)))
        except (OSError, EOFError, tarfile.TarError) as error:
            raise InputError(f"{file} cannot be read: {error}") from None


def _members(name: str, fs: Any, path: str) -> Iterator[File]:
    with fs.open(path, "rb") as raw, tarfile.open(fileobj=raw, mode="r|*") as tar:
        for member in tar:
            body = tar.extractfile(member) if member.isfile() else None
            if body is not None:
                yield File(f"{name}/{member.name}", body.read())


def is_picture(file: File, settings: DecodeSettings) -> bool:
    """True when the name or the first bytes say picture."""
    if posixpath.splitext(file.name)[1].lower() in _SUFFIXES:
        return True
    return has_signature(file.body[:SIGNATURE_BYTES], settings.formats)


def hash_row(file: File, settings: DecodeSettings) -> tuple[dict[str, Any] | None, str, str]:
    """A row of PACK; or None, with the status that says why not and its detail.

    settings: with `md5`.
    """
    found = decode(file.body, settings)
    if found.status != Status.OK:
        return None, str(found.status), found.status_detail or ""
    assert found.original_width is not None and found.original_height is not None
    row = {name: getattr(found, name, None) for name in PACK.names}
    row |= {"name": file.name, "aspect": found.original_width / found.original_height}
    return row, str(found.status), ""
