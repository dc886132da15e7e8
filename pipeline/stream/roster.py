"""Which member of a training run serves which lanes.

A member is a replica group: the ranks that share one input, such as the stages of a pipeline. Its
share of the lanes is its capacity's share, so that its batch is its own best size.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipeline.stream.permute import derive_key, mix

Lanes = tuple[int, ...]


def assign(lanes: int, members: Mapping[str, int]) -> dict[str, Lanes]:
    """Lanes of each member, ascending; every lane has just one member.

    members: name -> capacity, a positive number of samples or any unit. Shares are proportional,
    to a lane, by largest remainder, ties by name.
    A pure function of its arguments: all members come to the same result without talking. When
    one joins or leaves, about twice the lanes move that must (quotas are exact, and shift), and the
    others stay: each lane goes to the member that ranks highest for it and has room.
    Raises ValueError without a member, or for a capacity under 1.
    Cost: lanes x members. Source: rendezvous hashing (Thaler, Ravishankar, "Using Name-Based
    Mappings to Increase Hit Rates", 1998), weighted by capacity (Schindelhauer, Schomaker,
    "Weighted Distributed Hash Tables", SPAA 2005).
    """
    names = sorted(members)
    capacities = [members[name] for name in names]
    if not names or min(capacities) < 1:
        raise ValueError(
            f"members {dict(members)}: at least one, each with a capacity of 1 or more"
        )
    room = _quotas(lanes, capacities)
    scores = _scores(lanes, names, np.asarray(capacities, dtype=np.float64))
    found: list[list[int]] = [[] for _ in names]
    # A lane that prefers its member most goes first: it is the last to be pushed away.
    order = np.argsort(-scores.max(axis=1), kind="stable").tolist()
    for member in [m for m, free in enumerate(room) if not free]:
        scores[:, member] = -1.0
    for lane in order:
        member = int(scores[lane].argmax())
        found[member].append(lane)
        room[member] -= 1
        if not room[member]:
            scores[:, member] = -1.0
    return {name: tuple(sorted(own)) for name, own in zip(names, found, strict=True)}


def _quotas(lanes: int, capacities: list[int]) -> list[int]:
    total = sum(capacities)
    quotas = [lanes * c // total for c in capacities]
    remainders = [lanes * c % total for c in capacities]
    fullest = sorted(range(len(quotas)), key=lambda i: (-remainders[i], i))
    for i in fullest[: lanes - sum(quotas)]:
        quotas[i] += 1
    return quotas


def _scores(
    lanes: int, names: list[str], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """[lanes, members]: capacity / -ln(hash in (0, 1)); the largest of a row wins the lane."""
    keys = np.array([derive_key("member", name) for name in names], dtype=np.uint64)
    own = np.array([derive_key("lane", lane) for lane in range(lanes)], dtype=np.uint64)
    mixed = mix(own[:, None] ^ keys[None, :])
    chance = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    scores: npt.NDArray[np.float64] = weights / -np.log(chance)
    return scores
