"""Hand-written pages in, rows and reasons out."""

import pytest

from tests.extract.archive import gz, page, read, response

HOST = "https://page.example"


@pytest.mark.parametrize(
    ("tag", "url"),
    [
        ('<img src="x.jpg" alt="a b">', f"{HOST}/a/x.jpg"),
        ('<img src="/x.jpg" alt="a b">', f"{HOST}/x.jpg"),
        ('<img src="//cdn.example/x.jpg" alt="a b">', "https://cdn.example/x.jpg"),
        ('<img src=" ../x y.jpg " alt="a b">', f"{HOST}/x%20y.jpg"),
        ('<IMG SRC="x.jpg" ALT="a b">', f"{HOST}/a/x.jpg"),
        ('<img src="data:image/gif;base64,R0" data-src="x.jpg" alt="a b">', f"{HOST}/a/x.jpg"),
        ('<img src="blank.gif" data-original="x.jpg" alt="a b">', f"{HOST}/a/x.jpg"),
        ('<img src="blank.gif" data-lazy-src="x.jpg" alt="a b">', f"{HOST}/a/x.jpg"),
        ('<img src="x.jpg" data-image="{json}" alt="a b">', f"{HOST}/a/x.jpg"),
        ('<img src="x.jpg" data-src="x_{width}.jpg" alt="a b">', f"{HOST}/a/x.jpg"),
        ('<img src=b.gif data-srcset="s.jpg 1x, x.jpg 2x" alt="a b">', f"{HOST}/a/x.jpg"),
        ('<img src=s.jpg srcset="x.jpg 900w, s.jpg 100w" alt="a b">', f"{HOST}/a/x.jpg"),
        ('<img srcset="a,b/x.jpg 900w" alt="a b">', f"{HOST}/a/a,b/x.jpg"),
        (
            '<picture><source srcset="x.jpg 2x"><img src=s.jpg alt="a b"></picture>',
            f"{HOST}/a/x.jpg",
        ),
        ('<picture><source srcset="x.webp"><img src=x.jpg alt="a b"></picture>', f"{HOST}/a/x.jpg"),
        ('<base href="/deep/er/"><img src="x.jpg" alt="a b">', f"{HOST}/deep/er/x.jpg"),
        ('<base href="//o.example/"><img src="x.jpg" alt="a b">', "https://o.example/x.jpg"),
        ('<base href="javascript:0"><img src="x.jpg" alt="a b">', f"{HOST}/a/x.jpg"),
        ('<video><source src="v.mp4"></video><img src="x.jpg" alt="a b">', f"{HOST}/a/x.jpg"),
    ],
)
def test_image_url_is_found(tag: str, url: str) -> None:
    assert page(f"<html><body>{tag}</body></html>")[0] == [(url, "a b", "alt")]


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ('<img src="x.jpg">', "no_caption"),
        ('<img src="x.jpg" alt>', "no_caption"),
        ('<img src="x.jpg" alt=" &nbsp;&#8203; ">', "no_caption"),
        ('<img src="data:image/png;base64,AA" alt="a">', "data_url"),
        ('<img src="" alt="a">', "bad_url"),
        ('<img alt="a">', "bad_url"),
        ('<img src="http://[" alt="a">', "bad_url"),
        ('<img src="ftp://h/x.jpg" alt="a">', "not_http"),
        ('<img src="blob:https://h/x" alt="a">', "not_http"),
        ('<img src="file:///etc/passwd" alt="a">', "not_http"),
    ],
)
def test_dropped_link_has_a_reason(tag: str, reason: str) -> None:
    assert page(tag) == ([], {reason: 1})


def test_every_kind_of_caption_is_a_row_and_equal_texts_are_one() -> None:
    rows, dropped = page(
        "<figure><a><img src=x.jpg alt='A &amp;amp; B' title='tip' aria-label='tip'></a>"
        "<figcaption><p>One</p><p>t<b>w</b>o<script>no</script></p></figcaption></figure>"
    )
    url = f"{HOST}/a/x.jpg"
    assert rows == [
        (url, "A & B", "alt"),
        (url, "tip", "title"),
        (url, "One two", "figcaption"),
    ]
    assert not dropped


def test_noscript_copy_is_not_another_link_but_a_lone_fallback_is() -> None:
    rows, dropped = page(
        "<img src=b.gif data-src=x.jpg alt=one><noscript><img src=x.jpg alt=one></noscript>"
        "<noscript><img src=y.jpg alt=two></noscript><img src=z.jpg alt=three>"
    )
    assert [row[1] for row in rows] == ["one", "two", "three"]
    assert not dropped


def test_images_of_templates_and_svg_are_no_links() -> None:
    rows, dropped = page(
        "<template><img src=t.jpg alt=t></template><svg><image href=s.jpg /></svg>"
        "<img src=x.jpg alt=x>"
    )
    assert [row[1] for row in rows] == ["x"] and not dropped


def test_page_facts_are_on_every_row() -> None:
    body = (
        b'<html lang="ko-KR"><meta name="robots" content="noai, nofollow">'
        b"<img src='//img.shop.co.kr/x.jpg?utm_source=a&id=1#top' alt=a>"
    )
    (row,), _ = read(gz(response(b""), response(body, url="http://www.page.co.kr:8080/p")))
    assert row["page_lang"] == "ko-KR"
    assert row["page_optout"] == "meta:noai"
    assert row["page_domain"] == "page.co.kr"
    assert row["domain"] == "shop.co.kr"
    assert row["url"] == "http://img.shop.co.kr/x.jpg?utm_source=a&id=1#top"
    assert row["canonical_url"] == "http://img.shop.co.kr/x.jpg?id=1"
    assert row["record_offset"] > 0 and row["position"] == 0


def test_links_over_the_cap_are_counted() -> None:
    data = gz(response(b"<img src=x.jpg alt=a>" * 30))
    rows, accounts = read(data, max_links=10)
    assert len(rows) == 10
    assert accounts["links"].dropped == {"over_page_cap": 20}


@pytest.mark.parametrize("body", [b"<div>" * 10_000 + b"<img src=x alt=a>", b"<img src=x alt=a\0>"])
def test_odd_pages_are_read(body: bytes) -> None:
    rows, _ = page(body)
    assert len(rows) == 1
