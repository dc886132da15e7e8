"""`score` against clip-retrieval."""

import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tests.benchmarks.peers.compare import ROOT, Peer, alternate, call
from tests.benchmarks.score import Vectors, accuracy, make_pairs, random_weights, write_inputs

CLIP_RETRIEVAL = Peer(
    "clip-retrieval",
    (
        "clip-retrieval==2.45.0",
        # What its inference takes, at the newest versions that it allows; its servers, its index
        # and models that are not open_clip's are left out.
        "all-clip==1.3.0",
        "open-clip-torch==2.32.0",
        "torchvision==0.28.0",
        "timm==1.0.31",
        "ftfy==6.3.1",
        "regex==2026.11.19",
        "wcwidth==0.9.4",
        "safetensors==0.8.0",
        "huggingface_hub==0.36.0",
        "tqdm==4.70.1",
        "PyYAML==6.0.4",
        "requests==2.34.2",
        "certifi==2026.10.19.post1",
        "charset-normalizer==3.5.3",
        "idna==3.20",
        "urllib3==2.8.0",
        "packaging==26.4",
        "numpy==1.26.4",
        "pillow==12.0.0",
        "pandas==2.3.3",
        "pyarrow==15.0.2",
        "python-dateutil==2.9.0.post0",
        "pytz==2026.6",
        "tzdata==2026.6",
        "six==1.17.0",
        "webdataset==0.2.111",
        "braceexpand==0.1.7",
    ),
    # The build for this machine, with what it needs, as for ours.
    whole=("torch==2.13.0",),
)
_SIDE = ROOT / "tests" / "benchmarks" / "peers" / "clip_retrieval_side.py"
_ITEMS, _PAIRS = 256, 3


def run(scale: float = 1.0) -> dict[str, Any]:
    """Both embed the same pictures and captions with ViT-B-32 of the same random weights, on one
    thread of torch, and write the vectors. Equivalent when those of every picture and caption are
    within a cosine of 0.999 and all similarities within 0.005. CPU is that of all pairs, once the
    model is loaded: what loading took is a figure of its own on both sides."""
    items = max(8, round(_ITEMS * scale))
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights("ViT-B-32", Path(folder))
        write_inputs(make_pairs(items), folder)
        number = itertools.count()
        found: dict[str, list[Vectors]] = {}

        def ours() -> dict[str, Any]:
            figures = call([sys.executable, "-m", "tests.benchmarks.score", folder, weights])
            with np.load(f"{folder}/ours.npz") as vectors:
                found["ours"] = [vectors[name] for name in vectors.files]
            return figures

        def peer() -> dict[str, Any]:
            out = f"{folder}/{next(number)}"
            python = CLIP_RETRIEVAL.python()
            figures = call([python, _SIDE, "score", f"{folder}/pairs.tar", weights, out])
            found["peer"] = _vectors(out)
            return figures | {"items": items}

        figures = alternate(ours, peer, _PAIRS)
        figures |= accuracy(found["ours"], found["peer"])
    return {"workload": "score", "peer_name": CLIP_RETRIEVAL.packages[0], **figures}


def _vectors(folder: str) -> list[Vectors]:
    """Those of pictures and captions, by number."""
    names = pq.read_table(f"{folder}/metadata/metadata_0.parquet").column("image_path").to_pylist()
    order = np.argsort(np.array([int(name) for name in names]))
    stored = [np.load(f"{folder}/{kind}_emb/{kind}_emb_0.npy") for kind in ("img", "text")]
    return [vectors.astype(np.float32)[order] for vectors in stored]
