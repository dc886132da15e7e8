"""What to tell a user of a failure inside a stage: one line, and what to do."""

import errno
import re

from pipeline.core.errors import DamagedFile, PairmillError
from pipeline.core.redact import redact, told

# What Spark, Hadoop and Parquet say of bytes that are not those that were written.
_DAMAGE = {
    "ChecksumException": "its checksum does not hold",
    "CRC checksum verification failed": "the checksum of a page does not hold",
    "CANNOT_READ_FILE_FOOTER": "it has no readable footer",
    "is not a Parquet file": "it is not a whole Parquet file",
    "ParquetDecodingException": "a page cannot be read",
    "EOFException": "it ends too early",
}
# The last line of a traceback: the class, by its full name, of a library's exception.
_RAISED = re.compile(r"(?!org\.|java\.|scala\.|py4j\.)[a-z_]\w*(?:\.\w+)+: ")


def _unreadable(text: str) -> str:
    """What to say of a file that Spark could not read; "" when that is not what a failure says."""
    found = re.search(r"error while reading file (?:file:/*(?=/))?(\S+?)\.?\s", text)
    if found is None:
        return ""
    why = next((why for sign, why in _DAMAGE.items() if sign in text), "")
    if why:
        return str(DamagedFile(found[1], why))
    if "FILE_NOT_EXIST" in text:
        return f"{found[1]} was removed while it was to be read; run the same command again"
    return ""


def explain(error: BaseException) -> str:
    """One line for a failure inside a stage: the innermost cause that says something. Without
    credentials; of a library's message also without what it quotes (see `redact`)."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "disk full: free some space and run the same command again; finished parts are kept"
    text = str(error)
    if "No space left on device" in text:
        return "disk full: free some space and run the same command again; finished parts are kept"
    if damaged := _unreadable(text):
        return redact(damaged)
    if isinstance(error, PairmillError):
        return redact(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("pipeline.core.errors.")]
    if ours:
        return redact(ours[-1].split(": ", 1)[-1])
    python = [line for line in lines if "Error: " in line and not line.startswith(("at ", "File "))]
    python = python or [line for line in lines if _RAISED.match(line)]
    return told(python[-1] if python else lines[0] if lines else type(error).__name__)
