"""What recipes keep and drop: on the embedded web, and on real pages with their pictures.

Pages are read, pictures downloaded and scored once; then each recipe measures and decides, once for
all that is asked of it. Every verdict is held against the published rules, restated here as plain Python.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import filters
from jobs import line
from pipeline.core.config import Config
from pipeline.core.context import Context
from pipeline.core.run import load_config, run
from pipeline.core.storage import Store
from pipeline.stages import decide, measure
from pipeline.stages.line import LINE
from tests.conftest import Milled

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1200)]

CONF = Path(__file__).resolve().parent.parent / "conf"
SCORED = ("extract", "dedupe", "download", "match", "score", "cluster")
# What is written by the stages behind, and what they note of their progress.
BEHIND = {"_progress"}.union(
    *({table.name for table in stage.writes} | set(stage.folders) for stage in LINE
      if stage.name not in SCORED)
)  # fmt: skip
# The included model in place of those that would have to be downloaded: the bounds are of others,
# and hold for its values all the same.
MODEL = ("score.model=pairmill-tiny", 'score.pretrained=""', "score.models={}", "score.heads={}")
LATE = {"caption_rank_high", "is_representative_low"}
# Of the real archives: books with their pictures.
BOOKS = "site-gutenberg-1[124]*.warc.gz"

Row = dict[str, Any]
Rule = Callable[[Row], bool]


@dataclass(frozen=True)
class Decided:
    """What a recipe made of a run: a row for each pair, with its measures and its verdict."""

    config: Config
    rows: list[Row]

    def dropped(self, row: Row) -> set[str]:
        """The reasons but those that only the decision itself can know."""
        return set(row["reasons"]) - LATE


@pytest.fixture(scope="module")
def embedded(milled: Milled) -> Path:
    """The embedded web, scored."""
    return milled.root


@pytest.fixture(scope="module")
def books(spark: Any, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real pages and their pictures, scored by a model that does not know them, in this process."""
    root = tmp_path_factory.mktemp("recipes") / "run"
    given = [f"run.root={root}", "dedupe.parts=2", *MODEL]
    given.append(f'extract.archives=["{real_data}/warc/{BOOKS}"]')
    recipe = str(CONF / "replay.toml")
    with line._web(line._load(recipe, given), SCORED) as served:
        run(SCORED, LINE, line._load(recipe, [*given, *served]))
    return root


@contextmanager
def beside(run_root: Path, folder: Path) -> Iterator[Store]:
    """A run folder that has the tables of another one, to decide otherwise in."""
    folder.mkdir()
    for table in run_root.iterdir():
        if table.name not in BEHIND:
            (folder / table.name).symlink_to(table)
    yield Store(str(folder))


def decided(spark: Any, run_root: Path, folder: Path, recipe: str, *sets: str) -> Decided:
    """Measure and decide by a recipe."""
    given = [f"run.root={folder}", "download.contact=tests@example.org", *MODEL, *sets]
    config = load_config(str(CONF / f"{recipe}.toml"), given, LINE, filters.load(), line.EXTRA)
    spark.conf.set("spark.sql.shuffle.partitions", "2")  # some thousand rows
    with beside(run_root, folder) as store:
        for stage in (measure.STAGE, decide.STAGE):
            section: Any = config.sections[stage.name]
            ctx: Context[Any] = Context(
                stage.name, spark, store, section, config.sections, config.filters
            )
            for account in stage.build(ctx):
                account.check(stage.name)
        measured = pq.read_table(store.path("measures"))
        verdicts = pq.read_table(store.path("decisions")).drop_columns(["image_id"])
    return Decided(config, _joined(measured, verdicts))


@pytest.fixture(scope="module")
def decided_by(
    spark: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Decided]:
    """What a recipe makes of a fixture's run: (name of the fixture, name of the recipe)."""

    @cache
    def of(source: str, recipe: str) -> Decided:
        folder = tmp_path_factory.mktemp("decided") / "run"
        return decided(spark, request.getfixturevalue(source), folder, recipe)

    return of


def _joined(measured: pa.Table, verdicts: pa.Table) -> list[Row]:
    by_id = {row["pair_id"]: row for row in verdicts.to_pylist()}
    rows = [row | by_id[row["pair_id"]] for row in measured.to_pylist()]
    assert len(rows) == len(by_id)
    return rows


