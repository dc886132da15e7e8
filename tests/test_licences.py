"""Dependencies: each is locked with hashes, and under a licence that is allowed."""

import re
import runpy
import subprocess
import sys
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = Path(__file__).resolve().parent.parent / "conf" / "environment"
CODE = runpy.run_path(str(ENVIRONMENT / "licences.py"))
is_allowed, judge, locked = CODE["is_allowed"], CODE["judge"], CODE["locked"]

RULES = {
    "allowed": ["MIT", "BSD-3-Clause", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"],
    "names": {"mit license": "MIT", "apache software license": "Apache-2.0"},
    "packages": {"nvidia-*": {"licence": "LicenseRef-N", "reason": "CUDA"}},
}


@pytest.mark.parametrize("name", ["lock.txt", "jvm.txt"])
def test_every_entry_of_the_lock_has_hashes(name: str) -> None:
    text = (ENVIRONMENT / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(list(locked(text)))
    for entry in entries:
        head, *hashes = [line.strip().rstrip("\\").strip() for line in entry.splitlines()]
        assert re.fullmatch(r"[a-z0-9._-]+==[^ ;*]+( ; .+)?", head), head
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", h) for h in hashes), head


def test_what_is_asked_for_is_locked() -> None:
    names = {name for name, _, _ in locked((ENVIRONMENT / "lock.txt").read_text())}
    for file in ("runtime.in", "dev.in"):
        for line in (ENVIRONMENT / file).read_text().splitlines():
            if (wanted := re.match(r"[A-Za-z0-9._-]+", line)) and wanted[0] != "torch":
                assert wanted[0].lower().replace("_", "-") in names, wanted[0]


def test_setup_installs_by_hash_and_nothing_beside() -> None:
    text = (ENVIRONMENT / "setup.sh").read_text() + (ENVIRONMENT / "java.sh").read_text()
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if re.search(r"(pip_install|pip install) .*(-r|lock)", line):
            assert "--require-hashes" in line and "--no-deps" in line, line


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("MIT AND BSD-3-Clause AND Apache-2.0", True),
        ("GPL-3.0-only AND MIT OR Apache-2.0", True),
        ("GPL-3.0-only AND (MIT OR Apache-2.0)", False),
        ("(MIT) and (GPL-2.0-only or Apache-2.0 WITH LLVM-exception)", True),
        ("Apache-2.0 WITH Other-exception", False),
    ],
)
def test_expressions(expression: str, allowed: bool) -> None:
    assert is_allowed(expression, RULES["allowed"]) is allowed


@pytest.mark.parametrize("text", ["", "MIT MIT", "(MIT", "MIT OR", "AND", ")"])
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match="is no SPDX expression"):
        is_allowed(text, RULES["allowed"])


def metadata(*fields: tuple[str, str]) -> Message:
    message = Message()
    for name, value in fields:
        message[name] = value
    return message


MIT = "License :: OSI Approved :: MIT License"
BSD = "License :: OSI Approved :: BSD License"


@pytest.mark.parametrize(
    ("fields", "licence", "problem"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL")], "MIT", ""),
        ([("License", "MIT License"), ("Classifier", MIT)], "MIT", ""),
        ([("Classifier", "Topic :: Software"), ("Classifier", MIT)], "MIT", ""),
        ([("License", "BSD-3-Clause"), ("Classifier", BSD)], "BSD-3-Clause", ""),
        ([("License-Expression", "AGPL-3.0-only")], "AGPL-3.0-only", "not allowed"),
        ([("License", "GPL-3.0")], "?", "states GPL-3.0"),
        # Which BSD, and MIT or BSD, is for a person to look up.
        ([("Classifier", BSD)], "?", "states BSD License"),
        ([("License", "MIT"), ("Classifier", BSD)], "?", "states MIT, BSD License"),
        ([], "?", "states nothing"),
        ([("License-Expression", "MIT OR")], "MIT OR", "is no SPDX expression"),
    ],
)
def test_what_a_package_states(fields: Any, licence: str, problem: str) -> None:
    found = judge("some", "1.0", metadata(*fields), RULES)
    assert found.licence == licence
    assert problem in found.problem and bool(problem) == bool(found.problem)


def test_exceptions_have_a_reason_that_is_shown() -> None:
    found = judge("nvidia-cublas", "1.0", metadata(("License", "Proprietary")), RULES)
    assert (found.licence, found.note, found.problem) == ("LicenseRef-N", "CUDA", "")


def test_what_is_installed_here_is_allowed_and_a_stranger_is_refused(tmp_path: Path) -> None:
    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        script = [sys.executable, str(folder / "licences.py")]
        return subprocess.run(script, capture_output=True, text=True, check=False)

    found = run(ENVIRONMENT)
    assert found.returncode == 0, found.stderr
    assert re.search(r"^pyarrow \S+ +Apache-2\.0$", found.stdout, re.M)
    assert re.search(r"^torch \S+ +", found.stdout, re.M)
    for file in ("licences.py", "licences.toml", "lock.txt", "jvm.txt", "runtime.in"):
        text = (ENVIRONMENT / file).read_text()
        (tmp_path / file).write_text(text.replace('"MPL-2.0", ', ""))
    (tmp_path / "lock.txt").write_text(
        (ENVIRONMENT / "lock.txt").read_text()
        + "\nnot-there-at-all==1.0 \\\n    --hash=sha256:00\n"
    )
    refused = run(tmp_path)
    assert refused.returncode == 1
    assert re.search(r"^licences: certifi \S+: MPL-2\.0: not allowed$", refused.stderr, re.M)
    assert "not-there-at-all 1.0: ?: is not installed; run make setup" in refused.stderr
