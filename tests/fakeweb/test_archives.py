"""Archives: the same bytes from the same seed, and what independent parsers see in them."""

import gzip
import hashlib
import json
import unicodedata
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pytest
from selectolax.lexbor import LexborHTMLParser
from warcio.archiveiterator import ArchiveIterator

from pipeline.core.ids import image_id, pair_id
from pipeline.fakeweb.archives import write_archives
from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.world import make_world
from tests.fakeweb.conftest import SECTION


def _members(path: Path) -> list[bytes]:
    """The archive's records, unpacked one by one; those that do not inflate are left out."""
    import re
    import zlib

    data = path.read_bytes()
    starts = [m.start() for m in re.finditer(rb"\x1f\x8b\x08\x00\x00\x00\x00\x00", data)]
    found = []
    for start in starts:
        unpack = zlib.decompressobj(31)
        try:
            text = unpack.decompress(data[start:])
        except zlib.error:
            continue
        if unpack.eof:
            found.append(text)
    return found


def _records(path: Path):
    import io

    for member in _members(path):
        record = next(iter(ArchiveIterator(io.BytesIO(gzip.compress(member)))))
        yield record, record.content_stream().read()


def _canonical(url: str) -> str:
    """The canonical form by the standard library: an oracle for the kinds of noise there are."""
    parts = urlsplit(url.strip())
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = parts.port if parts.port not in (None, 80, 443) else None
    path = quote(parts.path, safe="/%").replace("/./", "/").replace("/archive/../", "/")
    query = "&".join(p for p in parts.query.split("&") if p and not p.startswith("utm_"))
    return (
        f"{parts.scheme}://{host}{f':{port}' if port else ''}{path}{'?' + query if query else ''}"
    )


def _html_pairs(url: str, body: bytes, charset: str):
    tree = LexborHTMLParser(body.decode({"euc-kr": "cp949"}.get(charset, charset)))
    base_node = tree.css_first("base")
    base = base_node.attributes["href"] if base_node else url
    for img in tree.css("img"):
        a = img.attributes
        lazy = a.get("data-src") or a.get("data-original") or a.get("data-lazy-src")
        src = lazy or a.get("src") or a["srcset"].split(", ")[-1].split()[0]
        if src.startswith("data:") and img.parent.tag == "picture":
            src = img.parent.css_first("source").attributes["srcset"]
        if src.startswith("data:"):
            continue
        figure = img.parent if img.parent.tag == "figure" else None
        text = a.get("alt") or a.get("title") or a.get("aria-label")
        text = figure.css_first("figcaption").text() if figure and not text else text
        if "aria-labelledby" in a:
            text = tree.css_first(f"#{a['aria-labelledby']}").text()
        elif img.parent.tag == "a":
            text = img.parent.text()
        yield _canonical(urljoin(base, src)), text
    for meta in tree.css("meta[property='og:image']"):
        alt = meta.next.next if meta.next.is_text_node else meta.next
        yield _canonical(urljoin(base, meta.attributes["content"])), alt.attributes["content"]
    for script in tree.css("script[type='application/ld+json']"):
        (image,) = json.loads(script.text())["@graph"]
        yield _canonical(urljoin(base, image["contentUrl"])), image["caption"]


def _clean(text: str | None) -> str:
    return unicodedata.normalize("NFC", " ".join((text or "").split()))


def test_archives_are_the_same_bytes_twice(tmp_path):
    section = DemoSection(pages=40)
    sums = []
    for name in ("a", "b"):
        write_archives(make_world(section), tmp_path / name)
        files = sorted((tmp_path / name).iterdir())
        sums.append([hashlib.sha256(f.read_bytes()).hexdigest() for f in files])
    assert sums[0] == sums[1]
    assert len(sums[0]) == section.archives


def test_truth_is_what_parsers_find_in_the_archives(web, truth):
    pages = {row["page_url"]: row for row in truth("pages")}
    found = set()
    seen = set()
    for path in sorted((web / "archives").iterdir()):
        is_wat = ".wat." in path.name
        for record, body in _records(path):
            url = record.rec_headers.get_header("WARC-Target-URI")
            if url not in pages or record.rec_type != ("metadata" if is_wat else "response"):
                continue
            assert pages[url]["archive"] == path.name
            if is_wat:
                payload = json.loads(body)["Envelope"]["Payload-Metadata"]
                if "HTTP-Response-Metadata" not in payload:
                    continue
                html = payload["HTTP-Response-Metadata"]["HTML-Metadata"]
                base = html["Head"].get("Base", url)
                for link in html["Links"]:
                    text = " ".join((link.get("alt") or link.get("title") or "").split())
                    if link["path"] == "IMG@/src" and text and not link["url"].startswith("data:"):
                        found.add((url, _canonical(urljoin(base, link["url"])), text))
            else:
                for source, text in _html_pairs(url, body, pages[url]["charset"]):
                    if _clean(text):
                        found.add((url, source, _clean(text)))
            seen.add(url)
    assert seen == set(pages)
    expected = {
        (row["page_url"], row["url"], row["caption"])
        for row in truth("links")
        if row["expected_found"]
    }
    assert found == expected


def test_ids_are_those_of_core(truth):
    for row in truth("links"):
        assert row["image_id"] == image_id(row["url"])
        assert row["pair_id"] == pair_id(row["image_id"], row["caption"])
    ids = {row["image_id"] for row in truth("images")}
    assert all(row["variant_of"] in ids for row in truth("images") if row["variant_of"])


def test_damage_is_where_the_truth_says(web, truth):
    import zlib

    damages = {row["kind"]: row for row in truth("damage")}
    assert set(damages) == {"corrupt", "truncated"}
    pages = {row["page_url"] for row in truth("pages")}
    for kind, row in damages.items():
        assert row["page_url"] not in pages
        data = (web / "archives" / row["archive"]).read_bytes()[row["record_offset"] :]
        unpack = zlib.decompressobj(31)
        if kind == "corrupt":
            with pytest.raises(zlib.error):
                unpack.decompress(data)
        else:
            unpack.decompress(data)
            assert not unpack.eof


def test_wat_share_of_the_archives(web):
    names = [f.name for f in (web / "archives").iterdir()]
    assert len(names) == SECTION.archives
    assert sum(".wat." in name for name in names) == SECTION.archives // 2
