"""Reads as much of the protobuf text format as the published robots.txt verdicts use."""

import re
from typing import Any

_TOKEN = re.compile(rb'\s+|#[^\n]*|("(?:[^"\\]|\\.)*")|([A-Za-z_]\w*)|([\[\]{}:,])')
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def read(text: bytes) -> dict[str, Any]:
    """Fields of a message: bytes, names as str, lists of messages. Raises ValueError."""
    tokens: list[bytes] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(text[at : at + 40])
        at = found.end()
        tokens += [group for group in found.groups() if group]
    return _message(tokens, 0)[0]


def _message(tokens: list[bytes], at: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    while at < len(tokens) and tokens[at] != b"}":
        if tokens[at] == b",":
            at += 1
            continue
        name = tokens[at].decode()
        at += 2 if tokens[at + 1] == b":" else 1
        if tokens[at] == b"[":
            fields[name] = []
            at += 1
            while tokens[at] != b"]":
                if tokens[at] == b"{":
                    value, at = _message(tokens, at + 1)
                    fields[name].append(value)
                at += 1
            at += 1
        elif tokens[at] == b"{":
            value, at = _message(tokens, at + 1)
            fields.setdefault(name, []).append(value)
            at += 1
        elif tokens[at].startswith(b'"'):
            fields[name] = b""
            while at < len(tokens) and tokens[at].startswith(b'"'):
                fields[name] += _ESCAPE.sub(_unescaped, tokens[at][1:-1])
                at += 1
        else:
            fields[name] = tokens[at].decode()
            at += 1
    return fields, at


def _unescaped(found: "re.Match[bytes]") -> bytes:
    code = found[1]
    if code in _NAMED:
        return _NAMED[code]
    if code[:1] == b"x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    return bytes([int(code, 8)]) if code[:1].isdigit() else code
