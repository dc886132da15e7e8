"""The report stage on a made run: counted figures, examples, an inert page, a notebook."""

import io
import json
import math
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from selectolax.lexbor import LexborHTMLParser as HTMLParser

from pipeline.core.checksums import Summed, beside
from pipeline.core.context import Context
from pipeline.core.errors import ContractError, DamagedFile, InputError
from pipeline.core.storage import Store
from pipeline.stages.report import (
    DATASHEET,
    DRIFT,
    REPORT,
    STAGE,
    ReportSection,
    build,
    check,
)
from pipeline.stats import summary
from tests.browser import browser
from tests.stats.made_run import Made, make

pytestmark = pytest.mark.spark
ROOT = Path(__file__).resolve().parents[2]


def run_report(spark, made: Made) -> str:
    spark.conf.set("spark.sql.shuffle.partitions", "2")  # sixty pairs
    context = Context("report", spark, Store(str(made.root)), ReportSection(), {}, made.filters)
    (account,) = build(context)
    assert (account.unit, account.rows_in, account.kept) == ("pairs", *[len(made.pairs)] * 2)
    return (made.root / REPORT).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return make(tmp_path_factory.mktemp("report") / "made", 60)


@pytest.fixture(scope="module")
def html(spark, made) -> str:
    return run_report(spark, made)


@pytest.fixture(scope="module")
def run(html, made) -> summary.Run:
    return summary.load(str(made.root))


def test_counts_equal_hand_counts(run, made):
    pairs = made.pairs
    rows = run.figure("rows")["rows"]
    assert rows["decisions"] == 60 and rows["kept"] == len(made.kept) and rows["pairs"] == 90
    assert rows["downloaded"] == 60 and rows["images"] == 90
    assert run.figure("status")["images"] == {"ok": 60, "http_404": 10, "robots": 10, "timeout": 10}
    assert run.figure("consent")["images"] == {"allowed": 80, "robots.txt": 10}
    reason = run.figure("reason")
    assert reason["first"] == Counter(p["reason"] for p in pairs if p["reason"])
    assert reason["at_all"] == Counter(r for p in pairs for r in p["reasons"])
    assert reason["alone"] == Counter(p["reason"] for p in pairs if len(p["reasons"]) == 1)
    joint = Counter((a, b) for p in pairs for a in p["reasons"] for b in p["reasons"])
    found = run.figure("joint_reason")
    assert {(a, b): n for a, row in found.items() for b, n in row.items()} == joint
    languages = run.figure("caption_lang")
    assert languages["kept"] == Counter(p["caption_lang"] for p in made.kept)
    domains = run.figure("domain")
    assert domains["pairs"]["gone.example"] == 30 and domains["kept"]["gone.example"] == 0
    assert domains["kept"]["domain1.example"] == sum(
        p["domain"] == "domain1.example" for p in made.kept
    )


def test_histograms_hold_every_pair_in_its_bin(run, made):
    for name in ("caption_chars", "clip_similarity", "original_width", "is_representative"):
        edges = [v for _, v in sorted(run.figure("edges")[name].items())]
        for series, wanted in (("kept", True), ("dropped", False)):
            values = [p[name] for p in made.pairs if p["is_kept"] is wanted]
            present = [v for v in values if not math.isnan(v)]
            counted = run.figure(name)[series]
            assert counted.pop("missing") == len(values) - len(present)
            by_edge = {float(edge): n for edge, n in counted.items()}
            for low, high in pairwise(edges):
                assert by_edge[low] == sum(low <= v < high for v in present), (name, low)
            assert sum(counted.values()) == len(present)


def test_what_one_bound_alone_drops_is_counted_in_its_bin(run, made):
    sole = [p for p in made.pairs if len(p["reasons"]) == 1]
    for name in ("caption_chars", "clip_similarity", "image_min_side"):
        mine = [p[name] for p in sole if p["reasons"][0].rpartition("_")[0] == name]
        counted = run.figure(name).get("alone", {})
        assert sum(counted.values()) == len(mine), name
        edges = [v for _, v in sorted(run.figure("edges")[name].items())]
        for low, high in pairwise(edges):
            bucket = str(int(low)) if low == int(low) else repr(low)
            assert counted.get(bucket, 0) == sum(low <= v < high for v in mine), (name, low)
    exact = Counter(" ".join(sorted(p["reasons"])) for p in made.pairs if p["reasons"])
    assert run.figure("reason_set")["pairs"] == exact


