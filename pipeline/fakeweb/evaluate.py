"""Compare what a run made of an embedded web with the truth: precision and recall of every step."""

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.fakeweb.gentleness import Figures, Limits, Line, gentleness, read_log
from pipeline.fakeweb.ranking import auc

Relation = tuple[Any, ...]

_TABLES = ("pairs", "images", "neighbors", "scores", "decisions")
_TRUTH = ("images", "links")
# Reasons that hold the caption, or its fit to the picture, to be bad.
_CAPTION_REASONS = (
    "^(caption_[^r]|caption_repetition|clip_similarity|is_filename_like|is_language_allowed"
    "|has_personal_data)"
)


def evaluate(run_root: str, web_folder: str, limits: Limits | None = None) -> Figures:
    """Figures by dotted name, e.g. `extract.recall`; only for tables that the run has by now.

    limits: what the download was to keep to.

    Counts are ints, shares are floats from 0 to 1; a share of nothing is NaN. Raises InputError
    when the folder holds no web or the run no table.
    """
    web, store = Path(web_folder), Store(run_root)
    with duckdb.connect() as db:
        db.execute("SET threads = 2")
        for name in _TRUTH:
            if not (web / f"truth/{name}.parquet").exists():
                raise InputError(f"no embedded web in {web_folder}")
            db.register(f"true_{name}", ds.dataset(web / f"truth/{name}.parquet").to_table())
        found = [name for name in _TABLES if _register(db, store, name)]
        if not found:
            raise InputError(f"no table of a run in {run_root}")
        log = read_log(web / "access.jsonl")
        db.register("requests", _requests(log))
        figures: Figures = {}
        if "pairs" in found:
            figures |= _extraction(db)
        if "images" in found:
            figures |= _consent(db) | gentleness(log, limits) | _downloads(db)
        if {"images", "neighbors"} <= set(found):
            figures |= _near_duplicates(db)
        if {"images", "scores"} <= set(found):
            figures |= _similarity(db)
        if {"images", "decisions"} <= set(found):
            figures |= _captions(db)
        return figures


def _register(db: duckdb.DuckDBPyConnection, store: Store, name: str) -> bool:
    """Make a table of the run known to SQL, if it is there. Raises DamagedFile."""
    found = sorted(store.fs.find(store.path(name)))
    files = [
        f for f in found if f.endswith(".parquet") and not posixpath.basename(f).startswith(".")
    ]
    tables = []
    for file in files:
        with store.open_table(file) as rows:
            tables.append(rows.read())
    if tables:
        db.register(name, pa.concat_tables(tables))
    return bool(tables)


def _requests(log: Sequence[Line]) -> pa.Table:
    """Of each request: host, image_id (null: none of the web)."""
    images = [bytes.fromhex(line["image"]) if line["image"] else None for line in log]
    return pa.table(
        {
            "host": pa.array([line["host"] for line in log], pa.string()),
            "image_id": pa.array(images, pa.binary()),
        }
    )


def _one(db: duckdb.DuckDBPyConnection, query: str) -> Relation:
    row = db.execute(query).fetchone()
    assert row is not None
    return tuple(row)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _extraction(db: duckdb.DuckDBPyConnection) -> Figures:
    """Pairs found, as distinct (canonical URL, caption)."""
    db.execute("""
        CREATE TEMP TABLE found AS SELECT DISTINCT canonical_url AS url, caption FROM pairs
            WHERE caption IS NOT NULL;
        CREATE TEMP TABLE expected AS
            SELECT url, caption, bool_or(expected_found) AS is_due FROM true_links GROUP BY ALL
    """)
    due, hit = _one(
        db,
        "SELECT count(*), count(found.url) FROM expected LEFT JOIN found USING (url, caption) "
        "WHERE is_due",
    )
    made, true = _one(
        db,
        "SELECT count(*), count(expected.url) FROM found LEFT JOIN expected USING (url, caption)",
    )
    return {
        "extract.pairs_expected": due,
        "extract.pairs_found": made,
        "extract.recall": _share(hit, due),
        "extract.precision": _share(true, made),
    }


def _consent(db: duckdb.DuckDBPyConnection) -> Figures:
    """Requests that must never have been made, and pictures that must not be stored."""
    forbidden, asked = _one(
        db,
        "SELECT count(*) FILTER (is_forbidden), count(*) FILTER (is_forbidden AND image_id IN "
        "(SELECT image_id FROM requests WHERE image_id IS NOT NULL)) FROM true_images",
    )
    kept_out, stored = _one(
        db,
        "SELECT count(*), count(*) FILTER (status = 'ok') FROM true_images t JOIN images "
        "USING (image_id) WHERE t.optout IS NOT NULL",
    )
    return {
        "consent.forbidden_images": forbidden,
        "consent.forbidden_requested": asked,
        "consent.withheld_images": kept_out,
        "consent.withheld_stored": stored,
    }


