"""Evaluation: a perfect run gets perfect figures, each spoiled table shows in its own figure."""

import json
import math
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import DamagedFile, InputError
from pipeline.core.ids import text_id
from pipeline.core.storage import Store
from pipeline.core.tables import DECISIONS, IMAGES, NEIGHBORS, SCORES
from pipeline.fakeweb.evaluate import evaluate
from pipeline.fakeweb.gentleness import Limits, gentleness, is_gentle
from pipeline.fakeweb.ranking import auc
from pipeline.fakeweb.verdict import _gentleness, render


def _filler(kind: pa.DataType):
    if pa.types.is_list(kind):
        return []
    return {"bool": False, "string": "", "binary": b"", "float": 0.0}.get(str(kind), 0)


def _write(root, table, rows):
    """Rows with only the columns that matter, the others filled."""
    blank = {f.name: None if f.nullable else _filler(f.type) for f in table.schema}
    data = pa.Table.from_pylist([{**blank, **row} for row in rows], schema=table.schema)
    folder = root / table.name
    folder.mkdir(parents=True)
    pq.write_table(data, folder / "part-00000.parquet")


@pytest.fixture
def perfect(truth):
    """Rows of a run that did everything right, by table name."""
    links = [row for row in truth("links") if row["expected_found"]]
    images = {row["image_id"]: row for row in truth("images") if row["is_candidate"]}
    pictures = {i: text_id(f"{row['picture']}-{row['variant']}") for i, row in images.items()}
    ok = {i for i, row in images.items() if row["expected_status"] == "ok"}
    edges = {
        tuple(sorted((pictures[i], pictures[images[i]["variant_of"]])))
        for i in ok
        if images[i]["variant_of"] in ok and images[i]["variant"] != "copy"
    }
    for i in ok:
        if images[i]["variant"] == "copy" and images[i]["variant_of"] in ok:
            pictures[i] = pictures[images[i]["variant_of"]]
    labels = {row["pair_id"]: row["label"] for row in links if row["image_id"] in ok}
    return {
        "pairs": [{"canonical_url": r["url"], "caption": r["caption"]} for r in links],
        "images": [
            {
                "image_id": i,
                "status": row["expected_status"],
                "fingerprint": pictures[i] if i in ok else None,
            }
            for i, row in images.items()
        ],
        "neighbors": [
            {"fingerprint_a": a, "fingerprint_b": b, "rule": "perceptual"} for a, b in edges
        ],
        "scores": [
            {"pair_id": p, "clip_similarity": 0.9 if label == "right" else 0.1}
            for p, label in labels.items()
        ],
        "decisions": [
            {"pair_id": p, "is_kept": label == "right", "reasons": []}
            for p, label in labels.items()
        ],
    }


@pytest.fixture
def run(tmp_path, web):
    """Write rows as a run and evaluate it, with the log lines given."""

    def evaluate_rows(rows, log=()):
        copy = tmp_path / "web"
        copy.mkdir()
        (copy / "truth").symlink_to(web / "truth")
        (copy / "access.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
        pairs = tmp_path / "run" / "pairs"
        pairs.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows["pairs"]), pairs / "part-00000.parquet")
        for table in (IMAGES, NEIGHBORS, SCORES, DECISIONS):
            _write(tmp_path / "run", table, rows[table.name])
        return evaluate(str(tmp_path / "run"), str(copy))

    return evaluate_rows


def test_a_perfect_run(run, perfect):
    figures = run(perfect)
    assert figures["extract.recall"] == figures["extract.precision"] == 1
    assert figures["download.as_expected"] == figures["download.images"] > 100
    assert figures["download.unknown"] == figures["download.missed"] == 0
    assert figures["consent.forbidden_requested"] == figures["consent.withheld_stored"] == 0
    for variant in ("resize", "recompress", "copy"):
        assert figures[f"match.{variant}.recall"] == 1
    assert figures["match.unrelated_pictures_matched"] == 0
    assert figures["score.auc"] == figures["score.auc_en"] == figures["score.auc_ko"] == 1
    assert figures["decide.precision"] == figures["decide.right_captions_passed"] == 1
    text = render(figures)
    assert text.endswith("Everything as expected.") and "!" not in text
    assert "slow_drip" in text
    assert max(map(len, text.splitlines())) <= 100


def test_missed_and_invented_pairs(run, perfect):
    lost = perfect["pairs"].pop()
    perfect["pairs"] = [row for row in perfect["pairs"] if row != lost]
    perfect["pairs"] += [{"canonical_url": "http://x.example/", "caption": "invented"}] * 2
    figures = run(perfect)
    assert 0.98 < figures["extract.recall"] < 1
    assert 0.98 < figures["extract.precision"] < 1


def request(host, seconds, target="/x.jpg", status=200, image=None, open=1):
    return {
        "time": seconds, "scheme": "http", "host": host, "target": target, "status": status,
        "image": image, "open": open, "open_in_all": open,
    }  # fmt: skip


