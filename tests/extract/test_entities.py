"""Character references, against Python's own resolver."""

import html
import unicodedata
from html.entities import html5

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.entities import resolve

_PIECES = st.one_of(
    st.sampled_from(sorted(html5)).map("&{}".format),
    st.sampled_from(sorted(html5)).map(lambda name: f"&{name}"[:-1]),
    st.integers(0, 0x120000).map("&#{};".format),
    st.integers(0, 0x120000).map("&#x{:x}".format),
    st.sampled_from(
        ["&", "&#", "&#x", "&#X", ";", "=", "1", "a", " ", "é", "가", "&amp", "&notit;"]
    ),
)


def resolved(text: str, is_attribute: bool = False) -> str:
    data = text.encode()
    out = np.zeros(2 * len(data) + 8, np.uint8)
    stop = resolve(np.frombuffer(data, np.uint8), 0, len(data), is_attribute, out, 0)
    assert stop <= 2 * len(data)
    return out[:stop].tobytes().decode()


def without_controls(text: str) -> str:
    """Python drops references to controls and noncharacters, the standard keeps them."""
    return "".join(
        c
        for c in text
        if unicodedata.category(c) != "Cc"
        and not (0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE)
    )


@given(st.lists(_PIECES, max_size=8).map("".join))
def test_text_is_resolved_as_python_does(text: str) -> None:
    assert without_controls(resolved(text)) == without_controls(html.unescape(text))


def test_every_name_is_known() -> None:
    for name, text in html5.items():
        assert resolved(f"&{name} ") == text + " ", name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("?a=1&copy=2", "?a=1&copy=2"),  # a query, not a sign: 13.2.5.73
        ("?a=1&copy;=2", "?a=1©=2"),
        ("?a=1&copy", "?a=1©"),
        ("&notit;", "&notit;"),
        ("&amp;amp;", "&amp;"),
        ("&#128;&#x0;&#xD800;", "€\ufffd\ufffd"),
    ],
)
def test_attributes_are_resolved_by_their_own_rule(text: str, value: str) -> None:
    assert resolved(text, is_attribute=True) == value
