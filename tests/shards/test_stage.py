import dataclasses
import json
import math
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.core.errors import ContractError, InputError, PairmillError
from pipeline.shards import coyo
from pipeline.shards.build import Job
from pipeline.shards.verify import verify
from pipeline.stages import shard
from pipeline.stages.score_section import ScoreSection
from tests.shards import small_run
from tests.shards.small_run import files

pytestmark = pytest.mark.spark


def test_release_holds_exactly_the_kept_pairs(release: Path, pairs: list[small_run.Pair]) -> None:
    wanted = {}
    for pair in pairs:
        if pair.is_kept:
            wanted[f"{pair.key}.jpg"] = pair.jpg
            wanted[f"{pair.key}.txt"] = pair.row["caption"].encode()
    found: dict[str, bytes] = {}
    order = []
    for tar in sorted(release.glob("*.tar")):
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                assert not member.pax_headers
                assert (member.mode, member.uid, member.gid, member.mtime) == (0o644, 0, 0, 0)
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
                order.append(member.name)
    assert {n: d for n, d in found.items() if not n.endswith(".json")} == wanted
    keys = sorted(p.key for p in pairs if p.is_kept)
    assert order == [f"{k}.{s}" for k in keys for s in ("jpg", "txt", "json")]


def test_record_tells_the_row(release: Path, pairs: list[small_run.Pair]) -> None:
    rows = {p.key: p.row for p in pairs}
    seen = 0
    for tar in release.glob("*.tar"):
        with tarfile.open(tar) as archive:
            for member in archive:
                if not member.name.endswith(".json"):
                    continue
                file = archive.extractfile(member)
                assert file is not None
                record = json.load(file)
                row = rows[member.name.removesuffix(".json")]
                assert list(record) == sorted(record)
                assert record["sha256"] == row["sha256"].hex()
                assert record["image_id"] == row["image_id"].hex()
                assert record["page_lang"] == (row["page_lang"] or "")
                assert record["caption_lang"] == (row["caption_lang"])
                assert record["clip_similarity"] == round(row["clip_similarity"], 3)
                for name in ("url", "caption", "page_url", "width", "original_height", "domain"):
                    assert record[name] == row[name]
                assert record["caption_url"] == row["url"]
                seen += 1
    assert seen == sum(p.is_kept for p in pairs)


def test_a_caption_kept_with_another_picture_comes_with_that_one(
    spark: Any, tmp_path: Path, pairs: list[small_run.Pair]
) -> None:
    stays, *_, gone = few = [p for p in pairs if p.is_kept][:6]
    few[-1] = dataclasses.replace(gone, picture_id=stays.row["image_id"])
    (account,) = shard.build(small_run.start(spark, tmp_path, few))
    assert (account.rows_in, account.kept) == (6, 6)
    release = tmp_path / "release"
    assert verify(str(release)) == []
    with tarfile.open(release / "00000.tar") as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    assert members[f"{gone.key}.jpg"] == members[f"{stays.key}.jpg"] == stays.jpg != gone.jpg
    record = json.loads(members[f"{gone.key}.json"])
    for name in ("url", "domain", "width", "original_width"):
        assert record[name] == stays.row[name]
    assert record["image_id"] == stays.row["image_id"].hex()
    assert record["sha256"] == stays.row["sha256"].hex()
    assert record["caption_url"] == gone.row["url"] != record["url"]
    for name in ("caption", "caption_lang", "page_url"):
        assert record[name] == gone.row[name]
    assert record["clip_similarity"] == round(gone.row["clip_similarity"], 3)
    told = pq.read_table(release / ".meta" / "00000.parquet").to_pylist()
    row = next(r for r in told if r["key"] == gone.key)
    assert (row["image_id"], row["image_min_side"]) == (stays.row["image_id"], 48)
    assert (row["caption_words"], row["fingerprint"]) == (
        gone.row["caption_words"], stays.row["fingerprint"],
    )  # fmt: skip


def test_shards_are_even_numbered_and_described(release: Path, pairs: list[small_run.Pair]) -> None:
    kept = sum(p.is_kept for p in pairs)
    sizes = json.loads((release / "sizes.json").read_text())
    assert list(sizes) == [f"{i:05d}.tar" for i in range(len(sizes))]
    assert len(sizes) == round(kept / 20) > 1
    assert sum(sizes.values()) == kept and max(sizes.values()) - min(sizes.values()) <= 1
    for name, samples in sizes.items():
        table = pq.read_table(release / ".meta" / name.replace(".tar", ".parquet"))
        assert table.num_rows == samples
        assert {"caption", "url", "width", "texture", "caption_lang"} <= set(table.column_names)
    manifest = (release / ".meta" / "manifest.json").read_text()
    assert str(release.parent) not in manifest
    assert not (release.parent / "release.building").exists()


