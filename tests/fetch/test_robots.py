"""robots.txt: published verdicts, real files, and what the RFC says where it has examples."""

import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.reasons import Status
from pipeline.fetch.robots import MAX_BYTES, Rules, answered, parse
from tests.fetch import textproto

# Verdicts of the published suite, which is older than the RFC, that the RFC turns around. Its
# section 2.2.2: octets outside of ASCII MUST be percent-encoded prior to comparison, on both sides;
# a percent-encoded octet of the unreserved characters MUST be decoded.
_DECIDED_BY_RFC = {
    ("Allow: /foo/bar/ツ", "http://foo.bar/foo/bar/ツ"),
    ("Allow: /foo/bar/%E3%83%84", "http://foo.bar/foo/bar/ツ"),
    ("Allow: /foo/bar/%62%61%7A", "http://foo.bar/foo/bar/baz"),
}


def test_published_verdicts(real_data: Path) -> None:
    files = sorted((real_data / "vectors/robots").rglob("*.textproto"))
    wrong, deviating, verdicts = [], set(), 0
    for file in files:
        message = textproto.read(file.read_bytes())
        for test in message["tests"]:
            body = test["robotstxt"]
            last = body.decode("utf-8", "replace").strip().split("\n")[-1]
            for expected in test["test_expectations"]:
                agent, url = (expected.get(k, b"").decode() for k in ("useragent", "testurl"))
                is_allowed = expected["expected_outcome"] == "ALLOWED"
                verdicts += 1
                if parse(body, agent).allows(url) != is_allowed:
                    wrong.append((file.name, agent, url, is_allowed))
                    deviating.add((last, url))
    assert (len(files), verdicts) == (41, 400)
    assert deviating == _DECIDED_BY_RFC and len(wrong) == 3, wrong


