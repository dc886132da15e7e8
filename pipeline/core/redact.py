"""What logs must not tell: credentials, and the words of pages and captions. The one place for it.

Everything that leaves a run beside its data tables goes through here: the event log, what a failed
job prints, and the config that stage records keep. Spark's own log has the same rules in
conf/log4j2.properties.
"""

import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fsspec

HIDDEN = "***"
# Names of settings, variables, parameters and headers whose values are secret.
_SECRET = (
    r"(?:secret|token|passw(?:or)?d|pwd|passphrase|credentials?|signature|authorization|"
    r"(?:api|access|account|private|storage|session|shared)[_.-]?key(?:[_.-]?id)?|connection_string)"
    r"(?:[_.-](?:key|value|id))?"
)
_SECRET_NAME = re.compile(rf"(?:.*[_.-]|.*[a-z])?{_SECRET}", re.IGNORECASE)
# Variables with such a name that say where a secret lies, or where the shell is.
_PLACE = re.compile(r"_(?:FILE|PATH|DIR|URI|URL)$|^(?:OLD)?PWD$")
# Shorter ones are names or switches, as "test" and "true", and would be hidden in every path.
_LEAST_CHARACTERS = 8
_USER = re.compile(r"(?<=://)[^/\s'\"<>?#]+@")
# Parameters by which S3, GCS, Azure, CloudFront and plain services sign or open a URL.
_PARAMETER = re.compile(
    rf"([?&;](?:x-(?:amz|goog|ms|oss)-[\w-]+|sig|key|policy|key-pair-id|(?:[\w.]*[_.-])?auth|"
    rf"GoogleAccessId|[\w.-]*?{_SECRET})=)[^&\s'\"<>#;]+",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    rf"((?<![?&;])\b[\w.-]*?{_SECRET}[\"']?\s*[=:]\s*[\"']?(?:(?:bearer|basic|aws4-hmac-sha256)\s+)?)"
    r"[^\s\"',;&})]{4,}",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
# Source: AWS documentation, IAM identifiers, unique ID prefixes.
_AWS_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]+-----|$)", re.S)
_QUOTED = re.compile(r"(?<!\w)(['\"`])(.*?)\1(?!\w)", re.DOTALL)
# What may stand quoted in an error: a column or module, a path, a URL.
_NAME = re.compile(
    r"[a-z_][a-z0-9_.-]{0,60}|(?:[\w.-]*/|[a-z0-9]+://)[!-~]*|\.[\w.-]*|/[\w.-]+[^/\n]*/[^\n]*"
)
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_MOST_CHARACTERS, _MOST_FRAMES = 500, 40


def redact(text: str) -> str:
    """The text with every credential in it replaced: values of secret environment variables and of
    fsspec's settings, users and passwords in URLs, parameters that sign them, `secret = ...`."""
    for value in _known_secrets():
        text = text.replace(value, HIDDEN)
    text = unsigned(text)
    text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return _PRIVATE_KEY.sub(HIDDEN, _AWS_KEY_ID.sub(HIDDEN, text))


def unsigned(text: str) -> str:
    """The text with no user, password or signature in its URLs: what a URL names without them."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))


def redact_all(data: Any, how: Callable[[str], str] = redact) -> Any:
    """JSON-ready data with every string redacted, and every string under a secret name hidden."""
    if isinstance(data, str):
        return how(data)
    if isinstance(data, Mapping):
        return {
            key: HIDDEN
            if isinstance(value, str) and value and _SECRET_NAME.fullmatch(str(key))
            else redact_all(value, how)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [redact_all(value, how) for value in data]
    return data


def mask(text: str) -> str:
    """The text without what it quotes, but for names and paths: libraries quote the value they
    stumble over, and that is a caption or a page."""

    def kept(found: re.Match[str]) -> str:
        quote, value = found[1], found[2]
        if not value or _NAME.fullmatch(value):
            return found[0]
        return f"{quote}<{len(value)} characters>{quote}"

    return _QUOTED.sub(kept, text)


def failure(error: BaseException) -> dict[str, Any]:
    """What the event log says of a failure: its class, where it was raised, here and in the task
    whose failure it is, and neither a message nor a line of what was read."""
    here = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    there = [f"{file}:{line} {name}" for file, line, name in _FRAME.findall(str(error))]
    return {"error": type(error).__name__, "frames": (here + there)[-_MOST_FRAMES:]}


def told(message: str) -> str:
    """A message of a library as it may be shown: redacted, without what it quotes, and short."""
    return mask(redact(message))[:_MOST_CHARACTERS]


def _known_secrets() -> list[str]:
    """Secret values that this process knows, the longest first."""
    found = {
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.fullmatch(name) and not _PLACE.search(name)
    }
    found.update(_settings(fsspec.config.conf))
    return sorted((v for v in found if len(v) >= _LEAST_CHARACTERS), key=len, reverse=True)


def _settings(data: Any, name: str = "") -> Iterator[str]:
    """Values of storage options with a secret name, at any depth."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _settings(value, str(key))
    elif isinstance(data, str) and (name == "key" or _SECRET_NAME.fullmatch(name)):
        yield data
