"""A small run with embeddings of the included model."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core import raw
from pipeline.core.embeddings import BUCKETS, MODELS
from pipeline.core.storage import Store
from pipeline.core.tables import EMBEDDING_INDEX, EMBEDDINGS
from pipeline.core.vectors import pack
from pipeline.score import clip
from pipeline.score.looks import Asked, Looker
from pipeline.score.models import Spec
from tests.stats.made_run import Made, make, write


@pytest.fixture(scope="session")
def model() -> clip.Clip:
    return clip.load(clip.SHIPPED_MODEL, precision="fp32", device="cpu")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, model: clip.Clip) -> Made:
    """Its pictures' own embeddings, and the index of them by id."""
    made = make(tmp_path_factory.mktemp("searched"))
    store, look = Store(str(made.root)), Looker((model.shape,))
    places = [raw.Place(*(p[name] for name in raw.PLACE)) for p in made.pairs]
    pixels = [look(Asked(body)).pixels[0] for body in raw.read(store, places)]
    vectors = model.embed_images(np.stack(pixels))
    ids = [p["sha256"][:16] for p in made.pairs]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    packed = pack(vectors[order]).to_pylist()
    rows = [
        {"model": "clip", "kind": "image", "content_id": ids[i], "vector": vector}
        for i, vector in zip(order, packed, strict=True)
    ]
    write(made.root, EMBEDDINGS, rows)
    index = [
        {"content_id": r["content_id"], "model": "clip", "kind": "image", "part": 0, "row": i}
        for i, r in enumerate(rows)
    ]
    write(made.root, EMBEDDING_INDEX, index, "bucket=0")
    spec = Spec("clip", clip.SHIPPED_MODEL, "", "fp32")
    told = {"models": {"clip": spec.identity()}, "threads": 1}
    (made.root / MODELS).write_text(json.dumps(told))
    (made.root / BUCKETS).write_text(json.dumps({"buckets": 1}))
    record = {"config": {"score": {"model": clip.SHIPPED_MODEL, "pretrained": ""}}}
    file = Path(made.root, "_stages", "score.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | record))
    return made


def kept_pictures(made: Made) -> dict[bytes, list[dict]]:
    """Kept pairs by the content_id of the picture that they are released with."""
    found: dict[bytes, list[dict]] = {}
    for p in made.kept:
        found.setdefault(p["sha256"][:16], []).append(p)
    return found


def vectors_of(made: Made) -> pa.Table:
    return pa.parquet.read_table(made.root / EMBEDDINGS.name / "part-00000.parquet")
