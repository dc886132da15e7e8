"""Registrable domains by the public suffix list."""

from functools import lru_cache

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
    """How many labels at the end are a public suffix. At the longest match: an exception takes a
    label off, a wildcard adds one. Source: https://publicsuffix.org/list/, algorithm."""
    rules = _rules()
    for start in range(len(labels)):
        name = ".".join(labels[start:])
        if "!" + name in rules:
            return len(labels) - start - 1
        if name in rules or (
            start + 1 < len(labels) and "*." + ".".join(labels[start + 1 :]) in rules
        ):
            return len(labels) - start
    return 1


@lru_cache(maxsize=1)
def _rules() -> frozenset[str]:
    """The rules as the list has them, and in the ASCII form of hosts."""
    # The list inside the package: no network, no cache on disk.
    rules = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None).tlds
    return frozenset([*rules, *(_ascii(rule) for rule in rules if not rule.isascii())])


def _ascii(rule: str) -> str:
    name = rule.removeprefix("!").removeprefix("*.")
    return rule[: len(rule) - len(name)] + str(ada_url.idna_to_ascii(name), "ascii")
