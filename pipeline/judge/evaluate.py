"""What a trained model knows: zero-shot classification and retrieval on held-out tasks."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.judge.pixels import Decoder
from pipeline.judge.tasks import Classification, Picture, Retrieval, Task
from pipeline.score.clip import Clip

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Metrics = dict[str, float]
AVERAGE = "average"
SCORE = "score"  # of a task: what goes into the average
_BATCH = 256  # pictures that are decoded at a time
_ROWS = 1024  # of similarities that are held at a time


def evaluate(
    clip: Clip, tasks: Sequence[Task], decoder: Decoder, recall_k: Sequence[int]
) -> dict[str, Metrics]:
    """Metrics of every task from 0 to 1, and under `AVERAGE` the mean of the tasks' scores.

    Source of the average: DataComp, arXiv:2304.14108, section 3.5, which takes accuracy of a
    classification, and of a retrieval the mean of both directions' recall at 1.
    """
    found: dict[str, Metrics] = {}
    for task in tasks:
        pictures = embed(clip, task.pictures, decoder)
        if isinstance(task, Classification):
            found[task.name] = _classification(clip, task, pictures)
        else:
            found[task.name] = _retrieval(clip, task, pictures, recall_k)
    found[AVERAGE] = {SCORE: float(np.mean([one[SCORE] for one in found.values()]))}
    return found


def embed(clip: Clip, pictures: Sequence[Picture], decoder: Decoder) -> F32:
    """Unit vectors, float32 [n, width]."""
    parts = []
    for start in range(0, len(pictures), _BATCH):
        some = pictures[start : start + _BATCH]
        pixels = decoder.batch([p.name for p in some], [p.read() for p in some])
        parts.append(clip.embed_images(pixels))
    return np.concatenate(parts)


def class_vectors(clip: Clip, classes: Sequence[str], templates: Sequence[str]) -> F32:
    """A unit vector for each class, float32 [classes, width]: the mean of the unit vectors of its
    name in every template, at unit length again.

    Source: CLIP, arXiv:2103.00020, section 3.1.4, ensembles in the space of embeddings.
    """
    texts = [template.replace("{c}", name) for name in classes for template in templates]
    vectors = clip.embed_texts(texts).reshape(len(classes), len(templates), -1).mean(1)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: F32 = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return found


def _classification(clip: Clip, task: Classification, pictures: F32) -> Metrics:
    likeness = pictures @ class_vectors(clip, task.classes, task.templates).T
    metrics = {f"acc@{k}": accuracy(likeness, task.labels, k) for k in (1, 5)}
    return {**metrics, SCORE: metrics["acc@1"]}


def accuracy(likeness: F32, labels: I64, k: int) -> float:
    """Share of rows of [n, classes] whose label is among the k most alike. Of equals, all that
    come before a label count as more alike, so that a model that tells nothing gets nothing."""
    own = likeness[np.arange(len(labels)), labels][:, None]
    return float(((likeness >= own).sum(1) <= k).mean())


def _retrieval(clip: Clip, task: Retrieval, pictures: F32, recall_k: Sequence[int]) -> Metrics:
    texts = clip.embed_texts(list(task.captions))
    metrics = recalls(pictures, texts, task.owners, recall_k)
    both = (metrics["image_to_text@1"] + metrics["text_to_image@1"]) / 2
    return {**metrics, SCORE: both}


def recalls(pictures: F32, texts: F32, owners: I64, recall_k: Sequence[int]) -> Metrics:
    """Recall at each k, both ways: the share of pictures with one of their own captions among the k
    most alike, and of captions with their own picture among these. Equals count as before it.

    pictures: [n, width]. texts: [m, width]. owners: int64 [m], the picture of each caption.
    Source: Karpathy and Fei-Fei, arXiv:1412.2306, section 4.1, as CLIP and DataComp report it.
    """
    best = np.empty(len(pictures), np.int64)  # rank from 1 of a picture's best own caption
    for start in range(0, len(pictures), _ROWS):
        likeness = pictures[start : start + _ROWS] @ texts.T
        own = owners[None, :] == np.arange(start, start + len(likeness))[:, None]
        top = np.where(own, likeness, -np.inf).max(1, keepdims=True)
        best[start : start + _ROWS] = ((likeness >= top) & ~own).sum(1) + 1
    rank = np.empty(len(texts), np.int64)
    for start in range(0, len(texts), _ROWS):
        likeness = texts[start : start + _ROWS] @ pictures.T
        mine = likeness[np.arange(len(likeness)), owners[start : start + _ROWS]][:, None]
        rank[start : start + _ROWS] = (likeness >= mine).sum(1)
    found: Metrics = {}
    for k in recall_k:
        found[f"image_to_text@{k}"] = float((best <= k).mean())
        found[f"text_to_image@{k}"] = float((rank <= k).mean())
    return found


def headline(metrics: Mapping[str, Metrics]) -> dict[str, float]:
    """The score of every task, and the average."""
    return {name: task[SCORE] for name, task in metrics.items()}