def test_coyos_columns_are_beside_each_tar(release: Path, pairs: list[small_run.Pair]) -> None:
    rows = {p.key: p.row for p in pairs if p.is_kept}
    told = pq.read_table(release / ".meta" / "coyo")
    # Neither a model of OpenAI's nor a vocabulary was given.
    assert told.column_names == [*coyo.COLUMNS.names[:8], "key"]
    assert sorted(told["key"].to_pylist()) == sorted(rows)
    for row in told.to_pylist():
        pair = rows[row["key"]]
        assert (row["url"], row["text"]) == (pair["url"], pair["caption"])
        assert (row["width"], row["height"]) == (pair["original_width"], pair["original_height"])
        assert row["image_phash"] == f"{pair['hash64'] % 2**64:016x}"
    assert len(set(told["id"].to_pylist())) == len(rows)
    for tar in json.loads((release / "sizes.json").read_text()):
        beside = pq.read_table(release / ".meta" / tar.replace(".tar", ".parquet"))
        columns = pq.read_table(release / ".meta" / "coyo" / tar.replace(".tar", ".parquet"))
        assert columns["key"].to_pylist() == beside["key"].to_pylist()
    card = (release / "README.md").read_text()
    assert "| `image_phash` | string |" in card and "`num_faces`" in card
    assert "| words | caption_words at least 3 |" in card and "shard.optout_address" in card


