"""The keys of a section of a recipe, with what its source says of each: for the documentation.

What a key does is said beside the field, in a comment above or behind it, or in the docstring of
the section as "key: text". A comment above several fields in a row is about them together.
"""

import ast
import inspect
import io
import re
import textwrap
import tokenize
import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

# Unit by the last word of a key.
UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "bytes": "bytes",
    "mb": "MB",
    "px": "pixels",
    "share": "share",
    "rows": "rows",
    "urls": "URLs",
    "pairs": "pairs",
}


@dataclass(frozen=True)
class Key:
    """A key of a section.

    default: as in TOML, or "required". allowed: unit, range and choices, as text. is_tuning: it may
    change between reruns. doc: what it does; empty: that is said of the key before.
    """

    name: str
    default: str
    allowed: str
    is_tuning: bool
    doc: str


def keys(section: type[BaseModel]) -> list[Key]:
    """The keys that a section has of its own, in the order of the source."""
    told = _told(section)
    return [_key(name, section.model_fields[name], doc) for name, doc in told.items()]


def paragraph(section: type[BaseModel]) -> str:
    """What the docstring of a section says before it comes to its keys."""
    doc = inspect.getdoc(section) or ""
    names = "|".join(inspect.get_annotations(section)) or "-"
    general = re.split(rf"^(?:(?:{names})(?:, )?)+: ", doc, maxsplit=1, flags=re.MULTILINE)[0]
    return " ".join(general.split())


def _key(name: str, field: FieldInfo, doc: str) -> Key:
    extra = field.json_schema_extra
    is_tuning = isinstance(extra, dict) and bool(extra.get("tuning"))
    default = (
        "required" if field.is_required() else toml(field.get_default(call_default_factory=True))
    )
    allowed = (UNITS.get(name.rpartition("_")[2], ""), *_choices(field.annotation), _range(field))
    return Key(name, default, ", ".join(filter(None, allowed)), is_tuning, doc)


def toml(value: Any) -> str:
    """A value as a recipe has it; "none" where a recipe has no word for it."""
    if value is None:
        return "none"
    if isinstance(value, Enum):
        return toml(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\n", " ") + '"'
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
    return str(value)


def _choices(kind: Any) -> Iterator[str]:
    """The values that are allowed, where they are few."""
    origin = get_origin(kind)
    if origin is Literal:
        yield ", ".join(f"`{toml(value)}`" for value in get_args(kind))
    elif origin in (Union, types.UnionType):
        for one in get_args(kind):
            yield from _choices(one)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        yield ", ".join(f"`{toml(value)}`" for value in kind)


def _range(field: FieldInfo) -> str:
    """The interval that a number lies in, as "1 to 10" or "over 0"."""
    ends = {}
    for rule in field.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if hasattr(rule, name):
                ends[name] = toml(getattr(rule, name))
    low = ends.get("ge", "")
    if "gt" in ends:
        low = f"over {ends['gt']}"
    if "le" in ends:
        return f"{low} to {ends['le']}" if low else f"at most {ends['le']}"
    return f"at least {low}" if "ge" in ends else low


def _told(section: type[BaseModel]) -> dict[str, str]:
    """Field -> what is said of it; empty where it goes with the field before."""
    source = textwrap.dedent(inspect.getsource(section))
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    comments, code = _comments(source)
    documented = _documented(inspect.getdoc(section) or "", list(section.model_fields))
    found = {}
    for node in body.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        behind = [
            comments[line]
            for line in range(node.lineno, (node.end_lineno or 0) + 1)
            if line in comments
        ]
        above: list[str] = []
        line = node.lineno - 1
        while line in comments and line not in code:
            above.insert(0, comments[line])
            line -= 1
        name = node.target.id
        found[name] = " ".join(filter(None, [documented.get(name, ""), *above, *behind]))
    return found


def _comments(source: str) -> tuple[dict[int, str], set[int]]:
    """Line -> its comment; and the lines that hold code."""
    comments: dict[int, str] = {}
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ")
        elif token.string.strip():
            code.update(range(token.start[0], token.end[0] + 1))
    return comments, code


def _documented(doc: str, names: list[str]) -> dict[str, str]:
    """Field -> its text in a docstring; of "a, b: text" the second has none of its own."""
    name = "|".join(map(re.escape, names))
    start = re.compile(rf"(?:(?<=^)|(?<=[.;] )|(?<=\n))((?:(?:{name}), )*(?:{name})): ")
    text = re.sub(r"\n\s+", " ", doc)
    places = list(start.finditer(text))
    found: dict[str, str] = {}
    for n, place in enumerate(places):
        end = places[n + 1].start() if n + 1 < len(places) else len(text)
        told = text[place.end() : end].strip().removesuffix(";")
        for k, one in enumerate(place[1].split(", ")):
            found[one] = " ".join(told.split("\n\n")[0].split()) if k == 0 else ""
    return found
