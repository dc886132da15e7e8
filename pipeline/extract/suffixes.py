"""Registrable domains by the public suffix list."""

from functools import lru_cache
from typing import Any

import ada_url
import tldextract

_DIGITS = frozenset("0123456789.")


@lru_cache(maxsize=65_536)
def registrable_domain(host: str) -> str:
    """The domain that was registered to get this host: `img.example.co.kr` -> `example.co.kr`.

    host: as in a WHATWG serialisation. By the ICANN part of the public suffix list; a top-level
    domain it does not know counts as a suffix. An address, a suffix or a single label is its own
    domain.
    """
    host = host.rstrip(".").lower() or host
    if host.startswith("[") or _DIGITS.issuperset(host):
        return host
    labels = host.split(".")
    return ".".join(labels[-1 - _suffix_labels(labels) :])


def _suffix_labels(labels: list[str]) -> int:
    """How many labels at the end are a public suffix: of all rules that match, the longest.
    Source: https://publicsuffix.org/list/, algorithm."""
    node, found = _rules(), 1
    for count, label in enumerate(reversed(labels), 1):
        below = node.get(label)
        if below is not None and _EXCEPTION in below:
            return count - 1
        if _WILDCARD in node or (below is not None and _END in below):
            found = count
        if below is None:
            break
        node = below
    return found


# Keys beside labels: a rule ends here, any label may follow, the rule is an exception to that.
_END, _WILDCARD, _EXCEPTION = "", "*", "!"


@lru_cache(maxsize=1)
def _rules() -> dict[str, Any]:
    """The rules, label by label from the last one on, as the list has them and in the ASCII form of
    hosts."""
    # The list inside the package: no network, no cache on disk.
    listed = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None).tlds
    tree: dict[str, Any] = {}
    for rule in [*listed, *(_ascii(rule) for rule in listed if not rule.isascii())]:
        node = tree
        for label in reversed(rule.removeprefix("!").split(".")):
            node = node.setdefault(label, {})
        node[_EXCEPTION if rule.startswith("!") else _END] = {}
    return tree


def _ascii(rule: str) -> str:
    name = rule.removeprefix("!").removeprefix("*.")
    return rule[: len(rule) - len(name)] + str(ada_url.idna_to_ascii(name), "ascii")
