"""The page in a real browser: what the web wrote is text there, and it fits, whatever the width."""

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from pipeline.stats import page
from pipeline.stats.bins import choose
from pipeline.stats.concentration import spread_rows
from pipeline.stats.drift import Drift, category, number
from pipeline.stats.figures import Column
from pipeline.stats.measured import edge_label
from pipeline.stats.pictures import thumbnail
from pipeline.stats.sheets import Group, Member, Sheet
from pipeline.stats.wording import Limit
from tests.browser import Page, browser

RUN = "document.title = 'it ran'"
HOSTILE = (
    f"<script>{RUN}</script>",
    f'"><img src=x onerror="{RUN}">',
    f"' onmouseover='{RUN}' autofocus onfocus='{RUN}' x='",
    f"</blockquote></div></main><svg onload={RUN}><iframe srcdoc='<script>top.{RUN}</script>'>",
    "{{ 7 * 7 }} {% for x in ().__class__.__base__.__subclasses__() %} ${7*7} #{7*7} <%= 7 %>",
    "</style><style>body { display: none } @import url(http://tracker.example/);</style>",
    "</title></head>--><!-- <base href=http://evil.example/> <meta http-equiv=refresh content=0>",
    "evil \u202egpj.exe\u202c \u2066isolated\u2069 \u200f right",
    "javascript:alert(1) data:text/html,<script>alert(1)</script> &lt;b&gt; &amp;amp; &#x3c;",
    "W" * 250,
    "가" * 250,
    "\x00\x07\x1b[31m \ufffe \U0001f9d1\u200d\U0001f680",
)
DOMAIN = "very-long-name-of-a-host-that-goes-on-and-on." * 4 + "example"
WIDTHS = (1280, 420)


def figures() -> page.Figures:
    rows: list[tuple[str, str, str, float]] = []
    for name, high in (("caption_chars", 900), ("original_width", 4000), ("clip_similarity", 1)):
        bins = choose(0, high, integer=high > 1)
        rows += [("edges", name, f"{i:03d}", edge) for i, edge in enumerate(bins.edges)]
        for series, many in (("kept", 100.0), ("dropped", 50.0), ("alone", 20.0)):
            rows += [(name, series, edge_label(e), many + i) for i, e in enumerate(bins.edges[:-1])]
    reasons = ["caption_chars_low", "clip_similarity_low", "image_min_side_low"]
    for a in reasons:
        rows += [("reason", series, a, 10.0) for series in ("first", "alone", "at_all")]
        rows += [("joint_reason", a, b, 5.0) for b in reasons]
    rows.append(("reason_set", "pairs", " ".join(reasons), 5.0))
    for text in HOSTILE:
        rows += [
            ("frequent_caption", "images", text, 7.0),
            ("domain", "pairs", text, 9.0),
            ("domain", "kept", text, 3.0),
            ("page_lang", "pairs", text, 2.0),
            ("host", "asked", text, 30.0),
            ("host", "ok", text, 3.0),
            ("host_status", text, "timeout", 27.0),
            ("consent_domain", "page:meta:noai", text, 2.0),
        ]
    rows += [("host", "asked", DOMAIN, 123456789.0), ("host_status", DOMAIN, "http_404", 1e7)]
    rows += [("consent", "images", c, 1e6) for c in ("allowed", "page:meta:noai", "robots.txt")]
    rows.append(("consent_domains", "domains", "page:meta:noai", 12.0))
    rows += [("status", "images", s, 1e6) for s in ("ok", "timeout", "http_404", "robots")]
    rows += [("rows", "rows", b, 3e6) for b in ("pairs", "images", "decisions", "kept")]
    for lang in ("en", "ko", "und"):
        rows += [("caption_lang", s, lang, 5e5) for s in ("pairs", "kept", "dropped")]
        rows.append(("page_lang_detected", "pages", lang, 5e5))
    for series in ("pairs", "kept"):
        rows += spread_rows(series, {1: 3000, 2: 500, 17: 20, 4000: 2})
        rows.append(("domains", series, "distinct", 3522.0))
    rows += [("duplicate_rule", "pictures", "perceptual", 12.0)]
    rows += [("duplicate_group", s, "2", 6.0) for s in ("groups", "pictures", "largest")]
    rows += [("duplicate_edges", "perceptual", f, 1e6) for f in ("inside", "between", "outside")]
    return page.Figures(rows)


def record(stage: str, unit: str, reason: str) -> dict:
    account = {"unit": unit, "in": 10**9, "kept": 9 * 10**8, "dropped": {reason: 10**8}}
    config = {stage: {"note": HOSTILE[0], "path": "/a/very/long/path/" * 12}}
    return {
        "stage": stage, "state": "done", "id": "0123456789abcdef", "config": config, "inputs": {},
        "version": "0.1.0", "accounts": [account], "seconds": 12345.6, "cores": 64,
        "finished_at": "2026-01-02T03:04:05Z",
    }  # fmt: skip


