"""Held-out tasks from folders: zero-shot classification and retrieval.

Layouts, told by what is in the folder (docs/judge.md):

    captions.csv (.tsv, .jsonl, .parquet)   retrieval: columns image (relative path) and caption
    test/*.tar or *.tar                     WebDataset as clip_benchmark writes it: .cls beside the
                                            pictures with classnames.txt; or, where dataset_type.txt
                                            says "retrieval", .txt with a caption on each line
    <class>/*.jpg                           classification: a folder of pictures for each class

Of classes, `classnames.txt` has the names by label (by sorted folder), and `templates.txt` or
`zeroshot_classification_templates.txt` sentences with {c} where the name goes.
"""

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.core.errors import InputError

I64 = npt.NDArray[np.int64]
# Source: CLIP, arXiv:2103.00020, section 3.1.4.
DEFAULT_TEMPLATES = ("a photo of a {c}.",)
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_CAPTIONS = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.parquet")
_TEMPLATES = ("templates.txt", "zeroshot_classification_templates.txt")


class Picture(NamedTuple):
    """Where a picture's bytes are: of a file, or of a member of a tar."""

    path: Path
    offset: int
    size: int

    @property
    def name(self) -> str:
        """For messages, and to keep it by."""
        return f"{self.path}" if not self.offset else f"{self.path}@{self.offset}"

    def read(self) -> bytes:
        """Its bytes."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Classification:
    """Pictures of known classes. labels: int64 [n], into classes. templates: with {c}."""

    name: str
    pictures: Sequence[Picture]
    labels: I64
    classes: Sequence[str]
    templates: Sequence[str]


@dataclass(frozen=True)
class Retrieval:
    """Pictures with captions. owners: int64 [captions], the picture that each is of."""

    name: str
    pictures: Sequence[Picture]
    captions: Sequence[str]
    owners: I64


Task = Classification | Retrieval


def load(folder: str) -> list[Task]:
    """The tasks of a folder that is one, or holds one in each of its folders, by name.

    Raises InputError that names what is missing or wrong.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"judge.evaluation = {folder!r}: there is no such folder")
    # Folders that are tasks come first: to a glance, a folder of them is one of classes.
    inside = [] if _table(root) or _tars(root) else [p for p in _folders(root) if _is_task(p)]
    if not inside and _is_task(root):
        return [_task(root)]
    if not inside:
        raise InputError(
            f"judge.evaluation = {folder!r} holds no task: neither {', '.join(_CAPTIONS)}, nor "
            "tars, nor a folder of pictures for each class, nor folders of these"
        )
    return [_task(path) for path in inside]


def digest_of(tasks: Iterable[Task]) -> str:
    """Names what is asked: names, labels, texts, and place and size of each picture; 16 hex."""
    told: list[Any] = []
    for task in tasks:
        files = [[p.path.name, p.offset, p.size] for p in task.pictures]
        if isinstance(task, Classification):
            texts = [list(task.classes), list(task.templates), task.labels.tolist()]
        else:
            texts = [list(task.captions), task.owners.tolist()]
        told.append([type(task).__name__, task.name, files, texts])
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()[:16]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in _PICTURES)


def _tars(folder: Path) -> list[Path]:
    found = [*folder.glob("test/*.tar"), *folder.glob("*.tar")]
    return sorted(found, key=lambda path: (len(path.name), path.name))  # 2.tar before 10.tar


def _table(folder: Path) -> Path | None:
    return next((folder / name for name in _CAPTIONS if (folder / name).is_file()), None)


def _is_task(folder: Path) -> bool:
    if _table(folder) or _tars(folder):
        return True
    return any(_pictures(inside) for inside in _folders(folder))


def _task(folder: Path) -> Task:
    table = _table(folder)
    if table is not None:
        return _captioned(folder, table)
    return _packed(folder) if _tars(folder) else _by_class(folder)


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]


