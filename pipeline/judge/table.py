"""Tables of trials in Markdown: what each arm reached, and what is told apart by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.judge.evaluate import AVERAGE, SCORE
from pipeline.judge.statistics import Estimate, difference, estimate

Result = Mapping[str, Any]
Results = Mapping[str, Sequence[Result]]  # arm -> a result for each seed, in the same order


@dataclass(frozen=True)
class Comparison:
    """What one arm reached less what another did, by task; AVERAGE too."""

    arm: str
    against: str
    by_task: Mapping[str, Estimate]


def scores(results: Sequence[Result], task: str, metric: str = SCORE) -> list[float]:
    """A metric of a task, of every seed."""
    return [float(result["metrics"][task][metric]) for result in results]


def compare(results: Results, pairs: Sequence[tuple[str, str]]) -> list[Comparison]:
    """The paired differences of (arm, against). Raises ValueError when their seeds differ."""
    found = []
    for arm, against in pairs:
        mine, others = results[arm], results[against]
        if [r["seed"] for r in mine] != [r["seed"] for r in others]:
            raise ValueError(f"{arm} and {against} were not trained with the same seeds")
        by_task = {task: difference(scores(mine, task), scores(others, task)) for task in _of(mine)}
        found.append(Comparison(arm, against, by_task))
    return found


def render(results: Results, comparisons: Sequence[Comparison]) -> str:
    """The tables as Markdown: scores, differences, and every metric."""
    tasks = _of(next(iter(results.values())))
    seeds = len(next(iter(results.values())))
    lines = [f"Means over {seeds} seeds, with 95% intervals (Student's t).", ""]
    rows = [
        [name, f"{_mean(some, 'samples'):,.0f}", f"{_mean(some, 'epochs'):.1f}"]
        + [told(estimate(scores(some, task))) for task in tasks]
        for name, some in results.items()
    ]
    lines += _markdown(["trained on", "samples", "epochs", *tasks], rows)
    if comparisons:
        lines += ["", "Paired differences over seeds, with 95% intervals.", ""]
        rows = [
            [one.arm, one.against, *(_difference(one.by_task[task]) for task in tasks)]
            for one in comparisons
        ]
        lines += _markdown(["", "against", *tasks], rows)
    lines += ["", "Every metric.", ""]
    metrics = [
        (task, metric)
        for task in tasks
        if task != AVERAGE
        for metric in next(iter(results.values()))[0]["metrics"][task]
        if metric != SCORE
    ]
    rows = [
        [task, metric, *(told(estimate(scores(some, task, metric))) for some in results.values())]
        for task, metric in metrics
    ]
    return "\n".join([*lines, *_markdown(["task", "metric", *results], rows)]) + "\n"


def to_json(results: Results, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The same for programs: every result, and every difference with its interval."""
    return {
        "results": {name: list(some) for name, some in results.items()},
        "differences": [
            {
                "arm": one.arm,
                "against": one.against,
                "tasks": {
                    task: {"mean": d.mean, "half": d.half, "seeds": d.n, "verdict": d.verdict}
                    for task, d in one.by_task.items()
                },
            }
            for one in comparisons
        ],
    }


def told(found: Estimate) -> str:
    """A mean with half its interval, in percent."""
    mean = f"{100 * found.mean:.1f}"
    return mean if found.half is None else f"{mean} ± {100 * found.half:.1f}"


def curve(results: Results) -> str:
    """Markdown of a scaling: a row for each number of samples, a column for each model.

    results: by "model" -> results of all shares and seeds.
    """
    sizes = sorted({round(_mean([r], "samples")) for some in results.values() for r in some})
    rows = [
        [f"{size:,}", *(told(estimate(at(some, size))) for some in results.values())]
        for size in sizes
    ]
    return "\n".join(_markdown(["samples", *results], rows)) + "\n"


def at(results: Sequence[Result], samples: int) -> list[float]:
    """The averages of the results on so many samples, of every seed."""
    return scores([r for r in results if r["samples"] == samples], AVERAGE)


def _of(results: Sequence[Result]) -> list[str]:
    """The tasks, the average first."""
    tasks = list(results[0]["metrics"])
    return sorted(tasks, key=lambda task: task != AVERAGE)


def _mean(results: Sequence[Result], key: str) -> float:
    return sum(float(r[key]) for r in results) / len(results)


def _difference(found: Estimate) -> str:
    mean = f"{100 * found.mean:+.1f}"
    if found.half is None:
        return f"{mean} (one seed)"
    return f"{mean} [{100 * found.low:+.1f}, {100 * found.high:+.1f}] {found.verdict}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    marks = ["|" + "---|" * len(head)]
    return (
        [f"| {' | '.join(row)} |" for row in [head]]
        + marks
        + [f"| {' | '.join(row)} |" for row in rows]
    )
