"""What a finished run lets out beside its tables: credentials and captions, which it must not."""

from pathlib import Path

import pyarrow.dataset as ds

from pipeline.core.tables import PAIRS

# In the environment of a run that is looked at afterwards.
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "cAnArY1/of+the+environment",
    "FSSPEC_S3_SECRET": "cAnArY2-of-storage-options",
}
# Folders and files of data; the report shows pairs, and so does what is counted of them.
_DATA = {"release", "raw", "report", "stats"}
_TABLES = {".parquet", ".crc", ".tar"}


def files_with(folder: Path, secret: str) -> list[Path]:
    """All files below a folder that hold a text as it is."""
    return [
        file
        for file in folder.rglob("*")
        if file.is_file() and secret.encode() in file.read_bytes()
    ]


def captions_in(run: Path, output: str) -> list[tuple[str, str]]:
    """(where, caption) of captions of the run that stand in what it printed, or in a file that is no
    data. Short ones are words of any text, and are not looked for."""
    column = ds.dataset(run / PAIRS.name).to_table(["caption"])["caption"].to_pylist()
    captions = {caption for caption in column if caption and len(caption) > 15}
    assert len(captions) > 20
    texts = {"output": output}
    for file in run.rglob("*"):
        is_data = file.relative_to(run).parts[0] in _DATA or file.suffix in _TABLES
        if file.is_file() and not is_data:
            texts[str(file)] = file.read_bytes().decode(errors="replace")
    assert any("_logs" in name for name in texts) and any("_stages" in name for name in texts)
    return [(name, c) for name, text in texts.items() for c in captions if c in text]
