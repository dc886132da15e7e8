"""A real run, watched: Prometheus scrapes it, its event log is whole, and nothing that it writes beside
its tables, or prints, holds a credential or a caption."""

import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.logs import EVENTS
from tests.conftest import ROOT
from tests.core.exposition import Samples, parse
from tests.leaks import SECRETS, captions_in, files_with
from tests.submitted import Job, finish, submit

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1200)]

PROPERTY = "cAnArY3-of-a-property"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Scraper:
    """Scrapes a driver as Prometheus does, until the job ends. seen: every sample's last value."""

    def __init__(self, port: int, job: Job) -> None:
        self.seen: dict[str, Samples] = {"prometheus": {}, "executors/prometheus": {}}
        self.environment = ""
        self._port, self._job = port, job
        self._thread = threading.Thread(target=self._scrape, daemon=True)
        self._thread.start()

    def _get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self._port}/{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = str(answer.read().decode())
        if text.startswith("Spark is starting up"):
            raise OSError(text)
        return text

    def _scrape(self) -> None:
        while self._job.poll() is None:
            try:
                for path, seen in self.seen.items():
                    # Spark ends what it tells of executors without the line's end.
                    seen |= parse(self._get(f"metrics/{path}/").rstrip("\n") + "\n")
                if not self.environment:
                    (app,) = json.loads(self._get("api/v1/applications"))
                    self.environment = self._get(f"api/v1/applications/{app['id']}/environment")
            except OSError:
                pass  # not there yet, or not any more
            time.sleep(0.5)

    def gauge(self, name: str) -> float:
        """The last value of a figure of ours at Spark's endpoint."""
        known = f"metrics_pairmill_driver_AccumulatorSource_{name}_Value"
        (value,) = {v for (n, _), v in self.seen["prometheus"].items() if n == known}
        return value


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, Scraper]]:
    """A finished run, what it printed, and what was scraped meanwhile."""
    folder, port = tmp_path_factory.mktemp("watched"), free_port()
    sets = [
        f"run.root={folder}/run",
        f"demo.folder={folder}/web",
        f"run.metrics_file={folder}/p.prom",
    ]
    options = (
        f"--conf spark.ui.enabled=true --conf spark.ui.port={port} --conf spark.eventLog.enabled=true "
        f"--conf spark.eventLog.dir={folder} --conf spark.hadoop.fs.s3a.secret.key={PROPERTY}"
    )
    sets += ["demo.pages=60", "dedupe.parts=4"]
    words = ["extract,dedupe,download", "--config", str(ROOT / "conf/demo.toml")]
    words += [word for s in sets for word in ("--set", s)]
    job = submit(ROOT / "tests/jobs/stages_job.py", words, 2, options, **SECRETS)
    scraper = Scraper(port, job)
    yield folder, finish(job), scraper


def record(folder: Path, stage: str) -> dict[str, Any]:
    return dict(json.loads((folder / "run" / "_stages" / f"{stage}.json").read_text()))


def test_spark_serves_our_counts_beside_its_own(watched: tuple[Path, str, Scraper]) -> None:
    folder, _, scraper = watched
    # Of the last stage the end may come after the last scrape.
    images = record(folder, "download")["accounts"][0]
    assert scraper.gauge("rows_in_download_images") == images["in"]
    for stage in ("extract", "dedupe"):
        for account in record(folder, stage)["accounts"]:
            name = f"{stage}_{account['unit']}"
            assert scraper.gauge(f"rows_in_{name}") == account["in"]
            assert scraper.gauge(f"rows_kept_{name}") == account["kept"]
            for reason, rows in account["dropped"].items():
                assert scraper.gauge(f"rows_dropped_{name}_{reason}") == rows
    assert scraper.gauge("parts_done_download") == scraper.gauge("parts_download") == 4
    tars = sum(tar.stat().st_size for tar in (folder / "run/raw").glob("*.tar"))
    assert scraper.gauge("written_bytes_download") > 0.5 * tars > 0
    assert scraper.gauge("stage_running_dedupe") == 0
    assert {n for n, _ in scraper.seen["prometheus"]} >= {
        "metrics_pairmill_driver_DAGScheduler_stage_failedStages_Value"
    }
    executors = {name for name, _ in scraper.seen["executors/prometheus"]}
    assert "metrics_executor_completedTasks_total" in executors


