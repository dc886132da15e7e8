"""Released pictures that a later crawl finds on a page which opts out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.ids import image_id
from pipeline.core.storage import Store
from pipeline.core.tables import PAIRS
from pipeline.match.registry import Registry
from pipeline.stages.withdrawn import Withdrawn, withdrawn
from tests.match.hashes import balanced64
from tests.match.test_registry import add, rows

pytestmark = pytest.mark.spark

TEXT = ("url", "domain", "page_url", "page_domain", "page_lang_detected", "archive")


def pair(image: bytes, optout: str | None, position: int) -> dict[str, Any]:
    return {
        **dict.fromkeys(PAIRS.schema.names),
        **dict.fromkeys(TEXT, "x"),
        "image_id": image,
        "canonical_url": f"https://{image.decode('latin-1').rstrip('.')}.example/",
        "caption_kinds": 0,
        "page_optout": optout,
        "record_offset": 0,
        "position": position,
    }


def test_the_released_ones_alone_are_told_each_once(spark: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    held = Registry(Store(str(tmp_path / "registry")))
    assert withdrawn(spark, Store(str(tmp_path / "run")), held) == []  # nothing is released
    for name in ("a", "b"):
        held = add(held, name, rows(balanced64(rng, 5), name), 1)
    ids = {f"{name}{i}": f"{name}{i}".encode().ljust(16, b".") for name in "ab" for i in range(5)}
    run = Store(str(tmp_path / "run"))
    found = [("a1", "meta:noai"), ("a1", "header:none"), ("b4", "meta:noimageai"), ("b3", None)]
    with run.publish_part(PAIRS, 0) as sink:
        own = [pair(ids[name], optout, i) for i, (name, optout) in enumerate(found)]
        sink.write_rows([*own, pair(image_id("https://new.example/"), "meta:noai", 9)])
    assert withdrawn(spark, run, held) == [
        Withdrawn(ids["a1"], "https://a1.example/", "header:none"),
        Withdrawn(ids["b4"], "https://b4.example/", "meta:noimageai"),
    ]
