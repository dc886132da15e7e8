"""Every place on a page where a caption may stand, and every place where an image may."""

import pytest

from pipeline.core.reasons import CaptionKind as K
from tests.extract.pages import links, read_html


@pytest.mark.parametrize(
    ("body", "found"),
    [
        # the link around an image
        ("<a href=p><img src=x> Read <b>on</b></a> more", [("x", {K.LINK_TEXT: "Read on"})]),
        (
            "<a href=p>One<img src=x><div>two</div><img src=y alt=Y></a>",
            [("x", {K.LINK_TEXT: "One two"}), ("y", {K.ALT: "Y", K.LINK_TEXT: "One two"})],
        ),
        ("<a name=top>anchor <img src=x></a>", [("x", {})]),
        ("<a href=p>one <img src=x><a href=q>two</a>", [("x", {K.LINK_TEXT: "one"})]),
        ("<a href=p><img src=x>" + "word " * 900, [("x", {})]),
        ("<a href=p><img src=x><script>no</script><style>no</style> yes</a>", [("x", {K.LINK_TEXT: "yes"})]),
        # figures
        ("<figure><img src=x><figcaption>One <i>two</i></figcaption></figure>", [("x", {K.FIGCAPTION: "One two"})]),
        ("<figure><figcaption>First</figcaption><img src=x></figure>", [("x", {K.FIGCAPTION: "First"})]),
        ("<figure><img src=x><img src=y><figcaption>Both</figcaption><figcaption>no</figcaption></figure>",
         [("x", {K.FIGCAPTION: "Both"}), ("y", {K.FIGCAPTION: "Both"})]),
        ("<figure><figure><img src=x><figcaption>In</figcaption></figure><img src=y><figcaption>Out</figcaption></figure>",
         [("x", {K.FIGCAPTION: "In"}), ("y", {K.FIGCAPTION: "Out"})]),
        ("<figure><img src=x><figcaption>Never closed", [("x", {K.FIGCAPTION: "Never closed"})]),
        ("<figure><a href=p><img src=x></a><figcaption><a href=q>c</a></figcaption></figure>", [("x", {K.FIGCAPTION: "c"})]),
        # aria
        ("<img src=x aria-label='A &amp; B'>", [("x", {K.ARIA_LABEL: "A & B"})]),
        ("<p id=l2>two</p><img src=x aria-labelledby='l1 l2 gone'><p id=l1><b>One</b></p>", [("x", {K.ARIA_LABEL: "One two"})]),
        # metas
        ("<meta property=og:image content=o.jpg><meta property=og:image:alt content='An og'>", [("o.jpg", {K.META_ALT: "An og"})]),
        ("<meta property=og:image content=1.jpg><meta property=og:image:alt content=one>"
         "<meta property=og:image content=2.jpg><meta property=og:image:alt content=two>",
         [("1.jpg", {K.META_ALT: "one"}), ("2.jpg", {K.META_ALT: "two"})]),
        ("<meta name=twitter:image:alt content=tw><meta name='twitter:image' content=t.jpg>", [("t.jpg", {K.META_ALT: "tw"})]),
        ("<meta name=twitter:image:src content=t.jpg>", [("t.jpg", {})]),
        # JSON-LD
        ('<script type="application/ld+json">{"@graph":[{"@type":"ImageObject","contentUrl":"j.jpg","caption":"J \\u00e9"},'
         '{"@type":["Thing","ImageObject"],"url":"k.jpg"}]}</script>',
         [("j.jpg", {K.JSON_LD: "J é"}), ("k.jpg", {})]),
        ('<script type="application/ld+json">{"@type":"ImageObject","url": broken</script><img src=x alt=a>', [("x", {K.ALT: "a"})]),
        ('<script type="text/javascript">{"@type":"ImageObject","url":"j.jpg"}</script>', []),
        # images by other names
        ("<amp-img src=x alt=a></amp-img>", [("x", {K.ALT: "a"})]),
        ("<image src=x alt=a>", [("x", {K.ALT: "a"})]),
        ("<svg><image src=x alt=a /><img src=y alt=b></svg><image src=z>", [("y", {K.ALT: "b"}), ("z", {})]),
        ("<svg><foreignObject><p><image src=x></p></foreignObject></svg><svg/><image src=z>", [("z", {})]),
        ("<svg><path><div><image src=x>", [("x", {})]),
        # what hides an image
        ("<!-- <img src=a> --><img src=x><!--> <img src=y> -->", [("x", {}), ("y", {})]),
        ("<script>'<img src=a>'</script><img src=x>", [("x", {})]),
        ("<script><!-- <script> </script> <img src=a> --></script><img src=x>", [("x", {})]),
        ("<title><img src=a></title><textarea><img src=b></TEXTAREA ><img src=x>", [("x", {})]),
        ("<style><img src=a></style><iframe><img src=b></iframe><xmp><img src=c></xmp><img src=x>", [("x", {})]),
        ("<template><img src=a><template></template><img src=b></template><img src=x>", [("x", {})]),
        ("<plaintext><img src=a>", []),
        ("<script><img src=a>", []),
        # broken markup
        ("<img src=x alt='a", []),
        ("<img src=x alt=a", []),
        ("< img src=a><img/src=x/alt=y>", [("x/alt=y", {})]),
        ("<img src=x alt=one alt=two SRC=y>", [("x", {K.ALT: "one"})]),
        ("<img\nsrc\n=\n'x'\talt = \"a\">", [("x", {K.ALT: "a"})]),
        ("</img src=a><?php <img src=b>?><img src=x>", [("x", {})]),
        ("<img src=x alt='a>b'>", [("x", {K.ALT: "a>b"})]),
        ("<img =src=a src=x>", [("x", {})]),
    ],
)  # fmt: skip
def test_captions_and_images(body: str, found: list[tuple[str, dict[K, str]]]) -> None:
    assert links(read_html(body)) == found


