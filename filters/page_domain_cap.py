"""Pairs of one domain's pages."""

from dataclasses import dataclass

from pipeline.core.balance import PAGE_DOMAIN_RANK, Cap


@dataclass(frozen=True)
class PageDomainCap(Cap):
    """At most `max_pairs` pairs told by pages of one registrable domain.

    Pictures of many sites lie on one host, and one site's on many: what a site writes has one
    style, whoever serves its pictures. Pairs without a page (out of a list that names none) have no
    cap. `page_domain_rank` is found by `decide`, after every other bound and near-duplicates; `by`
    and `seed` as in `core.balance`.

    Source: CLIP (arXiv 2103.00020), section 2.2, takes at most 20,000 pairs of each of its
    queries, to even them out; that a domain takes the query's place is ours.
    """

    max_pairs: int = 20_000

    group = "page_domain"
    rank = PAGE_DOMAIN_RANK
