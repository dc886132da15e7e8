"""Pure rules: opt-outs, Retry-After, backoff, raw tar, settings."""

from pathlib import Path

import pytest
from multidict import CIMultiDict

from pipeline.core.errors import ConfigError, InputError
from pipeline.fetch.gate import backoff_s
from pipeline.fetch.limits import retry_after_s
from pipeline.fetch.optout import response_optout
from pipeline.fetch.resolver import read_hosts
from pipeline.fetch.settings import DownloadSection


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["noai"], "noai"),
        (["NoImageAI, nofollow"], "noimageai"),
        (["nofollow", "none"], "none"),
        (["index, follow"], None),
        (["otherbot: noindex, noai"], None),
        (["otherbot: noindex", "noai"], "noai"),
        (["pairmill: noindex"], "noindex"),
        (["otherbot: nofollow, Pairmill: noimageindex"], "noimageindex"),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], "noai"),
        (["max-image-preview: none"], None),  # about previews, not about the picture's use
        (["noindexing"], None),
        (["*: noai"], "noai"),
        (["unavailable_after: Tue, 25 Jun 2030 15:00:00 GMT, noai"], "noai"),
        (["otherbot: unavailable_after: Tue, 25 Jun 2030 15:00:00 GMT, noai"], None),
        (["GPTBot: noindex"], "noindex"),  # for collectors of training data, as on pages
        (["googlebot: noindex"], None),
        (["noindex", "noimageai"], "noimageai"),  # the most specific is what is stored
        ([""], None),
    ],
)
def test_robots_tag(values: list[str], found: str | None) -> None:
    headers = CIMultiDict([("X-Robots-Tag", v) for v in values])
    expected = f"header:x-robots-tag:{found}" if found else None
    assert response_optout(headers, "Pairmill") == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:05 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now_unix_s=10.0) == seconds


def test_backoff_doubles_and_is_spread_the_same_every_time() -> None:
    for attempt in (1, 2, 3):
        delays = [backoff_s(1.0, attempt, f"http://{i}/") for i in range(50)]
        assert delays == [backoff_s(1.0, attempt, f"http://{i}/") for i in range(50)]
        assert all(2 ** (attempt - 1) * 0.5 <= d <= 2 ** (attempt - 1) * 1.5 for d in delays)
        assert len(set(delays)) == 50


@pytest.mark.parametrize("contact", ["", "me", "me@", "http://", "mail me"])
def test_a_crawl_needs_a_contact(contact: str) -> None:
    with pytest.raises(ConfigError, match=r"download\.contact"):
        DownloadSection(contact=contact).require_contact()


def test_contact_is_in_the_user_agent_and_not_needed_on_loopback() -> None:
    for contact in ("crawl@example.org", "https://example.org/crawl"):
        config = DownloadSection(contact=contact)
        config.require_contact()
        assert config.user_agent_header.endswith(f" (+{contact})")
    DownloadSection(hosts_file="h", allowed_networks=("127.0.0.0/8",)).require_contact()
    with pytest.raises(ConfigError):
        DownloadSection(
            hosts_file="h", allowed_networks=("127.0.0.0/8", "10.0.0.0/8")
        ).require_contact()
    with pytest.raises(ConfigError):
        DownloadSection(allowed_networks=("127.0.0.0/8",)).require_contact()


@pytest.mark.parametrize(
    "bad",
    [
        {"formats": ("JPEG", "EPS")},
        {"allowed_networks": ("localhost",)},
        {"background": (0, 0, 256)},
        {"user_agent": "Mozilla/5.0"},
        {"resize_mode": "stretch"},
        {"timeout_s": 0},
    ],
)
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        DownloadSection.model_validate(bad)


def test_hosts_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text('{"A.test": "127.0.0.1", "*": ["127.0.0.2", "::1"]}')
    assert read_hosts(str(path)) == {"a.test": ("127.0.0.1",), "*": ("127.0.0.2", "::1")}
    for text in ("[]", "{", '{"a": "b"}', '{"a": []}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"hosts\.json"):
            read_hosts(str(path))
    with pytest.raises(InputError):
        read_hosts(str(tmp_path / "none"))
