"""The alarm: a stage's shares and its rate, as its rows come, held against what is usual for them.

Of single parts nothing is judged: rows are taken together until there are enough of them.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence

from pipeline.core.usual import (
    MIN_RUNS,
    MIN_STRETCHES,
    RATE,
    SILENCE,
    Ring,
    Rule,
    Stretch,
    figures,
    usual_rate,
    usual_share,
)

# A stretch out of the learned range may be chance; two in a row are not.
_IN_A_ROW = 2
_STRETCHES_KEPT = 1000
# A stage is silent that has given nothing for so long, and for so many times its longest gap.
_LEAST_SILENCE_S, _GAPS = 120.0, 3.0
_LEARNED = "learned"


class Alarm:
    """Judges the rows of one unit of a stage as they come. Memory: `_STRETCHES_KEPT` stretches.

    now: Unix seconds at the start. earlier: what the same stage had in earlier runs, usual while
    this one has too few stretches. has_rate: False for a unit whose rows come with another's.
    """

    def __init__(
        self,
        rule: Rule,
        unit: str,
        now: float,
        earlier: Sequence[Stretch] = (),
        has_rate: bool = True,
    ) -> None:
        self._rule, self._unit, self._has_rate = rule, unit, has_rate
        self._earlier = list(earlier) if len(earlier) >= MIN_RUNS else []
        self._stretches: deque[Stretch] = deque(maxlen=_STRETCHES_KEPT)
        self._tail: deque[Stretch] = deque()  # the last batches that have enough rows together
        self._open, self._began_at = Counter[str](), now
        self._last_at, self._longest_gap_s = now, 0.0
        # (figure, setting or learned) -> stretches in a row that were out, and since when.
        self._out: dict[tuple[str, str], tuple[int, float]] = {}
        self._rung: set[tuple[str, str]] = set()
        self._over: list[str] = []

    def add(self, now: float, counts: Mapping[str, int], is_ending: bool = False) -> list[Ring]:
        """Count rows that came since the last call, by "kept" or reason; what rings now. A figure
        rings once until it is usual again. is_ending: the rate falls because little is left."""
        batch = Counter({name: n for name, n in counts.items() if n > 0})
        found = self._judge_silence(now, bool(batch), is_ending)
        if batch:
            found += self._judge_tail(now, batch)
            self._open.update(batch)
        is_whole = self._open.total() >= self._rule.rows
        if is_whole and now - self._began_at >= self._rule.stretch_s:
            stretch = Stretch(self._open, self._began_at, now)
            self._open, self._began_at = Counter(), now
            found += self._judge(stretch, is_ending)
        return found

    def over(self) -> list[str]:
        """Figures that rang and are usual again, since the last call."""
        over, self._over = self._over, []
        return over

    def _judge_silence(self, now: float, came: bool, is_ending: bool) -> list[Ring]:
        gap, usual = now - self._last_at, max(_LEAST_SILENCE_S, _GAPS * self._longest_gap_s)
        nothing = Stretch(Counter(), self._last_at, now)
        if came:
            self._longest_gap_s = max(self._longest_gap_s, gap)
            self._last_at = now
        if not self._has_rate or len(self._stretches) < MIN_STRETCHES:
            return []
        is_silent = not came and not is_ending and gap > usual
        return self._note(nothing, SILENCE, gap, (0.0, usual), "the gaps before", is_silent)

    def _judge_tail(self, now: float, batch: Counter[str]) -> list[Ring]:
        """Hold the shortest tail of batches that has enough rows against the configured ranges."""
        self._tail.append(Stretch(batch, self._tail[-1].ended_at if self._tail else now, now))
        rows = sum(part.rows for part in self._tail)
        while rows - self._tail[0].rows >= self._rule.rows:
            rows -= self._tail.popleft().rows
        if rows < self._rule.rows:
            return []
        whole = Counter[str]()
        for part in self._tail:
            whole.update(part.counts)
        stretch, found = Stretch(whole, self._tail[0].began_at, now), list[Ring]()
        for setting, (figure, low, high) in self._rule.ranges.items():
            if figure != RATE:
                share = stretch.share(figure)
                is_out = not low <= share <= high
                found += self._note(stretch, figure, share, (low, high), setting, is_out, setting)
        return found

    def _judge(self, stretch: Stretch, is_ending: bool) -> list[Ring]:
        """Hold a whole stretch against what is usual; it is usual itself when nothing is out."""
        before, usual = (
            list(self._stretches),
            f"{len(self._stretches)} stretches of the stage before",
        )
        if len(before) < MIN_STRETCHES:
            before, usual = self._earlier, f"{len(self._earlier)} earlier runs"
        found, is_out = list[Ring](), False
        for figure in figures(self._rule, stretch, before) if before else ():
            shares = [one.share(figure) for one in before]
            interval = usual_share(shares, stretch.rows, self._rule.deviations)
            share = stretch.share(figure)
            is_far = not interval[0] <= share <= interval[1]
            is_out |= is_far
            found += self._note(stretch, figure, share, interval, usual, is_far)
        if self._has_rate and not is_ending:
            found += self._judge_rate(stretch)
        if not is_out:
            self._stretches.append(stretch)
        return found

    def _judge_rate(self, stretch: Stretch) -> list[Ring]:
        rate, found = stretch.rate, list[Ring]()
        for setting, (figure, low, high) in self._rule.ranges.items():
            if figure == RATE:
                is_out = not low <= rate <= high
                found += self._note(stretch, RATE, rate, (low, high), setting, is_out, setting)
        if len(self._stretches) >= MIN_STRETCHES and RATE not in self._rule.fixed:
            low = usual_rate([one.rate for one in self._stretches], self._rule.deviations)
            usual = f"{len(self._stretches)} stretches of the stage before"
            found += self._note(stretch, RATE, rate, (low, math.inf), usual, rate < low)
        return found

    def _note(
        self,
        stretch: Stretch,
        figure: str,
        value: float,
        interval: tuple[float, float],
        usual: str,
        is_out: bool,
        setting: str = _LEARNED,
    ) -> list[Ring]:
        """What rings now that a figure is out of a range, or in it."""
        key = (figure, setting)
        if not is_out:
            self._out.pop(key, None)
            if key in self._rung:
                self._rung.discard(key)
                self._over.append(figure)
            return []
        times, since = self._out.get(key, (0, stretch.began_at))
        self._out[key] = times + 1, since
        in_a_row = 1 if setting != _LEARNED or figure == SILENCE else _IN_A_ROW
        # What its setting has told already needs no telling by experience.
        is_told = any(name == figure for name, _ in self._rung)
        if times + 1 < in_a_row or is_told:
            return []
        self._rung.add(key)
        return [
            Ring(self._unit, figure, value, *interval, usual, since, stretch.rows, stretch.most)
        ]
