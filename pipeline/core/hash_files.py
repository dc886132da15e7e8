"""Parquet files of hashes: what they hold, and which version of the hash algorithms made them.

Hashes of two versions cannot be compared, so a file says its version in its metadata and every
reader asks for it.
"""

from collections.abc import Mapping

import pyarrow as pa

from pipeline.core.errors import InputError
from pipeline.core.ids import HASH_VERSION
from pipeline.core.tables import column

VERSION_KEY = b"pairmill.hash_version"

# A hash pack: one row per picture of an evaluation set or a block list.
PACK = pa.schema(
    [
        column("name", pa.string(), "path of the picture in its folder, or <tar>/<member>"),
        column("sha256", pa.binary(), "of the file, 32 bytes"),
        column("md5", pa.binary(), "of the file, 16 bytes"),
        column("hash64", pa.int64(), "DCT hash, 64 bits as signed"),
        column("hash256", pa.binary(), "PDQ, 256 bits as 32 bytes"),
        column("texture", pa.int32(), "0 (flat) to 100"),
        column("aspect", pa.float64(), "width / height, upright"),
    ],
    metadata={VERSION_KEY: HASH_VERSION.encode()},
)


def refuse_other_version(metadata: Mapping[bytes, bytes] | None, where: str, remedy: str) -> None:
    """Raise InputError unless a file's hashes are of this version of the algorithms.

    metadata: of the file's schema. where: names the file to the user. remedy: what to do about it.
    """
    found = (metadata or {}).get(VERSION_KEY, b"").decode("utf-8", "replace")
    if found != HASH_VERSION:
        stated = f"are of version {found!r}" if found else "state no version"
        raise InputError(f"{where}: its hashes {stated}, this computes {HASH_VERSION!r}; {remedy}")