def test_real_files_never_raise_and_are_kept_without_loss(real_data: Path) -> None:
    urls = [
        "https://a.test/",
        "https://a.test/images/2020/a-photo_1200x900.jpg?w=1",
        "https://a.test/wp-content/uploads/x.png",
        "https://a.test/search?q=%EA%B0%80*$",
    ]
    files = 0
    allowed = [0] * len(urls)
    with tarfile.open(real_data / "robots-txt-top-sites.tar.gz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is None:
                continue
            body = file.read()
            rules = parse(body, "Pairmill")
            text = rules.text().encode()
            assert parse(text, "any", len(text)) == rules
            for i, url in enumerate(urls):
                allowed[i] += rules.allows(url)
            files += 1
    assert files == 4231
    # Most sites let a picture be asked for, some do not.
    assert all(0.5 * files < count < files for count in allowed)


def test_odd_files_of_a_crawler_library(real_data: Path) -> None:
    folder = real_data / "vectors/robots/crawler-commons"
    bodies = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert len(bodies) == 24
    for body in bodies.values():
        parse(body, "Pairmill").allows("http://a.test/x.jpg")

    def allows(name: str, agent: str, path: str) -> bool:
        return parse(bodies[name], agent).allows("http://a.test" + path)

    # A byte order mark, also of UTF-16, changes nothing.
    marked = [body for name, body in bodies.items() if "-bom" in name]
    assert len({parse(body, "bot") for body in marked}) == 1 and len(marked) == 3
    assert parse(marked[0], "bot").rules
    # RFC 9309, section 5.1 and 5.2.
    simple = "rfc9309-example-simple-robots.txt"
    for agent, path, is_allowed in [
        ("other", "/publications/x.gif", True),
        ("other", "/example/x", False),
        ("other", "/x.gif", False),
        ("other", "/x.gif?y", True),
        ("foobot", "/example/allowed.gif", True),
        ("foobot", "/example/page.html", True),
        ("foobot", "/x", False),
        ("bazbot", "/example/page.html", False),
        ("barbot", "/example/x.gif", True),
        ("quxbot", "/example/page.html", True),
    ]:
        assert allows(simple, agent, path) is is_allowed, (agent, path)
    longest = "rfc9309-example-longest-match-robots.txt"
    assert allows(longest, "foobot", "/example/page/x.gif")
    assert not allows(longest, "foobot", "/example/page/disallowed.gif")
    # RFC 9309, section 2.2.1, figure 2: groups of one agent are one.
    merged = "rfc9309-example-rule-group-merging.txt"
    for path in ("/foo", "/bar", "/baz"):
        assert not allows(merged, "ExampleBot", path)
    assert allows(merged, "BazBot", "/foo") and not allows(merged, "BazBot", "/baz")
    # A Crawl-delay ends no group.
    for agent in ("mybot", "yourbot"):
        assert not allows("crawl-delay-group-merging.txt", agent, "/private/")
        assert parse(bodies["crawl-delay-group-merging.txt"], agent).crawl_delay_s == 10
    assert parse(bodies["crawl-delay-group-merging.txt"], "other").crawl_delay_s == 30
    assert allows("malformed-path.txt", "x", "/wiki/a")
    # A product token has no digits, so all groups of these two are those of "bot".
    for path in ("/dissalow/x", "/useragent/x"):
        assert not allows("directive-typos-robots.txt", "bot", path)
    assert allows("directive-typos-robots.txt", "bot", "/desallow/x")
    assert not allows("format-errors-robots.txt", "bot", "/no-colon/")


@pytest.mark.parametrize(
    ("line", "binds"),
    [
        ("Pairmill", True),
        ("pairmill", True),
        ("Pairmill/1.0", True),
        ("Pairmill bot", True),
        ("Pairmill*", True),
        ("Pairmill  # us", True),
        ("*", True),
        ("* everybody", True),
        ("mill", False),
        ("Pairmillbot", False),
        ("Pair", False),
        ("", False),
        ("*bot", False),
    ],
)
def test_whom_a_group_binds(line: str, binds: bool) -> None:
    rules = parse(f"User-agent: {line}\nDisallow: /\n".encode(), "Pairmill")
    assert rules.allows("http://a.test/x") is not binds


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/a", ["/a", "/a/b", "/ab", "/a?x"], ["/", "/b/a", "/A"]),
        ("/a*", ["/a", "/ab"], ["/b"]),
        ("/a$", ["/a"], ["/a/", "/ab", "/a?x"]),
        ("/*.jpg$", ["/x.jpg", "/a/x.jpg.jpg"], ["/x.jpg?w=1", "/x.jpeg"]),
        ("/*/b/*/d", ["/a/b/c/d", "/a/b/b/c/d"], ["/b/c/d", "/a/b/d"]),
        ("*b", ["/b", "/ab"], ["/a"]),
        ("/a*$", ["/a", "/abc"], ["/b"]),
        ("/**a", ["/a", "/ba"], ["/b"]),
        ("/a$b", ["/a$b", "/a%24b"], ["/a", "/ab"]),
        ("/a%2Ab", ["/a*b", "/a%2ab"], ["/ab", "/axb"]),
        ("/a%24", ["/a$", "/a%24x"], ["/a"]),
        ("/가", ["/%EA%B0%80", "/%ea%b0%80/x"], ["/%EA%B0%81"]),
        ("/%ea%b0%80", ["/%EA%B0%80"], ["/"]),
        ("/%7Ejoe/", ["/~joe/x", "/%7ejoe/x"], ["/joe/"]),
        ("/a%2Fb", ["/a%2fb"], ["/a/b"]),
        ("/?x", ["/?x=1"], ["/", "/a?x"]),
        ("/100%", ["/100%", "/100%x"], ["/100"]),
        ("", [], ["/", "/a"]),
    ],
)
def test_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    rules = parse(f"User-agent: *\nDisallow: {pattern}\n".encode(), "Pairmill")
    assert [p for p in matching if rules.allows("http://a.test" + p)] == []
    assert [p for p in others if not rules.allows("http://a.test" + p)] == []


def test_the_longest_match_wins_and_allow_wins_a_tie() -> None:
    rules = parse(b"User-agent: *\nDisallow: /a/*.jpg$\nAllow: /a/b/longer.jpg\n", "Pairmill")
    assert not rules.allows("http://x/a/c.jpg") and rules.allows("http://x/a/c.jpg?x")
    assert rules.allows("http://x/a/b/longer.jpg")
    for lines in (b"Allow: /ab\nDisallow: /a*", b"Disallow: /a*\nAllow: /ab"):
        assert parse(b"User-agent: *\n" + lines, "Pairmill").allows("http://x/abc")