def test_hosts_and_who_objects_are_counted_by_domain(run, made):
    assert run.figure("host") == {"asked": {"gone.example": 30}, "ok": {"gone.example": 0}}
    failed = run.figure("host_status")["gone.example"]
    assert failed == {"http_404": 10, "robots": 10, "timeout": 10}
    assert run.figure("consent_domain") == {"robots.txt": {"gone.example": 10}}
    assert run.figure("consent_domains") == {"domains": {"robots.txt": 1}}
    kept = Counter(p["domain"] for p in made.kept)
    spread = run.figure("domain_spread")["kept"]
    assert spread["top_1"] == pytest.approx(max(kept.values()) / len(made.kept))
    assert sum(run.figure("domain_size")["kept:domains"].values()) == len(kept)
    assert run.figure("page_lang_detected")["pages"]["en"] == 1  # all pairs are on one page


def test_the_datasheet_tells_the_same_numbers(html, made):
    text = (made.root / DATASHEET).read_text(encoding="utf-8")
    for part in ("Motivation", "Composition", "Collection process", "Preprocessing", "Uses",
                 "Distribution", "Maintenance"):  # fmt: skip
        assert f"## {part}" in text
    assert f"{len(made.kept)} of 60 pairs that were downloaded" in text
    assert "| length | caption_chars at least 10; caption_chars at most 1000 |" in text
    assert "Not stated (`report.purpose`)." in text and "shard.optout_address" in text
    assert "1970-01-01 to 1970-01-01" in text  # as the images say


def test_a_run_is_held_against_an_earlier_one(spark, html, made, tmp_path):
    earlier = shutil.copytree(made.root, tmp_path / "earlier")  # other tests look at that run
    (earlier / "_stages/report.json").write_text('{"state": "done", "id": "an id"}')
    section = ReportSection(against=str(earlier), kept_examples=0, examples_per_reason=0)
    assert check(section) == "an id" and check(ReportSection()) == ""
    other = make(tmp_path / "later", 60)
    context = Context("report", spark, Store(str(other.root)), section, {}, other.filters)
    build(context)
    drift = json.loads((other.root / DRIFT).read_text())
    names = {one["name"] for one in drift["distributions"]}
    assert drift["moved"] == 0 and {"clip similarity", "caption lang", "download status"} <= names
    page = HTMLParser((other.root / REPORT).read_text(encoding="utf-8"))
    assert "None of" in page.css_first("#drift").text()
    with pytest.raises(InputError, match="neither a release nor a run"):
        check(ReportSection(against=str(tmp_path)))


def test_bounds_and_funnel_are_in_the_stats(run):
    assert run.bounds("caption_chars") == (10, 1000)
    assert run.bounds("clip_similarity") == (0.2, None)
    assert run.bounds("texture") == (None, None)
    assert run.figure("funnel")["extract:records"]["dropped:not_html"] == 20


def test_score_quantiles_are_those_of_the_scores(run, made):
    scores = sorted(p["clip_similarity"] for p in made.kept)
    median = scores[math.ceil(len(scores) / 2) - 1]
    assert run.figure("score_quantile")["kept"]["0.50"] == pytest.approx(median, abs=1e-4)


def test_similarities_by_language_stand_beside_mismatched_pairs(run, html, made):
    counted = run.figure("clip_similarity_by_language")
    edges = [v for _, v in sorted(run.figure("edges")["clip_similarity_by_language"].items())]
    told = [(p["caption_lang"], p["is_kept"], p["clip_similarity"]) for p in made.pairs]
    for lang in ("en", "ko", "ja", "ar"):
        values = {
            "kept": [v for language, kept, v in told if language == lang and kept],
            "dropped": [v for language, kept, v in told if language == lang and not kept],
            "mismatched": [r["similarity"] for r in made.mismatched if r["lang"] == lang],
        }
        for kind, mine in values.items():
            bins = {float(edge): n for edge, n in counted[f"{lang}:{kind}"].items()}
            for low, high in pairwise(edges):
                inside = sum(low <= v < high or v == high == edges[-1] for v in mine)
                assert bins.get(low, 0) == inside, (lang, kind, low)
    charts = HTMLParser(html).css("#measures figure.language")
    # By pairs with a value, of which one Arabic pair has none.
    assert [c.css_first("b").text() for c in charts] == ["en", "ja", "ko", "ar"]
    assert all(c.css_first("path.beside") for c in charts)
    bounds = [[t.text() for t in c.css(".bound-label")] for c in charts]
    # The tighter of what holds for all, and of what was found for the language.
    plain = "≥ 0.2 similarity"
    assert bounds == [["≥ 0.25 calibrated"], [plain], ["≥ 0.22 calibrated"], [plain]]
    tables = [table.text() for table in HTMLParser(html).css("#measures table")]
    table = next(text for text in tables if "found by" in text)
    assert "ko" in table and "≥ 0.22" in table and "the language has too few" in table