def words(row: Row) -> int:
    """Words by white space, signs by themselves not counted."""
    return sum(any(map(str.isalnum, word)) for word in row["caption"].split())


def is_in(*languages: str) -> Rule:
    return lambda row: row["caption_lang"] in languages and row["caption_lang_confidence"] >= 0.2


def longer(row: Row) -> int:
    return max(row["original_width"], row["original_height"])


def shorter(row: Row) -> int:
    return min(row["original_width"], row["original_height"])


def is_consented(row: Row) -> bool:
    return row["consent"] in ("allowed", "adopted") and row["page_optout"] is None


CONSENT: dict[str, Rule] = {"is_consented_low": is_consented}
COYO_PICTURE: dict[str, Rule] = {
    "body_bytes_low": lambda row: row["body_bytes"] >= 5000,
    "aspect_ratio_high": lambda row: longer(row) <= 3 * shorter(row),
    "image_min_side_low": lambda row: shorter(row) >= 200,
    "caption_images_high": lambda row: row["caption_images"] <= 10,
    "caption_chars_low": lambda row: len(row["caption"]) > 5,
    "caption_chars_high": lambda row: len(row["caption"]) <= 1000,
}
# Reason -> what a pair must be like not to be dropped by it, as published.
RULES: Mapping[str, Mapping[str, Rule]] = {
    "coyo": CONSENT
    | COYO_PICTURE
    | {
        "is_language_allowed_low": is_in("en"),
        "caption_words_low": lambda row: words(row) >= 3,
        "caption_words_high": lambda row: words(row) <= 256,
    },
    "laion": CONSENT
    | {
        "is_language_allowed_low": is_in("en"),
        "caption_chars_low": lambda row: len(row["caption"]) >= 5,
        "body_bytes_low": lambda row: row["body_bytes"] >= 5000,
        "clip_similarity_low": lambda row: row["clip_similarity"] >= 0.28,
    },
    "datacomp": CONSENT
    | {
        "is_language_allowed_low": is_in("en"),
        "caption_words_low": lambda row: words(row) > 2,
        "caption_chars_low": lambda row: len(row["caption"]) > 5,
        "image_min_side_low": lambda row: shorter(row) >= 200,
        "aspect_ratio_high": lambda row: longer(row) <= 3 * shorter(row),
    },
    "korean": CONSENT
    | COYO_PICTURE
    | {
        "is_language_allowed_low": is_in("ko"),
        "caption_words_low": lambda row: words(row) >= 2,
        "caption_words_high": lambda row: words(row) <= 256,
        "clip_similarity_low": lambda row: row["clip_similarity"] >= 0.26,
    },
    "permissive": CONSENT | {"texture_low": lambda row: row["texture"] >= 1},
}
# Filters whose rules are too long to be restated: they have tests of their own.
OTHERS = {
    "caption_alphanumeric",
    "caption_counter",
    "caption_damage",
    "caption_filename",
    "caption_interface_text",
    "caption_markup",
    "caption_personal_data",
    "caption_repetition",
}


def is_spaced(row: Row) -> bool:
    """Whether words can be counted by white space: not in Chinese and Japanese."""
    return not any("\u3040" <= char <= "\u9fff" for char in row["caption"])


def check_rules(name: str, found: Decided) -> None:
    """Every pair is dropped for exactly the published reasons."""
    rules = RULES[name]
    others = {
        reason
        for other in OTHERS & found.config.filters.keys()
        for bound in found.config.filters[other].bounds()
        for reason in bound.reasons
    }
    assert found.rows
    for row in found.rows:
        wanted = {reason for reason, passes in rules.items() if not passes(row)}
        got = found.dropped(row) - others
        if not is_spaced(row):
            got, wanted = ({r for r in s if "words" not in r} for s in (got, wanted))
        assert got == wanted, row
        assert row["is_kept"] == (not row["reasons"])


def check_coyo(found: Decided) -> None:
    """Equal picture and text once, and every text of a picture that passes."""
    passing = [row for row in found.rows if not found.dropped(row)]
    kept = {(row["picture_id"], row["caption"]) for row in passing if row["is_kept"]}
    assert len(kept) == sum(row["is_kept"] for row in passing)
    for row in passing:
        stands = row["duplicate_of"] or row["image_id"]
        assert (stands, row["caption"]) in kept


