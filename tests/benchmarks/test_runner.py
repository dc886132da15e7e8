import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.extract.rows import PairRows, read_archive
from tests.benchmarks import __main__ as runner
from tests.benchmarks import machine, shards
from tests.benchmarks.peers import __main__ as peers
from tests.benchmarks.peers import line
from tests.benchmarks.peers.compare import alternate
from tests.shards import plain_release


@pytest.mark.parametrize("main", [runner.main, peers.main])
def test_an_unknown_workload_is_refused_with_the_known_ones(
    main: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["shard-wrote"])  # type: ignore[operator]
    assert "shard-write" in capsys.readouterr().err


def test_a_failing_workload_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "OUT", tmp_path)
    monkeypatch.setitem(runner.WORKLOADS, "broken", ("no_such_module", "run"))
    assert runner.main(["broken"]) == 1
    assert "broken" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_peak_memory_counts_descendants() -> None:
    inner = "import time; held = b'x' * (90 << 20); time.sleep(1.5)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = subprocess.Popen([sys.executable, "-c", outer], start_new_session=True)
    with machine.PeakMemory(process) as peak:
        process.wait()
    assert 90 < peak.mb < 200


def test_ratio_is_ours_over_the_peer_by_pair() -> None:
    ours = iter([(100, 1.0), (100, 2.0), (100, 1.0)])
    peer = iter([(10, 1.0), (10, 1.0), (10, 0.5)])
    result = alternate(
        lambda: dict(zip(("items", "cpu_seconds"), next(ours), strict=True)),
        lambda: dict(zip(("items", "cpu_seconds"), next(peer), strict=True)),
        3,
    )
    assert (result["ratio"], result["ratios"]) == (5.0, [10.0, 5.0, 5.0])


def test_samples_travel_whole(tmp_path: Path) -> None:
    samples = shards.make_samples(40)
    shards.save(samples, tmp_path / "samples")
    assert shards.load(tmp_path / "samples") == samples == shards.make_samples(40)
    plain_release.write(tmp_path / "a", samples, 7)
    plain_release.write(tmp_path / "b", samples, 40)
    changed = [*samples[:-1], (samples[-1][0], samples[-1][1], b"another", samples[-1][3])]
    plain_release.write(tmp_path / "c", changed, 40)
    assert shards.digest(tmp_path / "a") == shards.digest(tmp_path / "b")
    assert shards.digest(tmp_path / "a") != shards.digest(tmp_path / "c")


def test_processor_time_of_orphans_is_counted() -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    leave = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])"
    _, cpu_seconds = machine.counted([sys.executable, "-c", leave])
    assert 0.5 <= cpu_seconds < 5


def test_a_command_that_fails_fails_its_count() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        machine.counted([sys.executable, "-c", "raise SystemExit(3)"])


def test_archives_of_the_line_show_every_picture_with_its_caption(tmp_path: Path) -> None:
    urls = [f"https://h{i % 7}.bench.test:4443/{i}.jpg" for i in range(50)]
    found = []
    for path in line.write_archives(urls, tmp_path):
        rows = PairRows(path, 1000)
        with open(path, "rb") as file:
            for batch in read_archive(file, rows, 1 << 22, 100):
                found += zip(batch["url"].to_pylist(), batch["caption"].to_pylist(), strict=True)
    shown = [(url, caption) for url, caption in found if ".bench.test:4443/" in url]
    assert sorted({url for url, _ in shown}) == sorted(urls)
    assert len(set(shown)) == 50 < len(shown)
    assert len({caption for _, caption in shown}) == 50
