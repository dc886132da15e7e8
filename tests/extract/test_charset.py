import tarfile
from pathlib import Path

import pytest

from pipeline.extract.charset import to_utf8
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


# Encodings that the web uses (WHATWG Encoding has them), by folder of the collection; and the files
# that no declaration helps with, whose guess is wrong.
_CODECS = {
    "CP949": "cp949", "EUC-KR": "cp949", "SHIFT_JIS": "cp932", "CP932": "cp932",
    "EUC-JP": "euc_jp", "iso-2022-jp": "iso2022_jp", "GB2312": "gb18030", "Big5": "big5hkscs",
    "KOI8-R": "koi8-r", "windows-1251-russian": "cp1251", "windows-1251-bulgarian": "cp1251",
    "iso-8859-5-russian": "iso8859-5", "iso-8859-5-bulgarian": "iso8859-5", "IBM866": "cp866",
    "iso-8859-7-greek": "iso8859-7", "windows-1255-hebrew": "cp1255",
    "windows-1256-arabic": "cp1256", "iso-8859-9-turkish": "iso8859-9",
    "windows-1254-turkish": "cp1254", "windows-1250-hungarian": "cp1250",
    "windows-1250-polish": "cp1250", "iso-8859-2-czech": "iso8859-2",
    "iso-8859-2-hungarian": "iso8859-2", "iso-8859-1": "cp1252", "utf-8": "utf-8",
    "utf-8-sig": "utf-8-sig", "UTF-16": "utf-16", "ascii": "ascii",
}  # fmt: skip
_WRONG = {
    "EUC-JP/_mozilla_bug431054_text.html": "taken for windows-1252: too little Japanese text",
    "iso-8859-7-greek/_ude_2.txt": "taken for windows-1253, which differs in one letter",
}


def test_real_pages_by_encoding(real_data: Path) -> None:
    wrong, checked = {}, 0
    with tarfile.open(real_data / "chardet-tests.tar.gz") as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            codec = _CODECS.get(folder.rpartition("/")[2])
            file = archive.extractfile(member) if codec else None
            if codec is None or file is None:
                continue
            body = file.read()
            checked += 1
            if to_utf8(body, None).decode() != body.decode(codec).lstrip("\ufeff"):
                wrong[f"{folder.rpartition('/')[2]}/{name}"] = codec
    assert checked > 330 and set(wrong) <= set(_WRONG), wrong
