"""A part of `score` that is killed is done again, alone; without Spark."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.storage import Store
from pipeline.core.tables import EMBEDDINGS, picture_scores_table
from pipeline.score.fresh import Job
from pipeline.score.inputs import INPUTS
from pipeline.score.scorers import Scorers
from pipeline.stages.score_part import PartWork, embed_part
from tests.conftest import ROOT
from tests.score.test_embed import TINY, Brightness, FirstNumber, Part

PARTS = 3
SCORES = picture_scores_table()


def write_parts(root: Path, count: int) -> PartWork:
    """PARTS parts of the same pictures and captions, as INPUTS; how they are embedded."""
    part = Part(root, count)
    table = pa.concat_tables([part.inputs("image"), part.inputs("text")]).drop_columns(["part"])
    for number in range(PARTS):
        folder = root / f"{INPUTS.name}/part={number}"
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "rows.parquet")
        if number:
            (root / f"raw/part-{number:05d}.tar").hardlink_to(root / "raw/part-00000.tar")
    scorers = Scorers((FirstNumber(),), (Brightness(),))
    job = Job(part.store, (TINY,), scorers, 8, 1, 2)
    return PartWork(job, "cpu", picture_scores_table(scorers.fields))


def embed(work: PartWork) -> None:
    """Embed the parts that are missing, as the tasks do."""
    done = work.job.store.committed(EMBEDDINGS)
    for part in sorted(set(range(PARTS)) - done.keys()):
        with work.job.store.publish_part(EMBEDDINGS, part) as sink:
            embed_part(work, part, None, sink)


def files(store: Store) -> dict[str, tuple[int, int]]:
    """Inode and time of every part's file."""
    paths = [*store.committed(EMBEDDINGS).values(), *store.committed(SCORES).values()]
    return {p: (Path(p).stat().st_ino, Path(p).stat().st_mtime_ns) for p in paths}


def test_killed_in_the_middle_only_the_missing_parts_are_embedded(tmp_path: Path) -> None:
    work = write_parts(tmp_path / "run", 40)
    whole = write_parts(tmp_path / "whole", 40)
    embed(whole)
    (tmp_path / "work.pickle").write_bytes(pickle.dumps(work))
    code = (
        "import pickle, sys; from tests.stages.test_score_part import embed;"
        "embed(pickle.load(open(sys.argv[1], 'rb')))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "work.pickle")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    while not work.job.store.committed(EMBEDDINGS):
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = files(work.job.store)
    work.job.store.sweep(EMBEDDINGS.name)
    embed(work)
    after = files(work.job.store)
    assert len(after) == 2 * PARTS and before.items() <= after.items()
    for table in (EMBEDDINGS, SCORES):
        for part in range(PARTS):
            one, other = (list(w.job.store.read_part(table, part)) for w in (work, whole))
            assert one == other


def test_killed_between_its_two_files_a_part_is_done_again(tmp_path: Path) -> None:
    work = write_parts(tmp_path, 6)
    store = work.job.store
    with pytest.raises(KeyboardInterrupt), store.publish_part(EMBEDDINGS, 0) as sink:
        embed_part(work, 0, None, sink)
        raise KeyboardInterrupt
    assert store.committed(EMBEDDINGS).keys() == set() and store.committed(SCORES).keys() == {0}
    before = files(store)
    embed(work)
    assert before.items() <= files(store).items()
    units = {account.unit: account for account in store.part_accounts(EMBEDDINGS, 0)}
    assert units["pictures"].kept == units["captions"].kept == 6
    assert units["vectors"].kept == units["new_vectors"].kept == 12
    assert sum(b.num_rows for b in store.read_part(SCORES, 0)) == 6
