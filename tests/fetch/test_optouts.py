"""Opt-out lists before the fetch: nothing that is listed is ever asked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.fetch.known_hosts import KnownHosts
from pipeline.fetch.pool import close_pools
from pipeline.stages.download import check
from tests.fetch.server import Handler, WebServer
from tests.fetch.test_hosts import redirect, robots
from tests.fetch.test_part import download, serving, settings


@pytest.fixture(scope="module", autouse=True)
def _no_decoders_left() -> Iterator[None]:
    yield
    close_pools()


def test_nothing_on_a_list_is_asked_for_by_whatever_way(tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("http://a.test/listed.jpg\nhost:img.b.test\n")
    second.write_text("# whole domains\nc.test\n")
    routes: dict[str, Handler] = {
        "/listed.jpg": serving(),
        "/free.jpg": serving(),
        "/to-url.jpg": redirect("https://a.test/listed.jpg"),
        "/to-host.jpg": redirect("http://img.b.test/free.jpg"),
        "/to-domain.jpg": redirect("http://deep.www.c.test/free.jpg"),
        "e.test/robots.txt": redirect("http://c.test/robots.txt"),
        "/robots.txt": robots("User-agent: *\nDisallow:\n"),
    }
    expected = {
        "http://a.test/listed.jpg": ("opted_out", "list:url"),
        "https://a.test/listed.jpg": ("opted_out", "list:url"),
        "http://a.test/free.jpg": ("ok", "allowed"),
        "http://img.b.test/free.jpg": ("opted_out", "list:host"),
        "http://b.test/free.jpg": ("ok", "allowed"),
        "http://www.c.test/free.jpg": ("opted_out", "list:domain"),
        "http://c.test:8080/free.jpg": ("opted_out", "list:domain"),
        "http://d.test/to-url.jpg": ("opted_out", "list:url"),
        "http://d.test/to-host.jpg": ("opted_out", "list:host"),
        "http://d.test/to-domain.jpg": ("opted_out", "list:domain"),
        # Its robots.txt is on a host that is not to be asked, so what it says cannot be known.
        "http://e.test/free.jpg": ("robots_unavailable", "robots.txt"),
    }
    with WebServer(routes) as server:
        config = settings(
            tmp_path, server, optout_lists=(str(first), str(second)), placeholder_urls=0
        )
        rows, _, _ = download(config, *expected, known=KnownHosts(None, "Pairmill"))
        found = {url: (row["status"], row["consent"]) for url, row in rows.items()}
        assert found == expected
        assert {host for host, _ in server.log} == {"a.test", "b.test", "d.test", "e.test"}
        assert "/listed.jpg" not in server.asked("a.test")


def test_the_contents_of_lists_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.net\n")
    with WebServer() as server:
        config = settings(tmp_path, server, optout_lists=(str(path),))
    before = check(config)
    assert before == check(config) and before != {}
    path.write_text("a.net\nb.net\n")
    assert check(config) != before
    assert config.identity() == settings(tmp_path, server).identity()
