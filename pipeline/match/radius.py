"""How far two unrelated pictures' hashes are apart by chance, and so which radius is safe."""

from math import comb

from pipeline.core.errors import ConfigError
from pipeline.match.blocks import HASH_BITS


def random_neighbours(hashes: int, radius: int) -> float:
    """Expected unrelated hashes within `radius` of a hash, among so many distinct ones.

    A hash whose bits say "over the median" has as many ones as zeros, so another lies at an even
    distance 2k, and C(32, k)^2 of the C(64, 32) balanced words do.
    Source: counting constant-weight words (MacWilliams and Sloane, The Theory of Error-Correcting
    Codes, chapter 21: valencies of the Johnson scheme). Real hashes crowd more than uniform ones,
    so this is a lower bound.
    """
    half = HASH_BITS // 2
    near = sum(comb(half, k) ** 2 for k in range(radius // 2 + 1))
    return max(hashes - 1, 0) * near / comb(HASH_BITS, half)


def refuse_unsafe(hashes: int, radius: int, limit: float, widest: int) -> float:
    """The expected random neighbours per hash; ConfigError when they exceed `limit`.

    widest: the largest radius a config may ask for; the message names the largest safe one.
    """
    expected = random_neighbours(hashes, radius)
    if expected <= limit:
        return expected
    safe = [r for r in range(widest + 1) if random_neighbours(hashes, r) <= limit]
    advice = f"the largest safe radius is {max(safe)}" if safe else "no radius is safe"
    raise ConfigError(
        f"match.radius = {radius}: among {hashes:,} hashes {expected:.3g} unrelated ones are "
        f"expected within it of each, over match.max_random_neighbours = {limit:g}; {advice}"
    )
