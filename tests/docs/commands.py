"""The commands of the documentation: found, read, and held against what there is.

A block of shell commands stands between ```sh and ```, and under a comment with a mark for each of its
commands, or one for all of them:

    <!-- run -->                        a test runs it on a finished run, see test_commands.py
    <!-- tested: tests/x.py::test_y --> that test does what it does
    <!-- needs: network -->             no test runs it: it needs what no test has, one of NEEDS
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filters
from jobs.line import EXTRA
from pipeline.core.run import load_config
from pipeline.stages.line import LINE
from pipeline.stages.what_if import settings, split
from tests.benchmarks.__main__ import WORKLOADS
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
# What a command that no test runs needs: another machine on the net, a cluster, a GPU, files or a run
# of the reader's, hours or the whole machine, rights of root, several processes that wait for each other.
NEEDS = {"network", "cluster", "gpu", "data", "long", "root", "processes"}
# What every machine has, or what an operator of machines has.
TOOLS = {
    "tail",
    "grep",
    "df",
    "du",
    "ls",
    "uptime",
    "cat",
    "getent",
    "cp",
    "dmesg",
    "curl",
    "git",
    "cd",
    "head",
}
# The environment of a make target, which submit.sh reads.
VARIABLES = {"SPARK_ARGS", "CLUSTER", "MASTER"}
# Recipes that a reader writes, and what stands for them.
RECIPES = {"conf/mine.toml": "conf/default.toml", "mine.toml": "conf/default.toml"}

_BLOCK = re.compile(r"((?:<!-- [^\n]* -->\n)*)```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ASSIGNED = re.compile(r"[A-Z_]+=.*", re.DOTALL)
_MARK = re.compile(r"<!-- (run|needs: (\w+)|tested: (\S+)::(\w+)) -->")


@dataclass(frozen=True)
class Command:
    """A command of a page. mark: without the signs of a comment; empty: it has none. variables:
    of the shell, which the commands before it on the page have set."""

    page: str
    line: int
    text: str
    mark: str
    variables: dict[str, str]

    @property
    def words(self) -> list[str]:
        """As the shell has them, without comments."""
        words = shlex.split(self.text, comments=True)
        for name, value in self.variables.items():
            words = [word.replace(f"${name}", value) for word in words]
        return words


def blocks(page: Path) -> Iterator[tuple[int, str, list[str], str]]:
    """Line, language, comments before it and text of each block of code between fences."""
    text = page.read_text("utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start(3)) + 1
        yield line, found[2], found[1].splitlines(), found[3]


def commands(page: Path) -> Iterator[Command]:
    """Every command of a page, in order. Those that set a variable are none by themselves."""
    variables: dict[str, str] = {}
    for line, language, comments, text in blocks(page):
        if language != "sh":
            continue
        marks = [found[1] for comment in comments if (found := _MARK.fullmatch(comment))]
        whole = list(_whole(text))
        if len(marks) not in (1, len(whole)):
            marks = [""]
        for n, (offset, command) in enumerate(whole):
            name = str(page.relative_to(ROOT))
            mark = marks[n] if len(marks) > 1 else marks[0]
            one = Command(name, line + offset, command, mark, dict(variables))
            if all(_ASSIGNED.fullmatch(word) for word in one.words):
                variables |= dict(word.split("=", 1) for word in one.words)
            else:
                yield one


def _whole(text: str) -> Iterator[tuple[int, str]]:
    """Commands with the line they begin at; those that go over several lines are one."""
    lines = text.splitlines()
    n = 0
    while n < len(lines):
        first, command = n, lines[n]
        while _is_open(command):
            n += 1
            command += "\n" + lines[n]
        if command.strip():
            yield first, _joined(command)
        n += 1


def _joined(command: str) -> str:
    """Without the line ends that a backslash takes away, which it does not in single quotes."""
    pieces = re.split(r"('[^']*')", command)
    return "".join(p if p.startswith("'") else p.replace("\\\n", " ") for p in pieces)


def _is_open(command: str) -> bool:
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command, comments=True)
    except ValueError:  # a quotation that goes on
        return True
    return False


def pipes(words: list[str]) -> list[list[str]]:
    """The commands of a pipe or of several joined by &&."""
    at = [n for n, word in enumerate(words) if word in ("|", "&&")]
    return [words[a:b] for a, b in zip([0, *(n + 1 for n in at)], [*at, len(words)], strict=True)]


def check(words: list[str]) -> None:
    """Fails for what cannot be given as it stands: an unknown target, variable, key, job, option."""
    words = list(words)
    while words and _ASSIGNED.fullmatch(words[0]):
        name, value = words.pop(0).split("=", 1)
        assert name in VARIABLES, name
        for file in re.findall(r"--properties-file (\S+)", value):
            assert (ROOT / file).is_file(), file
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        check_make(words[1:])
    elif program == "python" and words[1] == "-m":
        check_module(words[2], words[3:])
    elif program == "torchrun":
        at = words.index("-m")
        check_module(words[at + 1], words[at + 2 :])
    elif program == "spark-submit":
        check_module(words[1].removesuffix(".py").replace("/", "."), words[2:])
    elif program == words[0]:
        assert program in TOOLS, program
    # Else a program of the environment, or python -c: what it is given is its own.


def targets() -> set[str]:
    """All targets of the Makefile."""
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    stages = re.search(r"^STAGES := (.*)$", MAKEFILE, re.MULTILINE)
    assert phony and stages
    return {*phony[1].split(), *stages[1].split()} - {"$(STAGES)"}


def _rule(target: str) -> str:
    """What a target does, with the definitions that it uses."""
    stages = re.search(r"^STAGES := (.*)$", MAKEFILE, re.MULTILINE)
    assert stages
    name = r"\$\(STAGES\)" if target in stages[1].split() else re.escape(target)
    found = re.search(
        rf"^(?:[\w$()-]+ )*{name}(?: [\w-]+)*:(?!=).*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE
    )
    assert found, target
    text = found[0]
    for macro in ("OPTIONS", "SOURCE", "JUDGED"):
        if f"$({macro})" in text:
            defined = re.search(rf"^{macro} = (?:.*\\\n)*.*$", MAKEFILE, re.MULTILINE)
            assert defined, macro
            text += defined[0]
    if "$(SUBMIT)" in text:
        text += "$(SPARK_ARGS) $(CLUSTER) $(MASTER)"
    return text


def check_make(words: list[str]) -> None:
    """Targets and variables of a call of make, and what they are set to."""
    names = [word for word in words if "=" not in word]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    assert set(names) <= targets(), set(names) - targets()
    rules = "".join(map(_rule, names or ["help"]))
    for name, value in given.items():
        assert "\n" not in value, f"{name} must be one line"
        assert re.search(rf"\$\(?(?:[a-z]+ (?:\w+,)?)?{name}\b|,{name}[),]|\${name}\b", rules), (
            name,
            names,
        )
        if name == "W":
            assert set(value.split()) <= set(WORKLOADS) | PEERS | {"..."}, value
    recipe = given.get("CONFIG", "conf/demo.toml")
    if recipe in ("", "..."):  # in a text: whatever it is
        return
    recipe = RECIPES.get(recipe, recipe)
    assert (ROOT / recipe).is_file(), recipe
    sets = given.get("SET", "").split()  # as make does
    if "..." in sets:
        return
    overrides, varied = split(sets, filters.load()) if names == ["what-if"] else (sets, [])
    config = load_config(str(ROOT / recipe), overrides, LINE, filters.load(), EXTRA)
    assert not varied or settings(varied, config.filters)


def check_module(module: str, words: list[str]) -> None:
    """That a module is there and knows the options, by its source or that of what jobs share."""
    if module.partition(".")[0] not in ("jobs", "pipeline", "tests"):
        return  # of another package
    path = ROOT / module.replace(".", "/")
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__main__.py"
    assert file.is_file(), module
    text = file.read_text() + (ROOT / "jobs/line.py").read_text()
    for word in words:
        if word.startswith("--"):
            assert f'"{word.partition("=")[0]}"' in text, (module, word)


def inline(page: Path) -> Iterator[list[str]]:
    """The words of every `make ...` and `python -m ...` within a line of text."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`((?:make|python -m) [^`]+)`", text):
        # Names that stand for others are in angles, words that may be left out in brackets.
        words = shlex.split(re.sub(r"<[^<>]*>", "...", re.sub(r"\s+", " ", code)))
        yield [word.strip("[]") for word in words]


def _peers() -> set[str]:
    folder = ROOT / "tests/benchmarks/peers/__main__.py"
    return set(re.findall(r'^    "([\w-]+)": ', folder.read_text(), re.MULTILINE))


PEERS = _peers()
