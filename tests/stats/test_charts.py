"""Charts and example pictures."""

import base64
import io

from PIL import Image
from selectolax.lexbor import LexborHTMLParser as HTMLParser

from pipeline.stats.charts import Histogram, file_size, number, share
from pipeline.stats.page import language_tag, quantiles
from pipeline.stats.pictures import thumbnail


def test_bounds_are_drawn_where_they_lie():
    chart = Histogram(
        "m", (0.0, 1.0, 2.0), (3.0, 1.0), (1.0, 0.0), low=0.5, low_filter="f", unit="px"
    )
    assert chart.position(0.5) == 0.25 and chart.position(3) is None
    page = HTMLParser(chart.svg())
    assert page.css_first("line.bound").attributes["x1"] == "117.5"  # 40 + 0.25 * 310
    assert page.css_first(".bound-label").text() == "≥ 0.5 f"
    texts = [t.text() for t in page.css("text")]
    assert texts[:4] == ["pairs", "0", "2", "4"] and "px" in texts
    heights = [float(r.attributes["height"]) for r in page.css("rect.kept")]
    assert heights[0] == 3 * heights[1]


def test_chart_escapes_its_name():
    assert "<b>" not in Histogram("<b>", (0.0, 1.0), (1.0,), (0.0,)).svg()


def test_numbers_for_people():
    assert number(1234567) == "1,234,567" and number(0.25) == "0.25"
    assert file_size(3 * 2**20) == "3 MiB"
    assert share(1, 10**6) == "<0.1%" and share(10**6 - 1, 10**6) == ">99.9%"
    assert share(0, 0) == "–" and share(1, 4) == "25.0%"


def test_thumbnail_is_a_small_jpeg_or_nothing():
    out = io.BytesIO()
    Image.new("RGBA", (800, 400), (255, 0, 0, 0)).save(out, "PNG")
    uri = thumbnail(out.getvalue(), 160)
    small = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert small.format == "JPEG" and small.size == (160, 80)
    assert min(small.getpixel((5, 5))) > 250  # transparent lies on white
    assert thumbnail(b"not a picture", 160) is None
    assert thumbnail(out.getvalue()[:60], 160) is None


def test_quantiles_by_nearest_rank():
    found = quantiles({"1000": 1, "2000": 2, "3000": 1, "": 5})
    assert found[0.5] == 0.2 and found[0.99] == 0.3 and found[0.01] == 0.1
    assert quantiles({"": 3}) == {}


def test_language_tags_are_checked():
    assert language_tag(None, "ko-KR") == "ko-KR"
    assert language_tag('"><script>', "en_US") == "en-US"
    assert language_tag("english language") is None
