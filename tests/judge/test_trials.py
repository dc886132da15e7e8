"""Trials from end to end on pictures of one colour each: ordering, determinism, going on."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ConfigError, InputError
from pipeline.judge import curves, table, tasks
from pipeline.judge.settings import JudgeSection
from pipeline.judge.subsets import ids_of, subset
from pipeline.judge.trials import Arm, Trials
from pipeline.stream.views import View
from tests.judge import pools

pytestmark = pytest.mark.slow
SECTION = JudgeSection(samples=384, batch_size=16, seeds=2, peak_rate=3e-3, device="cpu")


def right(colour: str, number: int) -> str:
    return f"a {colour} picture"


def wrong(colour: str, number: int) -> str:
    return f"a {list(pools.COLOURS)[number // 4 % 4]} picture"


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> list[tasks.Task]:
    folder = tmp_path_factory.mktemp("held_out")
    for colour in pools.COLOURS:
        for number in range(6):
            path = folder / "colours" / colour / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pools.picture(colour, 10_000 + number))
    (folder / "colours" / "templates.txt").write_text("a {c} picture\n")
    (folder / "said").mkdir()
    rows = []
    for number, colour in enumerate(pools.COLOURS):
        (folder / "said" / f"{number}.jpg").write_bytes(pools.picture(colour, 20_000))
        rows.append(f"{number}.jpg,a {colour} picture\n")
    (folder / "said" / "captions.csv").write_text("image,caption\n" + "".join(rows))
    return tasks.load(str(folder))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> View:
    return pools.write(tmp_path_factory.mktemp("pools") / "good", 96, right)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> View:
    return pools.write(tmp_path_factory.mktemp("pools") / "bad", 96, wrong)


def test_right_captions_are_better_than_wrong_ones_and_nothing_is_done_twice(
    good: View, bad: View, held_out: list[tasks.Task], tmp_path: Path
) -> None:
    told: list[str] = []
    trials = Trials(str(tmp_path), held_out, told.append)
    arms = [Arm("right", lambda seed: good), Arm("wrong", lambda seed: bad)]
    results: dict[str, list[Any]] = {arm.name: [] for arm in arms}
    for seed in range(SECTION.seeds):
        for arm in arms:
            results[arm.name].append(trials.result(arm, SECTION, seed))
    (found,) = table.compare(results, [("right", "wrong")])
    assert found.by_task["average"].mean > 0.1
    text = table.render(results, [found])
    for expected in ("| right | 96 | 4.0 |", "| right | wrong |", "text_to_image@5", "acc@5"):
        assert expected in text
    assert len(list((tmp_path / "results").iterdir())) == 4
    assert any("right, judge-small, seed 1" in line for line in told)

    again = Trials(str(tmp_path), held_out, lambda line: pytest.fail(line))
    assert [again.result(arms[0], SECTION, seed) for seed in range(2)] == results["right"]
    # Called otherwise, it is the same trial still.
    assert again.result(Arm("other", lambda seed: good), SECTION, 0)["arm"] == "other"

    fresh = Trials(str(tmp_path / "fresh"), held_out, lambda line: None)
    made = fresh.result(arms[0], SECTION, 0)
    same = ("metrics", "loss", "identity")
    assert {k: made[k] for k in same} == {k: results["right"][0][k] for k in same}


def test_workers_give_the_same_batches_over_several_epochs_and_end(
    good: View, held_out: list[tasks.Task], tmp_path: Path
) -> None:
    arm = Arm("right", lambda seed: good)
    losses = []
    for workers in (0, 2):
        section = SECTION.model_copy(update={"samples": 288, "workers": workers, "cache_mb": 0})
        trials = Trials(str(tmp_path / str(workers)), held_out, lambda line: None)
        losses.append(trials.result(arm, section, 0)["loss"])
    assert losses[0] == losses[1]
    assert not multiprocessing.active_children()


def test_whatever_a_trial_depends_on_makes_another(
    good: View, held_out: list[tasks.Task], tmp_path: Path
) -> None:
    short = SECTION.model_copy(update={"samples": 16})
    arm = Arm("right", lambda seed: good)
    Trials(str(tmp_path), held_out, lambda line: None).result(arm, short, 0)
    part = Arm("right", lambda seed: subset(good, 48, ids_of(good), "s"))
    others: list[tuple[Arm, JudgeSection, int, list[tasks.Task]]] = [
        (arm, short.model_copy(update={"samples": 32}), 0, held_out),
        (arm, short.model_copy(update={"weight_decay": 0.0}), 0, held_out),
        (arm, short, 1, held_out),
        (part, short, 0, held_out),
        (arm, short, 0, held_out[:1]),
    ]
    for number, (arm, section, seed, asked) in enumerate(others):
        Trials(str(tmp_path), asked, lambda line: None).result(arm, section, seed)
        assert len(list((tmp_path / "results").iterdir())) == number + 2
    more = short.model_copy(update={"seeds": 9, "workers": 3, "scaling_shares": (0.5,)})
    Trials(str(tmp_path), held_out, lambda line: pytest.fail(line)).result(
        Arm("right", lambda seed: good), more, 0
    )


def test_a_scaling_is_drawn_the_same_twice(tmp_path: Path) -> None:
    results = {
        model: [
            {"samples": n, "seed": s, "metrics": {"average": {"score": n / 100 + s / 50 + extra}}}
            for n in (8, 16)
            for s in range(2)
        ]
        for model, extra in (("small", 0.0), ("large", 0.1))
    }
    assert "| 16 | 17.0 ± 12.7 | 27.0 ± 12.7 |" in table.curve(results)
    for name in ("a.svg", "b.svg", "a.png"):
        curves.draw(results, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"large" in (tmp_path / "a.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_what_cannot_be_trained_is_refused(
    good: View, held_out: list[tasks.Task], tmp_path: Path
) -> None:
    trials = Trials(str(tmp_path), held_out, lambda line: None)
    arm = Arm("right", lambda seed: good)
    with pytest.raises(InputError, match="96 samples is smaller than judge.batch_size = 128"):
        trials.result(arm, SECTION.model_copy(update={"batch_size": 128}), 0)
    with pytest.raises(ConfigError, match="judge.model = 'vit' is no architecture"):
        trials.result(arm, SECTION.model_copy(update={"model": "vit"}), 0)
    assert not (tmp_path / "results").exists()


def test_seeds_must_be_the_same_to_be_compared() -> None:
    one = {"seed": 0, "metrics": {"average": {"score": 0.5}}}
    with pytest.raises(ValueError, match="same seeds"):
        table.compare({"a": [one], "b": [{**one, "seed": 1}]}, [("a", "b")])
