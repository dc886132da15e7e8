"""Images of JSON-LD, by which pages tell search engines what they show.

Source: schema.org, ImageObject (`contentUrl`, `url`, `caption`).
"""

from collections.abc import Iterator
from typing import Any

import msgspec

_MAX_DEPTH = 32


def images(text: bytes) -> list[tuple[str, str]]:
    """(URL, caption) of every ImageObject in a script's text, in order; the caption is "" when it
    has none. What is no JSON gives nothing."""
    try:
        data = msgspec.json.decode(text.strip().removesuffix(b";"), strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    return list(_walk(data, 0))


def _walk(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, depth + 1)
    elif isinstance(value, dict):
        kinds = value.get("@type")
        if "ImageObject" in (kinds if isinstance(kinds, list) else [kinds]):
            url = _text(value.get("contentUrl")) or _text(value.get("url"))
            if url:
                yield url, _text(value.get("caption"))
        for item in value.values():
            if isinstance(item, dict | list):
                yield from _walk(item, depth + 1)


def _text(value: Any) -> str:
    """A text, the first of several, or that of an object such as {"@value": ..}."""
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, dict):
        value = value.get("@value") or value.get("text") or ""
    return value if isinstance(value, str) else ""