def _downloads(db: duckdb.DuckDBPyConnection) -> Figures:
    """Statuses: expected against got, by kind of server behaviour and means of opt-out."""
    rows = db.execute("""
        SELECT coalesce('optout_' || t.optout, t.kind) AS kind,
            CASE WHEN i.status = t.other_status THEN i.status ELSE t.expected_status END AS due,
            i.status, count(*)
        FROM true_images t JOIN images i USING (image_id)
        WHERE i.status <> 'filtered' -- not asked for, so there is nothing to compare
        GROUP BY ALL ORDER BY ALL
    """).fetchall()
    figures: Figures = {"download.images": 0, "download.as_expected": 0}
    for kind, expected, got, images in rows:
        figures["download.images"] += images
        if expected == got:
            figures["download.as_expected"] += images
        figures[f"download.{kind}.{expected}.{got}"] = images
    unknown, missed = _one(
        db,
        "SELECT count(*) FILTER (t.image_id IS NULL), "
        "count(*) FILTER (i.image_id IS NULL AND t.is_candidate) "
        "FROM true_images t FULL JOIN images i USING (image_id)",
    )
    return figures | {"download.unknown": unknown, "download.missed": missed}


def _near_duplicates(db: duckdb.DuckDBPyConnection) -> Figures:
    """Matched variants by kind; and pairs of fingerprints matched that show no common picture."""
    db.execute("""
        CREATE TEMP TABLE edges AS
            SELECT fingerprint_a AS a, fingerprint_b AS b FROM neighbors
            UNION SELECT fingerprint_b, fingerprint_a FROM neighbors
            UNION SELECT fingerprint, fingerprint FROM images WHERE fingerprint IS NOT NULL;
        CREATE TEMP TABLE shown AS
            SELECT i.image_id, i.fingerprint, t.picture, t.variant, t.variant_of
            FROM images i JOIN true_images t USING (image_id)
            WHERE i.fingerprint IS NOT NULL AND i.status = 'ok'
    """)
    figures: Figures = {}
    rows = db.execute("""
        SELECT v.variant, count(*), count(e.a) FROM shown v
        JOIN shown o ON v.variant_of = o.image_id
        LEFT JOIN edges e ON e.a = v.fingerprint AND e.b = o.fingerprint
        GROUP BY ALL ORDER BY ALL
    """).fetchall()
    for variant, pairs, hit in rows:
        figures[f"match.{variant}.pairs"] = pairs
        figures[f"match.{variant}.recall"] = _share(hit, pairs)
    (unrelated,) = _one(
        db,
        """
        SELECT count(*) FROM (
            SELECT DISTINCT x.picture, y.picture FROM edges e
            JOIN (SELECT DISTINCT fingerprint, picture FROM shown) x ON x.fingerprint = e.a
            JOIN (SELECT DISTINCT fingerprint, picture FROM shown) y ON y.fingerprint = e.b
            WHERE x.picture < y.picture)
        """,
    )
    return figures | {"match.unrelated_pictures_matched": unrelated}


def _similarity(db: duckdb.DuckDBPyConnection) -> Figures:
    """AUC of CLIP similarity for right against wrong captions, whole and by language."""
    rows = db.execute("""
        SELECT lang, label = 'right' AS is_right, clip_similarity FROM scores JOIN (
            SELECT pair_id, min(label) AS label, min(lang) AS lang FROM true_links
            WHERE label IN ('right', 'wrong') GROUP BY pair_id HAVING count(DISTINCT label) = 1
        ) USING (pair_id) WHERE clip_similarity IS NOT NULL AND NOT isnan(clip_similarity)
    """).fetchall()
    langs = np.array([row[0] for row in rows])
    is_right = np.array([row[1] for row in rows], dtype=bool)
    similarity = np.array([row[2] for row in rows], dtype=np.float64)
    figures: Figures = {
        "score.right_pairs": int(is_right.sum()),
        "score.wrong_pairs": int((~is_right).sum()),
        "score.auc": auc(similarity[is_right], similarity[~is_right]),
    }
    for lang in sorted(set(langs.tolist())):
        mine = langs == lang
        figures[f"score.auc_{lang}"] = auc(
            similarity[mine & is_right], similarity[mine & ~is_right]
        )
    return figures


def _captions(db: duckdb.DuckDBPyConnection) -> Figures:
    """What became of downloaded pairs by the worth of their captions; precision of the release."""
    rows = db.execute("""
        SELECT label, count(*), count(*) FILTER (is_kept) FROM decisions JOIN (
            SELECT pair_id, min(label) AS label FROM true_links
            GROUP BY pair_id HAVING count(DISTINCT label) = 1
        ) USING (pair_id) GROUP BY label ORDER BY label
    """).fetchall()
    figures: Figures = {}
    for label, pairs, kept in rows:
        figures[f"decide.{label}.pairs"] = pairs
        figures[f"decide.{label}.kept"] = kept
    kept_all = sum(kept for _, _, kept in rows)
    kept_right = sum(kept for label, _, kept in rows if label == "right")
    # A right caption beside a picture that is too small is no loss; one held to be bad itself is.
    right, blamed = _one(
        db,
        f"""
        SELECT count(*), count(*) FILTER (
            len(list_filter(reasons, lambda r: regexp_matches(r, '{_CAPTION_REASONS}'))) > 0)
        FROM decisions WHERE pair_id IN (SELECT pair_id FROM true_links WHERE label = 'right')
        """,
    )
    figures["decide.precision"] = _share(kept_right, kept_all)
    figures["decide.right_captions_passed"] = _share(right - blamed, right)
    return figures
