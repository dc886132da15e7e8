"""The funnel from stage records, and its text."""

from pipeline.stats.funnel import funnel, render_funnel
from tests.stats.made_run import make


def test_funnel_is_in_line_order_and_accounts_for_every_row(tmp_path):
    make(tmp_path / "run", 30)
    found = funnel(str(tmp_path / "run"))
    assert [s.stage for s in found][:4] == ["extract", "extract", "dedupe", "download"]
    assert all(s.rows_in == s.kept + sum(s.dropped.values()) for s in found)


def test_text_names_the_most_frequent_reasons(tmp_path):
    make(tmp_path / "run", 30)
    lines = render_funnel(funnel(str(tmp_path / "run")), reasons=1).splitlines()
    assert lines[1].split() == [
        "extract", "records", "200", "60", "30.0%", "not_a_page", "120,", "1", "more", "20",
    ]  # fmt: skip
    assert lines[2].startswith(" " * 10)  # a stage is named once


def test_folder_without_stages_has_no_funnel(tmp_path):
    assert funnel(str(tmp_path)) == []
