"""Every cell of every notebook runs, on a run that is whole and on ones that are not."""

import shutil

import matplotlib
import pyarrow as pa
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from jobs.notebooks import ROOT
from pipeline.stats import plots
from tests.stats.made_run import make

jupytext = pytest.importorskip("jupytext")
# The eighth needs an index: tests/search.
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-7]*.py"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    make(root)
    return root


def run_cells(path, root, monkeypatch):
    """Execute the code cells in this process; how many figures they drew."""
    monkeypatch.setenv("PAIRMILL_RUN", str(root))
    plt.close("all")
    names = {}
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            code = "\n".join(line for line in cell.source.splitlines() if line[:1] != "%")
            exec(compile(code, path.name, "exec"), names)
    drawn = len(plt.get_fignums())
    plt.close("all")
    return drawn


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_draws_of_a_whole_run(path, whole, monkeypatch, capsys):
    drawn = run_cells(path, whole, monkeypatch)
    questions = sum(cell.source.startswith("## ") for cell in jupytext.read(path).cells)
    told = capsys.readouterr().out
    assert drawn >= 4 and drawn + told.count("\n") >= questions
    assert "has no table" not in told


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_of_a_run_that_has_just_begun_they_say_what_is_missing(path, tmp_path, monkeypatch, capsys):
    (tmp_path / "_stages").mkdir()
    run_cells(path, tmp_path, monkeypatch)
    if not path.stem.startswith("07"):
        assert "This run has no table" in capsys.readouterr().out


def test_a_table_without_rows_is_told(whole, tmp_path, monkeypatch, capsys):
    shutil.copytree(whole, tmp_path / "run")
    (part,) = (tmp_path / "run" / "null_scores").rglob("part-*.parquet")
    table = pa.parquet.read_table(part)
    pa.parquet.write_table(table.slice(0, 0), part)
    monkeypatch.setenv("PAIRMILL_RUN", str(tmp_path / "run"))
    run = plots.open_run()
    assert not run.has("null_scores") and run.has("judged")
    assert "The table 'null_scores' of this run is empty." in capsys.readouterr().out


def test_labels_are_short_plain_and_on_one_line():
    assert plots.label("a\n b $x^2$") == r"a b \$x^2\$"
    assert plots.label(None) == plots.label("") == "unknown"
    assert len(plots.label("x" * 500)) == 48
