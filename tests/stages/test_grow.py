"""Versions of a dataset that grows: shards are shared, what was taken down goes, with a diff."""

import json
import os
from pathlib import Path

import pytest

from jobs.takedown import main as take_down
from pipeline.core import release
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.storage import Store
from pipeline.shards.verify import verify
from pipeline.stages import grow
from pipeline.stream.reader import Release
from tests.shards import plain_release, small_run


def key(crawl: int, i: int) -> str:
    return f"{crawl:016x}{i:016x}"


def mill(dataset: Path, crawl: int, samples: int) -> None:
    """Stands for the run of a crawl that keeps so many pairs."""
    run = dataset / f"crawls/c{crawl}"
    stages = run / "_stages"
    stages.mkdir(parents=True)
    account = {"unit": "pairs", "in": samples + 2, "kept": samples, "dropped": {"near": 2}}
    record = {"stage": "decide", "state": "done", "accounts": [account]}
    (stages / "decide.json").write_text(json.dumps(record))
    rows: list[plain_release.Sample] = []
    for i in range(samples):
        said = {"key": key(crawl, i), "caption": f"{crawl} {i}"}
        txt = f"{crawl} {i}".encode()
        rows.append(
            (key(crawl, i), small_run.picture(100 * crawl + i), txt, json.dumps(said).encode())
        )
    if rows:
        plain_release.write(run / "release", rows, 4)


def keys(dataset: Path, step: grow.Step) -> list[str]:
    assert not [p for p in verify(str(dataset / step.release)) if "belong" in p.what]
    return [sample.key for sample in Release(str(dataset / step.release))]


def test_each_version_has_all_before_it_and_shares_their_shards(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    wanted: list[str] = []
    last = None
    for crawl, samples in enumerate((10, 0, 7)):
        mill(tmp_path, crawl, samples)
        step = grow.publish_version(store, f"c{crawl}")
        wanted += [key(crawl, i) for i in range(samples)]
        assert keys(tmp_path, step) == wanted
        assert (step.added, step.removed, step.samples) == (samples, 0, len(wanted))
        if last is not None and samples:
            for tar in ("00000.tar", "00001.tar", "00002.tar"):
                assert os.path.samefile(
                    tmp_path / last.release / tar, tmp_path / step.release / tar
                )
            told = (tmp_path / step.release / release.CARD).read_text()
            assert "tars of earlier versions come first" in told and "of the set" not in told
            diff = json.loads((tmp_path / step.release / release.DIFF).read_text())
            assert diff["from"] == last.id and diff["shards_written"] == 0
            assert diff["not_added"]["decide"] == {"near": 2}
        last = step
    assert [s.crawl for s in grow.steps(store)] == ["c0", "c1", "c2"]
    # A crawl that gave nothing made no version.
    assert sorted(p.name for p in (tmp_path / "releases").iterdir()) == ["0001-c0", "0003-c2"]


def test_what_was_taken_down_is_not_in_the_next_version(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    mill(tmp_path, 0, 9)
    first = grow.publish_version(store, "c0")
    (tmp_path / "list").write_text(f"pair:{key(0, 5)}\n")
    assert take_down([str(tmp_path / first.release), "--list", str(tmp_path / "list")]) == 0
    mill(tmp_path, 1, 3)
    second = grow.publish_version(store, "c1")
    wanted = [key(0, i) for i in range(9) if i != 5] + [key(1, i) for i in range(3)]
    assert keys(tmp_path, second) == wanted
    diff = json.loads((tmp_path / second.release / release.DIFF).read_text())
    assert diff["removed_keys"] == [key(0, 5)] and diff["removed_why"] == "taken down"
    assert diff["shards_written"] == 1
    # The version before stays what it was.
    assert key(0, 5) in keys(tmp_path, first)


def test_a_step_that_was_cut_after_its_release_is_recorded_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    mill(tmp_path, 0, 6)
    first = grow.publish_version(store, "c0")
    (tmp_path / grow.RECORD).unlink()
    assert grow.publish_version(store, "c0") == first
    assert grow.steps(store) == [first]


def test_nothing_to_publish_and_bad_names_are_told(tmp_path: Path) -> None:
    mill(tmp_path, 0, 0)
    with pytest.raises(InputError, match="no pair is kept"):
        grow.publish_version(Store(str(tmp_path)), "c0")
    for name in ("", "..", "a/b", ".x", "a b"):
        with pytest.raises(ConfigError, match="CRAWL"):
            grow.folder_of(name)
    assert grow.is_nothing_kept(Store(str(tmp_path / "crawls/c0")))
    assert not (tmp_path / release.META).exists()
