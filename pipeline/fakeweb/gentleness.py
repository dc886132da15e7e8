"""How gently the servers of an embedded web were asked: their log, held against limits."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Line = Mapping[str, Any]
Figures = dict[str, float | int]

# Robots.txt holds so long. Source: RFC 9309 section 2.4.
_DAY_S = 86_400
# How late the server may note a request, beside others that it is busy with.
_LATE_S = 0.5


class Limits(NamedTuple):
    """What one host, and all of the one address that there is, may be asked at most: requests at
    once, and seconds between two of them."""

    host_concurrency: int
    host_interval_s: float
    address_concurrency: int
    address_interval_s: float


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a server's log, as `httpd` describes them; half lines are left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def gentleness(log: Sequence[Line], limits: Limits | None = None) -> Figures:
    """Figures `server.*`: requests in all and the most at once, to a host and to the address; sites
    asked for robots.txt, and those asked again within a day of having answered. With limits, these,
    and by how many seconds requests to a host, or the address, came before their time at most.

    Robots.txt that was not to be had may be asked for again at once, as often as `retries` says.
    """
    asked, again = _robots(log)
    figures: Figures = {
        "server.requests": len(log),
        "server.hosts": len({line["host"] for line in log}),
        "server.max_open_per_host": max((line["open"] for line in log), default=0),
        "server.max_open": max((line.get("open_in_all", 0) for line in log), default=0),
        "server.robots_sites": asked,
        "server.robots_asked_again": again,
    }
    if limits is not None:
        by_host: dict[str, list[float]] = defaultdict(list)
        for line in log:
            by_host[line["host"]].append(line["time"])
        figures |= {f"server.limit_{name}": value for name, value in limits._asdict().items()} | {
            "server.host_early_s": max(
                (early_s(times, limits.host_interval_s) for times in by_host.values()), default=0.0
            ),
            "server.address_early_s": early_s(
                [line["time"] for line in log], limits.address_interval_s
            ),
        }
    return figures


def is_gentle(figures: Mapping[str, float | int]) -> bool:
    """True when no limit was passed; the rate may be by half a second, for the log is late."""
    return (
        figures["server.max_open_per_host"] <= figures["server.limit_host_concurrency"]
        and figures["server.max_open"] <= figures["server.limit_address_concurrency"]
        and figures["server.host_early_s"] <= _LATE_S
        and figures["server.address_early_s"] <= _LATE_S
    )


def early_s(times: Iterable[float], interval_s: float) -> float:
    """By how many seconds some requests came too soon at most: n + 1 in a row take n intervals.

    times: seconds, in any order.
    """
    ordered = np.sort(np.fromiter(times, np.float64))
    if not len(ordered) or not interval_s:
        return 0.0
    # How far each is behind a clock that ticks once per interval; the largest fall is the answer.
    behind = ordered - np.arange(len(ordered)) * interval_s
    return float((np.maximum.accumulate(behind) - behind).max())


def _robots(log: Iterable[Line]) -> tuple[int, int]:
    """Sites whose robots.txt was asked for, and those that had answered within the last day."""
    answered: dict[tuple[str, str], float] = {}
    sites, again = set(), set()
    for line in sorted(log, key=lambda line: line.get("time", 0.0)):
        if line.get("target") != "/robots.txt":
            continue
        site = line["scheme"], line["host"]
        sites.add(site)
        if line["time"] < answered.get(site, float("-inf")) + _DAY_S:
            again.add(site)
        if 200 <= line["status"] < 500 and line["status"] != 429:
            answered[site] = line["time"]
    return len(sites), len(again)
