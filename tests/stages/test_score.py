"""score on real rendered pictures: each content embedded once, every pair compared or counted."""

import hashlib
import io
import shutil
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from pipeline.core import records
from pipeline.core.accounts import Account
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.embeddings import fetch
from pipeline.core.errors import InputError
from pipeline.core.ids import image_id, pair_id, text_id
from pipeline.core.spark import read_table
from pipeline.core.storage import Store
from pipeline.core.tables import (
    CANDIDATES,
    CAPTION,
    EMBEDDINGS,
    IMAGES,
    LISTED,
    NULL_SCORES,
    SCORES,
    scores_table,
)
from pipeline.fakeweb.captions import describe
from pipeline.fakeweb.pictures import render, sample_scene
from pipeline.fetch.settings import DownloadSection
from pipeline.score import clip
from pipeline.stages.score import STAGE, ScoreSection, build, check

pytestmark = pytest.mark.spark


@dataclass
class Picture:
    url: str
    part: int
    data: bytes | None  # None: its download failed
    captions: list[str]

    @property
    def id(self) -> bytes:
        return image_id(self.url)


def jpeg(seed: int) -> tuple[bytes, str, str]:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng)
    file = io.BytesIO()
    Image.fromarray(render(scene, 160, 120)).save(file, "JPEG", quality=90)
    return file.getvalue(), describe(scene, "en", rng), describe(scene, "ko", rng)


def web() -> list[Picture]:
    """Seven candidates in three parts: a repeated picture, a repeated caption, a failed download,
    stored bytes that do not decode, and a part of which nothing arrived."""
    made = [jpeg(seed) for seed in range(4)]
    shared = "a caption that many pictures share"
    return [
        Picture("http://a.example/0", 0, made[0][0], [made[0][1], made[0][2]]),
        Picture("http://a.example/1", 0, made[1][0], [made[1][1], shared]),
        Picture("http://b.example/2", 1, made[2][0], [made[2][2], shared]),
        Picture("http://b.example/3", 1, made[0][0], [made[3][1]]),  # the first one's bytes
        Picture("http://b.example/4", 1, b"\xff\xd8 not a picture", ["broken on the disk"]),
        Picture("http://b.example/5", 1, None, ["never scored"]),
        Picture("http://c.example/6", 2, None, ["never scored either"]),
    ]


def value(field: pa.Field, known: dict[str, object]) -> object:
    if field.name in known:
        return known[field.name]
    if field.nullable:
        return None
    return {pa.string(): "x", pa.binary(): bytes(16)}.get(field.type, 0)


def write_web(root: Path, pictures: list[Picture]) -> Store:
    store = Store(str(root))
    (root / "raw").mkdir(parents=True)
    for part in sorted({p.part for p in pictures}):
        rows, candidates = [], []
        with tarfile.open(root / f"raw/part-{part:05d}.tar", "w") as tar:
            for picture in (p for p in pictures if p.part == part):
                row: dict[str, object] = {"image_id": picture.id, "part": part, "status": "dns"}
                if picture.data is not None:
                    info = tarfile.TarInfo(picture.id.hex() + ".jpg")
                    info.size = len(picture.data)
                    row |= {"status": "ok", "raw_round": 0, "raw_offset": tar.offset + 512}
                    row |= {"raw_bytes": info.size, "sha256": hashlib.sha256(picture.data).digest()}
                    tar.addfile(info, io.BytesIO(picture.data))
                rows.append({f.name: value(f, row) for f in IMAGES.schema})
                captions = [
                    {
                        f.name: value(f, {"pair_id": pair_id(picture.id, c), "caption": c})
                        for f in CAPTION
                    }
                    for c in picture.captions
                ]
                known = {
                    "image_id": picture.id,
                    "url": picture.url,
                    "part": part,
                    "captions": captions,
                }
                candidates.append({f.name: value(f, known) for f in CANDIDATES.schema})
        with store.publish_part(IMAGES, part) as sink:
            sink.write_rows(rows)
        with store.publish_part(LISTED, part):
            pass
        folder = root / f"candidates/part={part}"
        folder.mkdir(parents=True)
        table = pa.Table.from_pylist(candidates, schema=CANDIDATES.schema).drop_columns(["part"])
        pq.write_table(table, folder / "part-00000.parquet")
    return store


def score(spark, store: Store, **settings: object) -> dict[str, Account]:
    section = ScoreSection(precision="fp32", batch_size=2, **settings)
    sections = {"run": RunSection(root=store.root), "score": section, "download": DownloadSection()}
    accounts = build(Context("score", spark, store, section, sections, {}))
    for account in accounts:
        account.check("score")
    return {account.unit: account for account in accounts}