def _templates(folder: Path) -> tuple[str, ...]:
    path = next((folder / name for name in _TEMPLATES if (folder / name).is_file()), None)
    if path is None:
        return DEFAULT_TEMPLATES
    found = tuple(_lines(path))
    wrong = [line for line in found if "{c}" not in line]
    if wrong or not found:
        raise InputError(f"{path}: every line needs {{c}}, where the class goes: {wrong[:1]}")
    return found


def _by_class(folder: Path) -> Classification:
    kinds = [inside for inside in _folders(folder) if _pictures(inside)]
    names = folder / "classnames.txt"
    classes = _lines(names) if names.is_file() else [k.name.replace("_", " ") for k in kinds]
    if len(classes) != len(kinds):
        raise InputError(f"{names} has {len(classes)} names for {len(kinds)} folders of pictures")
    found = [(label, path) for label, kind in enumerate(kinds) for path in _pictures(kind)]
    return Classification(
        folder.name,
        [Picture(path, 0, path.stat().st_size) for _, path in found],
        np.array([label for label, _ in found], np.int64),
        classes,
        _templates(folder),
    )


def _captioned(folder: Path, table: Path) -> Retrieval:
    places: dict[str, int] = {}
    captions, owners = [], []
    for row in _rows(table):
        image, caption = row.get("image"), row.get("caption")
        if not image or not caption:
            raise InputError(f"{table}: a row without image or caption: {row}")
        owners.append(places.setdefault(str(image), len(places)))
        captions.append(str(caption))
    pictures = []
    for image in places:
        path = folder / image
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{table} names {image}, which is not in {folder}")
        pictures.append(Picture(path, 0, path.stat().st_size))
    if not pictures:
        raise InputError(f"{table} has no rows")
    return Retrieval(folder.name, pictures, captions, np.array(owners, np.int64))


def _rows(table: Path) -> list[dict[str, Any]]:
    try:
        if table.suffix == ".parquet":
            return list(pq.read_table(table).to_pylist())
        text = table.read_text("utf-8")
        if table.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        delimiter = "\t" if table.suffix == ".tsv" else ","
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (ValueError, OSError) as error:
        raise InputError(f"{table} cannot be read: {error}") from None


def _packed(folder: Path) -> Task:
    kind = folder / "dataset_type.txt"
    is_retrieval = kind.is_file() and kind.read_text().strip() == "retrieval"
    suffix = ".txt" if is_retrieval else ".cls"
    pictures, labels = [], []
    for tar in _tars(folder):
        for picture, label in _members(tar, suffix):
            pictures.append(picture)
            labels.append(label)
    if not pictures:
        raise InputError(f"{folder}: its tars have no picture with a {suffix} beside it")
    if is_retrieval:
        lines = [[line for line in text.splitlines() if line.strip()] for text in labels]
        owners = [owner for owner, some in enumerate(lines) for _ in some]
        captions = [line for some in lines for line in some]
        return Retrieval(folder.name, pictures, captions, np.array(owners, np.int64))
    names = folder / "classnames.txt"
    if not names.is_file():
        raise InputError(f"{folder} has labels in its tars and no classnames.txt")
    classes = _lines(names)
    try:
        numbers = np.array([int(label) for label in labels], np.int64)
    except ValueError as error:
        raise InputError(f"{folder}: a .cls is no number: {error}") from None
    if numbers.min() < 0 or numbers.max() >= len(classes):
        raise InputError(f"{folder}: label {numbers.max()} of {len(classes)} in {names}")
    return Classification(folder.name, pictures, numbers, classes, _templates(folder))


def _members(path: Path, suffix: str) -> list[tuple[Picture, str]]:
    """Every picture of a tar with the text beside it, in order of the keys' first members."""
    pictures: dict[str, Picture] = {}
    texts: dict[str, str] = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                key, dot, ending = member.name.rpartition(".")
                if dot + ending.lower() in _PICTURES:
                    pictures[key] = Picture(path, member.offset_data, member.size)
                elif dot + ending == suffix:
                    opened = tar.extractfile(member)
                    texts[key] = opened.read().decode() if opened else ""
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return [(picture, texts[key]) for key, picture in pictures.items() if key in texts]
