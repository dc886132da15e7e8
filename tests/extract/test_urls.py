"""URLs: columns against the general parser, published vectors, the canonical form, domains."""

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ada_url
import numpy as np
import pyarrow as pa
import pytest
import tldextract
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import ids, tracking
from pipeline.core.reasons import LinkReason
from pipeline.extract import url_kernel, urls
from tests.extract.url_cases import BASES, PIECES, odd_links, real_links

WPT = "ada-url+ada/tests/wpt"


@pytest.fixture(scope="module")
def vectors(real_data: Path) -> Path:
    folder = real_data / "vectors" / "url"
    if not folder.is_dir():
        pytest.skip(f"no URL vectors at {folder}")
    return folder


@pytest.fixture(scope="module")
def links(real_data: Path) -> tuple[list[str], list[int], list[str]]:
    return real_links(real_data / "warc")


def column(sources: list[str], pages: list[int], bases: list[str]) -> list[urls.ImageUrl | int]:
    """The rows of `resolve`: an ImageUrl, or the code of the reason."""
    found = urls.resolve(
        pa.array(sources, pa.string()), np.array(pages, np.int32), pa.array(bases, pa.string())
    )
    assert found.image_ids.shape == (len(sources), 16)
    rows: list[urls.ImageUrl | int] = []
    texts = zip(
        *(c.to_pylist() for c in (found.url, found.canonical_url, found.domain)), strict=True
    )
    for reason, (url, canonical, domain), image in zip(
        found.reasons.tolist(), texts, found.image_ids, strict=True
    ):
        assert not reason or url == canonical == domain == ""
        rows.append(reason or urls.ImageUrl(url, canonical, domain, image.tobytes()))
    return rows


def one(source: str, base: str = BASES[0]) -> urls.ImageUrl | int:
    return column([source], [0], [base])[0]


def general(source: str, base: str) -> urls.ImageUrl | int:
    """The same by the scalar rules, which parse with ada."""
    found = urls.resolve_one(source, base)
    return urls.reason_code(found) if isinstance(found, LinkReason) else found


def assert_same(sources: list[str], pages: list[int], bases: list[str]) -> None:
    found = column(sources, pages, bases)
    wrong = [
        (source, bases[page], row, expected)
        for source, page, row in zip(sources, pages, found, strict=True)
        if row != (expected := general(source, bases[page]))
    ]
    assert not wrong, wrong[:5]


def test_real_links_are_what_the_general_parser_makes_of_them(
    links: tuple[list[str], list[int], list[str]],
) -> None:
    sources, pages, bases = links
    assert len(sources) > 20_000
    assert_same(sources, pages, bases)


def test_nearly_all_real_links_are_taken_by_the_kernel(
    links: tuple[list[str], list[int], list[str]],
) -> None:
    sources, pages, bases = links
    states = urls._join(pa.array(sources), np.array(pages, np.int32), pa.array(bases))[3]
    assert np.mean(states == url_kernel.GENERAL) < 0.03


def test_mutated_real_links(links: tuple[list[str], list[int], list[str]]) -> None:
    sources, pages, bases = links
    chance = random.Random(1)
    short = [row for row, source in enumerate(sources) if len(source) < 500]
    mutated, at = [], []
    for _ in range(20_000):
        row = chance.choice(short)
        text = list(sources[row])
        for _ in range(chance.randint(1, 3)):
            i = chance.randint(0, len(text))
            text[i : i + chance.randint(0, 3)] = chance.choice(PIECES)
        mutated.append("".join(text))
        at.append(pages[row])
    assert_same(mutated, at, bases)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(odd_links | st.text(max_size=40), st.integers(0, 6)), max_size=20))
def test_odd_links(cases: list[tuple[str, int]]) -> None:
    assert_same([source for source, _ in cases], [page for _, page in cases], BASES)


