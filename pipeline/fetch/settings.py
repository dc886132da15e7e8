"""The `[download]` section: every limit of the fetcher, with its unit."""

import ipaddress
import re
from typing import Literal

from pydantic import Field, field_validator

from pipeline import __version__
from pipeline.core.errors import ConfigError
from pipeline.core.stage import StageSection, tuning
from pipeline.fetch.picture import SIGNATURES, DecodeSettings

_EMAIL = re.compile(r"[^\s@<>()]+@[^\s@<>()]+\.[^\s@<>()]+")
_WEB = re.compile(r"https?://[^\s<>()]+\.[^\s<>()]+")
_PRODUCT = re.compile(r"[A-Za-z_-]+")


class DownloadSection(StageSection):
    """How images are asked for, what is accepted, and what is stored of them.

    Fields that decide what is stored are part of the run's identity; limits on time, rate and
    retries are tuning, because they only change what is reached, and the status says so.
    """

    # Who asks. The product token is what robots.txt and X-Robots-Tag rules are matched against
    # (RFC 9309 section 2.2.1 allows letters, "-" and "_"); the contact is an e-mail address or URL.
    user_agent: str = "Pairmill"
    contact: str = tuning("")

    # Networks (CIDR) that may be reached although they are not globally routable.
    allowed_networks: tuple[str, ...] = ()
    # JSON file {name: address or [addresses]}; "*" stands for every other name. When given, no
    # DNS is asked at all.
    hosts_file: str | None = tuning(None)
    # Port in the URL (0: any other) -> port connected to, for addresses in allowed_networks only.
    port_map: dict[int, int] = tuning({})
    # Opt-out lists (see `core.optout_lists`), where every task reaches them: no listed URL is asked
    # for, nor anything of a listed host or domain. Their contents are part of the run's identity,
    # their paths are not.
    optout_lists: tuple[str, ...] = tuning(())
    # Where the `hosts` table is kept: what robots.txt files said, for as long as it holds. None: in
    # the run; a folder that several runs name is shared by them.
    hosts_root: str | None = tuning(None)
    # A day at most. Source: RFC 9309 section 2.4.
    robots_max_age_s: float = tuning(86_400.0, ge=600, le=86_400)
    # PEM file of certificate authorities trusted beside the system's.
    ca_file: str | None = tuning(None)

    # One picture: deadline over DNS, connect, TLS, redirects and body; waits for a turn are free.
    timeout_s: float = tuning(20.0, gt=0)
    retries: int = tuning(1, ge=0, le=10)
    backoff_s: float = tuning(1.0, ge=0)
    max_redirects: int = tuning(5, ge=0, le=20)
    max_body_bytes: int = Field(default=50_000_000, gt=0)

    # One host.
    host_concurrency: int = tuning(4, ge=1)
    host_interval_s: float = tuning(0.1, ge=0)
    # A host that asks for a longer Crawl-delay is not asked for pictures at all.
    max_crawl_delay_s: float = tuning(30.0, ge=0)
    max_retry_after_s: float = tuning(60.0, ge=0)
    host_failures: int = tuning(10, ge=1)

    # One part: fetches at once, memory for bodies over 256 KiB, and how long the slowest host may
    # keep the part open before its remaining URLs are given up.
    concurrency: int = tuning(128, ge=1)
    body_memory_mb: int = tuning(256, ge=1)
    max_part_s: float = tuning(3600.0, gt=0)

    # What is decoded and stored.
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
    # Pillow's own bomb limit: a 24-bit picture of 256 MiB. Source: PIL.Image.MAX_IMAGE_PIXELS.
    max_pixels: int = Field(default=2**30 // 4 // 3, gt=0)
    min_side_px: int = Field(default=1, ge=1)
    # 384, keep_ratio, only downwards. Source: the COYO-700M download recipe.
    image_size_px: int = Field(default=384, ge=16)
    resize_mode: Literal["keep_ratio", "keep_ratio_largest", "center_crop", "border", "none"] = (
        "keep_ratio"
    )
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    keep_original: bool = True
    background: tuple[int, int, int] = (255, 255, 255)
    min_texture: int = Field(default=20, ge=0, le=100)
    # The same bytes behind more URLs of one host than this are a placeholder; 0: never.
    placeholder_urls: int = Field(default=5, ge=0)
    decode_workers: int = tuning(1, ge=1)
    decode_timeout_s: float = tuning(30.0, gt=0)
    decode_memory_mb: int = tuning(2048, ge=256)

    @field_validator("user_agent")
    @classmethod
    def _is_product(cls, value: str) -> str:
        if not _PRODUCT.fullmatch(value):
            raise ValueError("must be one product token of letters, '-' and '_'")
        return value

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("formats")
    @classmethod
    def _are_formats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in SIGNATURES]
        if unknown or not value:
            raise ValueError(f"allowed: {', '.join(SIGNATURES)}")
        return value

    @field_validator("background")
    @classmethod
    def _is_colour(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(0 <= level <= 255 for level in value):
            raise ValueError("red, green and blue are 0 to 255 each")
        return value

    @property
    def user_agent_header(self) -> str:
        """What goes out as User-Agent, e.g. 'Pairmill/0.1 (+https://example.org/crawl)'."""
        who = f" (+{self.contact})" if self.contact else ""
        return f"{self.user_agent}/{__version__}{who}"

    @property
    def is_loopback_only(self) -> bool:
        """True when no request can leave this machine: an own hosts file and loopback networks."""
        networks = [ipaddress.ip_network(n) for n in self.allowed_networks]
        return bool(self.hosts_file and networks) and all(n.is_loopback for n in networks)

    def require_contact(self) -> None:
        """Raise ConfigError when the real web would be asked without saying who asks."""
        if self.contact:
            if not (_EMAIL.fullmatch(self.contact) or _WEB.fullmatch(self.contact)):
                raise ConfigError(
                    f"download.contact = {self.contact!r}: expected an e-mail address or a URL"
                )
        elif not self.is_loopback_only:
            raise ConfigError(
                "download.contact is required for a crawl: an e-mail address or a URL that says "
                'who asks, e.g. --set download.contact="crawl@example.org"'
            )

    def for_decoding(self) -> DecodeSettings:
        """The part of the settings that the decoder needs."""
        return DecodeSettings(
            formats=self.formats,
            max_pixels=self.max_pixels,
            min_side_px=self.min_side_px,
            image_size_px=self.image_size_px,
            resize_mode=self.resize_mode,
            jpeg_quality=self.jpeg_quality,
            keep_original=self.keep_original,
            background=self.background,
            min_texture=self.min_texture,
        )
