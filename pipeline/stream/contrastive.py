"""CLIP's loss over ranks whose batches are of unlike size, and the weight of a rank's own loss.

open_clip's loss gathers equal batches and numbers labels by rank times batch size; with unequal
batches it hangs or mislabels. Here sizes are gathered first, and labels are prefix sums of them.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_functional
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    images: Tensor, texts: Tensor, logit_scale: Tensor, weight: Tensor | None = None
) -> Tensor:
    """This rank's share of the symmetric contrastive loss of the whole global batch: a scalar.

    images, texts: float [n, width], unit norm; row i of both is one pair. n may differ by rank and
    be 0. weight: float [n], 1, or 0 for a pair that is masked: it is neither judged nor a negative.
    Under DistributedDataParallel, which averages gradients over ranks, the gradients are those of
    the loss over the concatenated batch in one process; the sum of the ranks' returned values,
    divided by their number, is that loss. Without a process group it is simply that loss.
    Source: Radford et al., "Learning Transferable Visual Models From Natural Language
    Supervision" (2021), figure 3.
    """
    if weight is None:
        weight = images.new_ones(len(images))
    sizes = _sizes(len(images), images.device)
    all_images, all_texts = _gather(images, sizes), _gather(texts, sizes)
    all_weights = _gather(weight[:, None], sizes)[:, 0].detach()
    rank = dist.get_rank() if dist.is_initialized() else 0
    labels = torch.arange(len(images), device=images.device) + sum(sizes[:rank])
    masked = all_weights == 0
    sides = (
        _cross_entropy(logit_scale * images @ all_texts.T, labels, masked, weight),
        _cross_entropy(logit_scale * texts @ all_images.T, labels, masked, weight),
    )
    total = all_weights.sum().clamp(min=1)
    # Every rank takes part in every gather's backward, also one that has nothing to judge.
    unused = 0 * (all_images.sum() + all_texts.sum())
    return len(sizes) * ((sides[0] + sides[1]) / (2 * total) + unused)


def rank_weight(samples: float, all_samples: float, ranks: int) -> float:
    """What to multiply a rank's mean loss by, so that averaging gradients over `ranks` gives the
    gradient of the mean over all samples. Counts are of unmasked samples, or sums of weights."""
    return samples * ranks / all_samples


def _cross_entropy(logits: Tensor, labels: Tensor, masked: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum over the rows; masked columns are no candidates but for a masked row itself."""
    logits = logits.masked_fill(masked[None, :], float("-inf"))
    judged = weight > 0
    losses = F.cross_entropy(logits[judged], labels[judged], reduction="none")
    return (losses * weight[judged]).sum()


def _sizes(own: int, device: torch.device) -> list[int]:
    if not dist.is_initialized():
        return [own]
    found = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(found, torch.tensor([own], device=device))
    return [int(size) for size in found]


def _gather(rows: Tensor, sizes: list[int]) -> Tensor:
    """Rows of all ranks in rank order, with gradients back to where they came from."""
    if not dist.is_initialized():
        return rows
    padded = F.pad(rows, (0, 0, 0, max(sizes) - len(rows)))
    gathered = cast(Any, dist_functional).all_gather(padded)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])
