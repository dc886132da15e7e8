"""One part embedded: what is there is taken over, what is missing is made, by every model."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from pipeline.core import raw
from pipeline.core.errors import InputError
from pipeline.core.ids import text_id
from pipeline.core.storage import Store
from pipeline.core.tables import EMBEDDINGS, column, picture_scores_table
from pipeline.core.vectors import unpack
from pipeline.fakeweb.captions import describe
from pipeline.fakeweb.pictures import render, sample_scene
from pipeline.score import captions, fresh, models
from pipeline.score.captions import embed_captions
from pipeline.score.embed import Window, embed_pictures
from pipeline.score.fresh import Job
from pipeline.score.inputs import INPUTS, STORED
from pipeline.score.models import Spec
from pipeline.score.scorers import ScorePixels, Scorers, ScoreVectors

TINY = Spec("clip", "pairmill-tiny", precision="fp32")
BATCH = 8


@dataclass(frozen=True)
class Brightness:
    """A pixel scorer: mean of all, and the larger side."""

    fields: tuple[pa.Field, ...] = (
        column("brightness", pa.float32(), "mean"),
        column("side", pa.int32(), "larger side", null="never"),
    )

    def check(self) -> object:
        return "mean"

    def load(self) -> ScorePixels:
        def score(pixels: np.ndarray) -> Sequence[float | int]:
            assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
            return float(pixels.mean()), max(pixels.shape[:2])

        return score


@dataclass(frozen=True)
class FirstNumber:
    """A head: the first number of each embedding."""

    model: str = "clip"
    fields: tuple[pa.Field, ...] = (column("first", pa.float32(), "of the vector"),)

    def check(self) -> object:
        return 1

    def load(self) -> ScoreVectors:
        return lambda vectors: [pa.array(vectors[:, 0])]


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    scene = sample_scene(np.random.default_rng(seed))
    Image.fromarray(render(scene, 90 + seed % 7, 70)).save(file, "JPEG", quality=90)
    return file.getvalue()


class Part:
    """A part's raw tar and INPUTS: `count` pictures and captions; some pictures do not decode."""

    def __init__(self, root: Path, count: int, broken: Sequence[int] = ()) -> None:
        self.store, self.bodies = Store(str(root)), {}
        rng, rows = np.random.default_rng(3), []
        with self.store.publish(raw.path(0)) as file:
            tar = raw.RawTar(file)
            for i in range(count):
                content_id, image_id = rng.bytes(16), rng.bytes(16)
                data = b"no picture" if i in broken else jpeg(i)
                offset = tar.append(image_id, data)
                self.bodies[content_id] = data
                place = {"raw_round": 0, "raw_offset": offset, "raw_bytes": len(data)}
                rows.append(
                    {"kind": "image", "content_id": content_id, "image_id": image_id} | place
                )
                caption = f"{describe(sample_scene(rng), 'en', rng)} {i}"
                rows.append({"kind": "text", "content_id": text_id(caption), "caption": caption})
        for row in rows:
            row |= {"for_copies": row["content_id"][0] % 2 == 0, "part": 0}
        rows.sort(key=lambda row: row["content_id"])
        self.rows = rows

    def inputs(self, kind: str, stored: dict[bytes, list[dict]] | None = None) -> pa.Table:
        rows = [row for row in self.rows if row["kind"] == kind]
        if stored is not None:
            rows = [row | {"stored": stored.get(row["content_id"])} for row in rows]
        return pa.Table.from_pylist(rows, schema=INPUTS.schema)

    def job(self, *specs: Spec, scorers: Scorers | None = None) -> Job:
        return Job(self.store, specs, scorers or Scorers(), BATCH, 1, 2, "cpu")


def joined(windows: list[Window]) -> dict[tuple[str, str], pa.Table]:
    """All rows by track, in their order."""
    table = pa.concat_tables(t for window in windows for t in window.embeddings)
    keys = table.select(["model", "kind"]).group_by(["model", "kind"]).aggregate([]).to_pylist()
    found = {}
    for key in keys:
        model, kind = key["model"], key["kind"]
        mask = (pa.compute.field("model") == model) & (pa.compute.field("kind") == kind)
        found[model, kind] = table.filter(mask)
    return found


