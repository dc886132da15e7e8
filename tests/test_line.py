"""The whole line on a small embedded web, as a user runs it: spark-submit in a process of its own.

One run on two cores is held against the ground truth; a run on one core that is killed in the middle
of three stages must give the same bytes.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.reasons import Status
from tests.leaks import SECRETS, captions_in, files_with
from tests.submitted import Job, demo, finish, kill, wait_for

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1200)]
SMALL = ("demo.pages=300", "dedupe.parts=6", "shard.samples_per_shard=40")


def start(root: Path, cores: int, *overrides: str, **variables: str) -> Job:
    # The web is written once, beside the first run, and served anew for each.
    web = root.parent.parent / "line-web"
    return demo([f"run.root={root}", f"demo.folder={web}", *SMALL, *overrides], cores, **variables)


def tar_hashes(root: Path) -> dict[str, str]:
    tars = sorted((root / "release").glob("*.tar"))
    assert tars
    return {t.name: hashlib.sha256(t.read_bytes()).hexdigest() for t in tars}


@pytest.fixture(scope="module")
def milled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A finished run on two cores, and what it printed."""
    root = tmp_path_factory.mktemp("line") / "two-cores"
    yield root, finish(start(root, 2, **SECRETS))


@pytest.fixture(scope="module")
def truth(milled: tuple[Path, str]) -> dict[str, float]:
    """The evaluation the run stored."""
    return dict(json.loads((milled[0] / "evaluation.json").read_text()))


def test_end_tells_funnel_quality_and_how_to_read(milled: tuple[Path, str]) -> None:
    root, output = milled
    for part in ("Funnel", "ground truth", "report.html", "webdataset", str(root / "release")):
        assert part in output


def test_nothing_beside_the_tables_holds_a_credential_or_a_caption(
    milled: tuple[Path, str],
) -> None:
    root, output = milled
    for secret in SECRETS.values():
        assert secret not in output and not files_with(root, secret)
    assert not captions_in(root, output)


def test_every_pair_the_pages_hold_is_found(truth: dict[str, float]) -> None:
    assert truth["extract.recall"] == 1.0
    assert truth["extract.precision"] == 1.0


def test_nothing_forbidden_is_requested_and_hosts_are_not_crowded(truth: dict[str, float]) -> None:
    assert truth["consent.forbidden_requested"] == 0
    assert truth["consent.withheld_stored"] == 0
    assert truth["server.max_open_per_host"] <= 4  # download.host_concurrency
    assert truth["server.max_open"] <= truth["server.limit_address_concurrency"]
    assert truth["server.robots_sites"] > 50


def test_every_hostile_case_ends_in_its_own_status(truth: dict[str, float]) -> None:
    cases = [key.split(".") for key in truth if key.startswith("download.") and key.count(".") == 3]
    assert len(cases) >= 30
    assert [case for case in cases if case[2] != case[3]] == []
    assert truth["download.unknown"] == truth["download.missed"] == 0


def test_near_duplicates_are_found_and_unrelated_pictures_are_not(truth: dict[str, float]) -> None:
    assert truth["match.copy.recall"] == 1.0
    assert truth["match.resize.recall"] >= 0.99
    assert truth["match.recompress.recall"] >= 0.99
    assert truth["match.unrelated_pictures_matched"] == 0


def test_similarity_separates_right_from_wrong_captions(truth: dict[str, float]) -> None:
    for area in ("score.auc", "score.auc_en", "score.auc_ko"):
        assert truth[area] >= 0.9
    assert truth["decide.precision"] >= 0.95
    assert truth["decide.right_captions_passed"] >= 0.9


def test_killed_in_download_score_and_shard_on_one_core_gives_the_same_bytes(
    milled: tuple[Path, str], tmp_path: Path
) -> None:
    root = tmp_path / "killed"
    for stage, sign in (
        ("download", ["raw/.writing-*", "raw/part-*"]),
        ("score", ["embeddings/.writing-*", "embeddings/part-*.parquet"]),
        ("shard", ["release.building/*.tar", "release.building/.writing-*"]),
    ):
        process = start(root, 1)
        wait_for(lambda: any(next(root.glob(p), None) for p in sign), f"{sign}", process)
        kill(process)
        record = json.loads((root / "_stages" / f"{stage}.json").read_text())
        assert record["state"] == "started", f"{stage} was not cut"
        assert not (root / "release").exists()
    finish(start(root, 1))
    assert tar_hashes(root) == tar_hashes(milled[0])
    assert not list(root.rglob(".writing-*"))


def test_second_run_skips_everything(milled: tuple[Path, str]) -> None:
    root, _ = milled
    before = tar_hashes(root)
    output = finish(start(root, 2))
    assert output.count("done before, skipped") == 10
    assert tar_hashes(root) == before


def test_other_config_in_the_same_folder_is_refused(milled: tuple[Path, str]) -> None:
    process = start(milled[0], 2, "match.radius=2")
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "match.radius: 4 -> 2" in output and "Traceback" not in output


def test_every_status_is_from_the_vocabulary(milled: tuple[Path, str]) -> None:
    record = json.loads((milled[0] / "_stages" / "download.json").read_text())
    for account in record["accounts"]:
        assert set(account["dropped"]) <= {str(status) for status in Status}
