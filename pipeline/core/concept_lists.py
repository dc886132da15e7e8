"""Lists of concepts, as a user gives them."""

import hashlib
import json

import fsspec

from pipeline.core.errors import InputError


def read_entries(path: str) -> list[str]:
    """The entries of a list on any fsspec path: JSON, an array of strings as MetaCLIP's
    metadata.json, where the name ends in ".json"; or else text in UTF-8, one entry a line.

    Spaces around an entry, empty ones and repetitions are left out. Raises InputError when the file
    cannot be read, is not of its form, or has no entries.
    """
    try:
        with fsspec.open(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
        lines = json.loads(text) if path.endswith(".json") else text.split("\n")
    except (OSError, ValueError) as error:  # ValueError: neither UTF-8 nor JSON, no such protocol
        raise InputError(f"list of concepts {path}: {error}") from None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InputError(f"list of concepts {path}: expected a JSON array of strings")
    entries = list(dict.fromkeys(entry for line in lines if (entry := line.strip())))
    if not entries:
        raise InputError(f"list of concepts {path}: it has no entries")
    return entries


def identity(path: str) -> str:
    """16 hex digits that name what entries a list has, in which order. Raises as `read_entries`."""
    joined = "\n".join(read_entries(path)).encode()
    return hashlib.blake2b(joined, digest_size=8).hexdigest()
