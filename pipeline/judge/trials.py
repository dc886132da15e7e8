"""Trials: one training and evaluation each, written as it is done, and never done twice."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.records import digest
from pipeline.core.storage import Store
from pipeline.judge import model as models
from pipeline.judge.evaluate import evaluate
from pipeline.judge.pixels import Decoder
from pipeline.judge.settings import JudgeSection
from pipeline.judge.tasks import Task, digest_of
from pipeline.judge.train import device_of, train
from pipeline.score.shape import Shape
from pipeline.stream.views import View

FOLDER = "results"
# Of the section, what a single trial does not depend on.
_OF_THE_WHOLE = {"seeds", "evaluation", "scaling_shares", "scaling_models", "pool_filters"}
Result = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One of the things that are compared. view_of: what is trained on, by seed."""

    name: str
    view_of: Callable[[int], View]


class Decoders:
    """A decoder for each shape, kept over trials. keep_bytes: of decoded pictures, of each."""

    def __init__(self, keep_bytes: int, threads: int) -> None:
        self._keep_bytes, self._threads = keep_bytes, threads
        self._made: dict[Shape, Decoder] = {}

    def __call__(self, model: Any) -> Decoder:
        """The decoder for what a model sees."""
        shape = models.shape_of(model)
        if shape not in self._made:
            self._made[shape] = Decoder(shape, self._keep_bytes, self._threads)
        return self._made[shape]


class Trials:
    """Runs trials and remembers them in a folder.

    A trial is the same when view, model, budget, schedule, seed, tasks and kind of device are.
    """

    def __init__(
        self, out: str, tasks: Sequence[Task], told: Callable[[str], None] = print
    ) -> None:
        self._store, self._tasks, self._told = Store(out), tasks, told
        self._evaluation = digest_of(tasks)
        self._decoders: Decoders | None = None

    def result(self, arm: Arm, section: JudgeSection, seed: int) -> Result:
        """The trial of an arm with a seed: from the folder, or made now. It has "identity",
        "arm", "seed", "samples" (of the view), "seen", "loss", "seconds" and "metrics"."""
        view = arm.view_of(seed)
        identity = self._identity(view, section, seed)
        path = f"{FOLDER}/{digest(identity)}.json"
        if self._store.exists(path):
            found: Result = self._store.read_json(path)
            if found["identity"] == identity:
                return {**found, "arm": arm.name}
        label = f"{arm.name}, {section.model}, seed {seed}"
        self._told(f"{label}: {view.samples:,} samples")
        made = self._run(view, section, seed, lambda line: self._told(f"  {line}"))
        result = {"identity": identity, "arm": arm.name, "seed": seed, **made}
        self._store.write_json(path, result)
        average = made["metrics"]["average"]["score"]
        self._told(f"{label}: average {average:.4f}, {made['seconds']:.0f} s")
        return result

    def _identity(self, view: View, section: JudgeSection, seed: int) -> dict[str, Any]:
        budget = {k: v for k, v in section.identity().items() if k not in _OF_THE_WHOLE}
        budget |= {"architecture": models.digest_of(section.model)}
        budget |= {"device": device_of(section).type}
        return {"view": view.id, "seed": seed, "evaluation": self._evaluation, **budget}

    def _run(
        self, view: View, section: JudgeSection, seed: int, told: Callable[[str], None]
    ) -> Result:
        if self._decoders is None:
            self._decoders = Decoders(section.cache_mb << 20, section.threads)
        started = time.monotonic()
        trained = train(view, section, seed, self._decoders, told)
        clip = models.as_clip(trained.model, trained.tokenizer, trained.device)
        decoder = self._decoders(trained.model)
        metrics = evaluate(clip, self._tasks, decoder, section.recall_k)
        return {
            "samples": view.samples,
            "seen": trained.samples,
            "epochs": round(trained.epochs, 3),
            "loss": round(trained.loss, 4),
            "seconds": round(time.monotonic() - started, 1),
            "metrics": metrics,
        }
