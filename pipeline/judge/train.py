"""Trains a CLIP on a view, from nothing, for a fixed number of samples seen.

On the processor the same view, settings and seed give the same model.
"""

import itertools
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.core.errors import ConfigError, InputError, PairmillError
from pipeline.judge import model as models
from pipeline.judge.pixels import Decoder
from pipeline.judge.settings import JudgeSection
from pipeline.score.clip import pick_device
from pipeline.score.tokens import tokenize_with
from pipeline.stream.contrastive import contrastive_loss
from pipeline.stream.loader import Batch
from pipeline.stream.pytorch import StreamDataset
from pipeline.stream.views import View

# CLIP clips the scale of its logits to 100. Source: arXiv:2103.00020, section 2.5.
_LARGEST_SCALE = math.log(100)
Decoders = Callable[[Any], Decoder]


@dataclass(frozen=True)
class Trained:
    """A model after its budget. loss: of the last tenth of the steps, on average. samples: seen,
    with repetition; epochs: how often each sample of the view was, on average."""

    model: Any
    tokenizer: Any
    device: Any
    loss: float
    steps: int
    samples: int
    epochs: float


def device_of(section: JudgeSection) -> Any:
    """Where to train. Raises ConfigError for a GPU that is not there."""
    import torch

    name = pick_device() if section.device == "auto" else section.device
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"judge.device = {section.device!r}: there is no GPU; give 'cpu'")
    return torch.device(name)


def train(
    view: View,
    section: JudgeSection,
    seed: int,
    decoders: Decoders,
    told: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train `section.model` on the view.

    decoders: gives what decodes for a model, and may be the same each time. told: progress.
    Raises InputError for a view smaller than a batch, PairmillError when the loss is no number.
    """
    import torch

    if view.samples < section.batch_size:
        raise InputError(
            f"a view of {view.samples:,} samples is smaller than judge.batch_size = "
            f"{section.batch_size:,}"
        )
    torch.set_num_threads(section.threads)
    where = device_of(section)
    model, tokenizer = models.create(section.model, seed, where)
    model.train()
    steps = max(1, round(section.samples / section.batch_size))
    optimizer, schedule = _optimizer(model, section, steps, where)
    mean, std = models.scale_of(model, where)
    batches = _batches(view, section, seed, decoders(model), tokenizer, where.type == "cuda")
    losses: list[Any] = []
    for step in range(1, steps + 1):
        pixels, tokens, weight = (tensor.to(where, non_blocking=True) for tensor in next(batches))
        x = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
        with torch.autocast(where.type, torch.bfloat16, enabled=section.precision == "bf16"):
            pictures, texts = models.encoded(model, x, tokens)
        loss = contrastive_loss(pictures, texts, model.logit_scale.exp(), weight)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, _LARGEST_SCALE)
        losses.append(loss.detach())
        if step % max(1, steps // 10) == 0:
            told(f"step {step:,}/{steps:,}, loss {float(loss.detach()):.3f}")
    batches.close()
    last = float(torch.stack(losses[-max(1, steps // 10) :]).mean())
    if not math.isfinite(last):
        raise PairmillError(f"the loss is {last} at the end: lower judge.peak_rate")
    seen = steps * section.batch_size
    return Trained(model, tokenizer, where, last, steps, seen, seen / view.samples)


def decayed(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer: matrices decay, gains and biases do not.

    Source: CLIP, arXiv:2103.00020, section 2.5.
    """
    learnt = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learnt if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in learnt if p.ndim < 2], "weight_decay": 0.0},
    ]


def _optimizer(model: Any, section: JudgeSection, steps: int, where: Any) -> tuple[Any, Any]:
    """AdamW without decay of gains and biases, warmed up linearly, then down by a cosine.

    Source: CLIP, arXiv:2103.00020, section 2.5 and table 18; open_clip's trainer.
    """
    import torch

    groups = decayed(model, section.weight_decay)
    optimizer = torch.optim.AdamW(
        groups, lr=section.peak_rate, betas=(0.9, 0.98), eps=1e-6, fused=True
    )
    warmup = max(1, round(section.warmup_share * steps))

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _batches(
    view: View,
    section: JudgeSection,
    seed: int,
    decoder: Decoder,
    tokenizer: Any,
    pinned: bool,
) -> Generator[Any, None, None]:
    """Pixels uint8 [n, side, side, 3], token ids int64 [n, length] and weights float [n], epoch
    after epoch. Workers of the next epoch start, and decode what they hold ahead, while this one
    is trained on: a small view has many epochs."""
    from torch.utils.data import DataLoader

    convert = partial(_tensors, decoder, tokenize_with(tokenizer))
    settings: dict[str, Any] = {"seed": seed, "partial_step": False}

    def begun(epoch: int) -> Iterator[Any]:
        dataset = StreamDataset(view, section.batch_size, convert=convert, **settings)
        dataset.set_epoch(epoch)
        loader = DataLoader(
            dataset, batch_size=None, num_workers=section.workers, pin_memory=pinned
        )
        return iter(loader)

    following = begun(0)
    for epoch in itertools.count(1):
        current, following = following, begun(epoch)
        yield from current


def _tensors(decoder: Decoder, tokenize: Any, batch: Batch) -> tuple[Any, Any, Any]:
    import torch

    pixels = decoder.batch(batch.keys, batch.jpg)
    tokens = tokenize([text.decode() for text in batch.txt])
    return torch.from_numpy(pixels), tokens, torch.from_numpy(batch.weight)
