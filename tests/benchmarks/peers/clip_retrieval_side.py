"""clip-retrieval's side of `score`; runs in the peer's environment.

`TAR WEIGHTS FOLDER`: its own reader, mapper, writer and runner embed the pairs of a tar of .jpg and
.txt with ViT-B-32 and write them to the folder. Imports nothing of ours.
"""

import json
import os
import resource
import sys
import time
import types

# For its command line, its log to a service, its servers and models of other kinds; a package's
# own __init__ would import all of them.
for name in ("fire", "wandb", "sentence_transformers", "clip"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["sentence_transformers"].SentenceTransformer = None
for name in ("clip_retrieval", "clip_retrieval.clip_inference"):
    module = types.ModuleType(name)
    module.__path__ = [os.path.join(p, *name.split(".")) for p in sys.path]
    sys.modules[name] = module

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from all_clip import load_clip  # noqa: E402
from clip_retrieval.clip_inference.mapper import ClipMapper  # noqa: E402
from clip_retrieval.clip_inference.reader import WebdatasetReader  # noqa: E402
from clip_retrieval.clip_inference.runner import Runner  # noqa: E402
from clip_retrieval.clip_inference.writer import NumpyWriter  # noqa: E402

# Its defaults (clip_inference/worker.py), but for the compiler: see PEER_COMPILES.
BATCH, WORKERS, USE_JIT = 256, 4, False


class NoLog:
    """Its log of statistics, in a process that would load everything again."""

    def __init__(self, partition):
        self.start = self.end = lambda: None

    def __call__(self, stats):
        pass


def cpu_s():
    """User and system seconds of this process, its threads and ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def embed(tar, model, folder):
    """As its worker does one partition."""

    def reader(sampler):
        _, transform, tokenizer = load_clip(clip_model=model, use_jit=USE_JIT)
        sides = {"enable_text": True, "enable_image": True}
        return WebdatasetReader(sampler, transform, tokenizer, [tar], BATCH, WORKERS, **sides)

    def mapper():
        return ClipMapper(True, True, False, False, model, USE_JIT, "")

    def writer(partition):
        return NumpyWriter(partition, folder, True, True, False, 1)

    Runner(reader, mapper, writer, NoLog, 1)(0)


def run(tar, weights, folder):
    """The figures of all pairs, after a run that loads the model and what is loaded late."""
    model = f"open_clip:ViT-B-32/{weights}"
    embed(tar, model, os.path.join(folder, "warm"))
    started, cpu = time.perf_counter(), cpu_s()
    embed(tar, model, os.path.join(folder, "all"))
    figures = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": cpu_s() - cpu,
        "start_cpu_seconds": cpu,
    }
    return figures


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