@pytest.fixture(scope="module")
def scored(spark, tmp_path_factory) -> tuple[Store, dict[str, Account]]:
    """The run of `web`, scored, and its accounts. It is not changed: see `copied`."""
    store = write_web(tmp_path_factory.mktemp("scored") / "run", web())
    return store, score(spark, store)


def copied(scored: tuple[Store, dict[str, Account]], root: Path) -> Store:
    return Store(str(shutil.copytree(scored[0].root, root)))


def rows(spark, store: Store, table) -> list[dict[str, object]]:
    found = [r.asDict() for r in read_table(spark, store, table).collect()]
    return sorted(found, key=lambda r: tuple(bytes(str(r[k]), "utf8") for k in table.key))


def test_each_content_is_embedded_once_and_every_pair_compared_or_counted(spark, scored):
    pictures = web()
    store, accounts = scored
    assert accounts["pictures"].to_json() == {
        "unit": "pictures",
        "in": 5,
        "kept": 3,
        "dropped": {"same_picture": 1, "unreadable_picture": 1},
    }
    # The captions of a picture that does not decode are not known to be useless beforehand.
    assert accounts["captions"].dropped == {"same_caption": 1}
    assert accounts["captions"].kept == 7
    assert accounts["pairs"].dropped == {"no_score": 1}
    assert accounts["pairs"].kept == 7

    ok = [p for p in pictures if p.data is not None]
    embedded = rows(spark, store, EMBEDDINGS)
    images = [bytes(r["content_id"]) for r in embedded if r["kind"] == "image"]
    texts = [bytes(r["content_id"]) for r in embedded if r["kind"] == "text"]
    readable = {hashlib.sha256(p.data).digest()[:16] for p in ok if p.url[-1] != "4"}
    assert sorted(images) == sorted(readable)
    assert sorted(texts) == sorted({text_id(c) for p in ok for c in p.captions})
    vectors = np.stack([np.frombuffer(r["vector"], "<f2") for r in embedded]).astype(np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
    assert not store.exists("score_inputs")


def test_similarity_is_that_of_open_clip_itself(spark, scored):
    import torch

    pictures = web()
    store, _ = scored
    model = clip.load("pairmill-tiny", precision="fp32", device="cpu")
    open_clip = clip.import_open_clip()
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**model.model.visual.preprocess_cfg), is_train=False
    )
    expected = {}
    with torch.inference_mode():
        for p in pictures:
            if p.data is None or p.url[-1] == "4":
                continue
            image = transform(Image.open(io.BytesIO(p.data)))[None]
            text = model.tokenizer(p.captions)
            cosines = (
                model.model.encode_image(image, normalize=True)
                @ model.model.encode_text(text, normalize=True).T
            )
            for caption, cosine in zip(p.captions, cosines[0].tolist(), strict=True):
                expected[pair_id(p.id, caption)] = (p.id, cosine)
    found = rows(spark, store, SCORES)
    assert {bytes(r["pair_id"]) for r in found} == set(expected)
    for row in found:
        owner, cosine = expected[bytes(row["pair_id"])]
        assert bytes(row["image_id"]) == owner
        assert abs(row["clip_similarity"] - cosine) < 1e-3


def pages_of(file: Path) -> bytes:
    """All bytes of a Parquet file but its footer, which tells how long its part took."""
    whole = file.read_bytes()
    return whole[: -8 - int.from_bytes(whole[-8:-4], "little")]


def test_only_missing_parts_are_embedded_again_and_give_the_same(spark, scored, tmp_path):
    store, first = copied(scored, tmp_path / "run"), scored[1]
    scores, embeddings = rows(spark, store, SCORES), rows(spark, store, EMBEDDINGS)
    kept = tmp_path / "run/embeddings/part-00000.parquet"
    lost = tmp_path / "run/embeddings/part-00001.parquet"
    before = kept.stat().st_mtime_ns
    pages_before = pages_of(lost)
    lost.unlink()
    store.remove("scores")

    assert {u: a.to_json() for u, a in score(spark, store).items()} == {
        u: a.to_json() for u, a in first.items()
    }
    assert kept.stat().st_mtime_ns == before
    assert pages_of(lost) == pages_before
    assert rows(spark, store, SCORES) == scores
    assert rows(spark, store, EMBEDDINGS) == embeddings


def redo(spark, store: Store, **settings: object) -> dict[str, Account]:
    """Score again, as the stage is done again with another config or other inputs."""
    records.discard(store, [STAGE])
    accounts = score(spark, store, **settings)
    assert not store.exists("_earlier") or not store.fs.ls(store.path("_earlier"))
    return accounts


