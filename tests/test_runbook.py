"""The runbook: its settings are there, and each alarm finds its section. Its commands are held by
tests/docs/test_commands.py, as those of all pages."""

import re
import shlex
from pathlib import Path

import filters
from jobs.line import EXTRA
from pipeline.core import usual
from pipeline.core.config import Config
from pipeline.core.logs import EVENTS
from pipeline.core.reasons import Status
from pipeline.core.run import load_config
from pipeline.stages.line import LINE

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/runbook.md").read_text()


def load(*sets: str) -> Config:
    recipe = ROOT / "conf/default.toml"
    return load_config(str(recipe), sets, LINE, filters.load(), EXTRA)


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
