"""Nothing that is named outside reaches a shell, or a place outside the folders it is meant for."""

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.core.config import load
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.release import FORMAT, META, Manifest, ShardEntry
from pipeline.extract import archives
from pipeline.extract.archives import below, crawl_archives, list_archives
from pipeline.fetch import adopt
from pipeline.stages import grow
from pipeline.stages.line import LINE
from pipeline.stream.reader import Release
from tests.conftest import ROOT
from tests.fetch import img2dataset

# Each would leave a file `evil` if a shell, or make, took it for more than text.
HOSTILE = (
    "a'; touch evil; '",
    'a"; touch evil; "',
    "a`touch evil`",
    "a$(touch evil)",
    "$(shell touch evil)",
    "a && touch evil #",
    "a | touch evil",
    "--x=$$(touch evil)",
    "a\\' ; touch evil",
    "*",
)
ONE_WORD = tuple(value.replace(" ", "${IFS}") for value in HOSTILE)
# target -> variables that hold one text, and words.
TARGETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "run": (("CONFIG", "FROM"), ("SET",)),
    "extract": (("CONFIG", "ARCHIVES"), ("SET",)),
    "retry": (("CONFIG",), ("SET",)),
    "status": (("CONFIG", "ARCHIVES"), ("SET",)),
    "verify": (("RELEASE", "VIEW"), ()),
    "what-if": (("CONFIG",), ("SET",)),
    "register": (("REGISTRY", "RELEASE"), ("SET",)),
    "hash-pack": (("IMAGES", "OUT"), ("SET",)),
    "view": (("RELEASE", "WHERE", "OUT"), ()),
    "describe": (("RELEASE", "VIEW"), ()),
    "materialise": (("RELEASE", "VIEW", "OUT"), ()),
    "export": (("RELEASE", "LAYOUT", "OUT"), ()),
    "grow": (("DATASET", "CRAWL", "CONFIG", "FROM"), ("SET",)),
    "takedown": (("LIST", "OUT", "REGISTRY"), ("RELEASE",)),
    "import": (("FROM", "OUT"), ()),
    "bench": ((), ("W", "SIZES")),
    "bench-peers": ((), ("W",)),
    "match-plan": ((), ("N", "R")),
    "chaos": (("SEED", "STRIKES"), ()),
}