def test_what_was_embedded_before_is_taken_over(spark, scored, tmp_path):
    """With another model and mirrored pictures, in this run and in another one."""
    pictures = web()
    store = copied(scored, tmp_path / "run")
    assert scored[1]["new_vectors"].kept == 3 + 7
    before = rows(spark, store, EMBEDDINGS)

    more = {"models": {"other": {"model": "pairmill-tiny", "precision": "bf16"}}, "flipped": True}
    again = redo(spark, store, **more)
    # The picture that does not decode is tried again. 3 mirrored, 3 and 7 by the other model.
    assert again["new_vectors"].kept == 3 + 3 + 7
    assert again["vectors"].kept == 3 + 3 + 7 + 10
    after = rows(spark, store, EMBEDDINGS)
    own = [r for r in after if r["model"] == "clip" and r["kind"] != "flipped"]
    assert own == before
    counts = Counter((r["model"], r["kind"]) for r in after)
    assert counts == {
        ("clip", "image"): 3,
        ("clip", "flipped"): 3,
        ("clip", "text"): 7,
        ("other", "image"): 3,
        ("other", "text"): 7,
    }
    scores = rows(spark, store, scores_table(["other"], flipped=True))
    assert len(scores) == 7
    for row in scores:
        assert abs(row["clip_similarity"] - row["clip_similarity_other"]) < 0.05
        assert -1 <= row["clip_similarity_flipped"] <= 1
    nulls = rows(spark, store, NULL_SCORES)
    names = {"clip_similarity", "clip_similarity_other", "clip_similarity_flipped"}
    assert {r["measure"] for r in nulls} == names
    owner = {pair_id(p.id, c): p.data for p in pictures for c in p.captions}
    for row in nulls:
        assert owner[bytes(row["pair_id"])] != owner[bytes(row["caption_pair_id"])]

    images = [r for r in after if (r["model"], r["kind"]) == ("other", "image")]
    found = fetch(store, "other", "image", [bytes(r["content_id"]) for r in images])
    stored = np.stack([np.frombuffer(r["vector"], "<f2") for r in images]).astype(np.float32)
    assert np.array_equal(found.vectors, stored)

    # Another run has the same pictures but for one, which is new, and takes over the others.
    new = jpeg(9)
    pictures[2] = Picture("http://b.example/2", 1, new[0], [new[1]])
    other = write_web(tmp_path / "other", [p for p in pictures if p.url[-1] != "4"])
    taken = score(spark, other, reuse=(store.path("embeddings"),))
    assert taken["new_vectors"].kept == 2  # the new picture and its caption
    assert taken["vectors"].kept == 2 + 2 + 5
    vectors = {(r["kind"], bytes(r["content_id"])): r["vector"] for r in before}
    for row in rows(spark, other, EMBEDDINGS):
        key = row["kind"], bytes(row["content_id"])
        assert vectors.get(key, row["vector"]) == row["vector"]


def test_embeddings_of_another_model_are_not_taken_over(tmp_path):
    with pytest.raises(InputError, match=r"score\.reuse = '/nowhere'.*_models\.json"):
        check(ScoreSection(reuse=("/nowhere",)))


def test_a_run_in_which_nothing_arrived_scores_nothing(spark, tmp_path):
    store = write_web(tmp_path / "run", [p for p in web() if p.data is None])
    accounts = score(spark, store)
    assert [a.to_json()["in"] for a in accounts.values()] == [0, 0, 0, 0, 0]
    assert rows(spark, store, SCORES) == [] and rows(spark, store, EMBEDDINGS) == []


def test_vectors_do_not_depend_on_the_order_pictures_arrived_in(spark, scored, tmp_path):
    """Rows are written batch by batch: the same rows in the same order are the same batches."""
    reversed_web = write_web(tmp_path / "reversed", web()[::-1])
    score(spark, reversed_web)
    one, other = (
        [list(store.read_part(EMBEDDINGS, part)) for part in store.committed(EMBEDDINGS)]
        for store in (scored[0], reversed_web)
    )
    assert one == other


def test_a_lost_tar_ends_the_stage_with_its_name(spark, tmp_path):
    store = write_web(tmp_path / "run", web())
    (tmp_path / "run/raw/part-00001.tar").unlink()
    with pytest.raises(Exception, match=r"raw tar is missing.*part-00001\.tar"):
        score(spark, store)


def test_check_gives_the_identity_of_local_weights(tmp_path):
    data = clip.SHIPPED_WEIGHTS.read_bytes()
    assert check(ScoreSection()) == {"sha256": hashlib.sha256(data).hexdigest()}
    weights = tmp_path / "own.pt"
    weights.write_bytes(b"any")
    section = ScoreSection(model="ViT-B-32", pretrained=str(weights))
    assert check(section) == {"sha256": hashlib.sha256(b"any").hexdigest()}
    assert check(ScoreSection(model="ViT-B-32", pretrained="openai")) == {}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model": "ViT-B-32", "pretrained": "/nowhere/weights.pt"}, "/nowhere/weights.pt"),
        ({"model": "ViT-B-32", "pretrained": "weights.safetensors"}, "weights.safetensors"),
        ({"model": "local-dir:/nowhere"}, "/nowhere"),
    ],
)
def test_check_refuses_weights_that_are_not_there(settings, named):
    with pytest.raises(InputError, match=named) as told:
        check(ScoreSection(**settings))
    assert "score." in str(told.value)


