"""Naming entries of a list: against plain Python, in every script, and against hostile text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.codepoints import CharClass, class_table
from pipeline.core.concept_lists import identity, read_entries
from pipeline.core.concepts import Concepts
from pipeline.core.errors import InputError

MARKS = ",.;:?!`"
WORDS = st.sampled_from(["ice", "cream", "a", "ice cream", "ic", "creamy", "b-c", "c"])


def named(entries: list[str], *texts: str, ignore_case: bool = False) -> list[list[int]]:
    found: list[list[int]] = Concepts.of(entries, ignore_case).named(pa.array(texts)).to_pylist()
    return found


def spaced(entries: list[str], text: str) -> list[int]:
    """The published rule: marks are put between spaces, and an entry is looked for between such."""
    for mark in MARKS:
        text = text.replace(mark, f" {mark} ")
    return [n for n, entry in enumerate(entries) if f" {entry} " in f" {text} "]


@given(
    st.lists(WORDS, min_size=1, max_size=6, unique=True),
    st.lists(st.lists(WORDS | st.sampled_from([*MARKS, " ", "- ", ", ", "  "]), max_size=12)),
)
def test_it_is_substring_matching_where_words_are_spaced(
    entries: list[str], pieces: list[list[str]]
) -> None:
    texts = ["".join(p) for p in pieces] + [" ".join(p) for p in pieces]
    assert named(entries, *texts) == [spaced(entries, text) for text in texts]


def wordlike(text: str, entries: list[str]) -> list[int]:
    """The rule for every script, place by place."""

    def kind(char: str) -> str:
        flags = class_table()[ord(char)]
        if char in " \t\n\r" or char in MARKS:
            return "space" if char in " \t\n\r" else "mark"
        if flags & (CharClass.HAN | CharClass.KANA | CharClass.UNSPACED):
            return "unspaced"
        return "hangul" if flags & CharClass.HANGUL else "word"

    kinds = ["space", *map(kind, text), "space"]
    found = set()
    for number, entry in enumerate(entries):
        at = text.find(entry)
        while at >= 0:
            first, last = at + 1, at + len(entry)  # in kinds
            alone = {"mark", "unspaced"}
            begins = kinds[first - 1] in {"space", *alone} or kinds[first] in alone
            ends = kinds[last + 1] in {"space", *alone} or kinds[last] in {"hangul", *alone}
            if begins and ends:
                found.add(number)
            at = text.find(entry, at + 1)
    return sorted(found)


ALPHABET = "ab 가나北京かไท.,é𠀀"


@given(
    st.lists(st.text(ALPHABET, min_size=1, max_size=5).map(str.strip).filter(bool), max_size=8),
    st.lists(st.text(ALPHABET, max_size=20), max_size=6),
)
def test_it_is_the_rule_in_every_script(entries: list[str], texts: list[str]) -> None:
    entries = list(dict.fromkeys(entries))
    assert named(entries, *texts) == [wordlike(text, entries) for text in texts]


def test_examples() -> None:
    entries = ["dog", "강아지", "北京", "大学", "ice cream", "Washington, D.C"]
    texts = {
        "a dog.": [0],
        "dogs, hotdog, dog-like": [],
        "강아지가 공원에서 논다": [1],
        "큰강아지": [],
        "北京大学的学生": [2, 3],
        "dog dog dog": [0],
        "Dog": [],
        "ice  cream": [],
        "in Washington, D.C.": [5],
        "": [],
    }
    assert named(entries, *texts) == list(texts.values())
    assert named(["dog"], "Dog", "DOG house", ignore_case=True) == [[0], [0]]
    assert Concepts.of(["a"]).named(pa.array([None, "a"])).to_pylist() == [[], [0]]
    assert named(["a", "b", "a"], "b a") == [[0, 1]]


def test_sliced_rows_and_more_matches_than_there_was_room_for() -> None:
    entries = [" ".join(["a"] * n) for n in range(1, 120)]
    text = " ".join(["a"] * 200)
    rows = pa.array(["x", *[text] * 20, "y"]).slice(1, 20)
    assert Concepts.of(entries).named(rows).to_pylist() == [list(range(119))] * 20


def test_kernels_stay_within_their_arrays(tmp_path: Path) -> None:
    script = """
import random, pyarrow as pa
from pipeline.core.concepts import Concepts
chance = random.Random(3)
text = lambda most: "".join(chance.choices("ab 가北\\U00020000.,", k=chance.randint(0, most)))
for _ in range(60):
    entries = [entry for entry in (text(5).strip() for _ in range(9)) if entry]
    for rows in ([], [""], [text(30) for _ in range(chance.randint(1, 9))]):
        Concepts.of(entries).named(pa.array(rows, pa.string()))
"""
    checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | checked | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_lists(tmp_path: Path) -> None:
    entries = ["dog", "New York", "강아지"]
    as_json, as_text = tmp_path / "metadata.json", tmp_path / "list.txt"
    as_json.write_text(json.dumps([*entries, " dog ", ""], ensure_ascii=True))
    as_text.write_bytes("\ufeffdog\r\n\nNew York \n강아지\ndog".encode())
    assert read_entries(str(as_json)) == read_entries(str(as_text)) == entries
    assert identity(str(as_json)) == identity(str(as_text))
    as_text.write_text("New York\ndog\n강아지")
    assert identity(str(as_json)) != identity(str(as_text))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.txt", None),
        ("empty.txt", b" \n\n"),
        ("latin.txt", b"caf\xe9"),
        ("broken.json", b'["dog"'),
        ("object.json", b'{"dog": 1}'),
        ("numbers.json", b'["dog", 1]'),
        ("empty.json", b"[]"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"list of concepts {path}"):
        read_entries(str(path))
