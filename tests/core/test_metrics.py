"""Figures for Prometheus: in a file that is whole at any time, and at Spark's own endpoint."""

import threading
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core import metrics
from pipeline.core.accounts import Account
from pipeline.core.metrics import HELP, Metrics
from tests.core.exposition import parse


def test_a_file_for_node_exporter(tmp_path: Path) -> None:
    path = tmp_path / "pairmill.prom"
    made = Metrics(str(path))
    made.account("download", [Account("images", 10, 7, Counter(dns=2, http_404=1))])
    made.add("alarms", 1, stage="download")
    made.set("parts", 8, stage='an "odd"\nname\\')
    made.publish(at_once=True)
    found = parse(path.read_text())
    images = (("stage", "download"), ("unit", "images"))
    assert found["pairmill_rows_in", images] == 10
    assert found["pairmill_rows_kept", images] == 7
    assert found["pairmill_rows_dropped", (("reason", "dns"), *images)] == 2
    assert found["pairmill_alarms", (("stage", "download"),)] == 1
    assert found["pairmill_updated_seconds", ()] > 1.7e9
    assert [p.name for p in tmp_path.iterdir()] == ["pairmill.prom"]


def test_the_file_is_whole_whenever_it_is_read(tmp_path: Path) -> None:
    path, made, stop = tmp_path / "a.prom", Metrics(str(tmp_path / "a.prom")), threading.Event()

    def keep_writing() -> None:
        for number in range(10**6):
            if stop.is_set():
                return
            made.account("s", [Account("rows", 0, 0, Counter({f"reason_{number % 300}": number}))])
            made.publish(at_once=True)

    thread = threading.Thread(target=keep_writing)
    thread.start()
    while not path.exists():
        pass
    for _ in range(200):
        assert ("pairmill_updated_seconds", ()) in parse(path.read_text())
    stop.set()
    thread.join()


def test_it_is_written_now_and_then_and_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Metrics(str(tmp_path / "not there" / "a.prom"))
    made.publish(at_once=True)
    made = Metrics(str(tmp_path / "a.prom"))
    made.publish()
    (tmp_path / "a.prom").unlink()
    made.publish()
    assert not (tmp_path / "a.prom").exists()
    monkeypatch.setattr(metrics, "_EVERY_S", 0.0)
    made.publish()
    assert (tmp_path / "a.prom").exists()


def test_every_figure_is_documented_for_operators() -> None:
    text = Path(__file__).resolve().parents[2].joinpath("docs/runbook.md").read_text()
    assert not [name for name in HELP if f"`{name}`" not in text]
