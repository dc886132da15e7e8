"""Who may import whom. Read from the source, so that nothing needs to be importable."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("dedupe", "extract", "fetch", "match", "score", "shards", "stream", "stats", "fakeweb")
# Package -> packages of ours it may import, itself always included.
ALLOWED = {
    "pipeline.core": set(),
    **{f"pipeline.{part}": {"pipeline.core"} for part in PARTS},
    "pipeline.search": {"pipeline.core", "pipeline.score"},
    "pipeline.judge": {"pipeline.core", "pipeline.score", "pipeline.stream"},
    "pipeline.stages": {"pipeline.core", *(f"pipeline.{part}" for part in PARTS)},
    "filters": {"pipeline.core"},
    "notebooks": {"pipeline.stats", "jobs"},
    "jobs": {"pipeline", "filters", "jobs"},
}
SPARK = ("pipeline.core", "pipeline.match", "pipeline.stages", "jobs")
FILES = sorted(
    path
    for top in ("pipeline", "filters", "jobs", "notebooks")
    for path in (ROOT / top).rglob("*.py")
)


def package(module: str) -> str:
    """The package a module belongs to, for the rules: pipeline.<part>, or the top folder."""
    names = module.split(".")
    return ".".join(names[:2]) if names[0] == "pipeline" and len(names) > 1 else names[0]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_import_rules(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    own = package(module)
    if own == "pipeline":
        return
    for imported in imports(path):
        top = imported.split(".")[0]
        if top in ("pipeline", "filters", "jobs", "notebooks", "tests"):
            used = package(imported)
            if used in ("pipeline", "pipeline.__version__", own):
                continue
            allowed = ALLOWED[own]
            assert used in allowed or top in allowed, f"{module} may not import {imported}"
        if top == "pyspark":
            assert own in SPARK, f"{module} may not import pyspark"


def test_core_does_not_start_heavy_libraries() -> None:
    """Reading a config must stay fast: no torch, faiss or matplotlib at import of core."""
    for path in (ROOT / "pipeline" / "core").glob("*.py"):
        assert not {"torch", "faiss", "matplotlib", "open_clip"} & imports(path), path
