"""The funnel from stage records, and its text."""

from pipeline.stats.funnel import Step, funnel, render_funnel
from tests.stats.made_run import make


def test_funnel_is_in_line_order_and_accounts_for_every_row(tmp_path):
    make(tmp_path / "run", 30)
    found = funnel(str(tmp_path / "run"))
    assert [s.stage for s in found][:4] == ["extract", "extract", "dedupe", "download"]
    assert all(s.rows_in == s.kept + sum(s.dropped.values()) for s in found)


def test_text_names_the_most_frequent_reasons_below_their_stage(tmp_path):
    make(tmp_path / "run", 30)
    lines = render_funnel(funnel(str(tmp_path / "run")), reasons=1).splitlines()
    assert lines[1].split()[:5] == ["extract", "records", "200", "60", "30.0%"]
    assert lines[2].split() == ["-", "not_a_page", "-120", "60.0%"]
    assert lines[3].split() == ["-", "not_html", "-20", "10.0%"]  # no line for a single rest
    assert lines[4].startswith(" " * 10 + " links")  # a stage is named once
    assert max(map(len, lines)) <= 100


def test_many_reasons_are_summed_in_one_line():
    dropped = {"a": 6, "b": 3, "c": 2, "d": 1}
    lines = render_funnel([Step("download", "images", 20, 8, dropped, 2.0)], 1).splitlines()
    assert lines[-1].split() == ["-", "3", "other", "reasons", "-6", "30.0%"]


def test_folder_without_stages_has_no_funnel(tmp_path):
    assert funnel(str(tmp_path)) == []
