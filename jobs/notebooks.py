"""Execute every notebook on one run: `PAIRMILL_RUN=<run> python -m jobs.notebooks`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.run import guarded
from pipeline.stats import summary

ROOT = Path(__file__).resolve().parents[1]


def execute(run: str, sources: Sequence[Path], folder: Path) -> list[Path]:
    """Write every notebook, executed on `run`, to `folder` as .ipynb; the files written.

    Raises InputError when `run` is no run folder, or a cell fails (with the cell's own error).
    """
    import jupytext
    import nbclient
    import nbformat
    from nbclient.exceptions import CellExecutionError

    summary.load(run)
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "PAIRMILL_RUN": run if "://" in run else str(Path(run).absolute()),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    written = []
    for source in sources:
        notebook = jupytext.read(source)
        client = nbclient.NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": str(ROOT)}},
        )
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            raise InputError(f"{source.name}: {error.ename}: {error.evalue}") from error
        written.append(folder / f"{source.stem}.ipynb")
        nbformat.write(notebook, written[-1])
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    parser = argparse.ArgumentParser(description="Notebooks of a run, executed")
    parser.add_argument("--run", default=os.environ.get("PAIRMILL_RUN", "runs/demo"))
    parser.add_argument("--out", default="build/notebooks", help="folder of the .ipynb files")
    args = parser.parse_args(argv)

    def work() -> None:
        for path in execute(args.run, sorted((ROOT / "notebooks").glob("*.py")), Path(args.out)):
            print(path)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
