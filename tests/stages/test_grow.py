"""Versions of a dataset that grows: shards are shared, what was taken down goes, with a diff."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.grow import main as grow_by
from jobs.takedown import main as take_down
from pipeline.core import release
from pipeline.core.claim import claimed
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.shards.verify import verify
from pipeline.stages import grow
from pipeline.stream.reader import Release
from pipeline.stream.tombstones import Tombstones
from tests.shards import plain_release, small_run

RECIPE = "conf/demo.toml"


def key(crawl: int, i: int) -> str:
    return f"{crawl:016x}{i:016x}"


def mill(dataset: Path, crawl: int, samples: int) -> None:
    """Stands for the run of a crawl that keeps so many pairs."""
    run = dataset / f"crawls/c{crawl}"
    stages = run / "_stages"
    stages.mkdir(parents=True)
    account = {"unit": "pairs", "in": samples + 2, "kept": samples, "dropped": {"near|by": 2}}
    record = {"stage": "decide", "state": "done", "accounts": [account]}
    (stages / "decide.json").write_text(json.dumps(record))
    taken = {"unit": "taken_over", "in": 5, "kept": 4, "dropped": {"http_404": 1}}
    record = {"stage": "download", "state": "done", "accounts": [taken]}
    (stages / "download.json").write_text(json.dumps(record))
    rows: list[plain_release.Sample] = []
    for i in range(samples):
        said = {"key": key(crawl, i), "caption": f"{crawl} {i}"}
        txt = f"{crawl} {i}".encode()
        rows.append(
            (key(crawl, i), small_run.picture(100 * crawl + i), txt, json.dumps(said).encode())
        )
    if rows:
        plain_release.write(run / "release", rows, 4)


def keys(version: str) -> list[str]:
    assert not [p for p in verify(version) if "belong" in p.what]
    return [sample.key for sample in Release(version)]


def told_by(version: str) -> tuple[dict[str, Any], str, list[dict[str, str]]]:
    folder = Path(version)
    return (
        json.loads((folder / release.DIFF).read_text()),
        (folder / release.DIFF_TEXT).read_text(),
        pq.read_table(folder / release.DIFF_TABLE).to_pylist(),
    )


def test_each_version_has_all_before_it_and_shares_their_shards(tmp_path: Path) -> None:
    dataset = grow.load(Store(str(tmp_path)))
    wanted: list[str] = []
    for crawl, samples in enumerate((0, 10, 0, 7)):
        before = dataset
        mill(tmp_path, crawl, samples)
        dataset = grow.publish_version(dataset, f"c{crawl}", {"columns": {}})
        assert grow.load(Store(str(tmp_path))).steps == dataset.steps
        step = dataset.steps[-1]
        new = [key(crawl, i) for i in range(samples)]
        wanted += new
        assert (step.added, step.removed, step.samples) == (samples, 0, len(wanted))
        if not samples:
            assert dataset.version == before.version  # nothing is published
            continue
        assert keys(dataset.version) == wanted
        told, text, changes = told_by(dataset.version)
        assert [(row["key"], row["change"], row["why"]) for row in changes] == [
            (name, "added", f"crawl c{crawl}") for name in new
        ]
        if before.version:
            for tar in ("00000.tar", "00001.tar", "00002.tar"):
                assert os.path.samefile(f"{before.version}/{tar}", f"{dataset.version}/{tar}")
            card = Path(dataset.version, release.CARD).read_text()
            assert "tars of earlier versions come first" in card and "of the set" not in card
            assert told["from"] == before.steps[-1].id and told["shards_written"] == 0
        assert told["not_added"]["decide"] == {"near|by": 2} and told["taken_over"] == 5
        assert f"{samples} added by c{crawl}" in text and "| 2 | decide | near\\|by |" in text
    assert [s.crawl for s in dataset.steps] == ["c0", "c1", "c2", "c3"]
    # Crawls that gave nothing made no version.
    assert sorted(p.name for p in (tmp_path / "releases").iterdir()) == ["0002-c1", "0004-c3"]


def two_crawls(tmp_path: Path) -> grow.Dataset:
    """A dataset of 9 samples, with a registry, and a crawl of 3 that is milled."""
    held = tmp_path / grow.REGISTRY
    held.mkdir()
    empty = {"format": registry.FORMAT, "hash_version": registry.HASH_VERSION, "releases": []}
    (held / registry.MANIFEST).write_text(json.dumps(empty))
    mill(tmp_path, 0, 9)
    first = grow.publish_version(grow.load(Store(str(tmp_path))), "c0")
    mill(tmp_path, 1, 3)
    return first


def test_what_was_taken_down_is_not_in_the_next_version(tmp_path: Path) -> None:
    first = two_crawls(tmp_path)
    (tmp_path / "list").write_text(f"pair:{key(0, 5)}\n")
    assert take_down(["--dataset", str(tmp_path), "--list", str(tmp_path / "list")]) == 0
    second = grow.publish_version(first, "c1")
    wanted = [key(0, i) for i in range(9) if i != 5] + [key(1, i) for i in range(3)]
    assert keys(second.version) == wanted
    told, text, changes = told_by(second.version)
    assert told["removed_keys"] == [key(0, 5)] and told["removed_why"] == {"taken down: pair": 1}
    assert "| 1 | taken down: pair |" in text
    assert changes[0] == {
        "key": key(0, 5), "change": "removed", "why": "taken down: pair", "shard": "00001.tar",
    }  # fmt: skip
    assert len(changes) == 4 and told["shards_written"] == 1
    # The version before stays what it was.
    assert key(0, 5) in keys(first.version)


def test_a_dataset_is_purged_in_all_its_versions(tmp_path: Path) -> None:
    first = two_crawls(tmp_path)
    second = grow.publish_version(first, "c1")
    (tmp_path / "list").write_text(f"pair:{key(0, 0)}\npair:{key(1, 2)}\n")
    given = ["--dataset", str(tmp_path), "--list", str(tmp_path / "list"), "--purge"]
    assert take_down(given) == 0
    third = grow.load(Store(str(tmp_path)))
    assert (third.steps[-1].added, third.steps[-1].removed) == (0, 2)
    assert keys(third.version) == keys(second.version)[1:-1]
    masked = [sorted(Tombstones(version).keys()) for version in third.versions]
    assert masked == [[key(0, 0)], [key(0, 0), key(1, 2)], []]
    receipts = [json.loads(p.read_text()) for p in (tmp_path / "registry/takedowns").iterdir()]
    assert {r["release"] for r in receipts} == {first.version, second.version}
    assert take_down(given) == 0  # once more: nothing is left to do
    assert grow.load(Store(str(tmp_path))).version == third.version


def test_what_is_taken_down_while_a_crawl_is_milled_is_not_in_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = two_crawls(tmp_path)
    for version in (tmp_path / "crawls/c1/release", Path(first.version)):
        for path in (version / release.META).glob("*.parquet"):
            rows = pq.read_table(path)
            is_new = "crawls" in path.parts
            urls = [f"https://a{i}.example/x.jpg" if is_new else "" for i in range(len(rows))]
            pq.write_table(rows.append_column("url", pa.array(urls)), path)
    (tmp_path / "list").write_text("https://a1.example/x.jpg\n")
    given = ["--dataset", str(tmp_path), "--list", str(tmp_path / "list")]
    assert take_down(given) == 0
    real = grow.assemble

    def late(*args: Any) -> Any:
        made = real(*args)
        (tmp_path / "list").write_text(f"a2.example\npair:{key(0, 8)}\n")
        assert take_down(given) == 0  # while the version is written
        return made

    monkeypatch.setattr(grow, "assemble", late)
    second = grow.publish_version(first, "c1")
    assert [k for k in keys(second.version) if k.startswith(f"{1:016x}")] == [key(1, 0), key(1, 2)]
    assert Tombstones(second.version).keys() == {key(1, 2), key(0, 8)}


def test_a_step_that_was_cut_gives_the_same_version(tmp_path: Path) -> None:
    first = two_crawls(tmp_path)
    second = grow.publish_version(first, "c1")
    before = {p: p.read_bytes() for p in Path(second.version).rglob("*") if p.is_file()}
    # As after a kill before the step is recorded, and one before the version is published.
    for gone in ([], [release.MANIFEST, "00003.tar", release.index_path("00001.tar")]):
        for name in gone:
            Path(second.version, name).unlink()
        (tmp_path / grow.RECORD).unlink()
        assert grow.publish_version(first, "c1").steps == second.steps
        after = {p: p.read_bytes() for p in Path(second.version).rglob("*") if p.is_file()}
        assert after == before


def test_bad_names_and_damaged_records_are_told(tmp_path: Path) -> None:
    for name in ("", "..", "a/b", ".x", "a b"):
        with pytest.raises(ConfigError, match="CRAWL"):
            grow.folder_of(name)
    (tmp_path / grow.RECORD).write_text('{"steps": [{"crawl": "a"}]}')
    with pytest.raises(InputError, match="is damaged"):
        grow.load(Store(str(tmp_path)))
    assert not (tmp_path / release.META).exists()


def test_a_second_grower_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with claimed(Store(str(tmp_path))):
        given = ["--dataset", str(tmp_path), "--crawl", "c0", "--config", RECIPE]
        assert grow_by(given) == 2
    assert "is in use by process" in capsys.readouterr().err


def test_a_registry_of_other_hashes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_crawls(tmp_path)
    path = tmp_path / grow.REGISTRY / registry.MANIFEST
    path.write_text(path.read_text().replace(registry.HASH_VERSION, "another"))
    assert grow_by(["--dataset", str(tmp_path), "--crawl", "c1", "--config", RECIPE]) == 2
    assert "start a registry in another folder" in capsys.readouterr().err


def grown_with(recipe: Mapping[str, Any]) -> grow.Dataset:
    return grow.Dataset(Store("/nowhere"), (), recipe)


def recipe(*sets: str) -> dict[str, Any]:
    import filters
    from jobs.line import EXTRA
    from pipeline.core.run import load_config
    from pipeline.stages.line import LINE

    return grow.recipe_of(load_config(RECIPE, sets, LINE, filters.load(), EXTRA), LINE)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["run.root=elsewhere", 'extract.archives=["x"]', "dedupe.registry=x"], ""),
        (["download.timeout_s=9", "dedupe.parts=3", "shard.samples_per_shard=7"], ""),
        (["filters.clip_similarity.low=0.6"], "low: 0.5 -> 0.6.*NEW_RECIPE=1"),
        (["download.image_size_px=256"], "image_size_px: 384 -> 256"),
    ],
)
def test_another_recipe_is_refused_unless_it_may_be(sets: list[str], told: str) -> None:
    held = grown_with(recipe())
    if told:
        with pytest.raises(ConfigError, match=told):
            grow.refuse_other_recipe(held, recipe(*sets), may_differ=False)
    else:
        grow.refuse_other_recipe(held, recipe(*sets), may_differ=False)
    grow.refuse_other_recipe(held, recipe(*sets), may_differ=True)


def test_other_columns_are_refused_in_any_case() -> None:
    held = grown_with(recipe())
    with pytest.raises(ConfigError, match="other columns.*has_markup"):
        grow.refuse_other_recipe(held, recipe("filters.caption_markup={}"), may_differ=True)


def test_releases_of_other_columns_are_not_put_together(tmp_path: Path) -> None:
    first = two_crawls(tmp_path)
    path = tmp_path / "crawls/c1/release" / release.sidecar_path("00000.tar")
    rows = pq.read_table(path)
    pq.write_table(rows.append_column("more", pa.nulls(len(rows), pa.int64())), path)
    with pytest.raises(InputError, match="differ in the columns more"):
        grow.publish_version(first, "c1")


def test_an_object_store_copies_shared_tars_itself(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for crawl, samples in enumerate((9, 3)):
        mill(tmp_path, crawl, samples)
    s3.mkdir("grown")
    s3.put(str(tmp_path / "crawls"), "grown/ours/crawls", recursive=True)
    written: list[str] = []
    real = Store.publish

    def publish(self: Store, relative: str, *rest: Any) -> Any:
        written.append(relative)
        return real(self, relative, *rest)

    monkeypatch.setattr(Store, "publish", publish)
    first = grow.publish_version(grow.load(Store("s3://grown/ours")), "c0")
    second = grow.publish_version(first, "c1")
    assert not [name for name in written if name.endswith((".tar", ".idx"))]
    wanted = [key(0, i) for i in range(9)] + [key(1, i) for i in range(3)]
    assert keys(second.version) == wanted and verify(second.version) == []