def ids(table: pa.Table) -> list[bytes]:
    return table.column("content_id").to_pylist()


def write(path: Path, tables: Sequence[pa.Table], group: int = 5) -> dict[bytes, list[dict]]:
    """Rows in a file as earlier scoring would leave them, and INPUTS' word for where they are."""
    table = pa.concat_tables(tables)
    pq.write_table(table, path, row_group_size=group)
    stored: dict[bytes, list[dict]] = {}
    for row, found in enumerate(table.select(["model", "kind", "content_id"]).to_pylist()):
        place = {"model": found["model"], "kind": found["kind"], "file": str(path), "row": row}
        stored.setdefault(found["content_id"], []).append(place)
    return stored


def test_every_picture_gets_what_each_model_makes_of_it(tmp_path: Path) -> None:
    part = Part(tmp_path, 30, broken=[4, 11])
    flipping = Spec("clip", "pairmill-tiny", precision="fp32", flipped=True)
    copies = Spec("copy", "pairmill-tiny", precision="fp32", captions=False)
    windows = list(embed_pictures(part.job(flipping, copies), 0, part.inputs("image")))
    assert (sum(w.rows for w in windows), sum(w.unreadable for w in windows)) == (30, 2)
    found = joined(windows)
    readable = sorted(i for i, data in part.bodies.items() if data != b"no picture")
    assert ids(found["clip", "image"]) == ids(found["clip", "flipped"]) == readable
    assert ids(found["copy", "image"]) == [i for i in readable if i[0] % 2 == 0]
    assert sum(w.made for w in windows) == 2 * len(readable) + len(found["copy", "image"])

    model = models.load(flipping, "cpu", 1)
    pictures = [Image.open(io.BytesIO(part.bodies[i])).convert("RGB") for i in readable]
    for kind, seen in (("image", pictures), ("flipped", [ImageOps.mirror(p) for p in pictures])):
        expected = model.embed_images(
            np.stack([model.shape.pixels(p.convert("RGB")) for p in seen])
        )
        vectors = unpack(found["clip", kind].column("vector").combine_chunks())
        assert (vectors * expected).sum(1).min() > 0.9995


def test_what_is_there_is_taken_over_and_no_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Part(tmp_path, 21)
    job = part.job(TINY)
    first = [
        *embed_pictures(job, 0, part.inputs("image")),
        *embed_captions(job, part.inputs("text")),
    ]
    stored = write(tmp_path / "part-00000.parquet", [t for w in first for t in w.embeddings])

    def refuse(*_: object) -> None:
        raise AssertionError("a model is loaded, or a picture read")

    for module in (fresh, models, captions):
        monkeypatch.setattr(module, "load", refuse)
    (tmp_path / raw.path(0)).unlink()
    again = [
        *embed_pictures(job, 0, part.inputs("image", stored)),
        *embed_captions(job, part.inputs("text", stored)),
    ]
    assert [w.made for w in again] == [0] * len(again)
    assert sum(w.held for w in again) == 42
    one, other = joined(first), joined(again)
    assert all(one[track].equals(other[track]) for track in one)


