"""Generated pages of realistic size, as WARC and as WAT records, after those of real archives.

Words are drawn from vocabularies of 20,000 words by Zipf's law; one page in four is not in Latin
letters. Figures they follow, of the real pages at hand: 52 KB of HTML and 17 KB of WAT a page; a
dozen images, half of them with a caption; three WAT records for each page, two of them no page's.
"""

import gzip
import itertools
import json
import random
from functools import cache
from typing import Any

from tests.extract.archive import record, response

_WORDS = 20_000
_LATIN = [
    c + v
    for c in "b c d f g h l m n p r s t v w st tr ch".split()
    for v in "a e i o u ea y".split()
]
# Syllables of languages, and how many pages of 16 are in each.
_SYLLABLES = {
    "en": (_LATIN, 8),
    "de": ([*_LATIN, "ß", "ö", "ü", "sch", "ei"], 2),
    "fr": ([*_LATIN, "é", "è", "ç", "œu"], 2),
    "ru": ([c + v for c in "бвгдклмнпрст" for v in "аеиоуыя"], 2),
    "ko": ([chr(0xAC00 + i) for i in range(0, 11000, 90)], 1),
    "ja": ([chr(c) for c in (*range(0x3042, 0x3090), *range(0x4E00, 0x5200, 9))], 1),
}
_LANGUAGES = [code for code, (_, share) in _SYLLABLES.items() for _ in range(share)]
_SCRIPT = (
    "(function(w,d,s,l,i){w[l]=w[l]||[];for(var j=0;j<i.length&&i[j]>0;j++)"
    "{if(a<b){d.write('<img src=\"'+u+'\">')}}})(window,document,'script','data%d','GTM-%d');"
)


@cache
def _vocabulary(language: str) -> tuple[list[str], list[float]]:
    """Words of a language and their cumulative weights."""
    rng = random.Random(language)
    syllables, _ = _SYLLABLES[language]
    words = ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3)))) for _ in range(_WORDS)]
    return words, list(itertools.accumulate(1 / (rank + 2) for rank in range(_WORDS)))


class Page:
    """What a page says, whatever it is written as: a function of its number."""

    def __init__(self, number: int) -> None:
        self.rng = random.Random(number)
        self.language = self.rng.choice(_LANGUAGES)
        self.host = f"{self.rng.choice(('www.', '', 'blog.'))}site{self.rng.randrange(10**6)}.{self.rng.choice(('com', 'de', 'co.uk', 'org', 'co.kr'))}"
        self.url = f"https://{self.host}/{self.slug(3)}/{self.slug(4)}-{number}.html"
        self.title = self.text(8)

    def text(self, words: int) -> str:
        known, weights = _vocabulary(self.language)
        found = self.rng.choices(known, cum_weights=weights, k=max(words, 1))
        return " ".join(found).capitalize()

    def slug(self, words: int) -> str:
        known, weights = _vocabulary("en")
        return "-".join(self.rng.choices(known, cum_weights=weights, k=words))

    def image(self) -> tuple[str, str]:
        """(URL without its suffix, caption, empty for half of them)."""
        hosts = (
            "",
            "",
            "../img/",
            f"//cdn{self.rng.randrange(500)}.{self.host}/",
            f"https://{self.host}/",
        )
        url = f"{self.rng.choice(hosts)}wp-content/uploads/{self.rng.randrange(2010, 2026)}/{self.slug(3)}-{self.rng.randrange(10**6)}"
        return url, self.text(self.rng.randrange(1, 14)) if self.rng.random() < 0.5 else ""

    def link(self) -> tuple[str, str]:
        """(URL, text)."""
        start = self.rng.choice(("/", "/", f"https://{self.host}/", "https://www.example.com/"))
        return f"{start}{self.slug(2)}/{self.slug(4)}", self.text(self.rng.randrange(1, 7))

    def metas(self) -> list[dict[str, str]]:
        """The metas of its head."""
        picture = f"https://{self.host}/{self.slug(3)}.jpg"
        return [
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "description", "content": self.text(22)},
            {
                "name": "robots",
                "content": self.rng.choice(
                    ("index, follow", "max-image-preview:large", "noimageai")
                ),
            },
            {"property": "og:title", "content": self.title},
            {"property": "og:description", "content": self.text(22)},
            {"property": "og:url", "content": self.url},
            {"property": "og:image", "content": picture},
            {"property": "og:image:alt", "content": self.text(6)},
            {"name": "twitter:card", "content": "summary_large_image"},
            {"name": "generator", "content": "WordPress 6.5"},
        ]


def html_members(number: int) -> list[bytes]:
    """The gzip member of one page's response."""
    page = Page(number)
    headers = "Server: nginx\r\nCache-Control: max-age=600\r\nVary: Accept-Encoding\r\n"
    return [_pack(response(_html(page).encode(), url=page.url, headers=headers))]