def test_a_model_without_weights_is_refused():
    with pytest.raises(ValidationError, match="needs pretrained"):
        ScoreSection(model="ViT-B-32")


def test_device_and_decoding_threads_do_not_change_the_identity():
    assert ScoreSection(device="cpu", decoders=5).identity() == ScoreSection().identity()
    assert ScoreSection(threads=2).identity() != ScoreSection().identity()
    assert STAGE.writes[0].name == SCORES.name


def copy_net(path: Path, width: int = 12, broken: str = "") -> str:
    """A TorchScript file as copy-detection models are published: a fixed random network."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, width, 5, stride=3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).relu().mean(dim=[2, 3])

    torch.manual_seed(4)
    net = Net() if not broken else torch.nn.Flatten(0)
    torch.jit.script(net).save(str(path))
    return str(path)


def test_a_copy_model_describes_each_fingerprint_that_is_not_flat_once(spark, tmp_path):
    import torch

    pictures = web()
    store = write_web(tmp_path / "run", pictures)
    # Pictures 1 and 2 are the same for `match`, 0 and 3 are one file; picture 0 is flat.
    table = pa.concat_tables(
        pa.Table.from_batches(list(store.read_part(IMAGES, part))) for part in (0, 1, 2)
    )
    described = hashlib.sha256(pictures[1].data).digest(), hashlib.sha256(pictures[2].data).digest()
    changed = []
    for row in table.to_pylist():
        if row["status"] == "ok":
            same = row["sha256"] in described
            row["fingerprint"] = b"same" * 4 if same else row["sha256"][:16]
            row["texture"] = 5 if row["sha256"] == hashlib.sha256(pictures[0].data).digest() else 50
        changed.append(row)
    store.remove("images")
    with store.publish_part(IMAGES, 0) as sink:
        sink.write_rows(changed)

    path = copy_net(tmp_path / "net.pt")
    accounts = score(spark, store, copy_model=path, copy_side=64)
    assert accounts["pictures"].kept == 3
    found = rows(spark, store, EMBEDDINGS)
    kinds = [(r["model"], r["kind"]) for r in found]
    counts = [kinds.count(k) for k in (("clip", "image"), ("copy", "image"), ("clip", "text"))]
    assert counts == [3, 1, 7]
    (row,) = [r for r in found if r["model"] == "copy"]
    assert bytes(row["content_id"]) == min(d[:16] for d in described)

    # As a user of the model would: resize, scale, normalise, embed.
    (data,) = {
        p.data for p in pictures[1:3] if hashlib.sha256(p.data).digest()[:16] == row["content_id"]
    }
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.inference_mode():
        expected = torch.jit.load(path)((x - mean) / std)[0]
    expected = (expected / expected.norm()).numpy()
    assert np.allclose(np.frombuffer(row["vector"], "<f2"), expected, atol=2e-3)


def test_check_gives_the_identity_of_a_copy_model_and_refuses_one_that_is_not_there(tmp_path):
    path = copy_net(tmp_path / "net.pt")
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert check(ScoreSection(copy_model=path))["copy_sha256"] == digest
    with pytest.raises(InputError, match=r"score\.copy_model = '/nowhere/net\.pt': no such file"):
        check(ScoreSection(copy_model="/nowhere/net.pt"))
    section = ScoreSection(copy_model="ViT-B-32", copy_pretrained="/nowhere/w.pt")
    with pytest.raises(InputError, match=r"score\.copy_pretrained = '/nowhere/w\.pt'"):
        check(section)
    assert "copy_sha256" in check(ScoreSection(copy_model="pairmill-tiny"))
    with pytest.raises(ValidationError, match="needs copy_pretrained"):
        ScoreSection(copy_model="ViT-B-32")


def test_a_file_that_is_no_model_of_pictures_is_told(tmp_path):
    from pipeline.score import descriptor

    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"no model")
    with pytest.raises(InputError, match=r"junk\.pt' is no TorchScript model"):
        descriptor.load(str(junk), device="cpu")
    flat = copy_net(tmp_path / "flat.pt", broken="flat")
    with pytest.raises(InputError, match=r"gives \[6144\] for 2 pictures"):
        descriptor.load(flat, side=32, device="cpu")
