"""Units of work of a clustered search: a cluster, or two parts of a large one.

A cluster of more rows than the cap is cut into parts by the rows' ids, and every part is compared
with itself and with every other, so that cutting loses no pair: P parts make P (P + 1) / 2 units,
and each row goes to P of them. So a giant cluster is the work of many tasks, and no task holds more
than two parts.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.match.centroids import Ints

Longs = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Plan:
    """parts: int32 [clusters], into how many each is cut. first: int64 [clusters], its first unit.

    Of each unit: cluster, left and right part (left <= right), and the task it is done in, int32
    [units]. Units of a cluster lie by left, then right.
    """

    parts: Ints
    first: Longs
    cluster: Ints
    left: Ints
    right: Ints
    task: Ints

    @property
    def tasks(self) -> int:
        """How many tasks there are, from 0 on."""
        return int(self.task.max(initial=-1)) + 1


def plan_units(sizes: Mapping[int, int], clusters: int, cap: int, tasks: int) -> Plan:
    """Units of clusters of the given sizes (rows by cluster), spread over at most `tasks` tasks.

    clusters: how many there are, at least 1.
    cap: rows above which a cluster is cut. The costliest unit goes first, to the task with least.
    """
    rows = np.array([sizes.get(c, 0) for c in range(clusters)], np.int64)
    parts = np.maximum(-(-rows // cap), 1).astype(np.int32)
    per_cluster = parts.astype(np.int64) * (parts + 1) // 2
    first = np.cumsum(per_cluster) - per_cluster
    cluster = np.repeat(np.arange(clusters, dtype=np.int32), per_cluster)
    sides = {p: np.triu_indices(p) for p in set(parts.tolist())}
    left, right = (
        np.concatenate([sides[p][i] for p in parts.tolist()]).astype(np.int32) for i in (0, 1)
    )
    each = rows[cluster] / parts[cluster]
    cost = each * each * np.where(left == right, 0.5, 1.0)
    return Plan(parts, first, cluster, left, right, _spread(cost, tasks))


def _spread(cost: npt.NDArray[np.float64], tasks: int) -> Ints:
    """The task of each unit: by falling cost, always to the task that has least so far."""
    load = [(0.0, task) for task in range(min(tasks, len(cost)))]
    found = np.empty(len(cost), np.int32)
    for unit in np.argsort(-cost, kind="stable").tolist():
        least, task = load[0]
        found[unit] = task
        # A unit without rows costs its task nothing, but others should not all follow it there.
        heapq.heapreplace(load, (least + max(float(cost[unit]), 1.0), task))
    return found


def part_of(ids: Words, parts: Ints) -> Ints:
    """The part of its cluster that each row lies in: int32 [n].

    ids: uint64 [n, 2], evenly distributed (digests). parts: int32 [n], of the rows' clusters.
    """
    return (ids[:, 1] % parts.astype(np.uint64)).astype(np.int32)


def units_of(ids: Words, clusters: Ints, plan: Plan) -> tuple[Longs, Longs]:
    """Where each row is needed: row numbers and units, int64 [m] each.

    ids: uint64 [n, 2]. clusters: int32 [n, probe], of each row.
    """
    rows = np.repeat(np.arange(len(ids), dtype=np.int64), clusters.shape[1])
    cluster = clusters.ravel()
    parts = plan.parts[cluster]
    own = part_of(ids[rows], parts)
    copies = parts.astype(np.int64)
    start = np.cumsum(copies) - copies
    other = np.arange(copies.sum()) - np.repeat(start, copies)
    part, of, count = (np.repeat(a, copies).astype(np.int64) for a in (own, cluster, parts))
    low, high = np.minimum(part, other), np.maximum(part, other)
    unit = plan.first[of] + low * count - low * (low - 1) // 2 + (high - low)
    return np.repeat(rows, copies), unit
