"""clip-retrieval's side of `score` and `line`; runs in the peer's environment.

`score TAR WEIGHTS FOLDER`: its own reader, mapper, writer and runner embed the pairs of a tar of
.jpg and .txt with ViT-B-32 and write them to the folder. `line TARS WEIGHTS FOLDER` does that with
all tars of a folder, loading the model once. Imports nothing of ours.
"""

import glob
import json
import os
import resource
import sys
import time
import types
from importlib.machinery import ModuleSpec

# For its command line, its log to a service, its servers and models of other kinds; its packages'
# own __init__ would import all of them.
for name in ("fire", "wandb", "sentence_transformers", "clip"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__spec__ = ModuleSpec(name, None)  # others look whether it is installed
sys.modules["sentence_transformers"].SentenceTransformer = None
for name in ("clip_retrieval", "clip_retrieval.clip_inference"):
    module = types.ModuleType(name)
    module.__path__ = [os.path.join(path, *name.split(".")) for path in sys.path]
    sys.modules[name] = module

import torch  # noqa: E402

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # Built for another torch: its compiled operators are not there, and only their names matter.
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from all_clip import load_clip  # noqa: E402
from clip_retrieval.clip_inference.mapper import ClipMapper  # noqa: E402
from clip_retrieval.clip_inference.reader import WebdatasetReader  # noqa: E402
from clip_retrieval.clip_inference.runner import Runner  # noqa: E402
from clip_retrieval.clip_inference.writer import NumpyWriter  # noqa: E402

# Its defaults (clip_inference/worker.py), but for one process that decodes, since more of them than
# tars fail, and for TorchScript, which newer torch does not make.
BATCH, WORKERS, USE_JIT = 256, 1, False


class NoLog:
    """Instead of its log of statistics, whose process would load all of it again."""

    def __init__(self, partition):
        pass

    def __call__(self, stats):
        pass

    def start(self):
        pass

    def end(self):
        pass


def cpu_s():
    """User and system seconds of this process, its threads and ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


# As its mapper asks for a model; its worker asks for the same, so that it is loaded once.
LOADING = {"use_jit": USE_JIT, "warmup_batch_size": 1, "clip_cache_path": None}


def embed(tars, model, folder):
    """As its worker does one partition."""

    def reader(sampler):
        _, transform, tokenizer = load_clip(clip_model=model, **LOADING)
        sides = {"enable_text": True, "enable_image": True}
        return WebdatasetReader(sampler, transform, tokenizer, tars, BATCH, WORKERS, **sides)

    def mapper():
        return ClipMapper(
            enable_image=True,
            enable_text=True,
            enable_metadata=False,
            use_mclip=False,
            clip_model=model,
            use_jit=USE_JIT,
            mclip_model="",
        )

    def writer(partition):
        return NumpyWriter(partition, folder, True, True, False, 1)

    Runner(reader, mapper, writer, NoLog, 1)(0)


def run(tar, weights, folder):
    """The figures of all pairs, once the model is loaded."""
    model = f"open_clip:ViT-B-32/{weights}"
    load_clip(clip_model=model, **LOADING)
    started, cpu = time.perf_counter(), cpu_s()
    embed([tar], model, folder)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": cpu_s() - cpu,
        "start_cpu_seconds": cpu,
    }


if __name__ == "__main__":
    # As ours: threads that wait for each other by spinning would count as work.
    torch.set_num_threads(1)
    verb, given, *arguments = sys.argv[1:]
    if verb == "score":
        print(json.dumps(run(given, *arguments)))
    else:
        weights, target = arguments
        embed(sorted(glob.glob(f"{given}/*.tar")), f"open_clip:ViT-B-32/{weights}", target)
