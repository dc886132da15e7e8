"""The whole embedded web from a seed: hosts, images, pages and what is true of each. Pure."""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.reasons import Status
from pipeline.fakeweb.captioning import Captioner
from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.hostile import Kind
from pipeline.fakeweb.hosts import domain_names, ordinary_domains
from pipeline.fakeweb.images import ImageMaker
from pipeline.fakeweb.model import (
    Domain,
    Form,
    Host,
    Image,
    Label,
    Lang,
    Link,
    OptOut,
    Page,
    Place,
    Variant,
)

_OPTOUT_PAGE_SHARE = 0.04
_EXTRA_LINKS_PER_PAGE = 1.3
_PAGE_OPTOUTS = (
    "meta:robots:noai",
    "meta:robots:index, follow, noimageai",
    "header:X-Robots-Tag:noai, noimageai",
    "meta:robots:noimageindex",
    "meta:tdm-reservation:1",
    "header:tdm-reservation:1",
    "meta:robots:noindex, nofollow",
    "meta:robots:none",
    "header:X-Robots-Tag:noindex",
)
_FORMS = {
    Form.SRC: 0.73,
    Form.SRCSET: 0.06,
    Form.LAZY: 0.08,
    Form.PICTURE: 0.05,
    Form.PICTURE_SOURCE: 0.04,
    Form.NOSCRIPT: 0.04,
}
_PLACES = {
    Place.ALT: 0.72,
    Place.TITLE: 0.08,
    Place.FIGCAPTION: 0.08,
    Place.ARIA_LABEL: 0.03,
    Place.LABELLED_BY: 0.02,
    Place.LINK_TEXT: 0.04,
    Place.META_ALT: 0.015,
    Place.JSON_LD: 0.015,
}
_CHARSETS: dict[Lang, tuple[str, ...]] = {
    "en": ("utf-8",) * 8 + ("windows-1252", "iso-8859-1"),
    "ko": ("utf-8",) * 7 + ("euc-kr", "euc-kr", "cp949"),
}
_SECTIONS: dict[Lang, tuple[str, ...]] = {
    "en": ("news", "travel", "posts", "gallery", "2021/05"),
    "ko": ("news", "board", "gallery", "blog", "2022/11"),
}


@dataclass(frozen=True)
class World:
    """hosts: every host there is, those whose name does not resolve included."""

    section: DemoSection
    hosts: tuple[Host, ...]
    images: tuple[Image, ...]
    pages: tuple[Page, ...]


def make_world(section: DemoSection) -> World:
    """The web of this section; equal sections give equal webs."""
    names = domain_names(section.seed)
    domains = ordinary_domains(section, names)
    maker = ImageMaker(section, domains, names)
    maker.make()
    drafts = _draft_pages(section, domains)
    placed = _place(section, drafts, maker.images)
    pages = _link(section, drafts, maker.images, placed)
    hosts = [host for domain in domains for host in domain.hosts] + maker.hosts
    return World(section, tuple(hosts), tuple(_opt_out(maker.images, pages)), tuple(pages))


def _draft_pages(section: DemoSection, domains: list[Domain]) -> list[Page]:
    """Pages without links."""
    rng = np.random.default_rng([section.seed, 4])
    wat_archives = min(round(section.archives * section.wat_share), section.archives)
    pages = []
    for index in range(section.pages):
        domain = domains[int(rng.integers(len(domains)))]
        www = domain.hosts[0]
        folder = str(rng.choice(_SECTIONS[domain.lang]))
        archive = index % section.archives
        optout = ""
        if rng.random() < _OPTOUT_PAGE_SHARE or index == section.pages // 2:
            optout = _PAGE_OPTOUTS[index % len(_PAGE_OPTOUTS)]
        pages.append(
            Page(
                index,
                f"{www.scheme}://{www.name}/{folder}/{index}.html",
                www.name,
                domain.lang,
                archive,
                archive >= section.archives - wat_archives,
                str(rng.choice(_CHARSETS[domain.lang])),
                str(rng.choice(("header", "meta", "both"))),
                optout,
                "",
                (),
            )
        )
    return pages


