"""Real training on releases: members of unlike size, of which one is killed and another joins."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import train_elastic, train_pipeline
from jobs.train_elastic import Trainer
from pipeline.core import ids
from pipeline.stream import membership
from pipeline.stream.loader import Stream
from tests.shards import plain_release, small_run
from tests.stream.member import take_part

ROOT = Path(__file__).resolve().parents[2]
BATCH = 64
CAPACITIES = (8, 16, 40)
DIES_IN, JOINS_BEFORE = 5, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "release"
    pictures = [small_run.picture(number, 32) for number in range(40)]
    samples = []
    for number in range(20 * BATCH + 11):
        key = ids.image_id(f"https://a.example/{number}").hex()
        caption = f"picture {number % 40} of the kind {number % 7}"
        record = json.dumps({"key": key, "caption": caption}).encode()
        samples.append((key, pictures[number % 40], caption.encode(), record))
    plain_release.write(folder, sorted(samples), 300)
    return folder


def alone(folder: Path) -> list[tuple[list[str], float]]:
    """Keys and loss of every step of an undisturbed run in one process."""
    trainer = Trainer(Stream(str(folder), BATCH, lanes=BATCH, seed=3), seed=3)
    found = []
    for _ in range(trainer.stream.steps):
        batch = trainer.stream.read()
        found.append((sorted(batch.keys), trainer.gradient(batch)))
        trainer.apply()
    assert trainer.stream.epoch == 1
    return found


def served(logs: Path) -> dict[str, dict[str, Any]]:
    """Of every applied step: its generation, the keys that its members served, and its loss by
    member."""
    lines = [
        json.loads(line)
        for f in logs.glob("*.jsonl")
        for line in f.open()
        if line.endswith("\n")  # the last one may be half-written
    ]
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        if "loss" in line:
            step = found.setdefault(
                line["step"], {"generation": line["generation"], "losses": [], "keys": []}
            )
            assert step["generation"] == line["generation"], "applied twice"
            step["losses"].append(line["loss"])
    for line in lines:
        step = found.get(line["step"])
        if step is not None and "keys" in line and line["generation"] == step["generation"]:
            step["keys"].append(line["keys"])
    return found


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_and_a_joining_member_change_nothing_of_what_is_learnt(
    folder: Path, forked: Any, tmp_path: Path
) -> None:
    store = membership.keep(0)
    starter = tmp_path / "start"
    given = [
        *("join", str(folder), "--store", f"127.0.0.1:{store.port}", "--expect", "3"),
        *("--batch-size", str(BATCH), "--lanes", str(BATCH), "--seed", "3"),
        *("--ledger", str(tmp_path), "--grace-s", "3", "--timeout-s", "100"),
    ]

    def member(name: str, capacity: int, dies: int, starts: str) -> Any:
        own = [*given, "--name", name, "--capacity", str(capacity)]
        waits = -1 if starts else JOINS_BEFORE
        told = str(tmp_path / f"{name}.err")
        process: Any = forked.Process(target=take_part, args=(dies, waits, starts, own, told))
        process.start()
        return process

    run = {
        name: member(name, capacity, DIES_IN if name == "b" else -1, "")
        for name, capacity in zip("abc", CAPACITIES, strict=True)
    }
    run["late"] = member("late", 16, -1, str(starter))
    try:
        run["b"].join(200)
        assert run["b"].exitcode == -signal.SIGKILL
        deadline = time.monotonic() + 100
        while not any(s["generation"] == 2 for s in served(tmp_path).values()):
            assert time.monotonic() < deadline, "the others did not go on"
            time.sleep(0.05)
        starter.touch()
        for name in ("a", "c", "late"):
            run[name].join(200)
        told = "\n".join((tmp_path / f"{n}.err").read_text()[-2000:] for n in run)
        assert {run[name].exitcode for name in ("a", "c", "late")} == {0}, told
    finally:
        for process in run.values():
            process.kill()
    expected, found = alone(folder), served(tmp_path)
    assert sorted(found) == sorted(f"0/{n}" for n in range(len(expected))), "steps missing, or more"
    for number, (keys, loss) in enumerate(expected):
        step = found[f"0/{number}"]
        assert sorted(sum(step["keys"], [])) == keys
        assert step["losses"] == pytest.approx([loss] * len(step["losses"]), rel=2e-4)
    sizes = [sorted(len(k) for k in found[f"0/{n}"]["keys"]) for n in range(len(expected) - 1)]
    generations = [found[f"0/{n}"]["generation"] for n in range(len(expected))]
    assert sizes[:DIES_IN] == [[8, 16, 40]] * DIES_IN
    # It asks as soon as it has started, at the latest while the others wait for it.
    joins_in = generations.index(3)
    assert DIES_IN < joins_in <= JOINS_BEFORE + 1
    assert sizes[DIES_IN:joins_in] == [[11, 53]] * (joins_in - DIES_IN)
    assert sizes[joins_in:] == [[8, 16, 40]] * (len(sizes) - joins_in)
    assert generations == sorted(generations) and set(generations) == {1, 2, 3}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_stages_of_replica_groups_share_a_stream(folder: Path, tmp_path: Path) -> None:
    steps, stages, groups = 6, 2, (16, 48)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node=4", "-m", "jobs.train_pipeline", str(folder)),
            *("--stages", str(stages), "--capacities", ",".join(map(str, groups))),
            *("--batch-size", str(BATCH), "--lanes", str(BATCH), "--seed", "2"),
            *("--steps", str(steps), "--ledger", str(tmp_path)),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = {
        (g, s): [json.loads(line) for line in (tmp_path / f"group{g}-stage{s}.jsonl").open()]
        for g in range(len(groups))
        for s in range(stages)
    }
    model = torch.nn.Sequential(*train_pipeline.layers(2, stages))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    stream = Stream(str(folder), BATCH, lanes=BATCH, seed=2)
    for step in range(steps):
        batch = stream.read()
        optimizer.zero_grad()
        logits = model(train_elastic.tensors(batch)[0])
        loss = train_pipeline.loss_sum(logits, train_pipeline.targets(batch)) / BATCH
        loss.backward()
        optimizer.step()
        stream.commit()
        keys = [told[g, 0][step]["keys"] for g in range(len(groups))]
        assert [len(k) for k in keys] == list(groups)
        assert sorted(sum(keys, [])) == sorted(batch.keys)
        for g in range(len(groups)):
            assert told[g, 1][step]["keys"] == keys[g]
            assert told[g, 1][step]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    stream.close()