def test_every_character_in_every_place() -> None:
    characters = [chr(c) for c in range(256)] + ["\u2028", "\ud7ff", "\uffff", "\U0010ffff"]
    places = [
        "{}",
        "a{}b",
        "/a/{}",
        "?a{}b",
        "#a{}b",
        "//h{}.ex/x",
        "//{}/",
        "//ex{}",
        "http:{}",
        "{}:x",
    ]
    sources = [place.format(c) for place in places for c in characters]
    for base in range(len(BASES)):
        assert_same(sources, [base] * len(sources), BASES)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.binary(max_size=40))
def test_any_bytes_stay_in_bounds(data: bytes, cuts: list[int], base: bytes) -> None:
    """Not even UTF-8: run with NUMBA_BOUNDSCHECK=1, every index is checked."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    base = b"http" + base
    arrays = (
        np.array(edges, np.int32),
        np.frombuffer(data, np.uint8),
        np.zeros(len(edges) - 1, np.int32),
        np.array([0, len(base)], np.int32),
        np.frombuffer(base, np.uint8),
    )
    for array in arrays:
        array.flags.writeable = False
    out, used, spans, _ = url_kernel.join(*arrays, urls.MAX_URL_CHARS, urls._KINDS, *urls._NAMES)
    assert used <= len(out) and (spans >= 0).all() and (spans <= used).all()
    assert (spans[1::2] >= spans[::2]).all()


@pytest.mark.parametrize(
    ("source", "base", "url"),
    [
        ("a.jpg", "http://h/d/p.html", "http://h/d/a.jpg"),
        ("/a.jpg", "http://h/d/p.html", "http://h/a.jpg"),
        ("../../../a.jpg", "http://h/d/p.html", "http://h/a.jpg"),
        ("./b/./c/../a.jpg", "http://h/d/p.html", "http://h/d/b/a.jpg"),
        ("a/..", "http://h/d/p.html", "http://h/d/"),
        ("a//../b", "http://h/", "http://h/a/b"),
        ("%2E%2e/a", "http://h/d/e/", "http://h/d/a"),
        ("..%2fa", "http://h/d/e/", "http://h/d/e/..%2fa"),
        ("\\i\\a.gif", "http://h/d/", "http://h/i/a.gif"),
        ("//CDN.Ex.com/A?B", "https://h/d/", "https://cdn.ex.com/A?B"),
        ("HTTPS://ex.com:443", "http://h/", "https://ex.com/"),
        ("http://ex.com:443/", "http://h/", "http://ex.com:443/"),
        ("http://ex.com:080/", "http://h/", "http://ex.com/"),
        ("http:/x", "https://h/", "http://x/"),
        ("http:x", "http://h/d/", "http://h/d/x"),
        ("?q=1", "http://h/d/p?o#f", "http://h/d/p?q=1"),
        ("#x", "http://h/d/p?o#f", "http://h/d/p?o#x"),
        (" a b\u00e9.jpg ", "http://h/", "http://h/a%20b%C3%A9.jpg"),
        ("a?b\u00e9'\"{}", "http://h/", "http://h/a?b%C3%A9%27%22{}"),
        ("a^b`{}|", "http://h/", "http://h/a%5Eb%60%7B%7D|"),
        ("a\n/b\t", "http://h/", "http://h/a/b"),
        ("//ex.com:8080:1/", "http://h/", None),
        ("//0x7f.1/x", "http://h/", "http://127.0.0.1/x"),
        ("//ex.com.256/x", "http://h/", None),
        ("//[::1]/x", "http://h/", "http://[::1]/x"),
        ("//a b/", "http://h/", None),
        ("//ex.com:65536/", "http://h/", None),
        ("//\u00fc.ex/", "http://h/", "http://xn--tda.ex/"),
        ("//xn--\u00fc.ex/", "http://h/", None),
    ],
)
def test_resolution(source: str, base: str, url: str | None) -> None:
    found = one(source, base)
    if url is None:
        assert found == urls.reason_code(LinkReason.BAD_URL)
    else:
        assert isinstance(found, urls.ImageUrl) and found.url == url


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", LinkReason.BAD_URL),
        (" \n\t", LinkReason.BAD_URL),
        ("\u00a0", LinkReason.BAD_URL),
        ("http://", LinkReason.BAD_URL),
        ("/" + "x" * 8_000, LinkReason.BAD_URL),
        ("x" * 7_990, LinkReason.BAD_URL),  # too long only once it is absolute
        ("\u00e9" * 2_000, LinkReason.BAD_URL),  # and once it is percent-encoded
        ("x" * 100_000, LinkReason.BAD_URL),
        ("data:image/gif;base64,R0lGOD", LinkReason.DATA_URL),
        ("  DaTa:,", LinkReason.DATA_URL),
        (" " * 100 + "data:,", LinkReason.DATA_URL),
        ("da\nta:,x", LinkReason.DATA_URL),
        ("data:," + "x" * 1_000_000, LinkReason.DATA_URL),
        ("javascript:void(0)", LinkReason.NOT_HTTP),
        ("about:blank", LinkReason.NOT_HTTP),
        ("ftp://h/x", LinkReason.NOT_HTTP),
        ("file:///C|/x", LinkReason.NOT_HTTP),
        ("ftp://h h/", LinkReason.BAD_URL),
    ],
)
def test_reasons(source: str, reason: LinkReason) -> None:
    assert one(source) == general(source, BASES[0]) == urls.reason_code(reason)


def test_reason_codes_follow_the_vocabulary() -> None:
    assert urls.reason_code(None) == 0
    assert [urls.reason_code(reason) for reason in LinkReason] == list(
        range(1, len(LinkReason) + 1)
    )


def test_lengths_at_the_limit_count_characters() -> None:
    for count in (7_975, 7_979, 7_980, 7_981):
        assert_same(["x" * count, "\u00e9" + "x" * count], [0, 0], BASES[:1])


def test_rows_are_independent_of_their_batch(rows: int = 400) -> None:
    sources = [f"/{i}/é {'x' * (i % 90)}?utm_source={i}&b" for i in range(rows)]
    pages = [i % len(BASES) for i in range(rows)]
    whole = column(sources, pages, BASES)
    assert whole == [one(s, BASES[p]) for s, p in zip(sources, pages, strict=True)]
    sliced = pa.array(["no", *sources, "no"])[1:-1]
    found = urls.resolve(sliced, np.array(pages, np.int32), pa.array(BASES))
    assert found.url.to_pylist() == [row.url for row in whole]


def test_empty_and_wrong_batches() -> None:
    assert column([], [], []) == []
    for pages in ([1], [-1], [0, 0]):
        with pytest.raises(IndexError):
            column(["a"], pages, BASES[:1])


# ---- published vectors


def _cases(file: Path) -> Iterator[dict[str, Any]]:
    for case in json.loads(file.read_text(encoding="utf-8")):
        if isinstance(case, dict):
            try:
                json.dumps(case, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                continue  # lone surrogates: no such text in UTF-8
            yield case


# The older vintage refuses ASCII labels that are no valid Punycode; the standard no longer does
# (https://github.com/whatwg/url/issues/760, and the newer vintage's toascii.json: `xn--a`).
NO_LONGER_REFUSED = ("xn--pokxncvks", "https://xn--/")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        (f"{WPT}/urltestdata.json", 550),
        ("servo+rust-url/url/tests/urltestdata.json", 540),
        ("crawler-commons/wpt-urltestdata.json", 550),
        (f"{WPT}/ada_extra_urltestdata.json", 10),
    ],
)
def test_whatwg_vectors(vectors: Path, name: str, least: int) -> None:
    cases, bases, expected = [], [], []
    for case in _cases(vectors / name):
        href, base = case.get("href", ""), case.get("base")
        if case["input"].strip(" \n\t") == "":
            continue  # an empty `src` is no image, whatever URL it is
        if base in (None, "about:blank"):
            # A relative URL has nothing to be relative to: pages always have a base.
            if case.get("failure") or href.startswith(("http:", "https:")):
                own = urls.page_url(case["input"])
                if any(text in case["input"].lower() for text in NO_LONGER_REFUSED):
                    assert own is not None
                    continue
                assert own == (href or None), case
                expected.append(case)
            if not href.startswith(("http:", "https:")):
                continue
            base = "https://b.example/" if href.startswith("http:") else "http://b.example/"
        if (serialised := urls.page_url(base)) is None:
            continue  # no page of ours
        cases.append(case)
        bases.append(serialised)
    for case, found in zip(
        cases,
        column([c["input"] for c in cases], list(range(len(cases))), bases),
        strict=True,
    ):
        href = case.get("href", "")
        if case.get("failure"):
            assert found == urls.reason_code(LinkReason.BAD_URL), case
        elif href.startswith("data:"):
            assert found == urls.reason_code(LinkReason.DATA_URL), case
        elif not href.startswith(("http:", "https:")):
            assert found == urls.reason_code(LinkReason.NOT_HTTP), case
        else:
            assert isinstance(found, urls.ImageUrl) and found.url == href, case
            assert urls.host_of(href) == case["hostname"]
            assert found.canonical_url == urls.canonical_url(href)
    assert len(cases) + len(expected) > least


@pytest.mark.parametrize(
    ("name", "least"),
    [("toascii.json", 80), ("IdnaTestV2.json", 2_600), ("IdnaTestV2-removed.json", 15)],
)
def test_idna_vectors(vectors: Path, name: str, least: int) -> None:
    """No exceptions are known, save the empty host: before it, the parser skips the slashes."""
    cases = [case for case in _cases(vectors / WPT / name) if case["input"]]
    found = column([f"https://{case['input']}/x" for case in cases], [0] * len(cases), BASES[:1])
    wrong = []
    for case, row in zip(cases, found, strict=True):
        url = row.url if isinstance(row, urls.ImageUrl) else ""
        if url != (f"https://{case['output']}/x" if case["output"] else ""):
            wrong.append((case, row))
    assert not wrong and len(cases) > least


def test_percent_encoding_vectors(vectors: Path) -> None:
    """In UTF-8, whatever the page's encoding was: pages are read as UTF-8. Browsers encode the
    query of an old page in its own encoding; such a query is another one here."""
    for case in _cases(vectors / WPT / "percent-encoding.json"):
        found = one(f"/x?{case['input']}")
        assert isinstance(found, urls.ImageUrl)
        assert found.url == f"{BASES[0]}x?{case['output']['utf-8']}"


def test_crawler_commons_resolution(vectors: Path) -> None:
    text = (vectors / "crawler-commons/url-resolve.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    checked = 0
    for source, base, url in csv.reader(lines, skipinitialspace=True):
        if base and (serialised := urls.page_url(base)):
            found = one(source, serialised)
            # The table leaves a missing path away.
            expected = ada_url.normalize_url(url)
            if not expected.startswith("http"):
                assert found == urls.reason_code(LinkReason.NOT_HTTP)
                continue
            assert isinstance(found, urls.ImageUrl) and found.url == expected, source
            checked += 1
    assert checked >= 20


# ---- the canonical form


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTP://Ex.COM:80/a/../b.jpg#f", "http://ex.com/b.jpg"),
        ("http://ex.com/?utm_source=x", "http://ex.com/"),
        ("http://ex.com/i?id=1&fbclid=2&UTM_x=3&w=4", "http://ex.com/i?id=1&w=4"),
        ("http://ex.com/i?u%74m_medium=x&b", "http://ex.com/i?b"),
        ("http://ex.com/i?b=2&a=1", "http://ex.com/i?b=2&a=1"),
        ("http://ex.com/i?", "http://ex.com/i"),
        ("http://ex.com/i?&&", "http://ex.com/i"),
        ("http://ex.com/i?&a&&b&", "http://ex.com/i?&a&&b&"),
        ("http://ex.com/i?gclid&&b&", "http://ex.com/i?&b&"),
        ("http://ex.com/i?gclid=a=b?c/d&x", "http://ex.com/i?x"),
        ("http://ex.com/i?pk_id=7&xgclid=1&gclidx=2&g=clid", None),
        ("http://ex.com/i?pk_campaign=7&Matomo_Kwd=8&mtm_group=9", "http://ex.com/i"),
        ("http://ex.com/i?utm%5Fx=1&%75tm_y&gcli%64", "http://ex.com/i"),
        ("http://ex.com/i?utm=1&_utm_=2&ut%m_=3&gcl%4", None),
        ("http://ex.com/i?m%E2%84%AAt_tok=1", None),
        ("http://ex.com/utm_source=1/gclid?x", None),
        ("http://ex.com/i#?gclid=1", "http://ex.com/i"),
        ("http://예.kr/x", "http://" + "예.kr".encode("idna").decode() + "/x"),
        ("http://1.2.3.4/i?gclid=1&b#c", "http://1.2.3.4/i?b"),
    ],
)
def test_canonical_form(url: str, canonical: str | None) -> None:
    found = one(url)
    assert isinstance(found, urls.ImageUrl) and found.canonical_url == (canonical or url)
    assert found == general(url, BASES[0])
    assert found.image_id == ids.image_id(found.canonical_url)


# The normal form of crawler-commons' BasicURLNormalizer serves to visit a page once, and goes
# further than what is surely the same picture.
@pytest.mark.parametrize(
    ("url", "theirs", "is_shared"),
    [
        ("http://Foo.Com:80/aa/../b#ref", "http://foo.com/b", True),  # case, port, dots, fragment
        ("http://foo.com", "http://foo.com/", True),
        ("http://example.com:/", "http://example.com/", True),
        ("http://example.com/?", "http://example.com/", True),  # empty query
        ("http://foo.com/you too.html", "http://foo.com/you%20too.html", True),
        ("http://mydomain.com/en Español.aspx", "http://mydomain.com/en%20Espa%C3%B1ol.aspx", True),
        ("https://нэб.рф/", "https://xn--90ax2c.xn--p1ai/", True),
        ("https://example%2Ecom/", "https://example.com/", True),
        ("http://foo.com/{{x}}", "http://foo.com/%7B%7Bx%7D%7D", True),
        ("http://x.com/s?q=c%2B%2B", "http://x.com/s?q=c%2B%2B", True),
        # Not shared: the standard keeps them apart, and so may servers.
        ("http://foo.com/%66oo.html", "http://foo.com/foo.html", False),  # unreserved decoded
        ("http://foo.com/a%2fb", "http://foo.com/a%2Fb", False),  # hex in upper case
        ("http://x.com/?x[y]=1", "http://x.com/?x%5By%5D=1", False),
        ("http://foo.com/p%zz", "http://foo.com/p%25zz", False),
        ("http://foo.com/aa//bb", "http://foo.com/aa/bb", False),  # empty segments
        ("http://foo.com/?b=1&a=1", "http://foo.com/?a=1&b=1", False),  # sorted parameters
        ("http://foo.com/?a=1&b=", "http://foo.com/?a=1&b", False),  # empty values
        ("https://www.example.org./", "https://www.example.org/", False),  # the root's dot
        ("foo.com/index.html", "http://foo.com/index.html", False),  # a relative URL on a page
    ],
)
def test_rules_shared_with_crawler_commons(url: str, theirs: str, is_shared: bool) -> None:
    found = one(url)
    assert isinstance(found, urls.ImageUrl) and (found.canonical_url == theirs) is is_shared


@given(odd_links | st.text(max_size=80))
def test_canonical_form_is_stable(text: str) -> None:
    found = one(text, "https://page.example/dir/")
    if isinstance(found, urls.ImageUrl):
        again = one(found.canonical_url, "http://other.example/")
        assert isinstance(again, urls.ImageUrl)
        assert (again.canonical_url, again.image_id) == (found.canonical_url, found.image_id)
        assert "#" not in found.canonical_url
        assert ada_url.normalize_url(found.url) == found.url


@pytest.mark.parametrize("name", [*sorted(tracking.TRACKING), "utm_any", "hsa_any"])
def test_every_tracking_parameter_is_dropped(name: str) -> None:
    for form in (name, name.upper(), "%" + name[:1].encode().hex() + name[1:]):
        found = one(f"/i?a=1&{form}=x&b=2")
        assert isinstance(found, urls.ImageUrl)
        assert found.canonical_url == f"{BASES[0]}i?a=1&b=2"
    kept = one(f"/i?x{name}=1")
    assert isinstance(kept, urls.ImageUrl) and kept.canonical_url == kept.url


# ---- pages, hosts, domains


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        ("http://Ex.com", "http://ex.com/"),
        ("<http://ex.com/a>", "http://ex.com/a"),
        (" http://ex.com/a ", "http://ex.com/a"),
        ("http://ex.com/a>", "http://ex.com/a%3E"),
        ("dns:ex.com", None),
        ("urn:x", None),
        ("<>", None),
        (" ", None),
        ("", None),
        (None, None),
        ("http://ex.com/" + "x" * 8_000, None),
    ],
)
def test_page_url(raw: str | None, url: str | None) -> None:
    assert urls.page_url(raw) == url
    found = urls.page_urls(pa.array([raw or "", "http://x/#f"]))
    assert found.url.to_pylist() == [url or "", "http://x/#f"]


@given(st.lists(st.text(max_size=20) | st.from_regex(r"https?:/?/?[ -~\u00e0]{0,30}"), max_size=9))
def test_page_urls_are_those_of_one_at_a_time(raws: list[str]) -> None:
    found = urls.page_urls(pa.array(raws, pa.string()))
    expected = [urls.page_url(raw) or "" for raw in raws]
    assert found.url.to_pylist() == expected
    hosts = [url and urls.host_of(url) for url in expected]
    assert found.domain.to_pylist() == [urls.registrable_domain(host) for host in hosts]


@pytest.mark.parametrize(
    ("href", "base"),
    [
        (None, "http://h/d/p?q#f"),
        ("", "http://h/d/p?q#f"),
        ("/x/", "http://h/x/"),
        ("//cdn.ex", "http://cdn.ex/"),
        ("https://o.ex/y", "https://o.ex/y"),
        ("javascript:1", "http://h/d/p?q#f"),
        ("http://a b/", "http://h/d/p?q#f"),
        ("x" * 9_000, "http://h/d/p?q#f"),
    ],
)
def test_base_url(href: str | None, base: str) -> None:
    assert urls.base_url("http://h/d/p?q#f", href) == base


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("img.shop.co.kr", "shop.co.kr"),
        ("a.b.example.com", "example.com"),
        ("co.kr", "co.kr"),
        ("com", "com"),
        ("localhost", "localhost"),
        ("a.b.test", "b.test"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("user.github.io", "github.io"),
        ("a.b.c.ck", "b.c.ck"),
        ("c.ck", "c.ck"),
        ("a.www.ck", "www.ck"),
        ("a.city.kobe.jp", "city.kobe.jp"),
        ("a.b.c.kobe.jp", "b.c.kobe.jp"),
        ("kobe.jp", "kobe.jp"),
        ("a.example.xn--55qx5d.cn", "example.xn--55qx5d.cn"),
        ("example.com.", "example.com"),
        ("..", ".."),
        ("", ""),
    ],
)
def test_registrable_domain(host: str, domain: str) -> None:
    assert urls.registrable_domain(host) == domain


def test_registrable_domain_is_that_of_the_list() -> None:
    """Every rule of the list, at every depth, against the package that brings it."""
    oracle = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    rules = sorted(oracle.tlds)
    assert len(rules) > 5_000
    for rule in rules:
        name = rule.removeprefix("!").replace("*", "wild").encode("idna").decode()
        for host in (name, f"b.{name}", f"a.b.{name}"):
            found = oracle(host)
            expected = f"{found.domain}.{found.suffix}".strip(".")
            assert urls.registrable_domain(host) == expected, rule