def test_duplicates_are_counted_by_group_rule_and_distance(run, made):
    doubles = [p for p in made.pairs if p["duplicate_of"]]
    here = [p for p in doubles if p["duplicate_rule"] != "released"]
    groups = Counter(p["duplicate_of"] for p in here)
    sizes = Counter(n + 1 for n in groups.values())
    found = run.figure("duplicate_group")
    assert found["groups"] == {str(size): n for size, n in sizes.items()}
    assert found["pictures"] == {str(size): size * n for size, n in sizes.items()}
    assert run.figure("duplicate_rule")["pictures"] == Counter(p["duplicate_rule"] for p in doubles)
    distances = run.figure("duplicate_distance")
    assert {(rule, d): n for rule, row in distances.items() for d, n in row.items()} == Counter(
        (p["duplicate_rule"], str(p["duplicate_distance"])) for p in doubles
        if p["duplicate_distance"] is not None
    )  # fmt: skip
    similar = [p["duplicate_similarity"] for p in doubles if p["duplicate_rule"] == "copy"]
    steps = Counter(f"{math.floor(round(s / 0.02, 6)) * 0.02:.2f}" for s in similar)
    assert run.figure("duplicate_similarity") == {"copy": steps}
    assert run.figure("copy_similarity")["copy"].keys() == steps.keys()


def test_edges_and_chains_are_those_of_the_decisions(run, made):
    owner = {
        p["fingerprint"]: p["duplicate_of"] or (p["image_id"] if p["is_kept"] else None)
        for p in made.pairs
    }
    ends = [(e["rule"], owner[e["fingerprint_a"]], owner[e["fingerprint_b"]]) for e in made.edges]
    fates = Counter(
        (rule, "outside" if None in (a, b) else "inside" if a == b else "between")
        for rule, a, b in ends
    )
    found = run.figure("duplicate_edges")
    assert {(rule, fate): n for rule, row in found.items() for fate, n in row.items()} == fates
    links = {(min(a, b), max(a, b)) for _, a, b in ends if a and b and a != b}
    chain = run.figure("duplicate_chain")["kept"]
    assert links and chain["links"] == len(links)
    assert chain["linked"] == len({end for link in links for end in link})
    assert chain["would_drop"] == chain["linked"] - chain["components"]


def test_groups_are_shown_with_what_stays_and_what_gave_way(html, made):
    page = HTMLParser(html)
    here = [p for p in made.pairs if p["duplicate_rule"] not in (None, "released")]
    groups = Counter(p["duplicate_of"] for p in here)
    shown = page.css("#duplicates .cluster")
    # No more groups than the largest that are shown: each is there once.
    assert len(shown) == len(groups) <= 4
    for cluster in shown:
        assert len(cluster.css(".stays img[src^='data:image/jpeg']")) == 1
        assert cluster.css(".gone img[src^='data:image/jpeg']")
    text = page.css_first("#duplicates .clusters").text()
    assert "mirrored or turned, " in text and "copy detection, cosine 0." in text
    assert sum(len(c.css(".gone figure")) for c in shown) == len(here)


def test_every_reason_has_its_examples(html, made):
    page = HTMLParser(html)
    headings = [h.text() for h in page.css("#pictures h3")]
    for reason, rows in Counter(r for p in made.pairs for r in p["reasons"]).items():
        heading = next(h for h in headings if reason in h.split())
        assert f"({rows})" in heading
        album = page.css("#pictures h3")[headings.index(heading)].next.next
        assert len(album.css("figure")) == min(rows, 6)
        assert album.css("img[src^='data:image/jpeg']")
    assert len(page.css("#pictures .album")[0].css("figure")) == min(24, len(made.kept))


