"""A member of the elastic training run whose death and whose joining fall on known steps."""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from jobs import train_elastic
from pipeline.stream import membership

REQUESTS = 4  # that a member waits for, when it waits


def take_part(die_at: int, wait_at: int, starter: str, given: list[str], told: str) -> None:
    """Run `jobs.train_elastic` with the arguments given, in a process of its own.

    die_at: the step to be killed in; -1 for none. wait_at: the step before which to wait until the
    others have asked; -1 for none. starter: a file whose being there starts it; "" for at once.
    told: the file for what it says.
    """
    os.dup2(os.open(told, os.O_CREAT | os.O_WRONLY), sys.stderr.fileno())
    step = train_elastic._step

    def dying_step(
        trainer: train_elastic.Trainer, member: membership.Membership, *rest: object
    ) -> bool:
        at = trainer.stream.step
        if at == wait_at:
            deadline = time.monotonic() + 100
            while member._store.add("asked", 0) < REQUESTS and time.monotonic() < deadline:
                time.sleep(0.01)
        if at == die_at:  # in the midst of the step: the others are in the collective, or come
            torch.distributed.all_reduce = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer, member, *rest)

    train_elastic._step = dying_step
    while starter and not Path(starter).exists():
        time.sleep(0.01)
    sys.exit(train_elastic.main(given))
