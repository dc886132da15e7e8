"""The loss over unequal ranks is that of one process over the concatenated batch."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pipeline.stream.contrastive import contrastive_loss, rank_weight

SIZES = (8, 16, 40, 0)


def model() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.ModuleDict({"image": torch.nn.Linear(12, 6), "text": torch.nn.Linear(9, 6)})


class Both(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.towers = model()
        self.scale = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def unit(rows: Tensor) -> Tensor:
            return torch.nn.functional.normalize(rows, dim=-1)

        return unit(self.towers["image"](images)), unit(self.towers["text"](texts)), self.scale


def batch() -> tuple[Tensor, Tensor, Tensor]:
    made = torch.Generator().manual_seed(2)
    rows = sum(SIZES)
    weight = torch.ones(rows)
    weight[[3, 30]] = 0
    return torch.randn(rows, 12, generator=made), torch.randn(rows, 9, generator=made), weight


def one_rank(rank: int, port: int, out: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=len(SIZES))
    trained = DistributedDataParallel(Both())
    start = sum(SIZES[:rank])
    images, texts, weight = (t[start : start + SIZES[rank]] for t in batch())
    loss = contrastive_loss(*trained(images, texts), weight)
    loss.backward()
    gradients = {name: p.grad for name, p in trained.module.named_parameters()}
    torch.save((float(loss.detach()), gradients), f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_unequal_ranks_have_the_loss_and_gradients_of_the_concatenated_batch(
    forked: object, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args = (port, str(tmp_path))
    mp.start_processes(one_rank, args, nprocs=len(SIZES), start_method="forkserver")
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(SIZES))]
    alone = Both()
    images, texts, weight = batch()
    expected = contrastive_loss(*alone(images, texts), weight)
    expected.backward()
    torch.testing.assert_close(
        sum(loss for loss, _ in found) / len(SIZES), float(expected.detach())
    )
    for _, gradients in found:
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_masked_pairs_count_for_nothing() -> None:
    images, texts, weight = batch()
    trained = Both()
    kept = weight > 0
    masked = contrastive_loss(*trained(images, texts), weight)
    without = contrastive_loss(*trained(images[kept], texts[kept]))
    torch.testing.assert_close(masked, without)
    # The textbook form, on the kept pairs alone.
    a, b, scale = trained(images[kept], texts[kept])
    labels = torch.arange(len(a))
    textbook = [
        torch.nn.functional.cross_entropy(m, labels) for m in (scale * a @ b.T, scale * b @ a.T)
    ]
    torch.testing.assert_close(without, sum(textbook) / 2)


def test_a_batch_of_nothing_but_masked_pairs_has_no_loss() -> None:
    images, texts, _ = batch()
    loss = contrastive_loss(*Both()(images, texts), torch.zeros(len(images)))
    loss.backward()
    assert float(loss.detach()) == 0


def test_the_weights_of_mean_losses_add_up() -> None:
    means, sizes = [0.5, 2.0, 1.0], [8, 16, 40]
    scaled = [m * rank_weight(n, sum(sizes), 3) for m, n in zip(means, sizes, strict=True)]
    overall = sum(m * n for m, n in zip(means, sizes, strict=True)) / sum(sizes)
    assert sum(scaled) / 3 == pytest.approx(overall)
