"""What to tell a user of a failure inside a stage: one line, and what to do."""

import errno
import re

from pipeline.core.errors import DamagedFile

# What Spark, Hadoop and Parquet say of bytes that are not those that were written.
_DAMAGE = {
    "ChecksumException": "its checksum does not hold",
    "CRC checksum verification failed": "the checksum of a page does not hold",
    "CANNOT_READ_FILE_FOOTER": "it has no readable footer",
    "is not a Parquet file": "it is not a whole Parquet file",
    "ParquetDecodingException": "a page cannot be read",
    "EOFException": "it ends too early",
}


def _unreadable(text: str) -> str:
    """What to say of a file that Spark could not read; "" when that is not what a failure says."""
    found = re.search(r"error while reading file (?:file:/*(?=/))?(\S+?)\.?\s", text)
    if found is None:
        return ""
    why = next((told for sign, told in _DAMAGE.items() if sign in text), "")
    if why:
        return str(DamagedFile(found[1], why))
    if "FILE_NOT_EXIST" in text:
        return f"{found[1]} was removed while it was to be read; run the same command again"
    return ""


def explain(error: BaseException) -> str:
    """One line for a failure inside a stage: the innermost cause that says something."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "disk full: free some space and run the same command again; finished parts are kept"
    text = str(error)
    if "No space left on device" in text:
        return "disk full: free some space and run the same command again; finished parts are kept"
    if damaged := _unreadable(text):
        return damaged
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("pipeline.core.errors.")]
    if told:
        return told[-1].split(": ", 1)[-1]
    python = [line for line in lines if "Error: " in line and not line.startswith(("at ", "File "))]
    return (python[-1] if python else lines[0] if lines else type(error).__name__)[:500]
