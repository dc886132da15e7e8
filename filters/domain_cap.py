"""Pairs of one domain's images."""

from dataclasses import dataclass

from pipeline.core.balance import DOMAIN_RANK, Cap


@dataclass(frozen=True)
class DomainCap(Cap):
    """At most `max_pairs` pairs whose image is on one registrable domain.

    A few shops and image hosts are a large part of the web's pictures. `domain_rank` is found by
    `decide`, after every other bound and near-duplicates; `by` and `seed` as in `core.balance`.

    Source: CLIP (arXiv 2103.00020), section 2.2, takes at most 20,000 pairs of each of its
    queries, to even them out; that a domain takes the query's place is ours.
    """

    max_pairs: int = 20_000

    group = "domain"
    rank = DOMAIN_RANK
