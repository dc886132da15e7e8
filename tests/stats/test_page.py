"""The page, made from figures alone."""

from pipeline.stats.page import Figures, Page, render


def page(*statuses: tuple[str, float]) -> str:
    figures = Figures([("status", "images", status, images) for status, images in statuses])
    return " ".join(render(Page("a run", "runs/a", (), (), ()), figures).split())


def test_requests_that_filters_saved_are_told() -> None:
    saved = page(("ok", 10), ("filtered", 1234))
    assert "requests saved" in saved and "1,234" in saved
    assert "not asked for: a filter before the download drops all its captions" in saved
    assert "requests saved" not in page(("ok", 10), ("timeout", 1))