def test_pairs_and_failures_are_told_in_words(html):
    page = HTMLParser(html)
    text = page.css_first("#fate").text()
    assert "kept" in text and "caption shorter than 10 characters" in text and "by length" in text
    assert "no longer there (404)" in page.css_first("#downloads").text()
    urls = page.css_first("#downloads dl.urls")
    assert {dt.text() for dt in urls.css("dt")} == {"http_404", "robots", "timeout"}
    assert all(code.text() for code in urls.css("dd code")) and not urls.css("a")


def test_flags_are_counted_as_yes_and_no(html, made):
    page = HTMLParser(html)
    names = [h.text() for h in page.css("#measures .panel h3")]
    values = {p["is_representative"] for p in made.pairs}
    assert ("is representative" in names) == (values == {0, 1})


def test_hostile_text_is_inert(html):
    page = HTMLParser(html)
    assert "alert(1)" in page.body.text()  # it is shown, as text
    assert not page.css("script, iframe, object, embed, link, base, form")
    for node in page.css("*"):
        for name, value in node.attributes.items():
            assert not name.startswith("on"), (node.tag, name)
            if name in ("src", "href"):
                assert value.startswith(("data:image/jpeg;base64,", "#")), value[:60]
    assert "49" not in page.css_first("title").text()
    assert {n.attributes["lang"] for n in page.css("blockquote[lang]")} <= {"en", "ko", "ja", "ar"}
    assert "url(" not in html and "@import" not in html


def test_page_is_small_and_the_same_again(spark, html, made):
    assert len(html.encode()) < 10_000_000
    assert "not shown" not in html  # every example's picture could be read
    assert run_report(spark, made) == html


def test_run_with_nothing_kept_and_no_filters(spark, tmp_path):
    made = make(tmp_path / "empty", 0, filters={})
    page = HTMLParser(run_report(spark, made))
    text = page.body.text()
    assert "No pair was measured" in text and "No near-duplicates were found" in text


def test_tables_that_are_damaged_or_are_not_there_are_named(html, made, tmp_path):
    section = ReportSection()
    copy = Path(shutil.copytree(made.root, tmp_path / "copy"))
    context = Context("report", None, Store(str(copy)), section, {}, made.filters)  # type: ignore[arg-type]
    file = copy / "decisions" / "part-00000.parquet"
    data, summed = file.read_bytes(), Summed(io.BytesIO())
    summed.write(data)
    beside(file).write_bytes(summed.sums())
    file.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(DamagedFile, match="decisions/part-00000.parquet is damaged"):
        build(context)
    file.write_bytes(data)
    shutil.move(copy / "scores", copy / "away")
    with pytest.raises(ContractError, match="table scores is not in"):
        build(context)
    table = pq.read_table(copy / "away" / "part-00000.parquet")
    (copy / "scores").mkdir()
    pq.write_table(table.drop_columns(["clip_similarity"]), copy / "scores/part-00000.parquet")
    with pytest.raises(ContractError, match="scores.*missing.*clip_similarity"):
        build(context)


def test_overview_notebook_runs(html, made, monkeypatch):
    jupytext = pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PAIRMILL_RUN", str(made.root))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = jupytext.read(ROOT / "notebooks" / "01_overview.py")
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 5


def test_page_fits_a_browser_without_a_word_from_it(html, made):
    with browser() as tab:
        tab.open((made.root / REPORT).as_uri())
        for width in (420, 1280):
            tab.size(width)
            assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.complaints == []
        asked = [url for url in tab.requests if not url.startswith("data:")]
        assert asked == [(made.root / REPORT).as_uri()]
        shown = tab.run("[...document.images].filter(i => i.naturalWidth > 0).length")
        assert shown == tab.run("document.images.length") > 0


def test_stage_declares_what_it_reads_and_writes():
    assert STAGE.name == "report" and [t.name for t in STAGE.writes] == ["stats"]
    assert "measures" in [t.name for t in STAGE.reads]
    assert STAGE.folders == ("report",)
