"""What whole components would have made of linked groups."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats.chains import Chains, find_chains


def ids(*numbers: int) -> list[bytes]:
    return [bytes([n]) for n in numbers]


def test_a_chain_a_star_and_a_circle_are_told_apart():
    chain = list(zip(ids(1, 2, 3, 4), ids(2, 3, 4, 5), strict=True))
    star = [(b"a", end) for end in ids(10, 11, 12)]
    circle = list(zip(ids(20, 21, 22, 23), ids(21, 22, 23, 20), strict=True))
    pictures = {b"a": 9, bytes([11]): 3, bytes([2]): 2}
    assert find_chains(chain, pictures) == Chains(5, 1, 5, 6, 5)
    assert find_chains(star, pictures) == Chains(4, 1, 4, 14, 3)
    assert find_chains(circle, {}) == Chains(4, 1, 4, 4, 3)
    together = find_chains([*chain, *star, *circle], pictures)
    # The largest has the most pictures, not the longest chain.
    assert together == Chains(13, 3, 4, 14, 5) and together.would_drop == 10
    assert find_chains([], pictures) == Chains()


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).filter(lambda e: e[0] != e[1])),
    st.randoms(),
)
def test_the_same_however_links_come_and_components_as_by_merging(links, shuffler):
    found = find_chains([tuple(ids(*link)) for link in links], {})
    turned = [tuple(ids(*link))[::-1] for link in shuffler.sample(links, len(links))]
    assert find_chains([*turned, *turned[:2]], {}) == found
    label = list(range(21))
    for a, b in links:
        label = [label[b] if one == label[a] else one for one in label]
    linked = {n for link in links for n in link}
    assert (found.linked, found.components) == (len(linked), len({label[n] for n in linked}))
