"""Opt-out lists: which URLs an entry covers, by the column and one by one, and lists of millions."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

# Before a test moves the cache: kernels stay where they are compiled already.
import pipeline.core.digest_kernel  # noqa: F401
from pipeline.core import optout_lists
from pipeline.core.errors import InputError
from pipeline.core.optout_lists import OptoutList, identity, load
from pipeline.core.tracking import MAYBE_TRACKING, without_tracking

LIST = """\ufeff# by request

example.com
domain:Bücher.example
  host:img.shop.net\t
https://Other.net:443/a/../secret.jpg#top
http://한국.kr/
https://user:word@q.net/x?b=2&a=%7e가
blog.net/post/1.jpg
https://cdn.net/y.jpg?UTM_source=feed&size=2&fbclid=1#z
https://cdn.net/z.jpg?
host:[2001:DB8::1]
192.0.2.7
"""
COVERED = {
    "https://example.com/": "domain",
    "http://a.b.example.com:8080/x.jpg?y": "domain",
    "https://xn--bcher-kva.example/x": "domain",
    "https://img.shop.net/x": "host",
    "http://img.shop.net:81/x": "host",
    "https://other.net/secret.jpg": "url",
    "http://other.net/secret.jpg": "url",
    "https://www.xn--3e0b707e.kr/x": "domain",
    "https://www.한국.kr/x": "domain",
    "https://q.net/x?b=2&a=%7e%EA%B0%80": "url",
    "http://blog.net/post/1.jpg": "url",
    "http://[2001:db8::1]/x": "host",
    "http://192.0.2.7/x": "domain",
    # Whatever brought the visitor, on either side.
    "https://other.net/secret.jpg?utm_medium=x&%75tm_source=y": "url",
    "https://other.net/secret.jpg?&": "url",
    "https://cdn.net/y.jpg?size=2": "url",
    "http://cdn.net/y.jpg?size=2&gclid=5#a": "url",
    "https://cdn.net/z.jpg": "url",
}
NOT_COVERED = [
    "https://notexample.com/",
    "https://example.com.evil.net/",
    "https://shop.net/x",
    "https://a.img.shop.net/x",
    "https://other.net/secret.jpg?v=2",
    "https://cdn.net/y.jpg",
    "https://cdn.net/y.jpg?size=2&gclids=5",
    "https://other.net/secret.jpg?a&",
    "https://other.net/",
    "https://other.net/Secret.jpg",
    "https://kr/x",
    "https://q.net/x",
    "https://x.net/?u=https://example.com/",
    "https://example.com@x.net/",
    "https://x.net/example.com",
    "",
    "nonsense",
    None,
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def written(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_what_entries_cover(tmp_path: Path) -> None:
    found = load([written(tmp_path / "list.txt", LIST)])
    assert len(found) == 11
    urls = [*COVERED, *NOT_COVERED]
    expected = [*COVERED.values(), *[None] * len(NOT_COVERED)]
    assert found.find(pa.array(urls, pa.string())).to_pylist() == expected
    assert found.find(pa.array(["x", *urls], pa.string())[1:]).to_pylist() == expected
    assert [found.find_one(url) if url is not None else None for url in urls] == expected


def test_lists_add_up_and_the_most_specific_entry_is_told(tmp_path: Path) -> None:
    first = written(tmp_path / "a.txt", "a.net\r\nhttps://h.a.net/x.jpg\r\na.net")
    second = written(tmp_path / "b.txt", "host:h.a.net\n\n")
    found = load([first, second])
    assert len(found) == 3
    urls = pa.array(["https://h.a.net/x.jpg", "https://h.a.net/y", "https://a.net/y"])
    assert found.find(urls).to_pylist() == ["url", "host", "domain"]
    assert load([]).find(urls).null_count == 3 and load([]).find_one("https://a.net/") is None
    assert len(load([written(tmp_path / "empty.txt", "")])) == 0


def test_a_list_that_changes_is_another(tmp_path: Path) -> None:
    path = written(tmp_path / "list.txt", "a.net\n")
    before = identity([path])
    assert load([path]).find_one("https://b.net/") is None
    written(tmp_path / "list.txt", "a.net\nb.net\n")
    assert load([path]).find_one("https://b.net/") == "domain"
    assert identity([path]) != before


@pytest.mark.parametrize(
    "line",
    [b"two words", b"\xff\xfe\x00", b"https:///x", b"ftp://a.net/x", b"host:a b", b"host:",
     b"https://a.net:port/", b"domain:a/b", b"mailto:me@a.net", b"me@a.net"],
)  # fmt: skip
def test_a_bad_line_is_told_with_its_place(line: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "list.txt", b"a.net\n# b\n" + line + b"\nc.net\n")
    with pytest.raises(InputError, match=r"list\.txt(, line 3| is not UTF-8)"):
        load([path])
    with pytest.raises(InputError, match="cannot be read"):
        load([str(tmp_path / "none.txt")])


NAMES = st.lists(st.sampled_from(["a", "b", "xn--x", "net"]), min_size=1, max_size=4).map(".".join)
PATHS = st.text("ab/.?=%", max_size=5)


@given(
    st.lists(st.tuples(st.sampled_from(["", "domain:", "host:", "http://"]), NAMES), max_size=8),
    st.lists(st.tuples(NAMES, PATHS), min_size=1, max_size=8),
)
def test_by_the_column_and_one_by_one_are_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[tuple[str, str]],
    asked: list[tuple[str, str]],
) -> None:
    lines = [f"{kind}{name}.org" for kind, name in entries]
    found = load([written(tmp_path_factory.mktemp("lists") / "l.txt", "\n".join(lines))])
    urls = [f"https://{name}.org/{path}" for name, path in asked]
    at_once = found.find(pa.array(urls, pa.string())).to_pylist()
    assert at_once == [found.find_one(url) for url in urls]
    domains = {f"{name}.org" for kind, name in entries if kind != "host:"}
    hosts = {f"{name}.org" for kind, name in entries if kind == "host:"}
    for (name, _), kind in zip(asked, at_once, strict=True):
        host = f"{name}.org"
        in_domain = any(host == d or host.endswith(f".{d}") for d in domains)
        assert kind == ("host" if host in hosts else "domain" if in_domain else None)


def test_entries_whose_digests_share_a_half_are_told_apart() -> None:
    texts = pa.array(["url:a.net/1", "url:a.net/2"])
    digests = optout_lists.ids.digests(texts).view(np.uint64).T.copy()
    crowd = np.repeat(digests[:, :1], 5, axis=1)
    crowd[1, :4] = [1, 2, 3, 4]
    found = OptoutList(crowd)
    urls = ["https://a.net/1", "https://a.net/2"]
    assert found.find(pa.array(urls)).to_pylist() == ["url", None]
    assert [found.find_one(url) for url in urls] == ["url", None]


def test_a_list_of_millions_is_mapped_not_held(tmp_path: Path) -> None:
    """2 million entries are 32 MB in a file that processes share: far less than that is their
    own, and every process after the first has it at once."""
    numbers = pc.cast(pa.array(np.arange(500_000)), pa.string())
    path = tmp_path / "millions.txt"
    with path.open("wb") as file:
        for before, after in [
            ("site-", ".com"), ("domain:www-", ".co.kr"), ("host:img.s", ".net"),
            ("https://cdn.example.org/a/", "/x.jpg"),
        ]:  # fmt: skip
            lines = pc.binary_join_element_wise(before, numbers, after, "")
            file.write("\n".join(lines.to_pylist()).encode() + b"\n")
    found = load([str(path)])
    assert len(found) == 2_000_000
    (kept,) = (Path(os.environ["XDG_CACHE_HOME"]) / "pairmill").glob("optouts-*.npy")
    assert kept.stat().st_size == 2_000_000 * 16 + 128
    chosen = np.random.default_rng(1).choice(1_000_000, 20_000, replace=False)
    urls = [f"https://a.site-{n}.com/" for n in chosen] + [
        f"https://cdn.example.org/a/{n}/x.jpg" for n in chosen
    ]
    is_listed = found.find(pa.array(urls)).is_valid().to_numpy(zero_copy_only=False)
    assert (is_listed == np.tile(chosen < 500_000, 2)).all()
    probe = (
        "import sys, pyarrow as pa\n"
        "from pipeline.core import optout_lists\n"
        "def own(): return int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0])\n"
        "optout_lists.ids.digests(pa.array(['x']))\n"
        "before = own()\n"
        "optout_lists.optout_entries.compiled = None\n"  # what is kept is enough
        f"found = optout_lists.load([{str(path)!r}])\n"
        "assert found.find_one('https://site-7.com/') == 'domain'\n"
        "assert found.find(pa.array(['https://site-7.com/'] * 1000)).null_count == 0\n"
        "print(own() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=os.environ
    )
    # The list is read in blocks of 16 MiB, to see what it is.
    assert int(done.stdout) < 50 * 1024


@given(st.lists(st.sampled_from(["?", "&", "=", "utm_", "%75tm_", "fbclid", "v", "x", "%3d"])))
def test_what_may_be_changed_is_seen_by_the_column(pieces: list[str]) -> None:
    rest = "/a.jpg" + "".join(pieces)
    if without_tracking(rest) != rest:
        assert pc.match_substring_regex(pa.array([rest]), MAYBE_TRACKING).to_pylist() == [True]