def made() -> str:
    picture = io.BytesIO()
    Image.linear_gradient("L").save(picture, "JPEG")
    uri = thumbnail(picture.getvalue(), 160)
    examples = tuple(
        page.Example(
            page.shorten(text), page.language_tag(text), text[:60], 0.3, "640\u00a0×\u00a0480",
            ("caption_chars_low", "clip_similarity_low", "image_min_side_low"), uri,
            uri if i % 2 else None, "4 bits apart" if i % 2 else None,
        )
        for i, text in enumerate(HOSTILE)
    )  # fmt: skip
    member = Member(uri, "640\u00a0×\u00a0480", DOMAIN, "4 bits apart")
    drift = Drift(
        HOSTILE[0],
        (
            category(HOSTILE[1][:60], {HOSTILE[0]: 900.0, "en": 100.0}, {"en": 1000.0}),
            number("width", *[histogram(1.0), histogram(2.0)]),
        ),
    )
    columns = [
        Column("caption_chars", "", "length of the caption", "characters", True),
        Column("original_width", "", "upright", "pixels", True),
        Column("clip_similarity", "", "cosine of picture and caption", "", False),
    ]
    limits = {
        "caption_chars": Limit(20, 400, "caption_length", "caption_length"),
        "clip_similarity": Limit(0.3, None, "clip_similarity"),
    }
    return page.render(
        page.Page(
            HOSTILE[0], HOSTILE[1],
            [record("extract", "links", "no_caption"), record("decide", "pairs", "timeout")],
            columns, ["caption_lang"], limits,
            {"timeout": [page.Failure(page.shorten(text), text[:120]) for text in HOSTILE]},
            [page.Gallery("Kept, at random", examples)],
            [page.Gallery("caption_chars_low", examples, 12)],
            [Sheet("The largest groups", (Group(member, (member,) * 5, 900),))],
            drift=drift, stored_bytes={"extract": 10**12},
        ),
        figures(),
    )  # fmt: skip


def histogram(step: float) -> tuple:
    import numpy as np

    return np.arange(5.0) * step, np.array([100.0, 200.0, 50.0, 650.0])


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_bytes(made().encode("utf-8", "replace"))
    with browser() as opened:
        opened.open(file.as_uri())
        yield opened


def shown(text: str) -> str:
    """What a browser makes of a text: HTML has no null character, and leaves it out."""
    return text.replace("\x00", "")


def test_what_the_web_wrote_is_text(tab: Page) -> None:
    captions = tab.run(
        "[...document.querySelectorAll('.album blockquote')].map(e => e.textContent)"
    )
    wanted = [shown(page.shorten(text)) for text in HOSTILE]
    assert captions == wanted * 2
    cells = tab.run("[...document.querySelectorAll('#sources td.label')].map(e => e.textContent)")
    assert {shown(text) for text in HOSTILE} <= set(cells)
    urls = tab.run("[...document.querySelectorAll('dl.urls code')].map(e => e.textContent)")
    assert urls == wanted
    assert tab.run("document.querySelector('h1').textContent") == HOSTILE[0]


def test_nothing_of_it_runs_or_loads(tab: Page) -> None:
    for selector in ("[onmouseover], [onfocus], [autofocus]", "summary"):
        tab.run(f"document.querySelectorAll('{selector}').forEach(e => {{ e.click(); e.focus() }})")
    assert tab.run("document.title") == f"{HOSTILE[0]} – {HOSTILE[1]}"
    assert tab.complaints == []
    asked = {u for u in tab.requests if not u.startswith("data:image/jpeg;base64,")}
    assert len(asked) == 1 and asked.pop().startswith("file:")
    elements = tab.run("[...new Set([...document.querySelectorAll('*')].map(e => e.localName))]")
    assert not {"script", "iframe", "object", "embed", "base", "link", "form"} & set(elements)
    named = tab.run(
        "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => "
        "n.startsWith('on') || n === 'srcdoc')"
    )
    assert named == []
    assert tab.run("getComputedStyle(document.body).display") == "block"


def test_no_direction_of_a_caption_reaches_beyond_it(tab: Page) -> None:
    bidi = tab.run(
        "[...document.querySelectorAll('.album blockquote, #sources td.label')]"
        ".map(e => getComputedStyle(e).unicodeBidi)"
    )
    assert set(bidi) <= {"isolate", "isolate-override", "plaintext"}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(tab: Page, width: int, scheme: str) -> None:
    tab.size(width)
    tab.medium(scheme)
    tab.run("document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert tab.run("document.documentElement.scrollWidth") <= width
    picture = Image.open(io.BytesIO(tab.picture())).convert("L")
    background = max(picture.getcolors(256))[1]
    assert background > 230 if scheme == "light" else background < 50
    # Texts stand out against what is behind them (WCAG 2.1, 1.4.3: 4.5 to 1).
    for selector in ("p.soft", "td.label", ".note", "h2", "a"):
        colours = tab.run(
            f"[getComputedStyle(document.querySelector('{selector}')).color, "
            "getComputedStyle(document.body).backgroundColor]"
        )
        assert contrast(*colours) >= 4.5, (selector, colours)


def contrast(*colours: str) -> float:
    """Source: https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio"""
    found = []
    for colour in colours:
        parts = [int(n) / 255 for n in colour[4:-1].split(",")]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        found.append(sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    high, low = max(found), min(found)
    return (high + 0.05) / (low + 0.05)


def test_it_prints_with_its_pictures_on_white(tab: Page) -> None:
    tab.medium("dark", "print")
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    loaded = tab.run("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert loaded and all(loaded)
    tab.medium("light", "")
    assert tab.pdf().startswith(b"%PDF")


def test_curves_say_what_another_bound_keeps(tab: Page) -> None:
    titles = tab.run(
        "[...document.querySelectorAll('.histogram .place.now title')].map(e => e.textContent)"
    )
    assert len(titles) == 3 and all("±0" in title for title in titles)
    rows = tab.run(
        "[...document.querySelectorAll('#measures details tr.now')].map(e => e.textContent)"
    )
    assert len(rows) == 3 and all(row.endswith("now") for row in rows)