def test_only_what_is_missing_is_made_and_lands_in_its_place(tmp_path: Path) -> None:
    part = Part(tmp_path, 40)
    job = part.job(TINY)
    whole = joined(list(embed_pictures(job, 0, part.inputs("image"))))["clip", "image"]
    rng = np.random.default_rng(9)
    kept = whole.take(pa.array(rng.permutation(40)[:25]))  # in any order, as a join may give them
    stored = write(tmp_path / "old.parquet", [kept])
    second = Spec("other", "pairmill-tiny", precision="fp32")
    windows = list(embed_pictures(part.job(TINY, second), 0, part.inputs("image", stored)))
    assert sum(w.held for w in windows) == 25 and sum(w.made for w in windows) == 15 + 40
    found = joined(windows)
    assert ids(found["clip", "image"]) == ids(found["other", "image"]) == ids(whole)
    for track in found:
        vectors = [unpack(t.column("vector").combine_chunks()) for t in (found[track], whole)]
        assert np.allclose(*vectors, atol=1e-3)
    old = {i: v for i, v in zip(ids(kept), kept.column("vector").to_pylist(), strict=True)}
    rows = zip(
        ids(found["clip", "image"]), found["clip", "image"]["vector"].to_pylist(), strict=True
    )
    assert all(old.get(i, v) == v for i, v in rows)


def test_scorers_see_each_picture_once_and_what_they_said_is_kept(tmp_path: Path) -> None:
    part = Part(tmp_path, 20, broken=[2])
    scorers = Scorers(heads=(FirstNumber(),), pixels=(Brightness(),))
    schema = picture_scores_table(scorers.fields).schema
    job = part.job(TINY, scorers=scorers)
    windows = list(embed_pictures(job, 0, part.inputs("image"), schema))
    scores = pa.concat_tables(w.scores for w in windows)
    assert scores.schema.names == ["content_id", "brightness", "side", "first"]
    vectors = joined(windows)["clip", "image"]
    assert ids(scores) == ids(vectors) and scores.num_rows == 19
    firsts = unpack(vectors.column("vector").combine_chunks())[:, 0]
    assert np.array_equal(scores.column("first").to_numpy(), firsts)
    for row in scores.to_pylist():
        pixels = np.asarray(Image.open(io.BytesIO(part.bodies[row["content_id"]])).convert("RGB"))
        assert row["brightness"] == pytest.approx(pixels.mean(), rel=1e-5)
        assert row["side"] == max(pixels.shape[:2])

    stored = write(tmp_path / "part-00000.parquet", [t for w in windows for t in w.embeddings])
    told = scores.set_column(1, "brightness", pa.array(np.arange(19, dtype=np.float32)))
    pq.write_table(told, tmp_path / "scores.parquet", row_group_size=4)
    for row, content_id in enumerate(ids(scores)[:-3]):
        place = {
            "model": "",
            "kind": "pixels",
            "file": str(tmp_path / "scores.parquet"),
            "row": row,
        }
        stored[content_id].append(place)
    again = list(embed_pictures(job, 0, part.inputs("image", stored), schema))
    assert sum(w.made for w in again) == 0
    found = pa.concat_tables(w.scores for w in again)
    assert found.column("brightness").to_pylist()[:-3] == list(range(16))
    assert found.slice(16).equals(scores.slice(16))


def test_a_file_that_is_not_as_it_was_is_told(tmp_path: Path) -> None:
    part = Part(tmp_path, 9)
    job = part.job(TINY)
    windows = list(embed_captions(job, part.inputs("text")))
    table = pa.concat_tables(t for w in windows for t in w.embeddings)
    stored = write(tmp_path / "old.parquet", [table])
    inputs = part.inputs("text", stored)
    for broken in (table.take(pa.array(range(8, -1, -1))), table.slice(3)):
        pq.write_table(broken, tmp_path / "old.parquet")
        with pytest.raises(InputError, match=r"old\.parquet, which was to be taken over"):
            list(embed_captions(job, inputs))
    (tmp_path / "old.parquet").unlink()
    with pytest.raises(InputError, match=r"old\.parquet"):
        list(embed_captions(job, inputs))


def test_a_part_without_pictures_or_captions_gives_no_rows(tmp_path: Path) -> None:
    part = Part(tmp_path, 0)
    assert list(embed_pictures(part.job(TINY), 0, part.inputs("image"))) == []
    assert list(embed_captions(part.job(TINY), part.inputs("text"))) == []
    assert STORED.names == ["model", "kind", "file", "row"] and EMBEDDINGS.key[0] == "model"
