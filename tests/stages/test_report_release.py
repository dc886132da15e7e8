"""The page of a release and of a view of it, counted against the samples themselves."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selectolax.lexbor import LexborHTMLParser as HTMLParser

from jobs.release import main
from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.stats import earlier
from tests.shards import plain_release, small_run

HOSTILE = "<script>alert(1)</script> \u202e {{ 7 * 7 }} \"'"
ROWS = [
    {
        "key": f"{number * 7919 % 65536:032x}",
        "domain": ["a.example", "b.example", "c.example"][min(number % 5, 2)],
        "caption_lang": "ko" if number % 3 else "en",
        "width": 100 + number * 10,
        "clip_similarity": 0.2 + number % 17 / 50,
        "caption": f"a picture, number {number}" if number else HOSTILE,
    }
    for number in range(40)
]
ROWS.sort(key=lambda row: str(row["key"]))
PER_SHARD = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "release"
    samples = []
    for number, row in enumerate(ROWS):
        told = {k: v for k, v in row.items() if k != "caption"}
        picture = small_run.picture(number)
        samples.append((row["key"], picture, row["caption"].encode(), json.dumps(told).encode()))
    manifest = plain_release.write(folder, samples, PER_SHARD)
    for number, entry in enumerate(manifest.shards):
        path = folder / release.sidecar_path(entry.path)
        table = pq.read_table(path)
        mine = ROWS[number * PER_SHARD : (number + 1) * PER_SHARD]
        for name in ("domain", "caption_lang", "width", "clip_similarity"):
            table = table.append_column(name, pa.array([row[name] for row in mine]))
        pq.write_table(table, path)
    return folder


def counted(folder: Path, chosen: set[str]) -> earlier.Counted:
    import fsspec

    fs, root = fsspec.core.url_to_fs(str(folder))
    manifest = release.load(fs, root)
    rows = []
    for number, entry in enumerate(manifest.shards):
        mine = ROWS[number * PER_SHARD : number * PER_SHARD + entry.samples]
        picked = [i for i, row in enumerate(mine) if row["key"] in chosen]
        rows.append((entry, np.array(picked, np.int32)))
    return earlier.count(fs, root, manifest, rows)


def test_counts_are_those_of_the_samples(folder: Path) -> None:
    chosen = {str(row["key"]) for row in ROWS if row["width"] >= 250}
    found = counted(folder, chosen)
    values = {row[:3]: row[3] for row in found.rows}
    kept = [row for row in ROWS if row["key"] in chosen]
    left = [row for row in ROWS if row["key"] not in chosen]
    assert values["rows", "rows", "decisions"] == 40 and values["rows", "rows", "kept"] == len(kept)
    for series, mine in (("kept", kept), ("dropped", left)):
        for lang, n in Counter(row["caption_lang"] for row in mine).items():
            assert values["caption_lang", series, lang] == n
        edges = [v for (f, s, _), v in sorted(values.items()) if (f, s) == ("edges", "width")]
        for low, high in zip(edges, edges[1:], strict=False):
            inside = sum(low <= row["width"] < high for row in mine)
            assert values.get(("width", series, str(int(low))), 0) == inside
    domains = Counter(row["domain"] for row in kept)
    assert {d: values["domain", "kept", d] for d in domains} == domains
    assert values["domains", "pairs", "distinct"] == 3
    assert {c.name for c in found.columns} >= {"width", "clip_similarity"}


def test_page_of_a_view_shows_what_it_chooses_and_nothing_masked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.stream import views

    view, out = tmp_path / "ko.view", tmp_path / "pages" / "ko.html"
    views.save(views.select(str(folder), "caption_lang = 'ko'"), str(view))
    korean = [row for row in ROWS if row["caption_lang"] == "ko"]
    others = [row for row in ROWS if row["caption_lang"] != "ko"]
    gone = [korean[0], others[0]]
    tombstones = folder / release.TOMBSTONES
    tombstones.write_text("".join(f"{row['key']}\n" for row in gone))
    try:
        assert main(["report", str(folder), "--view", str(view), "--out", str(out)]) == 0
        again = tmp_path / "again.html"
        main(["report", str(folder), "--view", str(view), "--out", str(again)])
        whole = tmp_path / "whole.html"
        main(["report", str(folder), "--against", str(folder), "--out", str(whole)])
    finally:
        tombstones.unlink()
    assert f"{len(korean) - 1} samples" in capsys.readouterr().out
    assert again.read_bytes() == out.read_bytes()
    page = HTMLParser(out.read_text())
    cards = {li.css("span")[0].text(): li.css_first("b").text() for li in page.css(".cards li")}
    assert cards["samples"] == "40" and cards["chosen"] == str(len(korean) - 1)
    captions = [e.text() for e in page.css("#pictures blockquote")]
    assert not {str(row["caption"]) for row in gone} & set(captions)
    galleries = [h.text() for h in page.css("#pictures h3")]
    assert galleries == [
        "Chosen, at random", "Highest similarity", "Lowest similarity", "Not chosen, at random",
    ]  # fmt: skip
    first, high, low, left = page.css("#pictures .album")
    assert len(first.css("figure")) == 24 and len(left.css("figure")) == min(12, len(others) - 1)
    assert all(e.attributes["src"].startswith("data:image/jpeg") for e in page.css("img"))
    scores = [
        [float(re.search(r"similarity (\S+)", n.text())[1]) for n in a.css(".note:nth-of-type(2)")]
        for a in (high, low)
    ]
    live = sorted(row["clip_similarity"] for row in korean[1:])
    assert scores[0] == pytest.approx(live[::-1][:12], abs=1e-3)
    assert scores[1] == pytest.approx(live[:12], abs=1e-3)
    assert "#funnel" not in out.read_text() and "None of" in HTMLParser(whole.read_text()).text()


def test_what_is_no_release_or_run_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a release nor a run"):
        earlier.load(str(tmp_path))
    out = str(tmp_path / "x.html")
    assert main(["report", str(folder), "--against", str(tmp_path), "--out", out]) == 1