def test_forbidden_requests_and_crowding_show(run, perfect, truth):
    forbidden = next(row for row in truth("images") if row["is_forbidden"])
    line = request(forbidden["host"], 0.0, image=forbidden["image_id"].hex(), open=7)
    figures = run(perfect, [line, line, request("x", 1.0)])
    assert figures["consent.forbidden_requested"] == 1
    assert "! 1 of " in render(figures)
    assert figures["server.max_open_per_host"] == 7
    assert figures["server.requests"] == 3


LIMITS = Limits(
    host_concurrency=2, host_interval_s=0.5, address_concurrency=4, address_interval_s=0.1
)


@pytest.mark.parametrize(
    ("log", "fine"),
    [
        ([request("a", n * 0.5, open=2) for n in range(9)], True),
        ([request("a", n * 0.5 - 0.3 * (n == 4), open=2) for n in range(9)], True),
        ([request("a", n * 0.5, open=3) for n in range(9)], False),
        ([request("a", n * 0.4) for n in range(9)], False),
        ([request(f"{n}", n * 0.5) | {"open_in_all": 5} for n in range(9)], False),
        ([request(f"{n}", 0.0) for n in range(9)], False),
    ],
)
def test_limits_are_held_against_the_log(log, fine):
    figures = gentleness(log, LIMITS)
    assert is_gentle(figures) == fine
    assert gentleness([], LIMITS)["server.host_early_s"] == 0
    text = list(_gentleness(figures))
    assert any(line.startswith("!") for line in text) != fine
    assert max(map(len, text)) <= 100


def test_a_site_that_is_asked_again_for_robots_txt_shows():
    def robots(host, seconds, status=200):
        return request(host, seconds, "/robots.txt", status)

    once = [robots("a", 0), robots("b", 0, 503), robots("b", 1, 503), robots("c", 0, 404)]
    figures = gentleness([*once, robots("a", 86_400)])
    assert (figures["server.robots_sites"], figures["server.robots_asked_again"]) == (3, 0)
    figures = gentleness([*once, robots("a", 86_399), robots("c", 5, 404)])
    assert (figures["server.robots_sites"], figures["server.robots_asked_again"]) == (3, 2)


def test_a_wrong_status_shows_with_both(run, perfect, truth):
    kinds = {row["image_id"]: row["kind"] for row in truth("images")}
    row = next(row for row in perfect["images"] if kinds[row["image_id"]] == "bomb")
    row["status"] = "timeout"
    figures = run(perfect)
    assert figures["download.bomb.too_many_pixels.timeout"] == 1
    assert figures["download.as_expected"] == figures["download.images"] - 1
    text = render(figures)
    (line,) = [line for line in text.splitlines() if "<- expected too_many_pixels" in line]
    assert line.split()[:4] == ["!", "bomb", "timeout", "1"]
    assert text.endswith("2 lines marked ! need a look.")  # the line and the total above it


def test_unrelated_pictures_matched_and_variants_missed(run, perfect):
    shown = [row for row in perfect["images"] if row["fingerprint"]]
    perfect["neighbors"] = [
        {
            "fingerprint_a": shown[0]["fingerprint"],
            "fingerprint_b": shown[1]["fingerprint"],
            "rule": "perceptual",
        }
    ]
    figures = run(perfect)
    assert figures["match.unrelated_pictures_matched"] == 1
    assert figures["match.resize.recall"] == 0
    assert figures["match.copy.recall"] == 1
    flagged = [line.split()[1] for line in render(figures).splitlines() if line.startswith("!")]
    assert {"resize", "recompress", "unrelated"} <= set(flagged)
    assert not {"crop", "mirror", "copy"} & set(flagged)


def test_wrong_captions_kept_and_right_ones_blamed(run, perfect, truth):
    labels = {row["pair_id"]: row["label"] for row in truth("links")}
    for row in perfect["decisions"]:
        row["is_kept"] = labels[row["pair_id"]] == "wrong"
        row["reasons"] = [] if row["is_kept"] else ["clip_similarity_low"]
    figures = run(perfect)
    assert figures["decide.precision"] == 0
    assert figures["decide.right_captions_passed"] == 0
    assert figures["decide.wrong.kept"] == figures["decide.wrong.pairs"] > 0


def test_auc_against_all_pairs():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 6, 40) / 5, rng.integers(0, 5, 30) / 5
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc(positive, negative) == pytest.approx(np.mean(pairs))
    assert math.isnan(auc(positive, negative[:0]))


def test_nothing_to_evaluate_is_refused(tmp_path, web):
    with pytest.raises(InputError, match="no table"):
        evaluate(str(tmp_path), str(web))
    with pytest.raises(InputError, match="no embedded web"):
        evaluate(str(tmp_path), str(tmp_path))


def test_a_damaged_table_is_named(web, tmp_path):
    store = Store(str(tmp_path / "run"))
    with store.publish_part(SCORES, 0) as sink:
        sink.write_rows(
            [{"pair_id": b"p" * 16, "image_id": b"i" * 16, "part": 0, "clip_similarity": 0.5}]
        )
    (file,) = (tmp_path / "run/scores").glob("part-*.parquet")
    damaged = bytearray(file.read_bytes())
    damaged[60] ^= 4
    file.write_bytes(damaged)
    with pytest.raises(DamagedFile, match=re.escape(str(file))):
        evaluate(store.root, str(web))