def test_coyos_columns_by_model_tokens_and_name(
    spark: Any, tmp_path: Path, pairs: list[small_run.Pair]
) -> None:
    vocabulary, merges = tmp_path / "vocab.txt", tmp_path / "merges.txt"
    vocabulary.write_text("[UNK]\n")
    merges.write_text("a r\n")
    section = {"bert_vocab": str(vocabulary), "gpt_merges": str(merges)}
    named = {"columns": {"watermark_score": "caption_lang_confidence"}}
    ctx = small_run.start(spark, tmp_path / "run", pairs, coyo=section | named)
    score = ScoreSection(model="ViT-B-32-quickgelu", pretrained="openai")  # type: ignore[call-arg]
    shard.build(dataclasses.replace(ctx, sections={"score": score}))
    rows = {p.key: p.row for p in pairs}
    told = pq.read_table(tmp_path / "run" / "release" / ".meta" / "coyo").to_pylist()
    scored = ("num_tokens_bert", "num_tokens_gpt", "clip_similarity_vitb32", "watermark_score")
    assert list(told[0]) == [*coyo.COLUMNS.names[:8], *scored, "key"]
    for row in told:
        pair = rows[row["key"]]
        assert row["clip_similarity_vitb32"] == np.float32(pair["clip_similarity"])
        assert row["watermark_score"] == np.float32(pair["caption_lang_confidence"])
        assert 0 < row["num_tokens_bert"] <= len(pair["caption"].split()) + 5
        assert row["num_tokens_gpt"] > row["num_tokens_bert"]
    assert set(shard.check(ctx.config)) == {"num_tokens_bert", "num_tokens_gpt"}


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"columns": {"width": "clip_similarity"}}, "width is not one of num_faces"),
        ({"columns": {"num_faces": 3}}, "valid string"),
        ({"bert_vocabulary": "x"}, "Extra inputs"),
    ],
)
def test_what_coyos_columns_are_not_filled_from(section: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        shard.ShardSection(coyo=section)  # type: ignore[arg-type]


def test_a_vocabulary_that_is_not_there_or_none_is_refused_before_spark(tmp_path: Path) -> None:
    for content, told in ((None, "No such file"), (b"a b c\n", "no list of GPT-2's merges")):
        path = tmp_path / "merges.txt"
        if content is not None:
            path.write_bytes(content)
        section = shard.ShardSection(coyo={"gpt_merges": str(path)})  # type: ignore[arg-type]
        with pytest.raises(InputError, match=f"merges.txt.*{told}"):
            shard.check(section)


def test_verify_finds_nothing(release: Path) -> None:
    assert verify(str(release)) == []


def test_bytes_do_not_depend_on_arrival_partitions_or_read_ahead(
    spark: Any,
    tmp_path: Path,
    release: Path,
    pairs: list[small_run.Pair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ctx = small_run.start(
        spark, tmp_path / "elsewhere", pairs, slices=1, order=9, partitions=5,
        samples_per_shard=20, name='A "quoted" set',
    )  # fmt: skip
    # Windows of one MiB hold everything here; of some KiB, a few pictures each.
    monkeypatch.setattr(shard, "Job", lambda *a: Job(*a[:4], 5000, a[5]))
    shard.build(ctx)
    assert files(tmp_path / "elsewhere" / "release") == files(release)


def test_a_killed_run_goes_on_to_the_same_bytes(
    spark: Any, tmp_path: Path, release: Path, pairs: list[small_run.Pair]
) -> None:
    root = tmp_path / "run"
    ctx = small_run.start(spark, root, pairs, samples_per_shard=20, name='A "quoted" set')
    shard._assign(ctx, small_run.MEASURES, shard.inputs_table(small_run.MEASURES))
    # As a kill leaves it: one shard committed, one with its tar there but not committed and
    # wrong, one half-written, a committed one whose tar went missing.
    whole = files(release)
    shutil.copytree(release.parent / "shards", root / "shards")
    (root / "shards" / "part-00001.parquet").unlink()
    building = root / "release.building"
    (building / ".meta" / "coyo").mkdir(parents=True)
    beside = (".meta/00000.idx", ".meta/00000.parquet", ".meta/coyo/00000.parquet")
    for name in ("00000.tar", *beside):
        (building / name).write_bytes(whole[name])
    (building / "00001.tar").write_bytes(b"torn")
    (building / ".writing-0123-00002.tar").write_bytes(whole["00001.tar"][:5000])
    inode = (building / "00000.tar").stat().st_ino

    (account,) = shard.build(ctx)
    assert account.kept == sum(p.is_kept for p in pairs)
    assert files(root / "release") == whole
    assert (root / "release" / "00000.tar").stat().st_ino == inode, "a finished shard was redone"


def test_a_lost_shard_of_a_finished_release_is_built_again(
    spark: Any, tmp_path: Path, release: Path, pairs: list[small_run.Pair]
) -> None:
    root = tmp_path / "run"
    ctx = small_run.start(spark, root, pairs, samples_per_shard=20, name='A "quoted" set')
    shard.build(ctx)
    (root / "release" / "00001.tar").unlink()
    shard.build(ctx)
    assert files(root / "release") == files(release)


def test_nothing_kept_is_a_clear_error(
    spark: Any, tmp_path: Path, pairs: list[small_run.Pair]
) -> None:
    none = [dataclasses.replace(p, is_kept=False) for p in pairs]
    ctx = small_run.start(spark, tmp_path, none)
    with pytest.raises(PairmillError, match="no pair is left to write"):
        shard.build(ctx)
    assert not (tmp_path / "release").exists()


def test_a_pair_without_a_score_is_counted(
    spark: Any, tmp_path: Path, pairs: list[small_run.Pair]
) -> None:
    few = [p for p in pairs if p.is_kept][:6]
    few[2] = dataclasses.replace(few[2], row={**few[2].row, "clip_similarity": math.nan})
    (account,) = shard.build(small_run.start(spark, tmp_path, few))
    assert (account.rows_in, account.kept, account.dropped) == (6, 5, {"no_score": 1})
    assert json.loads((tmp_path / "release" / "sizes.json").read_text()) == {"00000.tar": 5}


def test_a_kept_pair_that_was_never_measured_is_refused(
    spark: Any, tmp_path: Path, pairs: list[small_run.Pair]
) -> None:
    ctx = small_run.start(spark, tmp_path, pairs)
    fewer = small_run.start(spark, tmp_path / "other", pairs[:-1])
    shutil.rmtree(tmp_path / "measures")
    shutil.copytree(fewer.store.path("measures"), tmp_path / "measures")
    with pytest.raises(ContractError, match="are in measures"):
        shard.build(ctx)


def test_damaged_raw_bytes_name_the_tar(
    spark: Any, tmp_path: Path, pairs: list[small_run.Pair]
) -> None:
    ctx = small_run.start(spark, tmp_path, pairs)
    raw = tmp_path / "raw" / "part-00001.tar"
    raw.write_bytes(raw.read_bytes()[:-1700])
    with pytest.raises(Exception, match=r"part-00001\.tar is damaged .it does not hold picture"):
        shard.build(ctx)
    assert not (tmp_path / "release").exists()
    assert not list((tmp_path / "shards").glob("*")), "a broken shard was committed"
