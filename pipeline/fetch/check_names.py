"""Before the first picture: do names resolve at all?

Most crawls that fail, fail here: a resolver made for one household answers a few hundred names a
second, then says that nothing exists. Users of img2dataset
saw 0.5% to 5% success (its issues 145 and 400) and were told to run a resolver of their own.
"""

import asyncio
import secrets
import string
from collections import Counter
from collections.abc import Sequence

from pipeline.core.errors import InputError
from pipeline.fetch.guard import UrlError, parse_address, parse_target
from pipeline.fetch.nameservers import Answer, NameServers, Outcome

NAMES = 20
_MIN_ANSWERED_SHARE = 0.8
_TIME_S = 5.0
# So few may well have died together.
_MIN_NAMES_TO_MISS = 5
_ADVICE = (
    "a crawl needs a resolver of its own on each machine (unbound or knot-resolver on 127.0.0.1, "
    "named by --set download.dns_servers='[\"127.0.0.1\"]' or /etc/resolv.conf), not that of a "
    "provider or a home router; --set download.check_dns=false goes on all the same"
)


def host_names(urls: Sequence[str], names: int = NAMES) -> list[str]:
    """The first different host names of some URLs, addresses left out."""
    found: dict[str, None] = {}
    for url in urls:
        try:
            host = parse_target(url).host
        except UrlError:
            continue
        if parse_address(host) is None:
            found[host] = None
            if len(found) == names:
                break
    return list(found)


def check_names(servers: NameServers, hosts: Sequence[str], time_s: float = _TIME_S) -> None:
    """Raise InputError with advice unless names resolve: those of hosts to be asked do, in time,
    and a name that nobody has registered does not. Nothing is checked without hosts."""
    if hosts:
        problem = asyncio.run(_problem(servers, hosts, time_s))
        if problem:
            raise InputError(f"names do not resolve: {problem}; {_ADVICE}")


async def _problem(servers: NameServers, hosts: Sequence[str], time_s: float) -> str | None:
    """What is wrong, or None."""
    made_up = [_made_up_name(), _made_up_name()]
    tasks = {host: asyncio.ensure_future(servers.ask(host)) for host in [*made_up, *hosts]}
    await asyncio.wait(tasks.values(), timeout=time_s)
    answers: dict[str, Answer] = {h: t.result() for h, t in tasks.items() if t.done()}
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    lies = [answers.get(name) for name in made_up]
    if all(lie is not None and lie.outcome is Outcome.FOUND for lie in lies):
        given = lies[0].addresses[0] if lies[0] else ""
        return f"{made_up[0]}, which does not exist, is said to be at {given} (a wildcard resolver)"
    known = [answers[host] for host in hosts if host in answers]
    answered = [a for a in known if a.outcome is not Outcome.FAILED]
    if len(answered) < _MIN_ANSWERED_SHARE * len(hosts):
        late = len(hosts) - len(known)
        if late > len(known) - len(answered):
            return f"{late} of {len(hosts)} names had no answer after {time_s:g} s (too slow)"
        why = Counter(a.detail for a in known if a.outcome is Outcome.FAILED).most_common(1)[0][0]
        return f"{len(hosts) - len(answered)} of {len(hosts)} names had no answer ({why})"
    if len(hosts) >= _MIN_NAMES_TO_MISS and all(a.outcome is Outcome.MISSING for a in answered):
        return f"not one of {len(hosts)} names exists, {hosts[0]} among them"
    return None


def _made_up_name() -> str:
    """A name of a public domain that nobody has registered."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(24)) + ".com"
