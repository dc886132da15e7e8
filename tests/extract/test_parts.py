"""srcset, URLs and opt-outs: published vectors and rules."""

import json
from pathlib import Path

import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.reasons import LinkReason
from pipeline.extract import srcset, urls
from pipeline.extract.optout import page_optout


def test_srcset_vectors(real_data: Path) -> None:
    cases = json.loads((real_data / "vectors/srcset/wpt-srcset.json").read_text())
    wrong = []
    # The file lost control characters of some values: their plain twins tell what is right.
    valid = {case["srcset"] for case in cases if case["expect"]}
    for case in cases:
        found = srcset.parse(case["srcset"])
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


@given(st.text(alphabet="ab,() \t1x2w3h.-e", max_size=60))
def test_srcset_never_raises(text: str) -> None:
    for source in srcset.parse(text):
        assert source.url and not source.url.startswith(",") and source.width >= 0


def test_url_vectors(real_data: Path) -> None:
    file = real_data / "vectors/url/ada-url+ada/tests/wpt/urltestdata.json"
    checked = 0
    for case in json.loads(file.read_text()):
        if not isinstance(case, dict) or case.get("base") is None:
            continue
        base = case["base"]
        if not base.startswith(("http://", "https://")) or not case["input"].strip():
            continue
        found = urls.resolve(case["input"], base)
        href = case.get("href", "")
        if case.get("failure"):
            assert found in (LinkReason.BAD_URL, LinkReason.DATA_URL), case
        elif href.startswith("data:"):
            assert found is LinkReason.DATA_URL
        elif not href.startswith("http"):
            assert found is LinkReason.NOT_HTTP, case
        else:
            assert not isinstance(found, LinkReason) and found.url == href, case
            assert "#" not in found.canonical_url
            assert urls.host_of(href) == case["hostname"]
        checked += 1
    assert checked > 150


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTP://Ex.COM:80/a/../b.jpg#f", "http://ex.com/b.jpg"),
        ("http://ex.com/?utm_source=x", "http://ex.com/"),
        ("http://ex.com/i?id=1&fbclid=2&UTM_x=3&w=4", "http://ex.com/i?id=1&w=4"),
        ("http://ex.com/i?u%74m_medium=x&b", "http://ex.com/i?b"),
        ("http://ex.com/i?b=2&a=1", "http://ex.com/i?b=2&a=1"),
        ("http://예.kr/x", "http://" + "예.kr".encode("idna").decode() + "/x"),
    ],
)
def test_canonical_form(url: str, canonical: str) -> None:
    found = urls.resolve(url, "http://base.example/")
    assert not isinstance(found, LinkReason) and found.canonical_url == canonical


@given(st.text(max_size=80))
def test_canonical_form_is_stable(text: str) -> None:
    found = urls.resolve(text, "https://page.example/dir/")
    if not isinstance(found, LinkReason):
        again = urls.resolve(found.canonical_url, "http://other.example/")
        assert not isinstance(again, LinkReason)
        assert (again.canonical_url, again.image_id) == (found.canonical_url, found.image_id)
        assert ada_url.normalize_url(found.url) == found.url


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("img.shop.co.kr", "shop.co.kr"),
        ("a.b.example.com", "example.com"),
        ("co.kr", "co.kr"),
        ("localhost", "localhost"),
        ("a.b.test", "b.test"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("user.github.io", "github.io"),
    ],
)
def test_registrable_domain(host: str, domain: str) -> None:
    assert urls.registrable_domain(host) == domain


@pytest.mark.parametrize(
    ("headers", "metas", "optout"),
    [
        ([], [], None),
        ([], [("robots", "index, follow")], None),
        ([], [("ROBOTS", "NOINDEX,nofollow")], "meta:noindex"),
        ([], [("googlebot", "noindex")], None),
        ([], [("CCBot", "noimageai noai")], "meta:noimageai"),
        ([], [("robots", "none")], "meta:none"),
        ([], [("tdm-reservation", "1")], "tdm-meta:1"),
        ([], [("tdm-reservation", "0")], None),
        ([("TDM-Reservation", "1")], [], "tdm-header:1"),
        ([("X-Robots-Tag", "noai")], [], "x-robots-tag:noai"),
        ([("x-robots-tag", "googlebot: noindex, nofollow")], [], None),
        ([("x-robots-tag", "googlebot: nofollow, gptbot: noai")], [], "x-robots-tag:noai"),
        (
            [("x-robots-tag", "max-image-preview: none, noimageindex")],
            [],
            "x-robots-tag:noimageindex",
        ),
        ([("x-robots-tag", "noindex")], [("robots", "noai")], "meta:noai"),
    ],
)
def test_page_optout(headers, metas, optout) -> None:
    assert page_optout(headers, metas) == optout
