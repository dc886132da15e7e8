"""What was taken down from a registered release is kept to by every run with that registry."""

import json
from pathlib import Path

from jobs.line import _load
from jobs.takedown import main
from pipeline.match import registry
from tests.shards import plain_release, small_run

RECIPE = """
[run]
root = "{root}/run"
[dedupe]
registry = "{root}/registry"
[download]
contact = "crawl@example.org"
optout_lists = ["own.txt"]
[filters.caption_length]
"""


def test_later_runs_keep_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    empty = {"format": registry.FORMAT, "hash_version": registry.HASH_VERSION, "releases": []}
    (folder / registry.MANIFEST).write_text(json.dumps(empty))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(root=tmp_path))

    def lists() -> tuple[str, ...]:
        return tuple(_load(str(recipe), []).sections["download"].optout_lists)  # type: ignore[attr-defined]

    assert lists() == ("own.txt",)
    sample = ("0" * 32, small_run.picture(1), b"a caption", b"{}")
    plain_release.write(tmp_path / "release", [sample], 10)
    for n, entry in enumerate(("gone.example", "https://a.example/b.jpg")):
        (tmp_path / "list").write_text(f"{entry}\npair:{n:032}\n")
        given = [str(tmp_path / "release"), "--list", str(tmp_path / "list")]
        assert main([*given, "--registry", str(folder)]) == 0
    assert lists() == ("own.txt", str(folder / "optouts.txt"))
    assert (folder / "optouts.txt").read_text() == "gone.example\nhttps://a.example/b.jpg\n"
    assert len(list((folder / "takedowns").glob("*.json"))) == 2
