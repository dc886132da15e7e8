"""`make notebooks`: executed files, and clear refusals."""

import json

import pytest

from jobs.notebooks import ROOT, execute, main
from pipeline.core.errors import InputError

pytest.importorskip("jupytext")
pytest.importorskip("ipykernel")


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run" / "_stages").mkdir(parents=True)
    return tmp_path / "run"


def write(folder, code):
    path = folder / "one.py"
    path.write_text(f"# %%\n{code}\n", encoding="utf-8")
    return path


def test_outputs_are_in_the_file_and_the_run_reaches_the_cells(run, tmp_path):
    code = "import os, pipeline.stats.summary\nprint(os.environ['PAIRMILL_RUN'])"
    (path,) = execute(str(run), [write(tmp_path, code)], tmp_path / "out")
    (cell,) = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert str(run) in "".join(cell["outputs"][0]["text"])


def test_a_failing_cell_is_named_and_nothing_written(run, tmp_path):
    with pytest.raises(InputError, match="one.py: ZeroDivisionError"):
        execute(str(run), [write(tmp_path, "1 / 0")], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, capsys):
    assert main(["--run", str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err
    assert (ROOT / "notebooks").is_dir()