def made(tmp_path: Path, target: str, values: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """`make target`, with something that writes down its arguments in place of what it starts."""
    stub = tmp_path / "stub"
    stub.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" > {tmp_path}/arguments\n')
    stub.chmod(0o755)
    given = [f"{name}={value}" for name, value in values.items()]
    stubs = [f"SUBMIT={stub}", f"PY={stub}"]
    return subprocess.run(
        ["make", "-f", ROOT / "Makefile", "-o", "setup", target, *stubs, *given],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )


@pytest.mark.parametrize("target", TARGETS)
def test_make_gives_text_on_as_it_is(tmp_path: Path, target: str) -> None:
    texts, words = TARGETS[target]
    for text, word in zip(HOSTILE, ONE_WORD, strict=True):
        values = dict.fromkeys(texts, text) | dict.fromkeys(words, word)
        done = made(tmp_path, target, values)
        assert done.returncode == 0, done.stderr
        arguments = (tmp_path / "arguments").read_text().split("\0")
        for value in values.values():
            assert any(value in argument for argument in arguments), (values, arguments)
        assert not (tmp_path / "evil").exists()


def test_make_gives_the_launcher_its_cluster(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_text(f'#!/bin/sh\necho "$CLUSTER $MASTER" > {tmp_path}/told\n')
    stub.chmod(0o755)
    words = [f"SUBMIT={stub}", "CLUSTER=standalone", "MASTER=spark://host:7077"]
    subprocess.run(
        ["make", "-f", ROOT / "Makefile", "-o", "setup", "run", *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        check=True,
    )
    assert (tmp_path / "told").read_text() == "standalone spark://host:7077\n"


def test_make_refuses_text_of_two_lines(tmp_path: Path) -> None:
    done = made(tmp_path, "import", {"FROM": "a\ntouch evil\n", "OUT": "b"})
    assert done.returncode != 0 and "FROM must be one line" in done.stderr
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("cluster", ["", "standalone"])
def test_the_launcher_gives_arguments_on_as_they_are(tmp_path: Path, cluster: str) -> None:
    checkout, dist = tmp_path / "a checkout", tmp_path / "what's packed"
    (checkout / "conf" / "environment").mkdir(parents=True)
    for name in ("environment/submit.sh", "spark-standalone.conf", "spark-local.conf"):
        (checkout / "conf" / name).write_bytes((ROOT / "conf" / name).read_bytes())
    (checkout / ".venv" / "bin").mkdir(parents=True)
    launcher = checkout / ".venv" / "bin" / "spark-submit"
    launcher.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" > "{tmp_path}/arguments"\n')
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\n")
    dist.mkdir()
    for name in ("code.zip", "environment.tar.gz"):
        (dist / name).touch()
    for file in (launcher, java):
        file.chmod(0o755)
    given = {"CLUSTER": cluster, "MASTER": "spark://h:1 --conf a=$(touch evil)", "DIST": str(dist)}
    environment = {"PATH": os.environ["PATH"], "JAVA_HOME": str(java.parent.parent)}
    command = ["bash", checkout / "conf/environment/submit.sh", "job.py", *HOSTILE]
    extra = {"SPARK_ARGS": "--conf b=* --conf c=$(touch${IFS}evil)"}
    done = subprocess.run(command, cwd=tmp_path, env=environment | given | extra)
    assert done.returncode == 0
    arguments = (tmp_path / "arguments").read_text().split("\0")[:-1]
    assert arguments[-len(HOSTILE) - 1 :] == ["job.py", *HOSTILE]
    assert ["--conf", "b=*", "--conf", "c=$(touch${IFS}evil)"] == arguments[-len(HOSTILE) - 5 :][:4]
    if cluster:
        assert arguments[arguments.index("--master") + 1] == given["MASTER"]
        packed = arguments[arguments.index("--archives") + 1]
        assert packed == f"{dist}/code.zip#code,{dist}/environment.tar.gz#environment"
    assert not (tmp_path / "evil").exists()
    wrong = environment | given | {"CLUSTER": "../../etc/x"}
    refused = subprocess.run(command, cwd=tmp_path, env=wrong, capture_output=True, text=True)
    assert refused.returncode == 2 and "CLUSTER names" in refused.stderr


@pytest.mark.parametrize("name", ["/etc/passwd", "../../etc/passwd", "a/../../b", "file:///etc/x"])
def test_a_crawls_list_names_nothing_outside_the_crawl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(InputError, match="does not lie below"):
        below(name, "warc.paths.gz")
    folder = tmp_path / "crawl-data" / "CC"
    folder.mkdir(parents=True)
    (folder / "wat.paths.gz").write_text(f"good.wat.gz\n{name}\n")
    with pytest.raises(InputError, match="does not lie below the crawl's base"):
        crawl_archives(f"{tmp_path}/", "CC", "wat", 0, None)
    if name.startswith(("/", "file")):
        monkeypatch.setattr(archives, "_lines", lambda _: [name])
        with pytest.raises(InputError, match="a file of this machine"):
            list_archives(["@https://lists.example/wat.paths"])


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", ".x", "", "a\nb", "a;b", "a b"])
def test_the_name_of_a_crawl_is_no_path(name: str) -> None:
    with pytest.raises(ConfigError, match="make a name"):
        grow.folder_of(name)


@pytest.mark.parametrize(
    "override",
    [
        'score.models."../x"={model="ViT-B-32"}',
        'score.heads."a/b"={path="x", kind="mlp"}',
        'score.pixel_functions."../y"="m:f"',
        'filters."../w"={}',
        'filters."__import__"={}',
    ],
)
def test_names_in_a_recipe_are_no_paths(tmp_path: Path, override: str) -> None:
    import filters
    from pipeline.core.config import RunSection

    section, _, rest = override.partition('."')
    key, _, value = rest.partition('"=')
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'[run]\nroot = "{tmp_path}"\n[{section}]\n"{key}" = {value}\n')
    sections = {"run": RunSection} | {stage.name: stage.config for stage in LINE}
    with pytest.raises(ConfigError):
        load(str(recipe), [], sections, filters.load())


@pytest.mark.parametrize("path", ["../00000.tar", "/etc/00000.tar", "a/00000.tar", "..", "x\n.tar"])
def test_a_release_from_elsewhere_names_no_file_outside_itself(tmp_path: Path, path: str) -> None:
    import json

    entry = ShardEntry(path, 1, 1, "00" * 32)
    told = Manifest("x", "1", {}, (entry,)).to_json()
    assert told["format"] == FORMAT
    (tmp_path / META).mkdir()
    (tmp_path / META / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="not a tar in the release's folder"):
        Release(str(tmp_path))


def hostile_tar(picture: bytes) -> bytes:
    """As img2dataset's tars, with members that lead elsewhere."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("../../000000001.jpg", "/tmp/000000002.jpg", "000000003.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(picture)
            tar.addfile(member, io.BytesIO(picture))
        for name, kind in (("000000004.jpg", tarfile.SYMTYPE), ("000000005.jpg", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            tar.addfile(link)
        device = tarfile.TarInfo("000000006.jpg")
        device.type = tarfile.CHRTYPE
        tar.addfile(device)
    return file.getvalue()


def test_members_of_foreign_tars_are_bytes_and_never_files(tmp_path: Path) -> None:
    """They are read by their place: no name of one is opened, and links lead nowhere."""
    folder = tmp_path / "folder"
    picture = b"\xff\xd8\xff" + bytes(500)
    rows: list[tuple[Any, ...]] = [(f"http://a.test/{n}.jpg", picture) for n in range(6)]
    img2dataset.write_shard(folder, 0, rows)
    table = pq.read_table(folder / "00000.parquet")
    keys = ["../../000000001", "/tmp/000000002", *[f"00000000{n}" for n in range(3, 7)]]
    column = table.schema.get_field_index("key")
    pq.write_table(table.set_column(column, "key", [keys]), folder / "00000.parquet")
    (folder / "00000.tar").write_bytes(hostile_tar(picture))
    before = sorted(tmp_path.rglob("*"))
    base, (shard,) = adopt.list_shards(str(folder))
    opened: list[str] = []

    def open_(path: str) -> Any:
        opened.append(path)
        return open(path, "rb")

    places, account = adopt.read_shard(base, shard, open_)
    assert set(opened) == {f"{folder}/00000.parquet", f"{folder}/00000.tar"}
    assert {row["file"] for row in places.to_pylist()} <= {"00000.tar"}
    assert places.num_rows <= 3 and account.dropped["not_in_shard"] >= 3
    assert sorted(tmp_path.rglob("*")) == before