def check_laion(found: Decided) -> None:
    """Of the texts of a URL that pass the most similar one."""
    passing = [row for row in found.rows if not found.dropped(row)]
    by_image: dict[bytes, list[Row]] = {}
    for row in passing:
        by_image.setdefault(row["image_id"], []).append(row)
    assert sum(row["is_kept"] for row in passing) == len(by_image)
    for rows in by_image.values():
        best = max(row["clip_similarity"] for row in rows)
        assert [row["clip_similarity"] for row in rows if row["is_kept"]] == [best]


def check_nothing_late(found: Decided) -> None:
    """No pair is dropped for another one's sake."""
    assert not any(LATE & set(row["reasons"]) for row in found.rows)


LATER: Mapping[str, Callable[[Decided], None]] = {
    "coyo": check_coyo,
    "laion": check_laion,
    "datacomp": check_nothing_late,
    "permissive": check_nothing_late,
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("source", ["embedded", "books"])
def test_verdicts_are_those_of_the_published_rules(
    decided_by: Callable[[str, str], Decided], name: str, source: str
) -> None:
    found = decided_by(source, name)
    check_rules(name, found)
    LATER.get(name, lambda _: None)(found)


@pytest.mark.parametrize("source", ["embedded", "books"])
def test_datacomp_clip_keeps_three_tenths_of_the_pool(
    decided_by: Callable[[str, str], Decided], source: str
) -> None:
    found = decided_by(source, "datacomp-clip")
    most_alike = sorted(found.rows, key=lambda r: (-r["clip_similarity"], r["pair_id"]))
    count = math.ceil(0.3 * len(found.rows))
    for place, row in enumerate(most_alike):
        assert ("clip_similarity_low" in row["reasons"]) == (place >= count)
        assert found.dropped(row) <= {"clip_similarity_low", "is_consented_low"}


def test_known_rows_of_the_embedded_web(
    milled: Milled, decided_by: Callable[[str, str], Decided]
) -> None:
    """Pairs whose worth is known because they were made that way."""
    truth = pq.read_table(milled.web / "truth" / "links.parquet").to_pylist()
    label = {row["pair_id"]: (row["label"], row["lang"]) for row in truth}
    by_recipe = {name: decided_by("embedded", name) for name in ("coyo", "korean")}
    seen: set[tuple[str, str]] = set()
    for name, found in by_recipe.items():
        wanted = {"coyo": "en", "korean": "ko"}[name]
        for row in found.rows:
            worth, language = label[row["pair_id"]]
            reasons = set(row["reasons"])
            if worth == "right" and language != wanted:
                assert "is_language_allowed_low" in reasons
            elif worth == "right" and longer(row) <= 3 * shorter(row) and row["body_bytes"] >= 5000:
                # A description that passes every rule but those of likeness and of duplicates.
                allowed = {*LATE, "clip_similarity_low", "is_consented_low"}
                assert reasons <= allowed, row
            elif worth == "boilerplate" and row["caption_images"] > 10:
                assert "caption_images_high" in reasons
            elif worth == "filename" and name == "korean":
                assert "is_filename_like_high" in reasons
            else:
                continue
            seen.add((name, worth))
    assert {("coyo", "right"), ("korean", "right"), ("korean", "filename")} <= seen


def test_known_rows_of_real_pages(decided_by: Callable[[str, str], Decided]) -> None:
    """Pictures of books, with sizes and captions as their pages have them."""
    found = decided_by("books", "coyo")
    reasons = {row["caption"]: found.dropped(row) for row in found.rows}
    known = {
        "Mrs. Rabbit gives Peter camomile tea": set(),  # 539 x 482 pixels, 42 kB
        "Peter Rabbit": {"image_min_side_low", "caption_words_low"},  # 176 x 275
        "Do it hear-ti-ly!": {"image_min_side_low", "aspect_ratio_high", "body_bytes_low"},
    }
    for caption, wanted in known.items():
        # A few words may be taken for another language.
        assert reasons[caption] - {"is_language_allowed_low"} == wanted, caption
