"""The runbook: each of its commands can be given as it stands, and each alarm finds its section."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import filters
from jobs.line import EXTRA
from pipeline.core import usual
from pipeline.core.config import Config
from pipeline.core.logs import EVENTS
from pipeline.core.reasons import Status
from pipeline.core.run import load_config
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.stages.line import LINE
from pipeline.stages.what_if import settings

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/runbook.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
# What every machine has, or what an operator of machines has.
TOOLS = {"tail", "grep", "df", "du", "ls", "uptime", "cat", "getent", "cp", "dmesg", "curl"}
# The environment of a make target, which submit.sh reads.
VARIABLES = {"SPARK_ARGS", "CLUSTER", "MASTER"}


def load(*sets: str) -> Config:
    recipe = ROOT / "conf/default.toml"
    return load_config(str(recipe), sets, LINE, filters.load(), EXTRA)


def words_of(command: str) -> list[list[str]]:
    """The commands of a pipe, as words, without comments."""
    words = shlex.split(command, comments=True)
    at = [n for n, word in enumerate(words) if word == "|"]
    return [words[a:b] for a, b in zip([0, *(n + 1 for n in at)], [*at, len(words)], strict=True)]


def targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    stages = re.search(r"^STAGES := (.*)$", MAKEFILE, re.MULTILINE)
    assert phony and stages
    return {*phony[1].split(), *stages[1].split()}


def check_make(words: list[str]) -> None:
    names = [word for word in words if "=" not in word]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    assert names and set(names) <= targets(), words
    for name, value in given.items():
        assert f"$({name})" in MAKEFILE or f"$({name}," in MAKEFILE or name in VARIABLES, words
        assert name != "CONFIG" or value == "conf/mine.toml"
    sets = given.get("SET", "").split()  # as make does
    if "what-if" in names:
        assert settings(sets, load().filters)
    else:
        load(*sets)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_real(command: str, tmp_path: Path) -> None:
    for words in words_of(command):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, value = words.pop(0).split("=", 1)
            assert name in VARIABLES
            for file in re.findall(r"--properties-file (\S+)", value):
                assert (ROOT / file).is_file()
        if words[0] == "make":
            check_make(words[1:])
        elif words[0] == ".venv/bin/python":
            check_query(words, tmp_path)
        else:
            assert words[0] in TOOLS, command
            assert shutil.which(words[0]) or words[0] == "dmesg"


def check_query(words: list[str], folder: Path) -> None:
    """Runs on a table of images."""
    store = Store(str(folder / "runs/mine"))
    row: dict[str, Any] = dict.fromkeys(IMAGES.schema.names)
    row |= {"image_id": bytes(16), "status": "http_429", "part": 0, "fetched_at": 0, "downloads": 1}
    row |= {"final_url": "http://images.example/a.jpg", "consent": "allowed", "fetch_ms": 1}
    with store.publish_part(IMAGES, 0) as sink:
        sink.write(pa.Table.from_pylist([row], IMAGES.schema))
    found = subprocess.run(
        [ROOT / ".venv/bin/python", *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert (
        "http_429" in found.stdout or "images.example" in found.stdout or "too_small" in words[-1]
    )


def test_settings_in_the_text_are_there() -> None:
    config = load()
    named = re.findall(r"`(?:SET=)?'?(\w+)\.(\w+)(?: ?=[^`]*)?`", TEXT)
    sections = [(s, key) for s, key in named if s in config.sections]
    assert len(sections) > 8
    for section, key in sections:
        assert key in type(config.sections[section]).model_fields, f"{section}.{key}"
    for given in re.findall(r"`SET=([^`]+)`", TEXT):
        load(*shlex.split(given)[0].split())


def test_every_alarm_has_its_section() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    figures = [
        usual.KEPT,
        usual.RATE,
        usual.SILENCE,
        *Status,
        "dns+dns_unavailable",
        "a_filter_low",
    ]
    for figure in figures:
        ring = usual.Ring("images", figure, 0.5, 0.6, 0.9, "x", 0.0, 10, {})
        file, _, anchor = ring.runbook.partition("#")
        assert file == "docs/runbook.md" and anchor in anchors, figure
    for linked in re.findall(r"\]\(#([\w-]+)\)", TEXT):
        assert linked in anchors


def test_every_section_on_a_fault_has_signs_what_to_do_and_how_to_see_it_worked() -> None:
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    faults = [s for s in sections if "**Signs.**" in s]
    assert len(faults) == 11
    for section in faults:
        assert "**Do.**" in section and "**It worked**" in section, section[:30]


def test_every_event_is_in_the_schema() -> None:
    (schema,) = re.findall(r"## The event log\n(.*?)\n## ", TEXT, re.DOTALL)
    assert not [event for event in EVENTS if f"`{event}`" not in schema]