def test_the_file_for_node_exporter_has_the_same(watched: tuple[Path, str, Scraper]) -> None:
    folder, _, _ = watched
    found = parse((folder / "p.prom").read_text())
    for stage in ("extract", "dedupe", "download"):
        for account in record(folder, stage)["accounts"]:
            labels = (("stage", stage), ("unit", account["unit"]))
            assert found["pairmill_rows_in", labels] == account["in"]
            for reason, rows in account["dropped"].items():
                assert found["pairmill_rows_dropped", (("reason", reason), *labels)] == rows
    running = {labels: v for (name, labels), v in found.items() if name == "pairmill_stage_running"}
    assert len(running) == 3 and set(running.values()) == {0}


def test_the_event_log_tells_the_run(watched: tuple[Path, str, Scraper]) -> None:
    folder, _, _ = watched
    (file,) = (folder / "run/_logs").iterdir()
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert {e["event"] for e in events} <= EVENTS.keys()
    assert events[0]["event"] == "run_started" and events[-1]["event"] == "run_ended"
    assert len({e["run"] for e in events}) == 1
    for stage in ("extract", "download"):
        of_stage = [e for e in events if e.get("stage") == stage]
        assert of_stage[0]["event"] == "started" and of_stage[-1]["event"] == "done"
        told = sum(e["parts"] for e in of_stage if e["event"] == "parts_done")
        assert told and all(e["seconds"] >= 0 and e["bytes"] > 0 for e in of_stage if "bytes" in e)
    parts = [e for e in events if e["event"] == "parts_done" and e["label"] == "download: images"]
    counted = sum(a["in"] for e in parts for a in e["accounts"] if a["unit"] == "images")
    assert counted == record(folder, "download")["accounts"][0]["in"]


def test_output_that_is_no_terminal_has_no_control_characters(
    watched: tuple[Path, str, Scraper],
) -> None:
    _, output, _ = watched
    assert not set(re.findall(r"[\x00-\x08\x0b-\x1f\x7f]", output))


def test_no_credential_is_in_any_file_nor_printed(watched: tuple[Path, str, Scraper]) -> None:
    folder, output, scraper = watched
    for secret in (*SECRETS.values(), PROPERTY):
        assert secret not in output and secret not in scraper.environment
        assert not files_with(folder, secret)
    # The property was there, and its name is shown.
    assert "fs.s3a.secret.key" in scraper.environment


def test_no_caption_is_in_logs_nor_printed(watched: tuple[Path, str, Scraper]) -> None:
    folder, output, _ = watched
    assert not captions_in(folder / "run", output)


def test_failures_quote_neither_captions_nor_credentials(tmp_path: Path) -> None:
    caption, secret = "A rEd dog chasing 3 balls", "cAnArYsecret00"
    url = f"https://me:{secret}@host.example/a?part=1&X-Amz-Signature={secret}"
    words = [str(tmp_path), caption, url]
    output = finish(submit(ROOT / "tests/leaking_job.py", words, 1, AWS_SECRET_ACCESS_KEY=secret))
    assert output.count("status 1") == 3
    logs = [file.read_text() for file in tmp_path.rglob("*.jsonl")]
    assert len(logs) == 3 and all('"run_failed"' in text for text in logs)
    # What failed and where is told all the same.
    assert "characters>" in output and "leaking_job.py" in logs[0] + logs[1] + logs[2]
    files = [file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file()]
    for text in (output, *files):
        assert "rEd dog" not in text and secret not in text


def test_sparks_own_log_is_redacted(spark: Any) -> None:
    """By the pattern of conf/log4j2.properties, as Spark's JVM lays out a message with it."""
    text = (ROOT / "conf/log4j2.properties").read_text()
    (pattern,) = re.findall(r"layout\.pattern = (.*)", text)
    log4j = spark._jvm.org.apache.logging.log4j
    layout = log4j.core.layout.PatternLayout.newBuilder()
    layout = layout.withPattern(pattern.replace("\\\\", "\\")).build()

    def laid_out(message: str) -> str:
        event = log4j.core.impl.Log4jLogEvent.newBuilder().setLoggerName("org.apache.spark.X")
        event = event.setLevel(log4j.Level.ERROR)
        event = event.setMessage(log4j.message.SimpleMessage(message))
        thrown = spark._jvm.java.lang.RuntimeException("A rEd dog")
        return str(layout.toSerializable(event.setThrown(thrown).build()))

    told = laid_out(
        "cannot read s3a://AKIA:cAnArY@bucket/a?X-Amz-Signature=cAnArY&part=1, secret='cAnArY', "
        "fs.s3a.secret.key=cAnArY, Authorization: Bearer cAnArY; 12 tokens: fine"
    )
    assert "cAnArY" not in told and "rEd dog" not in told
    assert "part=1" in told and "12 tokens: fine" in told and "bucket/a" in told
