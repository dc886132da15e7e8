import pytest

from tests.extract.archive import page

KOREAN = "햄스터가 해바라기 씨를 먹는 뷁 사진입니다"
JAPANESE = "富士山の頂上から見た日の出①の写真です"
CHINESE = "北京的长城在冬天被雪覆盖着的照片"
RUSSIAN = "Кошка сидит на окне и смотрит на улицу"


def _body(text: str, codec: str, head: str = "") -> bytes:
    return f"<html><head>{head}</head><p>{text * 5}</p><img src=x alt='{text}'>".encode(codec)


@pytest.mark.parametrize(
    ("text", "codec", "header", "head"),
    [
        (KOREAN, "cp949", "text/html; charset=euc-kr", ""),
        (KOREAN, "cp949", "text/html", '<meta charset="ks_c_5601-1987">'),
        (JAPANESE, "cp932", "text/html", '<meta charset="Shift_JIS">'),
        (JAPANESE, "utf-8", "text/html; charset=shift_jis", ""),  # lies
        (KOREAN, "cp949", "text/html; charset=utf-8", ""),  # lies
        (CHINESE, "gb18030", "text/html; charset=gb2312", ""),
        (CHINESE, "gb18030", "text/html", ""),  # detected
        (
            RUSSIAN,
            "cp1251",
            "text/html",
            '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">',
        ),
        (RUSSIAN, "koi8-r", "text/html; charset=koi8-r", ""),
        (KOREAN, "utf-8-sig", "text/html; charset=iso-8859-1", ""),
        (JAPANESE, "utf-16", "text/html", ""),
        (JAPANESE.replace("①", ""), "iso2022_jp", "text/html; charset=iso-2022-jp", ""),
        ("café crème", "latin-1", "text/html; charset=iso-8859-1", ""),
        (KOREAN, "utf-8", "text/html; charset=no-such", ""),
        (KOREAN, "utf-8", None, ""),
    ],
)
def test_caption_is_decoded(text: str, codec: str, header: str | None, head: str) -> None:
    rows, _ = page(_body(text, codec, head), content_type=header)
    assert [row[1] for row in rows] == [text]


def test_a_few_broken_bytes_do_not_unseat_the_declaration() -> None:
    body = _body(KOREAN, "cp949").replace(b"</p>", b"\xff\xff</p>")
    assert page(body, content_type="text/html; charset=euc-kr")[0][0][1] == KOREAN
