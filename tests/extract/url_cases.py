"""Links for the tests of URLs: a grammar of odd ones, and the `img` of real pages."""

from pathlib import Path

from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser
from warcio.archiveiterator import ArchiveIterator

from pipeline.extract import urls

BASES = [
    "http://page.example/",
    "https://www.page.example/dir/page.html?utm_source=a&b=1#top",
    "https://h.example:8443/a/b;c=1//d?x/y#?z/",
    "http://user:pass@h.example/a/b?q",
    "https://[2001:db8::1]:99/x//y/?",
    "http://1.2.3.4/",
    "https://xn--fa-hia.de/?fbclid=1",
]

# Pieces that mean something to a URL parser, or to the canonical form.
PIECES = (
    "/ // /// \\ . .. %2e .%2E %2e%2e ... ? ?? # & && = @ : :80 :443 :0080 :65535 :65536 : ; , "
    "utm_source=x UTM_x utm_ fbclid= FBCLID=1 %66bclid=2 fb%63lid pk_cid=1 pk_id=1 %zz=1 "
    "http: https: HTTP: hTtPs: http:/ https:// http://// data: DATA:x ftp: file: javascript:x a "
    "b.c ex.com EX.com. a..b xn--fa-hia XN--a 1 1.2.3.4 0x7f a.1 [::1] a_b - www. "
    "é 한국 İ K 😀 \" < > ` { } ^ | ' % %2 %2F ~ $ + ! * ( )"
).split() + [" ", "\t", "\n", "\r", "\x00", "\x1f", "\x7f", "\u00a0", "\u3000", "x" * 70]

odd_links = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)


def real_links(folder: Path) -> tuple[list[str], list[int], list[str]]:
    """`src` and `data-src` of every img of the archives, the page of each, the pages' bases."""
    sources, pages, bases = [], [], []
    for path in sorted(folder.glob("*.warc.gz")):
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                headers = record.http_headers
                if record.rec_type != "response" or headers is None:
                    continue
                page = urls.page_url(record.rec_headers.get_header("WARC-Target-URI"))
                if page is None or "html" not in (headers.get_header("Content-Type") or ""):
                    continue
                tree = LexborHTMLParser(record.content_stream().read())
                base = tree.css_first("base[href]")
                bases.append(urls.base_url(page, base.attributes["href"] if base else None))
                for image in tree.css("img"):
                    for name in ("src", "data-src"):
                        if (source := image.attributes.get(name)) is not None:
                            sources.append(source)
                            pages.append(len(bases) - 1)
    return sources, pages, bases
