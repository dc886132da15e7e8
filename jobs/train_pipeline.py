"""An example of pipeline-parallel training: replica groups of unlike size, stages share a stream.

    torchrun --nproc-per-node=4 -m jobs.train_pipeline RELEASE --stages 2 --capacities 16,48

starts two replica groups of two stages. A group is one member of the stream: its ranks read the
same samples at the same cursor, the first stage takes their pictures and the last one their
captions. The model, which tells from a picture which bytes its caption has, stands for one that
does not fit on one device. Groups add up their gradients stage by stage.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

from jobs.train_elastic import tensors
from pipeline.core.errors import PairmillError
from pipeline.stream.loader import Batch, Stream

_WIDTH, _BYTES = 32, 256


def layers(seed: int, stages: int) -> list[torch.nn.Module]:
    """The model cut into stages: patches of a picture first, bytes of its caption last."""
    torch.manual_seed(seed)
    first = torch.nn.Sequential(
        torch.nn.Conv2d(3, _WIDTH, 8, stride=8), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(16 * _WIDTH, _WIDTH),
    )  # fmt: skip
    middle = [
        torch.nn.Sequential(torch.nn.Linear(_WIDTH, _WIDTH), torch.nn.ReLU())
        for _ in range(stages - 2)
    ]
    last = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(_WIDTH, _BYTES))
    return [first, *middle, last] if stages > 1 else [torch.nn.Sequential(first, last)]


def targets(batch: Batch) -> Tensor:
    """Float [n, 1 + bytes]: a sample's weight, and for each byte whether its caption has it."""
    found = np.zeros((len(batch), 1 + _BYTES), np.float32)
    found[:, 0] = batch.weight
    for row, caption in zip(found, batch.txt, strict=True):
        row[1 + np.unique(np.frombuffer(caption, np.uint8))] = 1
    return torch.from_numpy(found)


def loss_sum(logits: Tensor, target: Tensor) -> Tensor:
    """Sum over the samples of their loss, masked ones left out."""
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, target[:, 1:], reduction="none"
    )
    return (losses.mean(1) * target[:, 0]).sum()


@dataclass(frozen=True)
class Place:
    """Where this rank is: its replica group, its stage in it, and torch's groups of those in the
    same replica group and in the same stage."""

    group: int
    stage: int
    pipeline: Any
    replicas: Any


def find_place(stages: int, groups: int) -> Place:
    """Ranks are numbered group by group. Raises PairmillError when their number does not fit."""
    rank, world = dist.get_rank(), dist.get_world_size()
    if stages * groups != world:
        raise PairmillError(f"{groups} groups of {stages} stages are not {world} processes")
    pipelines = [dist.new_group(range(g * stages, (g + 1) * stages)) for g in range(groups)]
    replicas = [dist.new_group(range(s, world, stages)) for s in range(stages)]
    group, stage = divmod(rank, stages)
    return Place(group, stage, pipelines[group], replicas[stage])


def _open(args: argparse.Namespace, place: Place, capacities: list[int]) -> Stream:
    """The stream of this rank's group. Raises PairmillError when its share cannot be cut evenly."""
    stream = Stream(
        args.release,
        args.batch_size,
        lanes=args.lanes,
        seed=args.seed,
        member=f"group{place.group}",
        members={f"group{g}": capacity for g, capacity in enumerate(capacities)},
        partial_step=False,  # stages agree once on the shapes they hand on
    )
    own = len(stream.lanes) * args.batch_size // stream.state_dict()["lanes"]
    if own % args.microbatches:
        raise PairmillError(f"group{place.group} has {own} samples, not {args.microbatches} alike")
    return stream


def train(args: argparse.Namespace) -> None:
    """An epoch, or `--steps` of it; what was served and learnt goes to `--ledger`."""
    capacities = [int(c) for c in args.capacities.split(",")]
    place = find_place(args.stages, len(capacities))
    stream = _open(args, place, capacities)
    model = layers(args.seed, args.stages)[place.stage]
    stage = PipelineStage(
        model, place.stage, args.stages, torch.device("cpu"), group=place.pipeline
    )
    total = [1.0]
    schedule = ScheduleGPipe(
        stage,
        args.microbatches,
        loss_fn=lambda logits, target: loss_sum(logits, target) / total[0],
        scale_grads=False,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    is_last = place.stage == args.stages - 1
    with open(Path(args.ledger, f"group{place.group}-stage{place.stage}.jsonl"), "w") as ledger:
        for _ in range(min(args.steps or stream.steps, stream.steps)):
            batch = stream.read()
            total[0] = max(1.0, _summed(float(batch.weight.sum()), place))
            optimizer.zero_grad()
            losses: list[Tensor] = []
            inputs = tensors(batch)[:1] if place.stage == 0 else ()
            given = {"target": targets(batch), "losses": losses} if is_last else {}
            schedule.step(*inputs, **given)
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad, group=place.replicas)
            optimizer.step()
            told: dict[str, Any] = {"step": stream.step, "keys": batch.keys}
            if is_last:
                told["loss"] = _summed(float(sum(loss.detach() for loss in losses)), place)
            print(json.dumps(told), file=ledger, flush=True)
            stream.commit()
    stream.close()


def _summed(value: float, place: Place) -> float:
    """The sum of a number over the replica groups."""
    told = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(told, group=place.replicas)
    return float(told)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; its exit status."""
    parser = argparse.ArgumentParser(prog="torchrun -m jobs.train_pipeline")
    parser.add_argument("release", help="folder or URL of the release")
    parser.add_argument("--stages", type=int, default=2, help="of each replica group")
    parser.add_argument("--capacities", default="1", help="of the replica groups, as 16,48")
    parser.add_argument("--batch-size", type=int, default=64, help="samples of a step, of all")
    parser.add_argument("--lanes", type=int, default=0, help="parts that groups share; 0: as many")
    parser.add_argument("--microbatches", type=int, default=4)
    parser.add_argument("--steps", type=int, default=0, help="0: the epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ledger", default=".", help="folder for a file of what each step served")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    try:
        train(args)
    except PairmillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
