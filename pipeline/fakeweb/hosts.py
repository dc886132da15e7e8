"""Names and hosts of the embedded web, all under top-level domains reserved for examples.

Source: RFC 2606 (.example and .test never exist in the public DNS).
"""

from collections.abc import Iterator

import numpy as np

from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.model import Certificate, Domain, Host, Lang, Robots

_FIRST_WORDS = (
    "harbor meadow copper silver maple cedar amber winter summer river north south coral "
    "lunar velvet willow garden stone golden quiet bright paper cobalt ember forest island "
    "lantern marble ocean pepper prairie quartz raven saffron timber urban violet walnut "
    "zephyr bamboo"
)
_SECOND_WORDS = (
    "photos gallery journal market press studio news archive kitchen travel images blog "
    "shop museum diary magazine school house works club cafe daily notes atlas review "
    "library media album stories post"
)
_FIRST, _SECOND = _FIRST_WORDS.split(), _SECOND_WORDS.split()
_TOP = ("example", "test")
_IMAGE_HOSTS = ("img", "cdn", "static", "media", "img3", "photos")


def domain_names(seed: int) -> Iterator[str]:
    """Distinct registrable-looking names, e.g. harbor-photos.example, in an order from the seed."""
    order = np.random.default_rng([seed, 1]).permutation(len(_FIRST) * len(_SECOND))
    generation = 0
    while True:
        for number in order:
            first, second = divmod(int(number), len(_SECOND))
            suffix = f"-{generation}" if generation else ""
            yield f"{_FIRST[first]}-{_SECOND[second]}{suffix}.{_TOP[int(number) % 2]}"
        generation += 1


def ordinary_domains(section: DemoSection, names: Iterator[str]) -> list[Domain]:
    """Well-behaved domains: one for every 40 pages, each with `www` and two or three image hosts.

    About a third of the hosts speak only HTTP and the rest HTTPS.
    """
    rng = np.random.default_rng([section.seed, 2])
    count = max(4, section.pages // 40)
    korean = round(count * section.korean_share)
    languages: list[Lang] = [*["ko"] * korean, *["en"] * (count - korean)]  # type: ignore[list-item]
    domains = []
    for lang in rng.permutation(np.array(languages)):
        name = next(names)
        labels = rng.choice(_IMAGE_HOSTS, size=int(rng.integers(2, 4)), replace=False)
        hosts = [_host(rng, f"{label}.{name}", name) for label in ("www", *sorted(labels))]
        domains.append(Domain(name, "ko" if lang == "ko" else "en", tuple(hosts)))
    return domains


def _host(rng: np.random.Generator, name: str, domain: str) -> Host:
    scheme = "http" if rng.random() < 0.35 else "https"
    robots = Robots.OPEN if rng.random() < 0.5 else Robots.ABSENT
    return Host(name, domain, scheme, robots)


def single_host(
    names: Iterator[str],
    label: str,
    scheme: str,
    robots: Robots = Robots.ABSENT,
    address: str | None = "127.0.0.1",
    *,
    certificate: Certificate = Certificate.GOOD,
) -> Host:
    """A host on a domain of its own, so that what it does harms no other."""
    domain = next(names)
    return Host(f"{label}.{domain}", domain, scheme, robots, address, certificate)


# The longest match wins, whatever the order. Source: RFC 9309 section 2.2.2.
_PATH = (
    b"# pictures we sell are not for crawlers\r\nUser-Agent: *\r\nDisallow: /private/\r\n"
    b"Allow: /private/press/\r\nDisallow: /*.bak$\r\n\r\nUser-agent: another-bot\r\n"
    b"Disallow: /\r\n"
)
_TEXTS = {
    Robots.OPEN: b"User-agent: *\nDisallow:\n\nSitemap: /sitemap.xml\n",
    Robots.PATH: _PATH,
    Robots.PATH_MOVED: _PATH,
    Robots.PATH_SLOW: _PATH,
    # A parser must take 500 KiB, and need not take more. Source: RFC 9309 section 2.5.
    Robots.PATH_LONG: _PATH + b"# nothing to see here\r\n" * 45_000,
    Robots.ALL: b"User-agent: *\nDisallow: /\n",
}


def robots_txt(robots: Robots) -> bytes | None:
    """The robots.txt of a host; None when there is none to be had."""
    return _TEXTS.get(robots)