def _place(section: DemoSection, pages: list[Page], images: list[Image]) -> list[list[int]]:
    """Which images stand on which page: every image on one at least, some on several.

    Only sound, freely given images stand on pages that opt out, so that each image has one
    reason for what becomes of it.
    """
    rng = np.random.default_rng([section.seed, 5])
    by_domain = defaultdict(list)
    for page in pages:
        by_domain[page.host.split(".", 1)[1]].append(page.index)
    placed: list[list[int]] = [[] for _ in pages]
    # What a redirect leads to is asked for whether or not its own page opts out.
    targets = {image.source for image in images if image.kind is Kind.REDIRECTED}
    for image in images:
        own = by_domain.get(image.host.split(".", 1)[-1])
        index = (
            int(rng.choice(own)) if own and rng.random() < 0.7 else int(rng.integers(len(pages)))
        )
        if not _is_plain(image) or image.index in targets:
            while pages[index].optout:
                index = (index + 1) % len(pages)
        placed[index].append(image.index)
    popular = rng.permutation(len(images))
    for _ in range(round(len(pages) * _EXTRA_LINKS_PER_PAGE)):
        index = int(rng.integers(len(pages)))
        # Squared, so that some images are on many pages and most on few.
        image_index = int(popular[int(len(images) * float(rng.random()) ** 2)])
        if not pages[index].optout and image_index not in placed[index]:
            placed[index].append(image_index)
    return placed


def _link(
    section: DemoSection, pages: list[Page], images: list[Image], placed: list[list[int]]
) -> list[Page]:
    """The pages with their links, captions and markup."""
    rng = np.random.default_rng([section.seed, 6])
    captioner = Captioner(
        section.seed,
        rng,
        sum(map(len, placed)),
        1 + max(i.picture for i in images),
        section.korean_share,
    )
    smaller = {
        i.source: i.index
        for i in images
        if i.variant is Variant.RESIZE and images[i.source].kind is Kind.SOUND
    }
    has_variants = {i.source for i in images if i.source >= 0}
    linked = []
    for page, indices in zip(pages, placed, strict=True):
        links = []
        for index in indices:
            image = images[index]
            must_have = bool(page.optout) or not _is_plain(image) or index in has_variants
            caption, label = captioner.draw(image, page.lang, must_have=must_have)
            # A page that opts out names no second file: only the chosen one would be withheld.
            small = -1 if page.optout else smaller.get(index, -1)
            form, place = _markup(rng, page.is_wat, label, small)
            small = small if form is Form.SRCSET_SIZES else -1
            links.append(Link(index, caption, label, form, place, small))
        bases = [images[k.image].host for k in links if images[k.image].kind is Kind.SOUND]
        base = bases[0] if bases and rng.random() < 0.12 else ""
        linked.append(replace(page, links=tuple(links), base=base))
    return linked


def _is_plain(image: Image) -> bool:
    return (
        image.kind is Kind.SOUND
        and image.optout is OptOut.NONE
        and image.variant is Variant.ORIGINAL
    )


def _markup(rng: np.random.Generator, is_wat: bool, label: Label, small: int) -> tuple[Form, Place]:
    if is_wat:
        is_title = rng.random() < 0.08 and label is not Label.MISSING
        return Form.SRC, Place.TITLE if is_title else Place.ALT
    form = list(_FORMS)[int(rng.choice(len(_FORMS), p=list(_FORMS.values())))]
    if small >= 0 and rng.random() < 0.5:
        form = Form.SRCSET_SIZES
    place = list(_PLACES)[int(rng.choice(len(_PLACES), p=list(_PLACES.values())))]
    if label is Label.MISSING or form not in (Form.SRC, Form.LAZY):
        place = Place.ALT
    return form, place


def _opt_out(images: list[Image], pages: list[Page]) -> list[Image]:
    """Mark images that a page withholds: one page is enough, whichever others show them."""
    withheld = {link.image for page in pages if page.optout for link in page.links}
    return [
        replace(image, optout=OptOut.PAGE, expected=Status.OPTED_OUT)
        if image.index in withheld
        else image
        for image in images
    ]
