"""What a chaos run does to a run, and when: a function of the seed alone."""

import random
from collections import Counter
from dataclasses import dataclass

# Dealt out in this order, over and over. A small run has every kind as well.
KINDS = (
    *("driver", "worker", "damage", "full", "gone"),
    *("driver", "worker", "damage", "silent", "driver"),
    *("worker", "damage", "full", "driver", "damage"),
)
# Only the download asks the network.
_NETWORK = ("silent", "gone")
TOLD = {
    "driver": "driver killed",
    "worker": "Python worker killed",
    "full": "disk filled",
    "silent": "web and name server silent",
    "gone": "web and name server gone",
    "damage": "file damaged",
}


@dataclass(frozen=True)
class Strike:
    """One strike. stage: where it falls. at: as a share of the time that the stage takes when
    nothing befalls it, in (0, 1). luck: seeds what is drawn at that moment (which file, which
    worker)."""

    stage: str
    kind: str
    at: float
    luck: int


def plan(seed: int, strikes: int, stages: tuple[str, ...]) -> list[Strike]:
    """So many strikes in the order of the stages, each stage hit as often as the next one, or once
    more; of one stage in the order of `at`."""
    chance = random.Random(seed)
    hits: Counter[str] = Counter()
    found = []
    for number in range(strikes):
        kind = KINDS[number % len(KINDS)]
        able = ("download",) if kind in _NETWORK else stages
        least = min(hits[stage] for stage in able)
        stage = chance.choice([stage for stage in able if hits[stage] == least])
        hits[stage] += 1
        found.append(Strike(stage, kind, chance.uniform(0.02, 0.98), chance.getrandbits(32)))
    return sorted(found, key=lambda strike: (stages.index(strike.stage), strike.at))