def _html(page: Page) -> str:
    rng = page.rng
    parts = [f"<!DOCTYPE html>\n<html lang='{page.language}'>\n<head><meta charset='utf-8'>"]
    parts.append(f"<title>{page.title} &amp; {page.text(2)}</title>")
    for meta in page.metas():
        parts.append("<meta " + " ".join(f'{k}="{v}"' for k, v in meta.items()) + ">")
    parts.extend(
        f"<link rel='stylesheet' href='/css/{page.slug(2)}.css?ver={i}'>" for i in range(6)
    )
    rules = (f".{page.slug(2)} > a:hover{{margin:{i}px;color:#{i:06x}}}" for i in range(90))
    parts.append("<style>" + "\n".join(rules) + "</style>")
    parts.extend(f"<script>{_SCRIPT % (i, i) * 4}</script>" for i in range(8))
    parts.append("</head>\n<body class='post single'>\n<!-- header --><nav><ul>")
    for _ in range(45):
        url, text = page.link()
        parts.append(
            f'<li class="menu-item menu-item-type-{rng.randrange(99)}"><a href="{url}">{text}</a></li>'
        )
    parts.append("</ul></nav>\n<main><article>")
    for _ in range(14):
        parts.append(_illustration(page))
        for _ in range(3):
            url, text = page.link()
            parts.append(
                f'<p class="text-{rng.randrange(9)}">{page.text(45)}&nbsp;<a href="{url}">{text}</a>, '
                f"<strong>{page.text(3)}</strong>&#8217;s {page.text(20)}.</p>\n"
            )
    parts.append("</article></main>\n<footer>")
    for _ in range(30):
        url, text = page.link()
        parts.append(
            f'<div class="widget"><span><a href="{url}" rel="nofollow">{text}</a></span></div>'
        )
    parts.append(
        "</footer>" + f"<script src='/js/{page.slug(2)}.js'></script>" * 5 + "</body></html>"
    )
    return "\n".join(parts)


def _illustration(page: Page) -> str:
    url, caption = page.image()
    kind = page.rng.randrange(5)
    sizes = ", ".join(f"{url}-{w}x{w * 3 // 4}.jpg {w}w" for w in (300, 768, 1024))
    if kind == 0:
        return (
            f'<figure class="wp-caption"><img src="{url}.jpg" srcset="{sizes}" alt="{caption}" '
            f'width=1024 sizes="(max-width: 1024px) 100vw"><figcaption>{page.text(9)}</figcaption></figure>'
        )
    if kind == 1:
        return (
            f'<a href="{page.link()[0]}" class="thumb"><img class="lazy" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" '
            f'data-src="{url}.jpg" alt="{caption}"><span>{page.text(5)}</span></a>'
        )
    if kind == 2:
        return f'<picture><source srcset="{sizes}" type="image/webp"><img src="{url}.png" alt="{caption}"></picture>'
    return f'<div class="img-{page.rng.randrange(99)}"><a href="{url}.jpg"><img src="{url}-300.jpg" alt="{caption}" title="{page.text(4)}" width="300"></a></div>'


def wat_members(number: int) -> list[bytes]:
    """The gzip members of one page's WAT records: of the request, the response and the metadata."""
    return wat_of(Page(number))


def wat_of(page: Page) -> list[bytes]:
    """The same of a page."""
    asked = {"Request-Message": {"Method": "GET", "Path": page.url, "Version": "HTTP/1.1"}}
    asked["Headers"] = {"User-Agent": "CCBot/2.0", "Accept-Encoding": "br,gzip", "Host": page.host}
    found = {
        "Response-Message": {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"},
        "Headers": {
            "Content-Type": "text/html; charset=utf-8",
            "X-Crawler-Content-Encoding": "gzip",
        }
        | {f"X-{page.slug(1)}-{i}": page.slug(4) for i in range(12)},
        "HTML-Metadata": {"Head": _head(page), "Links": _links(page)},
        "Entity-Digest": f"sha1:{page.rng.randrange(16**32):032X}",
    }
    noted = {"Metadata-Records": [{"Name": "fetchTimeMs", "Value": "93"}] * 4}
    payloads = {
        "request": {"HTTP-Request-Metadata": asked},
        "response": {"HTTP-Response-Metadata": found},
        "metadata": {"WARC-Metadata-Metadata": noted},
    }
    return [_pack(_wat(page, kind, payload)) for kind, payload in payloads.items()]


def _head(page: Page) -> dict[str, Any]:
    styles = [f"/css/{page.slug(2)}.css" for _ in range(8)]
    return {
        "Title": page.title,
        "Metas": page.metas(),
        "Link": [{"path": "LINK@/href", "url": url, "rel": "stylesheet"} for url in styles],
        "Scripts": [{"path": "SCRIPT@/src", "url": f"/js/{page.slug(2)}.js"} for _ in range(9)],
    }


def _links(page: Page) -> list[dict[str, str]]:
    links = []
    for _ in range(110):
        url, text = page.link()
        links.append({"path": "A@/href", "url": url, "text": text})
    for _ in range(14):
        url, caption = page.image()
        image = {"path": "IMG@/src", "url": f"{url}.jpg"} | ({"alt": caption} if caption else {})
        links.insert(page.rng.randrange(len(links)), image)
    return links


def _wat(page: Page, kind: str, payload: dict[str, Any]) -> bytes:
    about = {
        "Actual-Content-Type": f"application/http; msgtype={kind}",
        "Trailing-Slop-Length": "4",
    }
    data = {
        "Container": {"Filename": "generated.warc.gz", "Compressed": True, "Offset": "0"},
        "Envelope": {
            "Payload-Metadata": about | payload,
            "Format": "WARC/1.0",
            "WARC-Header-Metadata": {"WARC-Type": kind, "WARC-Target-URI": page.url},
        },
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return record("metadata", page.url, "application/json", text.encode())


def _pack(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)