def test_only_what_is_within_the_limit_counts() -> None:
    head = b"User-agent: *\nDisallow: /early\n"
    body = head + b"#" * (MAX_BYTES - len(head) - 1) + b"\nDisallow: /late\n"
    rules = parse(body, "Pairmill")
    assert not rules.allows("http://x/early") and rules.allows("http://x/late")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2),
        ("0.5", 0.5),
        ("1,5", 1.5),
        ("10s", 10),
        ("-3", 0),
        ("soon", 0),
        ("", 0),
        (".5", 0.5),
    ],
)
def test_crawl_delay(value: str, seconds: float) -> None:
    rules = parse(f"User-agent: *\nCrawl-delay: {value}\n".encode(), "Pairmill")
    assert rules.crawl_delay_s == seconds
    endless = parse(b"User-agent: *\nCrawl-delay: " + b"9" * 400, "Pairmill")
    assert 1e6 < endless.crawl_delay_s < float("inf")


def test_own_group_replaces_that_for_everybody() -> None:
    body = b"User-agent: *\nDisallow: /\nCrawl-delay: 9\n\nUser-agent: PairMill\nDisallow: /only\n"
    rules = parse(body, "Pairmill")
    assert rules.allows("http://x/a") and not rules.allows("http://x/only/x")
    assert rules.crawl_delay_s == 0


@pytest.mark.parametrize(
    ("code", "allowed"), [(200, False), (404, True), (403, True), (429, False), (503, False)]
)
def test_answers(code: int, allowed: bool) -> None:
    rules = answered(code, b"User-agent: *\nDisallow: /\n", "Pairmill")
    assert rules.allows("http://x/a.jpg") is allowed
    if code in (429, 503):
        assert rules.failure is not None and rules.failure[0] == Status.ROBOTS_UNAVAILABLE


_WORDS = st.sampled_from(
    [b"User-agent: *", b"user-agent:Pairmill/2", b"User-agent: x", b"Disallow: ", b"Allow: ", b"/a",
     b"*", b"$", b"%2a", b"%", b"\xea\xb0\x80", b"Crawl-delay: 3", b"\n", b"\r\n", b"\r", b"\0", b"#",
     b" ", b"\t", b":", b"/index.html", b"\xef\xbb\xbf", b"Sitemap: /x"]
)  # fmt: skip


@given(st.lists(_WORDS | st.binary(max_size=4), max_size=60).map(b"".join))
@example(b"\xff\xfeU\0")
@example(b"User-agent: *\nDisallow: /\x0b\n")
def test_whatever_it_is_the_rules_can_be_kept(body: bytes) -> None:
    rules = parse(body, "Pairmill")
    text = rules.text().encode()
    assert parse(text, "any", len(text)) == rules
    assert rules.allows("http://h/a%2A?b=$") in (True, False)
    assert 0 <= rules.crawl_delay_s < float("inf")


def _oracle(pattern: str, path: str) -> bool:
    """The same by a regular expression."""
    body = pattern.removesuffix("$")
    source = ".*".join(re.escape(piece) for piece in body.split("*"))
    return re.match(source + (r"\Z" if body != pattern else ""), path, re.DOTALL) is not None


@given(st.text("ab/*$", min_size=1, max_size=9), st.text("ab/", max_size=9))
def test_patterns_are_those_of_a_regular_expression(pattern: str, path: str) -> None:
    rules = parse(f"User-agent: *\nDisallow: /{pattern}\n".encode(), "Pairmill")
    expected = "$" not in pattern[:-1] and _oracle("/" + pattern, "/" + path)
    assert rules.allows(f"http://h/{path}") is not expected


def test_patterns_that_a_regular_expression_never_ends_with() -> None:
    lines = b"Disallow: /" + b"*a" * 200 + b"*b$\n"
    rules = parse(b"User-agent: *\n" + lines * 500, "Pairmill")
    assert rules.allows("http://h/" + "a" * 8000)
    assert Rules().allows("http://h/")
