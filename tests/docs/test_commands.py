"""Every command of the documentation is real, and is run here, by another test, or by nobody for a
reason that is said."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.line import run_stages
from tests.conftest import ROOT, Milled
from tests.docs.commands import NEEDS, PAGES, Command, check, check_make, commands, inline, pipes

ALL = [command for page in PAGES for command in commands(page)]
RUN = sorted({command.page for command in ALL if command.mark == "run"})
# Target -> what a test has in it that does the same; any other is found by its own name.
MEANS = {"run": r"milled|\b(demo|submit)\(", "demo": "milled", "curl": "prometheus"}


def named(command: Command) -> str:
    return f"{command.page}:{command.line}"


@pytest.mark.parametrize("command", ALL, ids=named)
def test_every_command_is_real_and_marked(command: Command) -> None:
    assert command.mark, f"{named(command)}: no mark before the block, see tests/docs/commands.py"
    kind, _, what = command.mark.partition(": ")
    if kind == "needs":
        assert what in NEEDS, what
    for words in pipes(command.words):
        check(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_within_the_text_are_real(page: Path) -> None:
    for words in inline(page):
        if words[0] == "make":
            check_make(words[1:])
        else:
            check(words)


def test_indented_blocks_are_no_commands() -> None:
    """They have no mark, so none is checked."""
    for page in PAGES:
        for line in page.read_text("utf-8").splitlines():
            assert not re.match(r"    (make|spark-submit|python|\$|\.venv/bin/) ?", line), (
                page,
                line,
            )


@pytest.mark.parametrize("command", [c for c in ALL if c.mark.startswith("tested")], ids=named)
def test_what_is_tested_elsewhere_is(command: Command) -> None:
    path, _, name = command.mark.removeprefix("tested: ").partition("::")
    text = (ROOT / path).read_text()
    assert re.search(rf"^def {name}\(", text, re.MULTILINE), command.mark
    words = command.words
    while "=" in words[0]:
        words = words[1:]
    does = [w for w in words[1:] if "=" not in w] if words[0] == "make" else [_module(words)]
    assert any(re.search(MEANS.get(d, d.replace("-", "_")), text) for d in does), (does, path)


def _module(words: list[str]) -> str:
    """The name of the job that a command starts; of no job, its program."""
    found = re.search(r"\bjobs[./](\w+)", " ".join(words))
    return found[1] if found else words[0]


@pytest.fixture(scope="module")
def checkout(milled: Milled, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that looks like a checkout after `make demo`: the milled run is runs/demo, and also
    the run of one's own that the pages speak of (runs/mine, runs/sample)."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("Makefile", ".venv", "pipeline", "filters", "jobs", "tests", "notebooks"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "conf", folder / "conf", symlinks=True)
    sets = dict(one.split("=", 1) for one in milled.sets)
    recipe = (ROOT / "conf/demo.toml").read_text()
    for key, value in sets.items():
        name = key.rpartition(".")[2]
        recipe, changed = re.subn(
            rf"^{name} = .*$", f"{name} = {value}", recipe, flags=re.MULTILINE
        )
        assert changed == 1 or name == "folder", key
    recipe = recipe.replace("[demo]\n", f'[demo]\nfolder = "{milled.web}"\n')
    (folder / "conf/demo.toml").write_text(recipe)
    (folder / "conf/mine.toml").write_text(recipe.replace("runs/demo", "runs/mine"))
    for name in ("demo", "mine", "sample"):
        shutil.copytree(milled.root, folder / "runs" / name)
        (folder / "runs" / name / "_tallies").mkdir(exist_ok=True)  # there while a download runs
    samples = pq.read_table(milled.root / "release/.meta/00000.parquet", columns=["domain"])
    (folder / "requests.txt").write_text(f"domain:{samples['domain'][0]}\n")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize("page", RUN)
def test_commands_on_a_finished_run_do_what_they_say(page: str, checkout: Path) -> None:
    environment = os.environ | {"PATH": f"{checkout}/.venv/bin:{os.environ['PATH']}"}
    done = set()
    for command in (c for c in ALL if c.page == page and c.mark == "run"):
        text = " ".join(command.words)
        if text in done:
            continue
        done.add(text)
        # What is set up is set up.
        given = re.sub(r"^make\b", "make -o setup", command.text)
        found = subprocess.run(
            ["bash", "-o", "pipefail", "-c", given],
            cwd=checkout,
            env=environment | command.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        told = f"{named(command)}: {command.text}\n{found.stdout[-800:]}{found.stderr[-800:]}"
        # grep says by 1 that there is nothing, which is well: no alarm rang.
        assert found.returncode == 0 or (text.startswith("grep") and not found.stderr), told
        assert "Traceback" not in found.stderr, told


@pytest.mark.spark
def test_a_bound_is_moved(spark: Any, milled: Milled, tmp_path: Path) -> None:
    """`make decide shard report REDO=1` with another bound, as README and runbook have it."""
    from pipeline.core.storage import Store
    from pipeline.core.tables import DECISIONS

    (command,) = (c for c in ALL if c.page == "README.md" and c.text.startswith("make decide"))
    stages = [word for word in command.words[1:] if "=" not in word]
    (bound,) = (word.removeprefix("SET=") for word in command.words if word.startswith("SET="))
    root = shutil.copytree(milled.root, tmp_path / "run")
    sets = [f"run.root={root}", *milled.sets, bound]
    words = ["--config", str(ROOT / "conf/demo.toml")]
    words += [word for one in sets for word in ("--set", one)]
    assert run_stages(*stages, argv=[*words, "--redo"]) == 0

    def kept(folder: Path) -> int:
        table = spark.read.parquet(str(folder / DECISIONS.name))
        return int(table.where("is_kept").count())

    assert kept(root) > kept(milled.root)  # 0.3 is under the recipe's 0.5
    assert Store(str(root)).exists("release/README.md") and (root / "report/report.html").is_file()
