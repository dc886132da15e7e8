"""The whole line on a small embedded web, as a user runs it: spark-submit in a process of its own.

One run on two cores is held against the ground truth; a run on one core and a run that is killed
in the middle of three stages must give the same bytes.
"""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.reasons import Status

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1200)]
SMALL = ("demo.pages=300", "dedupe.parts=6", "shard.samples_per_shard=40")


def start(root: Path, cores: int, *overrides: str) -> "subprocess.Popen[str]":
    sets = [f"run.root={root}", *SMALL, *overrides]
    environment = os.environ | {"SPARK_ARGS": f"--master local[{cores}] --driver-memory 1g"}
    return subprocess.Popen(
        [
            ROOT / "conf/environment/submit.sh",
            ROOT / "jobs/run.py",
            "--config",
            ROOT / "conf/demo.toml",
        ]
        + [word for s in sets for word in ("--set", s)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output[-4000:]
    return output


def kill(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def tar_hashes(root: Path) -> dict[str, str]:
    tars = sorted((root / "release").glob("*.tar"))
    assert tars
    return {t.name: hashlib.sha256(t.read_bytes()).hexdigest() for t in tars}


@pytest.fixture(scope="module")
def milled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A finished run on two cores, and what it printed."""
    root = tmp_path_factory.mktemp("line") / "two-cores"
    yield root, finish(start(root, 2))


@pytest.fixture(scope="module")
def truth(milled: tuple[Path, str]) -> dict[str, float]:
    """The evaluation the run stored."""
    return dict(json.loads((milled[0] / "evaluation.json").read_text()))


def test_end_tells_funnel_quality_and_how_to_read(milled: tuple[Path, str]) -> None:
    root, output = milled
    for part in ("Funnel", "ground truth", "report.html", "webdataset", str(root / "release")):
        assert part in output


def test_two_runs_with_other_core_counts_give_the_same_bytes(
    milled: tuple[Path, str], tmp_path: Path
) -> None:
    finish(start(tmp_path / "one-core", 1))
    assert tar_hashes(tmp_path / "one-core") == tar_hashes(milled[0])


def wait_for(condition: "list[str]", root: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until a file matching one of the patterns is in the run folder."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if any(next(root.glob(pattern), None) for pattern in condition):
            return
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.02)
    raise AssertionError(f"nothing like {condition} appeared in {root}")


def test_killed_in_download_score_and_shard_gives_the_same_bytes(
    milled: tuple[Path, str], tmp_path: Path
) -> None:
    root = tmp_path / "killed"
    for stage, sign in (
        ("download", ["raw/.writing-*", "raw/part-*.tar"]),
        ("score", ["embeddings/.writing-*", "embeddings/part-*.parquet"]),
        ("shard", ["release.building/*.tar", "release.building/.writing-*"]),
    ):
        process = start(root, 2)
        wait_for(sign, root, process)
        kill(process)
        record = json.loads((root / "_stages" / f"{stage}.json").read_text())
        assert record["state"] == "started", f"{stage} was not cut"
        assert not (root / "release").exists()
    finish(start(root, 2))
    assert tar_hashes(root) == tar_hashes(milled[0])
    assert not list(root.rglob(".writing-*"))


def test_second_run_skips_everything(milled: tuple[Path, str]) -> None:
    root, _ = milled
    before = tar_hashes(root)
    output = finish(start(root, 2))
    assert output.count("done before, skipped") == 9
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
