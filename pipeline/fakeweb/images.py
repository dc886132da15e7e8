"""The image URLs of the embedded web: which picture each shows, how, and what a request meets."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import numpy as np

from pipeline.core.reasons import Status
from pipeline.fakeweb import hostile
from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.hostile import HOSTILITIES, Kind
from pipeline.fakeweb.hosts import single_host
from pipeline.fakeweb.model import (
    Certificate,
    Domain,
    Encoding,
    Host,
    Image,
    OptOut,
    Robots,
    Variant,
)

_VARIANT_SHARES = {
    Variant.RESIZE: 0.03,
    Variant.RECOMPRESS: 0.03,
    Variant.COPY: 0.025,
    Variant.CROP: 0.02,
    Variant.WATERMARK: 0.02,
    Variant.MIRROR: 0.015,
}
_OPTOUT_SHARES = {
    OptOut.IMAGE_HEADER: 0.015,
    OptOut.ROBOTS_PATH: 0.015,
    OptOut.ROBOTS_HOST: 0.015,
    OptOut.ROBOTS_ERROR: 0.007,
}
_ENCODINGS = (
    (Encoding.JPEG, 0.80),
    (Encoding.WEBP, 0.06),
    (Encoding.PNG, 0.05),
    (Encoding.GIF, 0.03),
    (Encoding.JPEG_ROTATED, 0.02),
    (Encoding.JPEG_CMYK, 0.015),
    (Encoding.PNG_PALETTE, 0.015),
    (Encoding.PNG_16, 0.01),
)
_ASPECTS = (4 / 3, 3 / 2, 1.0, 3 / 4, 16 / 9, 2 / 3)
_EXTENSIONS = {Encoding.WEBP: "webp", Encoding.GIF: "gif"}
_SLUGS = [
    "photo",
    "picture",
    "img",
    "view",
    "scene",
    "DSC",
    "shot",
    "main",
    "사진",
    "그림",
    "풍경",
    "갤러리",
]
_OPTOUT_HEADERS = (
    "X-Robots-Tag: noai",
    "X-Robots-Tag: noimageai",
    "X-Robots-Tag: noindex, nofollow",
    "tdm-reservation: 1",
    "X-Robots-Tag: pairmill: noai",  # what the demo calls itself
)
# Speak to others, and allow us all.
_OTHERS_HEADERS = ("X-Robots-Tag: otherbot: noai, noindex", "X-Robots-Tag: max-image-preview:large")
_BOMB_ENCODINGS = {
    Kind.BOMB: Encoding.PNG,
    Kind.FRAMES_BOMB: Encoding.GIF,
    Kind.MEMORY_BOMB: Encoding.WEBP,
}
_PLACEHOLDERS_PER_HOST = 12
# More than the failures in a row that a host is allowed.
_FORBIDDEN_PER_HOST = 16
_ROBOTS_BY_OPTOUT = {
    OptOut.ROBOTS_PATH: (Robots.PATH, Robots.PATH_MOVED, Robots.PATH_LONG, Robots.PATH_SLOW),
    OptOut.ROBOTS_HOST: (Robots.ALL,),
    OptOut.ROBOTS_ERROR: (Robots.ERROR, Robots.SILENT),
}
_CERTIFICATES = {
    Kind.TLS: Certificate.OTHER_NAME,
    Kind.TLS_EXPIRED: Certificate.EXPIRED,
    Kind.TLS_UNKNOWN: Certificate.UNKNOWN,
}


class ImageMaker:
    """Builds all images in a fixed order. `images` and `hosts` (those it added) are the result."""

    def __init__(self, section: DemoSection, domains: list[Domain], names: Iterator[str]) -> None:
        self.images: list[Image] = []
        self.hosts: list[Host] = []
        self._section = section
        self._names = names
        self._rng = np.random.default_rng([section.seed, 3])
        self._ordinary = [host for domain in domains for host in domain.hosts]
        self._pictures = 0

    def make(self) -> None:
        """All of it: 2 images per page, unless the smallest web needs more for one of each kind."""
        self._hostile()
        self._withheld()
        counts = {v: self._count(share, 2) for v, share in _VARIANT_SHARES.items()}
        left = 2 * self._section.pages - len(self.images) - sum(counts.values())
        first = len(self.images)
        for number in range(max(left, self._section.pages // 2)):
            self._original(self._any_host(), shape=number % 50)
        self._variants(counts, list(range(first, len(self.images))))

    def _count(self, share: float, least: int) -> int:
        return max(least, round(2 * self._section.pages * share))

    def _any_host(self) -> Host:
        return self._ordinary[int(self._rng.integers(len(self._ordinary)))]

    def _target(self, encoding: Encoding, folder: str = "") -> str:
        """Path and query, in canonical form; its number makes it unique."""
        rng, number = self._rng, len(self.images)
        extension = _EXTENSIONS.get(encoding, "png" if encoding.startswith("png") else "jpg")
        slug = quote(str(rng.choice(_SLUGS)))
        if rng.random() < 0.05 and not folder:
            return f"/image.php?id={number}&size=large"
        year, month = 2015 + int(rng.integers(9)), 1 + int(rng.integers(12))
        return f"{folder}/{year}/{month:02d}/{slug}-{number}.{extension}"

    def _add(self, image: Image) -> Image:
        self.images.append(image)
        return image

    def _new(self, host: Host, width: int, height: int, encoding: Encoding, folder: str) -> Image:
        """An image of a picture never shown before, not yet added."""
        picture, self._pictures = self._pictures, self._pictures + 1
        target = self._target(encoding, folder)
        image = Image(
            len(self.images), host.name, host.scheme, target, picture, width, height,
            encoding=encoding, quality=int(self._rng.integers(80, 95)),
        )  # fmt: skip
        return image

    def _original(self, host: Host, shape: int = 10, folder: str = "") -> Image:
        """A sound image. shape 0 is of extreme aspect ratio, 1 of very few bytes."""
        rng = self._rng
        width, height = size_of(rng)
        names, weights = zip(*_ENCODINGS, strict=True)
        encoding = names[int(rng.choice(len(names), p=np.array(weights) / sum(weights)))]
        if shape == 0:
            width, height, encoding = int(rng.integers(860, 960)), 212, Encoding.JPEG
        elif shape == 1:
            width, height, encoding = 224, 210, Encoding.JPEG
        image = self._new(host, width, height, encoding, folder)
        return self._add(replace(image, quality=8) if shape == 1 else image)

    def _withheld(self) -> None:
        """Images whose own response or robots.txt says no, and some beside them that may be had."""
        for optout, share in _OPTOUT_SHARES.items():
            host = self._any_host()
            robots = _ROBOTS_BY_OPTOUT.get(optout, ())
            for number in range(self._count(share, max(2, len(robots)))):
                # One host of each kind, and one more for every 20 images.
                if robots and (number < len(robots) or number % 20 == 0):
                    scheme = ("https", "http")[len(self.hosts) % 2]
                    kind = robots[(number if number < len(robots) else number // 20) % len(robots)]
                    host = single_host(self._names, "img", scheme, kind)
                    self.hosts.append(host)
                if optout is OptOut.IMAGE_HEADER:
                    host = self._any_host()
                folder = "/private" if optout is OptOut.ROBOTS_PATH else ""
                image = self._original(host, folder=folder)
                header = ""
                status = Status.ROBOTS
                if optout is OptOut.IMAGE_HEADER:
                    header, status = (
                        _OPTOUT_HEADERS[number % len(_OPTOUT_HEADERS)],
                        Status.OPTED_OUT,
                    )
                elif optout is OptOut.ROBOTS_ERROR:
                    status = Status.ROBOTS_UNAVAILABLE
                self.images[-1] = replace(
                    image, optout=optout, optout_header=header, expected=status
                )
            if optout is OptOut.ROBOTS_PATH:
                for folder in ("", "/private/press"):
                    self._original(host, folder=folder)
        self._allowed()

    def _allowed(self) -> None:
        """What looks as if it were withheld, and is not."""
        host = single_host(self._names, "img", "https", Robots.REFUSED)
        self.hosts.append(host)
        self._original(host)
        for header in _OTHERS_HEADERS:
            self.images[-1] = replace(self._original(self._any_host()), optout_header=header)

    def _hostile(self) -> None:
        """Every kind of trouble, each that could spoil a host on a host of its own."""
        own = max(1, round(self._section.pages / 750))
        mixed = self._count(0.004, 1)
        for kind, hostility in HOSTILITIES.items():
            if kind is Kind.REDIRECTED:
                continue  # made with the variants: it leads to an image that must exist
            if kind is Kind.PLACEHOLDER:
                self._placeholders()
                continue
            if kind is Kind.FORBIDDING:
                self._forbidding()
                continue
            count = mixed * 5 if kind is Kind.HTTP_404 else mixed
            count = own if hostility.has_own_host else count
            count = max(count, hostility.least)
            for number in range(min(count, hostility.most or count)):
                self._troubled(kind, number)

    def _troubled(self, kind: Kind, number: int) -> None:
        host = self._host_for(kind, number) if HOSTILITIES[kind].has_own_host else self._any_host()
        encoding = _BOMB_ENCODINGS.get(kind, Encoding.JPEG)
        width, height = size_of(self._rng)
        if kind is Kind.TINY:
            width, height = (1, 1) if number % 2 == 0 else (24, 18)
            encoding = Encoding.GIF if number % 2 == 0 else Encoding.PNG
        image = self._new(host, width, height, encoding, "")
        self._add(_hostile(image, kind))

    def _host_for(self, kind: Kind, number: int) -> Host:
        """The host of one hostile image. Literal addresses are no hosts of the web."""
        label = kind.value.replace("_", "-")
        if kind is Kind.PRIVATE_LITERAL:
            name = hostile.PRIVATE_LITERALS[number % len(hostile.PRIVATE_LITERALS)]
            return Host(name, name, "http")
        if kind is Kind.MAPPED_LITERAL:
            name = hostile.MAPPED_LITERALS[number % len(hostile.MAPPED_LITERALS)]
            return Host(name, name, "http")
        scheme = "https" if kind in _CERTIFICATES or number % 2 else "http"
        address: str | None = "127.0.0.1"
        if kind is Kind.DNS:
            address = None
        elif kind is Kind.PRIVATE_NAME:
            address = hostile.PRIVATE_ADDRESSES[number % len(hostile.PRIVATE_ADDRESSES)]
        elif kind is Kind.MIXED_NAME:
            address = "10.0.0.1 127.0.0.1"
        if kind is Kind.CLOSED_PORT:
            scheme = "http"
        host = single_host(
            self._names,
            label,
            scheme,
            address=address,
            certificate=_CERTIFICATES.get(kind, Certificate.GOOD),
        )
        if kind is Kind.REBOUND_NAME:
            later = hostile.PRIVATE_ADDRESSES[number % len(hostile.PRIVATE_ADDRESSES)]
            host = replace(host, robots=Robots.CLOSING, later=later)
        self.hosts.append(host)
        if kind is Kind.CLOSED_PORT:
            return replace(host, name=f"{host.name}:{hostile.CLOSED_PORT}")
        return host

    def _placeholders(self) -> None:
        for number in range(max(1, self._section.pages // 1500)):
            host = single_host(self._names, "placeholder", ("http", "https")[number % 2])
            self.hosts.append(host)
            first = len(self.images)
            for _ in range(_PLACEHOLDERS_PER_HOST):
                image = self._new(host, 320, 240, Encoding.JPEG, "")
                self._add(
                    replace(image, kind=Kind.PLACEHOLDER, expected=Status.PLACEHOLDER, source=first)
                )

    def _forbidding(self) -> None:
        """One host that forbids picture after picture."""
        host = single_host(self._names, "forbidding", "https")
        self.hosts.append(host)
        for _ in range(_FORBIDDEN_PER_HOST):
            image = self._new(host, 320, 240, Encoding.JPEG, "")
            self._add(_hostile(image, Kind.FORBIDDING))

    def _variants(self, counts: dict[Variant, int], originals: list[int]) -> None:
        """Near-duplicates of sound originals that are large enough to lose some pixels."""
        rng = self._rng
        fit = [
            i
            for i in originals
            if min(self.images[i].width, self.images[i].height) >= 250
            and max(self.images[i].width, self.images[i].height) < 800
        ]
        chosen = iter(rng.permutation(fit))
        for variant, count in counts.items():
            for number, source in zip(range(count), chosen, strict=False):
                original = self.images[int(source)]
                is_redirect = variant is Variant.COPY and number % 3 == 2
                self._add(self._variant(original, variant, is_redirect=is_redirect))

    def _variant(self, original: Image, variant: Variant, *, is_redirect: bool) -> Image:
        host = self._any_host()
        scale = float(self._rng.uniform(0.82, 0.95)) if variant is Variant.RESIZE else 1.0
        encoding = original.encoding if variant is Variant.COPY else Encoding.JPEG
        quality = int(self._rng.integers(35, 60)) if variant is Variant.RECOMPRESS else 88
        image = Image(
            len(self.images), host.name, host.scheme, self._target(encoding), original.picture,
            round(original.width * scale), round(original.height * scale),
            variant=variant, encoding=encoding, quality=quality, source=original.index,
        )  # fmt: skip
        return replace(image, kind=Kind.REDIRECTED) if is_redirect else image


def _hostile(image: Image, kind: Kind) -> Image:
    hostility = HOSTILITIES[kind]
    return replace(image, kind=kind, expected=hostility.expected, or_else=hostility.or_else)


def size_of(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height in pixels, long side 280 to 900, short side at least 210."""
    low, high = ((280, 480), (480, 700), (700, 900))[int(rng.choice(3, p=(0.7, 0.25, 0.05)))]
    long_side = int(rng.integers(low, high))
    aspect = _ASPECTS[int(rng.integers(len(_ASPECTS)))]
    if aspect >= 1:
        return max(long_side, 210), max(round(long_side / aspect), 210)
    return max(round(long_side * aspect), 210), max(long_side, 210)
