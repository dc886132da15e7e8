"""A member of the elastic training run whose death and whose joining fall on known steps.

    member.py <step to die in or -1> <step before which to wait, or -1> <requests to wait for> \
        <file whose being there starts it, or -> <arguments of jobs.train_elastic>
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from jobs import train_elastic
from pipeline.stream import membership

die_at, wait_at, requests = (int(a) for a in sys.argv[1:4])
start, given = sys.argv[4], sys.argv[5:]

all_reduce, step = torch.distributed.all_reduce, train_elastic._step


def dying_step(
    trainer: train_elastic.Trainer, member: membership.Membership, *rest: object
) -> bool:
    at = trainer.stream.step
    if at == wait_at:
        deadline = time.monotonic() + 100
        while member._store.add("asked", 0) < requests and time.monotonic() < deadline:
            time.sleep(0.01)
    if at == die_at:  # in the midst of the step: the others are in the collective by then, or come
        torch.distributed.all_reduce = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return step(trainer, member, *rest)


train_elastic._step = dying_step
while start != "-" and not Path(start).exists():
    time.sleep(0.01)
sys.exit(train_elastic.main(given))
