"""The `[download]` section: every limit of the fetcher, with its unit."""

import importlib.util
import ipaddress
import re
from dataclasses import replace
from typing import Literal

from pydantic import Field, field_validator

from pipeline import __version__
from pipeline.core.errors import ConfigError
from pipeline.core.reasons import Status
from pipeline.core.stage import StageSection, tuning
from pipeline.core.usual import KEPT, Rule
from pipeline.fetch.ledger import Waits
from pipeline.fetch.picture import SIGNATURES, DecodeSettings

_EMAIL = re.compile(r"[^\s@<>()]+@[^\s@<>()]+\.[^\s@<>()]+")
_WEB = re.compile(r"https?://[^\s<>()]+\.[^\s<>()]+")
_PRODUCT = re.compile(r"[A-Za-z_-]+")

DNS_PORT = 53


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
    # Name servers asked for everything that is not in a hosts file: "address" or "address:port";
    # none: those of /etc/resolv.conf. A crawl should have its own (unbound, knot) on each machine.
    dns_servers: tuple[str, ...] = tuning(())
    # One query to one server, queries for one name, and queries one server is sent at a time.
    dns_timeout_s: float = tuning(3.0, gt=0)
    dns_attempts: int = tuning(3, ge=1, le=10)
    dns_concurrency: int = tuning(64, ge=1)
    # Answers, also that there is none, are kept as long as the zone says, within these bounds.
    dns_min_ttl_s: float = tuning(60.0, ge=0)
    dns_max_ttl_s: float = tuning(3600.0, ge=0)
    # Names that are kept in all.
    dns_cache_names: int = tuning(100_000, ge=1)
    # Whether IPv6 addresses are asked for; "auto": when this machine has a route to them.
    ipv6: Literal["auto", "on", "off"] = tuning("auto")
    # Whether names are tried before the first picture is asked for.
    check_dns: bool = tuning(True)
    # Of the last `alarm_rows` pictures, long before their part is done: the least share that must
    # succeed, and the largest that may fail for their host's name.
    alarm_min_ok_share: float = tuning(0.2, ge=0, le=1)
    alarm_max_dns_share: float = tuning(0.3, ge=0, le=1)
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
    # A folder that img2dataset wrote, or a glob of its shards (any fsspec URL): the pictures that
    # are in there are taken from there, and not asked for. Names and sizes of its shards are part
    # of the run's identity, its path is not.
    adopt: str = tuning("")
    # Run folders of earlier crawls, the oldest first: what they asked for is taken from there, and
    # not asked for again but for failures that may have passed, when their waits are over. What
    # these runs are is part of the run's identity, their paths are not.
    earlier: tuple[str, ...] = tuning(())
    # Filters that go before the download, by name, or true for all that can (see
    # `core.filters_first`): what they drop every caption of is not asked for. Their settings are
    # part of the run's identity; `retry` settles other ones, see `stages.filtered`.
    filters_first: tuple[str, ...] | bool = tuning(())
    # PEM file of certificate authorities trusted beside the system's.
    ca_file: str | None = tuning(None)

    # One attempt at a picture: deadline over DNS, connect, TLS, redirects and body; waits for a
    # turn or for memory are free.
    timeout_s: float = tuning(20.0, gt=0)
    # One address of a name: how long it may take to accept a connection.
    connect_timeout_s: float = tuning(10.0, gt=0)
    # A host may be silent for so long, before its answer or in the middle of it.
    silence_timeout_s: float = tuning(10.0, gt=0)
    # One picture: from its first attempt to its last, waits between them included.
    url_timeout_s: float = tuning(120.0, gt=0)
    # Further attempts after a failure that may pass, and the wait before the first of them, which
    # doubles.
    retries: int = tuning(1, ge=0, le=10)
    backoff_s: float = tuning(1.0, ge=0)
    # Redirects that are followed for one picture.
    max_redirects: int = tuning(5, ge=0, le=20)
    # A larger file is too_large, and no more of it is read.
    max_body_bytes: int = Field(default=50_000_000, gt=0)

    # One host: requests at once, and the time from one to the next, of all tasks together.
    host_concurrency: int = tuning(4, ge=1)
    host_interval_s: float = tuning(0.1, ge=0)
    # A host that asks for a longer Crawl-delay is not asked for pictures at all.
    max_crawl_delay_s: float = tuning(30.0, ge=0)
    # The longest Retry-After that is waited for while a part is open.
    max_retry_after_s: float = tuning(60.0, ge=0)
    # Failures in a row, refusals (401, 403, 451) included, after which a host is left alone; each
    # failure makes it wait twice as long as the last, up to max_backoff_s.
    host_failures: int = tuning(10, ge=1)
    max_backoff_s: float = tuning(60.0, ge=0)

    # One address (IPv4, or /64 of IPv6), whatever the names it serves: the same for all tasks.
    address_concurrency: int = tuning(16, ge=1)
    address_interval_s: float = tuning(0.02, ge=0)

    # One task, on one core: fetches at once, memory for bodies over 256 KiB, and parts that are
    # open at once, so that the slow end of one leaves no place idle.
    concurrency: int = tuning(128, ge=1)
    body_memory_mb: int = tuning(256, ge=1)
    open_parts: int = tuning(4, ge=1)
    # How long the slowest host may keep a part open before its remaining URLs are given up.
    max_part_s: float = tuning(3600.0, gt=0)

    # `retry`: how long after a failure that may pass a picture is asked for again (doubled with
    # each download), and how often it is downloaded in all. `recheck`: how long a stored picture is
    # taken to be as it was.
    retry_wait_s: float = tuning(3600.0, ge=0)
    max_downloads: int = tuning(6, ge=1)
    recheck_after_s: float = tuning(30 * 86_400.0, ge=0)

    # What is decoded and stored: formats by content, whatever the server says.
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
    # Pillow's own bomb limit: a 24-bit picture of 256 MiB. Source: PIL.Image.MAX_IMAGE_PIXELS.
    max_pixels: int = Field(default=2**30 // 4 // 3, gt=0)
    # Longer animations are refused; 1,000 frames are 40 s at 25 a second.
    max_frames: int = Field(default=1000, ge=1)
    # A picture with a shorter side is too_small.
    min_side_px: int = Field(default=1, ge=1)
    # 384, keep_ratio, only downwards. Source: the COYO-700M download recipe.
    image_size_px: int = Field(default=384, ge=16)
    resize_mode: Literal["keep_ratio", "keep_ratio_largest", "center_crop", "border", "none"] = (
        "keep_ratio"
    )
    # Of pictures that are encoded again.
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    # Whether the received bytes are stored when they are an upright sRGB JPEG of a size that fits.
    keep_original: bool = True
    # Red, green and blue that transparency is laid over.
    background: tuple[int, int, int] = (255, 255, 255)
    # A picture with less texture is the same as another only when its bytes are. Source: PDQ's
    # authors take hashes under a quality of 50 for worthless; measured on drawings in docs.
    min_texture: int = Field(default=50, ge=0, le=100)
    # Whether the hashes of the mirrored and turned picture are stored too, 280 bytes each, for
    # `match.turned`.
    turned_hashes: bool = False
    # Whether the MD5 of each file is kept beside its SHA-256: some lists, to verify by and to block
    # by, tell pictures by that alone. It takes longer than SHA-256 does.
    md5: bool = False
    # The same bytes behind more URLs of one host than this, or as many URLs redirected to one, are
    # a placeholder; 0: never. And a file of known ones, a SHA-256 in hexadecimal per line.
    placeholder_urls: int = Field(default=5, ge=0)
    placeholder_hashes: str | None = tuning(None)  # its content is part of the identity
    # "simplejpeg" decodes plain JPEGs to the same pixels in a little less time. All else is done by
    # Pillow in any case.
    jpeg_codec: Literal["pillow", "simplejpeg"] = "pillow"
    # Decoders of a task, each a process.
    decode_workers: int = tuning(1, ge=1)
    # One picture: a decoder that takes longer is ended, and the picture is `decode`.
    decode_timeout_s: float = tuning(30.0, gt=0)
    # What one decoder may write to: half of what a core is promised, so that the fetcher has the
    # other. A picture that needs more costs itself.
    decode_memory_mb: int = tuning(768, ge=384)

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

    @field_validator("dns_servers")
    @classmethod
    def _are_servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for server in value:
            parse_server(server)
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

    @field_validator("jpeg_codec")
    @classmethod
    def _is_installed(cls, value: str) -> str:
        if value != "pillow" and importlib.util.find_spec(value) is None:
            raise ValueError(f"needs the Python package {value}; allowed without it: pillow")
        return value

    def rule(self, stage: str) -> Rule:
        """As for every stage, and two ranges more."""
        rule = super().rule(stage)
        names = f"{Status.DNS}+{Status.DNS_UNAVAILABLE}"
        ranges = {
            "download.alarm_min_ok_share": (KEPT, self.alarm_min_ok_share, 1.0),
            "download.alarm_max_dns_share": (names, 0.0, self.alarm_max_dns_share),
        }
        return replace(rule, ranges={**ranges, **rule.ranges})

    @property
    def user_agent_header(self) -> str:
        """What goes out as User-Agent, e.g. 'Pairmill/0.1 (+https://example.org/crawl)'."""
        who = f" (+{self.contact})" if self.contact else ""
        return f"{self.user_agent}/{__version__}{who}"

    @property
    def waits(self) -> Waits:
        """Of `retry`."""
        return Waits(self.retry_wait_s, self.max_downloads)

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
            max_frames=self.max_frames,
            min_side_px=self.min_side_px,
            image_size_px=self.image_size_px,
            resize_mode=self.resize_mode,
            jpeg_quality=self.jpeg_quality,
            keep_original=self.keep_original,
            background=self.background,
            min_texture=self.min_texture,
            turned_hashes=self.turned_hashes,
            jpeg_codec=self.jpeg_codec,
            md5=self.md5,
        )


def parse_server(text: str) -> tuple[str, int]:
    """Address and port of a server: "9.9.9.9", "127.0.0.1:5353", "[::1]:5353", "::1".

    Raises ValueError.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    address = str(ipaddress.ip_address(host))
    number = int(port) if port else DNS_PORT
    if not 0 < number < 65536:
        raise ValueError(f"{text!r}: port {number}")
    return address, number
