"""What is usual for a stage: the shares of its rows by what became of them, and its rate.

Usual is a configured range, or what the earlier stretches of the same stage had, or the same stage
in earlier runs: their median, give or take some median absolute deviations.
"""

import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

# Figures beside the reasons, which are named as they are.
KEPT, RATE, SILENCE = "kept", "rate", "silence"
# So many must be there before something counts as usual: stretches of this stage, earlier runs.
MIN_STRETCHES, MIN_RUNS = 8, 3
# A median absolute deviation, as a standard deviation. Source: Leys et al. 2013, "Detecting
# outliers: Do not use standard deviation around the mean".
_MAD_AS_SIGMA = 1.4826
# A share is usual within this distance in any case, a rate down to this part of the median.
_LEAST_SHARE, _LEAST_RATE = 0.05, 0.5
# Standard deviations of a share of so many rows, were they drawn by chance.
_CHANCE = 4.0
_RUNBOOK = {
    KEPT: "too-little-succeeds",
    RATE: "slow",
    SILENCE: "stalled",
    "dns": "dns-is-broken",
    "dns_unavailable": "dns-is-broken",
    "dns+dns_unavailable": "dns-is-broken",
    "http_429": "throttled",
}


@dataclass(frozen=True)
class Rule:
    """What is judged, and how.

    rows: a stretch has so many at least. stretch_s: and takes so long at least. deviations: median
    absolute deviations that are usual, as standard deviations. ranges: setting that states it ->
    figure ("kept", "rate", a reason, or several reasons joined by "+"), lowest and highest value
    that are usual. fixed: figures for which nothing is learned beside that.
    """

    rows: int = 2000
    stretch_s: float = 30.0
    deviations: float = 6.0
    ranges: Mapping[str, tuple[str, float, float]] = field(default_factory=dict)
    fixed: Collection[str] = ()


@dataclass(frozen=True)
class Ring:
    """A figure out of its usual range [low, high]: a share of rows, or rows per second.

    usual: what the range is from. since: Unix seconds, when the stretch began that was first out of
    it. rows: of the stretch. most: reason -> share, the most frequent ones.
    """

    unit: str
    figure: str
    value: float
    low: float
    high: float
    usual: str
    since: float
    rows: int
    most: Mapping[str, float]

    @property
    def runbook(self) -> str:
        """The section of the runbook that helps."""
        return f"docs/runbook.md#{_RUNBOOK.get(self.figure, 'a-drop-reason-is-unusual')}"

    @property
    def text(self) -> str:
        """One line for people."""
        unit = self.unit.replace("_", " ")
        at = time.strftime("%H:%M:%S UTC", time.gmtime(self.since))
        if self.figure == SILENCE:
            told = f"no {unit} have come for {self.value:.0f} s; {self.high:.0f} s are usual"
        elif self.figure == RATE:
            told = f"{self.value:,.1f} {unit} a second, usual are {self.low:,.1f} and more"
        elif self.figure == KEPT:
            only = "only " if self.value < self.low else ""
            told = (
                f"{only}{self.value:.0%} of the last {self.rows:,} {unit} are kept, {self._range}"
            )
        else:
            rows = f"the last {self.rows:,} {unit}"
            told = f"{self.figure} takes {self.value:.0%} of {rows}, {self._range}"
        most = ", ".join(f"{reason} {share:.0%}" for reason, share in self.most.items())
        most = f" ({most})" if most and self.figure in (KEPT, RATE) else ""
        return f"{told}{most}; usual by {self.usual}; since {at}; see {self.runbook}"

    @property
    def _range(self) -> str:
        return f"usual are {max(self.low, 0):.0%} to {min(self.high, 1):.0%}"


@dataclass(frozen=True)
class Stretch:
    """Rows that were taken together. counts: "kept" or reason -> rows. ended_at: Unix seconds."""

    counts: Counter[str]
    began_at: float
    ended_at: float

    @property
    def rows(self) -> int:
        return self.counts.total()

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / max(self.ended_at - self.began_at, 1e-3)

    def share(self, figure: str) -> float:
        """Of the rows, those of a reason, or of several joined by "+"."""
        return sum(self.counts[name] for name in figure.split("+")) / max(self.rows, 1)

    @property
    def most(self) -> dict[str, float]:
        """The three most frequent reasons with their shares."""
        reasons = Counter({name: n for name, n in self.counts.items() if name != KEPT})
        return {name: n / self.rows for name, n in reasons.most_common(3)}


def usual_share(values: Sequence[float], rows: int, deviations: float) -> tuple[float, float]:
    """Lowest and highest share of `rows` rows that is usual, given earlier ones."""
    middle = median(values)
    deviation = median(abs(value - middle) for value in values) * _MAD_AS_SIGMA
    chance = math.sqrt(max(middle * (1 - middle), 1 / max(rows, 1)) / max(rows, 1))
    spread = max(deviations * deviation, _LEAST_SHARE, _CHANCE * chance)
    return middle - spread, middle + spread


def usual_rate(values: Sequence[float], deviations: float) -> float:
    """The lowest rate that is usual, given earlier ones; negative where they vary too much."""
    middle = median(values)
    deviation = median(abs(value - middle) for value in values) * _MAD_AS_SIGMA
    return middle - max(deviations * deviation, _LEAST_RATE * middle)


def figures(rule: Rule, stretch: Stretch, before: Sequence[Stretch]) -> list[str]:
    """Shares for which what is usual is learned: kept, and every reason that occurs."""
    names = set(stretch.counts).union(*(one.counts for one in before)) - {KEPT}
    return [name for name in (KEPT, *sorted(names)) if name not in rule.fixed]


def judge_whole(
    rule: Rule, unit: str, whole: Stretch, earlier: Sequence[Stretch], has_rate: bool
) -> list[Ring]:
    """Hold a stage that has ended against the same one of earlier runs, and configured ranges."""
    if whole.rows < rule.rows:
        return []
    found: list[Ring] = []

    def hold(figure: str, value: float, low: float, high: float, usual: str) -> None:
        if not low <= value <= high:
            at = whole.began_at, whole.rows, whole.most
            found.append(Ring(unit, figure, value, low, high, usual, *at))

    for setting, (figure, low, high) in rule.ranges.items():
        if figure != RATE or has_rate:
            value = whole.rate if figure == RATE else whole.share(figure)
            hold(figure, value, low, high, setting)
    if len(earlier) < MIN_RUNS:
        return found
    usual = f"{len(earlier)} earlier runs"
    for figure in figures(rule, whole, earlier):
        shares = [run.share(figure) for run in earlier]
        hold(figure, whole.share(figure), *usual_share(shares, whole.rows, rule.deviations), usual)
    if has_rate and RATE not in rule.fixed:
        low = usual_rate([run.rate for run in earlier], rule.deviations)
        hold(RATE, whole.rate, low, math.inf, usual)
    return found
