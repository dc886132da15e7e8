"""Pages as the archives hold them: HTML bytes with headers for WARC, parsed metadata for WAT."""

import html
import json
from typing import Any

import numpy as np

from pipeline.fakeweb.markup import BLANK, base_url, write_link, write_text, write_url
from pipeline.fakeweb.model import Image, Lang, Page, Place

_TEXTS: dict[Lang, tuple[str, ...]] = {
    "en": (
        "We walked along the old town wall until the sun went down behind the hills.",
        "The new exhibition opens on Friday and stays until the end of the month.",
        "Readers have sent us their favourite shapes, colours and patterns again this year.",
        "Below you find what we collected, in no particular order.",
    ),
    "ko": (
        "오늘은 날씨가 맑아서 가까운 공원까지 천천히 걸어 보았습니다.",
        "새로운 전시는 금요일에 시작해서 이번 달 말까지 계속됩니다.",
        "독자 여러분이 보내 주신 그림과 무늬를 한자리에 모았습니다.",
        "아래에서 모은 것들을 차례대로 보실 수 있습니다.",
    ),
}
_NAV: dict[Lang, tuple[str, ...]] = {
    "en": ("Home", "About", "Contact"),
    "ko": ("처음", "소개", "문의"),
}
_TITLE: dict[Lang, str] = {"en": "Pictures of the week, no. {}", "ko": "이번 주의 그림 {}호"}
# How pages that declare an encoding spell it, and the codec that writes it: EUC-KR on the web means
# the larger cp949, and ISO 8859-1 means windows-1252. Source: WHATWG Encoding Standard, labels.
_LABELS = {"cp949": "ks_c_5601-1987"}
_CODECS = {"euc-kr": "cp949", "iso-8859-1": "windows-1252"}


def _rng(seed: int, page: Page) -> np.random.Generator:
    return np.random.default_rng([seed, 8, page.index])


def _optout(page: Page, kind: str) -> tuple[str, str] | None:
    """Name and content of the page's opt-out when it is stated in this kind of place."""
    if not page.optout.startswith(f"{kind}:"):
        return None
    _, name, content = page.optout.split(":", 2)
    return name, content


def headers(page: Page) -> list[tuple[str, str]]:
    """The response's headers but for its length."""
    label = _LABELS.get(page.charset, page.charset)
    in_header = page.charset_in in ("header", "both")
    found = [
        ("Server", "nginx"),
        ("Content-Type", f"text/html; charset={label}" if in_header else "text/html"),
        ("Cache-Control", "max-age=600"),
    ]
    stated = _optout(page, "header")
    return [*found, stated] if stated else found


def page_html(
    seed: int, page: Page, images: tuple[Image, ...], schemes: dict[str, str]
) -> bytes:  # fmt: skip
    """The page's body, in its own encoding; what that lacks stands as references."""
    rng = _rng(seed, page)
    base = base_url(page, schemes)
    lines = ["<!DOCTYPE html>", f'<html lang="{page.lang}">', "<head>"]
    if page.charset_in in ("meta", "both"):
        lines.append(f'<meta charset="{_LABELS.get(page.charset, page.charset)}">')
    if page.base:
        lines.append(f'<base href="{base}">')
    stated = _optout(page, "meta")
    if stated:
        lines.append(f'<meta name="{stated[0]}" content="{stated[1]}">')
    title = _TITLE[page.lang].format(page.index)
    nav = "".join(f'<li><a href="/{i}">{text}</a></li>' for i, text in enumerate(_NAV[page.lang]))
    lines += [
        f"<title>{title}</title>",
        "<script>document.write(\"<img src='/never.jpg' alt='written by a script'>\")</script>",
        "</head>",
        f"<body><nav><ul>{nav}</ul></nav><h1>{title}</h1>",
        '<img src="/static/logo.png"><!-- <img src="/hidden.jpg" alt="in a comment"> -->',
    ]
    texts = _TEXTS[page.lang]
    for link in page.links:
        lines.append(f"<p>{texts[int(rng.integers(len(texts)))]}</p>")
        lines.append(write_link(rng, link, images, base))
    if page.index % 5 == 0:
        lines.append(f'<img src="{BLANK}" alt="inline picture, no link">')
    lines += [f"<p>{' '.join(texts)}</p>", "</body>", "</html>", ""]
    return "\n".join(lines).encode(_CODECS.get(page.charset, page.charset), "xmlcharrefreplace")


def page_metadata(
    seed: int, page: Page, images: tuple[Image, ...], schemes: dict[str, str]
) -> dict[str, Any]:
    """The page's `HTML-Metadata` as a WAT has it: text decoded, only what IMG@/src can say.

    Source: ExtractingParseObserver of commoncrawl/ia-web-commons, and files it wrote.
    """
    rng = _rng(seed, page)
    base = base_url(page, schemes)
    metas = [{"name": "HTML@/lang", "content": page.lang}]
    stated = _optout(page, "meta")
    if stated:
        metas.append({"name": stated[0], "content": stated[1]})
    metas.append({"name": "viewport", "content": "width=device-width"})
    head: dict[str, Any] = {"Metas": metas, "Title": _TITLE[page.lang].format(page.index)}
    if page.base:
        head["Base"] = base
    links: list[dict[str, str]] = [
        {"path": "A@/href", "url": f"/{i}", "text": text} for i, text in enumerate(_NAV[page.lang])
    ]
    links.append({"path": "IMG@/src", "url": "/static/logo.png"})
    for link in page.links:
        found = {"path": "IMG@/src", "url": write_url(rng, images[link.image], base).strip()}
        if link.caption:
            name = "title" if link.place is Place.TITLE else "alt"
            found[name] = write_text(rng, link.caption)
        links.append(found)
    if page.index % 5 == 0:
        links.append({"path": "IMG@/src", "url": "data:image/gif;base64", "alt": "inline picture"})
    return {"Head": head, "Links": links}


def filler_html(number: int) -> bytes:
    """A page that no truth counts: what stands in damaged records."""
    links = "".join(
        f'<img src="http://lost.example/{number}-{i}.jpg" alt="{html.escape(json.dumps(i))} lost">'
        for i in range(200)
    )
    return f"<html><body>{links}</body></html>".encode()
