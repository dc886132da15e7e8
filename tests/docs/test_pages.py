"""The pages are what the code says, their links lead somewhere, and the site is whole by itself."""

import html
import json
import re
from functools import cache
from pathlib import Path

import pytest

from jobs import docs
from jobs.docs_blocks import SECTIONS, STAGES, refresh, stale
from jobs.docs_keys import keys
from jobs.docs_reasons import REASONS
from jobs.docs_site import for_site, links, repository_path
from pipeline.core.errors import ConfigError
from pipeline.core.reasons import Status
from pipeline.stats.wording import FIXED
from tests.conftest import ROOT, Milled
from tests.docs.commands import PAGES

HEADINGS = ("What it reads and writes", "Tables", "Knobs", "Cost", "What can go wrong")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_no_page_is_stale() -> None:
    assert stale(ROOT / "docs") == [], "run make docs"


def test_a_stale_page_is_seen_and_written_anew() -> None:
    page = "before\n<!-- generated: keys decide -->\nold\n<!-- end -->\nbehind\n"
    fresh = refresh(page)
    assert "`driver_edges`" in fresh and "old" not in fresh and refresh(fresh) == fresh
    assert fresh.startswith("before\n") and fresh.endswith("\nbehind\n")
    with pytest.raises(ConfigError, match="generated: colours: allowed: .*tables"):
        refresh("<!-- generated: colours decide -->\n<!-- end -->")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_page(stage: str) -> None:
    text = (ROOT / f"docs/stages/{stage}.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == list(HEADINGS)
    for kind in ("flow", "tables", "keys", "reasons"):
        assert f"<!-- generated: {kind} {stage} -->" in text
    for table in STAGES[stage].writes:
        assert f"### `{table.name}`\n" in text
        assert all(f"| `{field.name}` |" in text for field in table.schema), table.name
    for key in keys(STAGES[stage].config):
        assert f"`{key.name}`" in text
    # What was measured, and how.
    (cost,) = re.findall(r"^## Cost\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert "(../measurements.md#" in cost and re.search(r"`make (bench|demo)", cost)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_told_of(section: str) -> None:
    """By its own text, or that of the keys just before it."""
    found = keys(SECTIONS[section])
    assert not found or found[0].doc
    for key in found:
        assert key.default


def test_keys_have_default_unit_range_and_text() -> None:
    download = {key.name: key for key in keys(SECTIONS["download"])}
    silence = download["silence_timeout_s"]
    assert (silence.default, silence.allowed) == ("10.0", "seconds, over 0")
    assert silence.is_tuning and silence.doc.startswith("A host may be silent for so long")
    assert download["dns_attempts"].doc == "" and download["dns_timeout_s"].doc
    match = {key.name: key for key in keys(SECTIONS["match"])}
    assert match["radius"].allowed == "0 to 6" and not match["radius"].is_tuning
    assert match["radius"].doc.startswith("bits of hash64 that near-duplicates may differ in")
    assert {key.name: key for key in keys(SECTIONS["match.lists"])}["path"].default == "required"


def test_reasons_are_those_of_the_vocabulary() -> None:
    for stage, units in REASONS.items():
        for which in units.values():
            assert set(which) <= set(FIXED), stage


@pytest.mark.spark
def test_what_a_run_counted_is_on_the_page_of_its_stage(milled: Milled) -> None:
    for stage in STAGES:
        record = json.loads((milled.root / "_stages" / f"{stage}.json").read_text())
        for account in record["accounts"]:
            told = set(REASONS[stage].get(account["unit"], []))
            if stage == "measure":
                told |= set(Status)
            dropped = {r for r, rows in account["dropped"].items() if rows}
            bounds = {r for r in dropped if stage == "decide" and r.endswith(("_low", "_high"))}
            assert dropped - bounds <= told, (stage, account["unit"])


@cache
def anchors(page: Path) -> set[str]:
    """As GitHub and MkDocs make them of headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading)
        found.add(re.sub(r"[^\w -]", "", plain.lower()).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in links(page.read_text("utf-8")):
        file = ROOT / repository_path(name(page), target) if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), f"{target}#{anchor}"


def test_links_on_the_site_lead_to_the_pages_of_files() -> None:
    text = "[a](../pipeline/core/ids.py) [b](cost.md#x) [c](https://a.example/) `[d](e.md)`"
    moved = for_site("docs/how-it-works.md", text)
    assert moved == text.replace("../pipeline/core/ids.py", "source/pipeline/core/ids.py.md")
    moved = for_site("README.md", "[a](docs/cost.md) [b](pipeline/core/ids.py) [c](#here)")
    assert moved == "[a](../cost.md) [b](pipeline/core/ids.py.md) [c](#here)"
    assert for_site("docs/stages/x.md", "[a](../cost.md)") == "[a](../cost.md)"


def test_the_pages_are_all_in_the_sites_contents() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}\n" in text, page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it. A link that leads nowhere fails it."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    docs.build(folder)
    return folder


@pytest.mark.slow
def test_the_site_asks_nothing_of_others(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        text = page.read_text("utf-8")
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
            found = re.search(r'(?:src|href)="([^"]*)"', tag)
            assert not found or not re.match(r"(https?:)?//", html.unescape(found[1])), (page, tag)
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//", style.read_text("utf-8")), style


@pytest.mark.slow
def test_the_site_fits_a_browser(site: Path) -> None:
    from tests.browser import browser

    with browser() as tab:
        for width in (1280, 420):
            tab.size(width)
            for page in ("index.html", "stages/download.html", "measurements.html", "compare.html"):
                tab.open((site / page).as_uri())
                wide = tab.run("document.documentElement.scrollWidth")
                assert wide <= width, (page, width, wide)
                assert "Pairmill" in tab.run("document.title")
        assert all(url.startswith(("file:", "data:")) for url in tab.requests)
        assert not tab.complaints
