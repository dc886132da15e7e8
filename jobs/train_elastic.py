"""An example of elastic training: a small two-tower model on a release, by members of unlike size.

    python -m jobs.train_elastic keep --port 29400                       # one process, anywhere
    torchrun --nproc-per-node=1 --max-restarts=3 -m jobs.train_elastic \\
        join RELEASE --store HOST:29400 --expect 3 --batch-size 64 --capacity 8      # on each node

Members may be killed and others may join at any time: every global batch stays what it would have
been, and a failure costs the step it fell into (`pipeline.stream.membership`). What is particular
to this model are `TwoTowers` and `tensors`; put your own in their place.
"""

import argparse
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor

from pipeline.core.errors import PairmillError
from pipeline.stream import membership
from pipeline.stream.contrastive import contrastive_loss
from pipeline.stream.loader import Batch, Stream
from pipeline.stream.membership import Membership

_MOST_FAILURES = 5
_SIDE, _WIDTH, _BUCKETS = 32, 32, 4096


class TwoTowers(torch.nn.Module):  # type: ignore[misc]  # torch has no types here
    """Embeds pictures by patches and captions by their trigrams of bytes, at unit norm."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, _WIDTH, 8, stride=8)
        self.picture = torch.nn.Linear(_WIDTH, _WIDTH)
        self.trigrams = torch.nn.EmbeddingBag(_BUCKETS, _WIDTH, mode="mean")
        self.caption = torch.nn.Linear(_WIDTH, _WIDTH)
        self.logit_scale = torch.nn.Parameter(torch.tensor(np.log(1 / 0.07)))

    def forward(
        self, pixels: Tensor, trigrams: Tensor, starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures [n, width], captions [n, width], and what to multiply their product by."""
        seen = self.picture(self.patches(pixels).relu().mean((2, 3)))
        read = self.caption(self.trigrams(trigrams, starts))
        unit = torch.nn.functional.normalize
        return unit(seen, dim=1), unit(read, dim=1), self.logit_scale.exp()


def tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels float [n, 3, side, side], trigrams int64 [total], where those of each caption start
    int64 [n], and weights float [n]. A masked sample is black and without words, and has weight 0.
    """
    pixels = np.zeros((len(batch), _SIDE, _SIDE, 3), np.float32)
    trigrams: list[int] = []
    starts = []
    for number, (jpg, txt) in enumerate(zip(batch.jpg, batch.txt, strict=True)):
        if jpg:
            picture = Image.open(io.BytesIO(jpg)).convert("RGB").resize((_SIDE, _SIDE))
            pixels[number] = np.asarray(picture, np.float32) / 127.5 - 1
        starts.append(len(trigrams))
        trigrams += [int.from_bytes(txt[i : i + 3], "little") % _BUCKETS for i in range(len(txt))]
    return (
        torch.from_numpy(pixels).permute(0, 3, 1, 2),
        torch.tensor(trigrams, dtype=torch.long),
        torch.tensor(starts, dtype=torch.long),
        torch.from_numpy(batch.weight),
    )


class Trainer:
    """A model, its optimizer and its place in the stream: what a checkpoint holds."""

    def __init__(self, stream: Stream, seed: int) -> None:
        torch.manual_seed(seed)
        self.stream, self.model = stream, TwoTowers()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def gradient(self, batch: Batch) -> float:
        """Leave the gradient of the whole global batch in the parameters; the batch's loss."""
        *inputs, weight = tensors(batch)
        pictures, captions, scale = self.model(*inputs)
        loss = contrastive_loss(pictures, captions, scale, weight)
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        if not dist.is_initialized():
            return float(loss.detach())
        given = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([*(g.flatten() for g in given), loss.detach().reshape(1)])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, part in zip(given, flat[:-1].split([g.numel() for g in given]), strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(flat[-1])

    def apply(self) -> None:
        """Take the step."""
        self.optimizer.step()
        self.stream.commit()
        if self.stream.step == self.stream.steps:
            self.stream.next_epoch()

    def state_dict(self) -> dict[str, Any]:
        """All that a newcomer or a later run needs."""
        parts = {"model": self.model, "optimizer": self.optimizer, "stream": self.stream}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.stream.load_state_dict(state["stream"])


def train(trainer: Trainer, member: Membership, args: argparse.Namespace) -> None:
    """Train until the epochs are over, in whatever company."""
    generation, failures = member.join(args.expect), 0
    with open(Path(args.ledger, f"{member.name}.jsonl"), "a") as log:
        while generation is not None and trainer.stream.epoch < args.epochs:
            step = "start"
            try:
                member.connect()
                _share(trainer, member)
                trainer.stream.set_members(generation.capacities, member.name)
                while trainer.stream.epoch < args.epochs:
                    step = f"{trainer.stream.epoch}/{trainer.stream.step}"
                    if not _step(trainer, member, step, log):
                        break
                    failures = 0
                    if dist.get_rank() == 0 and args.checkpoint:
                        _save(trainer, Path(args.checkpoint))
                    if member.is_to_regroup(step):
                        break
            except RuntimeError as error:  # a member went away in the midst of a collective
                print(f"{member.name}, step {step}: {error}", file=sys.stderr)
                member.drop(step)
                failures += 1
                if failures == _MOST_FAILURES:  # it is not the others
                    raise
            if trainer.stream.epoch < args.epochs:
                generation = member.regroup()
    if generation is not None:
        member.end()


def _step(trainer: Trainer, member: Membership, step: str, log: Any) -> bool:
    """Do a step with the others; whether it was applied."""
    batch = trainer.stream.read()
    loss = trainer.gradient(batch)
    told = {"step": step, "generation": member.generation.number, "pid": os.getpid()}
    print(json.dumps(told | {"keys": batch.keys}), file=log, flush=True)
    is_applied = member.commit(step)
    if is_applied:
        trainer.apply()
        print(json.dumps(told | {"loss": loss, "at": time.time()}), file=log, flush=True)
    return is_applied


def _share(trainer: Trainer, member: Membership) -> None:
    """Give newcomers what the others have."""
    if member.generation.newcomers:
        state = [trainer.state_dict() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(state, src=0)
        if member.name in member.generation.newcomers:
            trainer.load_state_dict(state[0] or {})


def _save(trainer: Trainer, path: Path) -> None:
    beside = path.with_name(f".{path.name}")
    torch.save(trainer.state_dict(), beside)
    beside.replace(path)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m jobs.train_elastic")
    commands = parser.add_subparsers(dest="command", required=True)
    keep = commands.add_parser("keep", help="keep the store that members find each other through")
    keep.add_argument("--port", type=int, default=29400)
    join = commands.add_parser("join", help="train on a release, with whoever else does")
    join.add_argument("release", help="folder or URL of the release")
    join.add_argument("--store", required=True, metavar="HOST:PORT", help="where `keep` runs")
    join.add_argument("--expect", type=int, default=1, help="members that the run begins with")
    join.add_argument("--batch-size", type=int, default=64, help="samples of a step, of all")
    join.add_argument("--lanes", type=int, default=0, help="parts that members share; 0: as many")
    join.add_argument("--capacity", type=int, default=1, help="this member's share, any unit")
    join.add_argument("--name", default="member")
    join.add_argument("--epochs", type=int, default=1)
    join.add_argument("--seed", type=int, default=0)
    join.add_argument("--checkpoint", default="", help="file to write each step, and begin with")
    join.add_argument("--ledger", default=".", help="folder for a file of what each step served")
    join.add_argument("--grace-s", type=float, default=5.0)
    join.add_argument("--timeout-s", type=float, default=120.0)
    args = parser.parse_args(argv)
    try:
        if args.command == "keep":
            store = membership.keep(args.port)
            print(f"a store for a run is at port {store.port}", flush=True)
            while True:
                time.sleep(3600)
        torch.set_num_threads(1)
        trainer = Trainer(
            Stream(args.release, args.batch_size, lanes=args.lanes, seed=args.seed), args.seed
        )
        if args.checkpoint and Path(args.checkpoint).exists():
            trainer.load_state_dict(torch.load(args.checkpoint, weights_only=False))
        store = membership.reach(args.store)
        limits = {"grace_s": args.grace_s, "timeout_s": args.timeout_s}
        train(trainer, Membership(store, args.name, args.capacity, **limits), args)
    except PairmillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