@pytest.mark.parametrize(
    ("body", "source"),
    [
        ("<picture><source srcset='a 100w, b 200w'><source srcset='c 150w'><img src=x></picture>", "b"),
        ("<picture><source srcset='a 100w'></picture><img src=x>", "x"),
        ("<picture><source data-srcset='a.jpg 2x' srcset=p><img src=x></picture>", "a.jpg"),
        ("<img src=data:image/gif;base64,R0 srcset='data:x 1x'>", "data:x"),
        ("<img src=data:image/gif;base64,R0 srcset='a.jpg 1x'>", "a.jpg"),
        ("<picture><source srcset=a.webp><img src=data:image/gif;base64,R0></picture>", "a.webp"),
        ("<img src=x srcset='y 1x'>", "y"),
        ("<img src='  x y  '>", "x y"),
        ("<img src=x?a=1&amp;b=2>", "x?a=1&b=2"),
    ],
)  # fmt: skip
def test_the_best_source_is_taken(body: str, source: str) -> None:
    assert [src for src, _ in links(read_html(body))] == [source]


def test_facts_of_the_page() -> None:
    found = read_html(
        "<HTML xml:lang=de><title>The &lt;title&gt;</title><base><base href=/d/><base href=/e/>"
        "<p>Some text<script>no</script><noscript>no</noscript></p> and more",
        "<html lang=ko lang=en>",
        "<img src=x>",
    )
    assert found.langs.to_pylist() == ["de", "ko", None]
    urls = found.page_urls.url.to_pylist()
    assert found.bases.to_pylist() == ["https://page.example/d/", *urls[1:]]
    assert found.samples.to_pylist() == ["The <title> Some text and more", "", ""]


def test_pages_of_a_batch_keep_apart() -> None:
    found = read_html(
        "<a href=p><figure><img src=1 alt=a>", "t</a><img src=2></figure>", "<img src=3>"
    )
    assert [links(found, page) for page in range(3)] == [
        [("1", {K.ALT: "a"})],
        [("2", {})],
        [("3", {})],
    ]


def test_links_over_the_cap_are_counted_by_page() -> None:
    many = "<img src=x>" * 50
    json_ld = (
        '<script type="application/ld+json">{"@type":"ImageObject","url":"j"}</script>'
        "<meta property=og:image content=o>"
    )
    found = read_html(many + json_ld, "<img src=y>", max_links=20)
    assert found.over_cap.tolist() == [32, 0]
    assert len(links(found, 0)) == 20 and len(links(found, 1)) == 1


def test_a_million_images_and_ten_thousand_levels() -> None:
    found = read_html("<img src=x alt=y>" * 1_000_000)
    assert found.over_cap.tolist() == [990_000] and len(found.sources) == 10_000
    deep = "<div>" * 10_000 + "<figure>" * 10_000 + "<a href=p><svg>" * 10_000 + "<img src=x alt=a>"
    assert links(read_html(deep)) == [("x", {K.ALT: "a"})]


def test_megabytes_in_an_attribute_are_cut() -> None:
    for filling in range(60, 68):  # wherever it is cut: not inside a character
        (source,) = read_html(
            "<img src=data:" + "A" * filling + "가나다" * 30 + ">"
        ).sources.to_pylist()
        assert source.startswith("data:AAA")
    found = read_html("<img src=data:" + "A" * 3_000_000 + " alt='" + "가" * 1_000_000 + "'>")
    assert len(found.sources[0].as_py()) == 64
    assert set(found.captions[0].as_py()) == {"가"} and len(found.captions[0].as_py()) < 22_000
