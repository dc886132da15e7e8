"""What to tell a user of a failure inside a stage: one line, and what to do."""

import errno
import re

from pipeline.core.errors import PairmillError
from pipeline.core.redact import redact, told

# The last line of a traceback: the class, by its full name, of a library's exception.
_RAISED = re.compile(r"(?!org\.|java\.|scala\.|py4j\.)[a-z_]\w*(?:\.\w+)+: ")


def explain(error: BaseException) -> str:
    """One line for a failure inside a stage: the innermost cause that says something. Without
    credentials; of a library's message also without what it quotes (see `redact`)."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "disk full: free some space and run the same command again; finished parts are kept"
    text = str(error)
    if "No space left on device" in text:
        return "disk full: free some space and run the same command again; finished parts are kept"
    if isinstance(error, PairmillError):
        return redact(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("pipeline.core.errors.")]
    if ours:
        return redact(ours[-1].split(": ", 1)[-1])
    python = [line for line in lines if "Error: " in line and not line.startswith(("at ", "File "))]
    python = python or [line for line in lines if _RAISED.match(line)]
    return told(python[-1] if python else lines[0] if lines else type(error).__name__)
