"""What pages state about use: for everybody, for one agent, in metas and in headers."""

import pytest

from pipeline.extract.optout import Named, statements


@pytest.mark.parametrize(
    ("named", "optout"),
    [
        (Named(), None),
        (Named((("robots", "index, follow"),)), None),
        (Named((("robots", "NOINDEX,nofollow"),)), "meta:noindex"),
        (Named((("googlebot", "noindex"),)), None),
        (Named((("ccbot", "noimageai noai"),)), "meta:noimageai"),
        (Named((("robots", "none"),)), "meta:none"),
        (Named((("robots", "max-image-preview:none"),)), None),
        (Named(meta_tdm=("1",)), "tdm-meta:1"),
        (Named(meta_tdm=("0",)), None),
        (Named(header_tdm=("1",)), "tdm-header:1"),
        (Named(meta_tdm=("1",), header_tdm=("1",)), "tdm-header:1"),
        (Named(tags=("noai",)), "x-robots-tag:noai"),
        (Named(tags=("googlebot: noindex, nofollow",)), None),
        (Named(tags=("googlebot: nofollow, gptbot: noai",)), "x-robots-tag:noai"),
        (
            Named(
                tags=(
                    "googlebot: nofollow",
                    "noai",
                )
            ),
            "x-robots-tag:noai",
        ),
        (Named(tags=("max-image-preview: none, noimageindex",)), "x-robots-tag:noimageindex"),
        (Named((("robots", "noai"),), ("noindex",)), "meta:noai"),
        (Named((("robots", "noindex"),), ("noai",)), "x-robots-tag:noai"),
        (Named((("robots", "noai"),), ("noai",), header_tdm=("1",)), "meta:noai"),
    ],
)
def test_what_counts_for_us(named: Named, optout: str | None) -> None:
    assert statements(named).optout == optout


def test_everything_stated_is_kept_for_whomever_it_is_meant() -> None:
    found = statements(
        Named(
            (
                ("robots", "index"),
                ("googlebot", " NoIndex,\n nofollow "),
            ),
            (
                "bingbot: noarchive",
                "noai",
            ),
            meta_tdm=("1",),
            meta_policy=("https://Site.example/Policy.json",),
        )
    )
    assert found.robots_meta == "robots: index; googlebot: noindex, nofollow"
    assert found.robots_tag == "bingbot: noarchive; noai"
    assert found.tdm == "meta:1 policy:https://Site.example/Policy.json"
    assert statements(Named((("robots", "x" * 10_000),))).robots_meta == "robots: " + "x" * 492
    assert statements(Named()) == (None, None, None, None)
