"""Held-out tasks from each layout, and what is wrong with a folder by name."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import InputError
from pipeline.judge import tasks
from pipeline.judge.tasks import Classification, Retrieval
from tests.judge.pools import picture


def save(path: Path, colour: str = "red", seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(colour, seed))


def pack(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def only(folder: Path) -> tasks.Task:
    (task,) = tasks.load(str(folder))
    return task


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name in ("b_cat", "a_dog"):
        for number in range(2):
            save(tmp_path / "pets" / name / f"{number}.jpg", seed=number)
    task = only(tmp_path)
    assert isinstance(task, Classification)
    assert (task.name, task.classes) == ("pets", ["a dog", "b cat"])
    assert task.labels.tolist() == [0, 0, 1, 1]
    assert task.templates == tasks.DEFAULT_TEMPLATES
    assert task.pictures[3].read() == picture("red", 1)
    (tmp_path / "pets" / "classnames.txt").write_text("dog\ncat\n")
    (tmp_path / "pets" / "templates.txt").write_text("a {c}\n\nthe {c}\n")
    named = only(tmp_path / "pets")
    assert isinstance(named, Classification)
    assert (named.classes, named.templates) == (["dog", "cat"], ("a {c}", "the {c}"))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_of_captions(tmp_path: Path, ending: str) -> None:
    rows = [("in/0.jpg", "one, two"), ("1.jpg", "빨간 것"), ("in/0.jpg", "again")]
    for image, _ in rows:
        save(tmp_path / image)
    path = tmp_path / f"captions.{ending}"
    if ending == "parquet":
        images, captions = zip(*rows, strict=True)
        pq.write_table(pa.table({"image": images, "caption": captions}), path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({"image": i, "caption": c}) + "\n" for i, c in rows))
    else:
        mark = {"csv": ",", "tsv": "\t"}[ending]
        lines = [f"image{mark}caption", *(f'{i}{mark}"{c}"' for i, c in rows)]
        path.write_text("\n".join(lines) + "\n")
    task = only(tmp_path)
    assert isinstance(task, Retrieval)
    assert task.captions == [caption for _, caption in rows]
    assert task.owners.tolist() == [0, 1, 0]
    assert [p.path.name for p in task.pictures] == ["0.jpg", "1.jpg"]


def test_tars_of_clip_benchmark(tmp_path: Path) -> None:
    red, blue = picture("red", 0), picture("blue", 1)
    folder = tmp_path / "wds_pets"
    pack(folder / "test" / "10.tar", {"s3.webp": blue, "s3.cls": b"0"})
    pack(folder / "test" / "2.tar", {"s1.jpg": red, "s1.cls": b"1", "s2.cls": b"0", "s2.jpg": blue})
    (folder / "classnames.txt").write_text("dog\ncat\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\n")
    task = only(tmp_path)
    assert isinstance(task, Classification)
    assert (task.name, task.labels.tolist()) == ("wds_pets", [1, 0, 0])
    assert [p.read() for p in task.pictures] == [red, blue, blue]
    pack(folder / "test" / "2.tar", {"s1.jpg": red, "s1.txt": b"a dog\nein Hund\n"})
    (folder / "test" / "10.tar").unlink()
    (folder / "dataset_type.txt").write_text("retrieval\n")
    captioned = only(tmp_path)
    assert isinstance(captioned, Retrieval)
    assert (captioned.captions, captioned.owners.tolist()) == (["a dog", "ein Hund"], [0, 0])


def test_digest_names_what_is_asked(tmp_path: Path) -> None:
    save(tmp_path / "x" / "a" / "0.jpg")
    save(tmp_path / "x" / "b" / "0.jpg")
    first = tasks.digest_of(tasks.load(str(tmp_path)))
    assert tasks.digest_of(tasks.load(str(tmp_path / "x"))) == first
    (tmp_path / "x" / "templates.txt").write_text("my {c}\n")
    assert tasks.digest_of(tasks.load(str(tmp_path))) != first


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        tasks.load(str(tmp_path / "none"))
    with pytest.raises(InputError, match="holds no task"):
        tasks.load(str(tmp_path))
    save(tmp_path / "a" / "0.jpg")
    (tmp_path / "templates.txt").write_text("a photo\n")
    with pytest.raises(InputError, match=r"templates.txt: every line needs \{c\}"):
        tasks.load(str(tmp_path))
    (tmp_path / "templates.txt").unlink()
    (tmp_path / "classnames.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="2 names for 1 folders"):
        tasks.load(str(tmp_path))
    (tmp_path / "captions.csv").write_text("image,caption\n../x.jpg,text\n")
    with pytest.raises(InputError, match="names ../x.jpg, which is not in"):
        tasks.load(str(tmp_path))
    (tmp_path / "captions.csv").write_text("file,caption\n0.jpg,text\n")
    with pytest.raises(InputError, match="without image or caption"):
        tasks.load(str(tmp_path))


def test_wrong_tars_are_named(tmp_path: Path) -> None:
    pack(tmp_path / "0.tar", {"a.jpg": b"", "a.cls": b"7"})
    with pytest.raises(InputError, match="no classnames.txt"):
        tasks.load(str(tmp_path))
    (tmp_path / "classnames.txt").write_text("dog\ncat\n")
    with pytest.raises(InputError, match="label 7 of 2"):
        tasks.load(str(tmp_path))
    pack(tmp_path / "0.tar", {"a.jpg": b"", "a.cls": b"cat"})
    with pytest.raises(InputError, match="is no number"):
        tasks.load(str(tmp_path))
    pack(tmp_path / "0.tar", {"a.jpg": b""})
    with pytest.raises(InputError, match="no picture with a .cls beside it"):
        tasks.load(str(tmp_path))
    (tmp_path / "0.tar").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(InputError, match="0.tar cannot be read"):
        tasks.load(str(tmp_path))
