"""What executors need, in two archives that Spark unpacks beside each of them: `make dist`.

code.zip              pipeline/, filters/, jobs/ and conf/ of this checkout
environment.tar.gz    .venv without what only development needs, and without Spark's own jars: its
                      workers have them. Its `bin/python` is a link to the interpreter that .venv
                      was made with, which must be at the same place on every machine.
"""

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
_CODE = ("pipeline", "filters", "jobs", "conf")
_OLDEST = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier date; the same code makes the same file
_JARS = "pyspark/jars/"


def distributions(requirements: Path) -> dict[str, Distribution]:
    """The installed packages that the named ones need, themselves included, by name."""
    lines = requirements.read_text().splitlines()
    todo = [m[0] for line in lines if (m := re.match(r"[A-Za-z0-9._-]+", line))]
    found: dict[str, Distribution] = {}
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"dist: {name} is not installed; run make setup")
        for line in found[name].requires or []:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                todo.append(wanted.name)
    return found


def files(venv: Path) -> Iterator[Path]:
    """Files of the environment, as paths below it."""
    yield Path("pyvenv.cfg")
    yield from (p.relative_to(venv) for p in sorted(venv.glob("bin/python*")))
    for _, package in sorted(distributions(ROOT / "conf/environment/runtime.in").items()):
        for record in package.files or []:
            file = Path(str(package.locate_file(record))).resolve()
            if not file.is_relative_to(venv) or _JARS in file.as_posix():
                continue
            for kept in (
                file,
                Path(cache_from_source(str(file))) if file.suffix == ".py" else file,
            ):
                if kept.is_file():
                    yield kept.relative_to(venv)


def write_environment(target: Path) -> None:
    """Pack the environment."""
    venv = Path(sys.prefix).resolve()
    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        for path in dict.fromkeys(files(venv)):
            tar.add(venv / path, str(path), recursive=False)


def write_code(target: Path) -> None:
    """Pack the code; equal code gives equal bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for folder in _CODE:
            for file in sorted((ROOT / folder).rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    name = file.relative_to(ROOT).as_posix()
                    packed.writestr(
                        zipfile.ZipInfo(name, _OLDEST), file.read_bytes(), zipfile.ZIP_DEFLATED
                    )


_WRITERS = {"code.zip": write_code, "environment.tar.gz": write_environment}


def main() -> None:
    """Write the archive that is named."""
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".writing-{target.name}")
    _WRITERS[target.name](beside)
    beside.replace(target)
    print(f"{target}: {target.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
