"""The index against a search of everything, and its page as a browser's enemies ask for it."""

import http.client
import json
import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from jobs.explore import main, open_explorer, open_index
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.core.vectors import unpack
from pipeline.score import clip
from pipeline.search import building
from pipeline.search.asking import Model
from pipeline.search.nearest import Nearest
from tests.browser import browser
from tests.search.conftest import kept_pictures, vectors_of
from tests.stats.test_notebooks import ROOT, run_cells


@pytest.fixture(scope="module")
def store(made):
    store = Store(str(made.root))
    built = building.build(store)
    assert built.pictures == len(kept_pictures(made)) and built.recall == 1
    return store


@pytest.mark.parametrize("has_index", [True, False])
def test_the_notebook_draws_or_says_what_is_missing(
    store, made, tmp_path, monkeypatch, capsys, has_index
):
    root = made.root
    if not has_index:
        root = tmp_path / "run"
        shutil.copytree(made.root, root, ignore=shutil.ignore_patterns("index"))
    drawn = run_cells(ROOT / "notebooks" / "08_nearest_pictures.py", root, monkeypatch)
    assert drawn == (3 if has_index else 0)
    assert ("no index yet" in capsys.readouterr().out) != has_index


def nearest_of_all(made, vector):
    """content_ids of the kept pictures by falling cosine."""
    table, kept = vectors_of(made), kept_pictures(made)
    ids = table.column("content_id").to_pylist()
    cosine = unpack(table.column("vector").combine_chunks()) @ vector
    return [ids[i] for i in np.argsort(-cosine, kind="stable") if ids[i] in kept]


def test_it_finds_what_a_search_of_everything_finds(store, made, model):
    nearest = Nearest(store)
    for text in ("a red circle", "파란 네모", "!"):
        vector = model.embed_texts([text])[0]
        hits = nearest.search(vector, 10)
        by_pair = {p["pair_id"]: p for p in made.kept}
        found = [by_pair[hit.pair_id]["sha256"][:16] for hit in hits]
        assert found == nearest_of_all(made, vector)[:10]
        assert [h.similarity for h in hits] == sorted((h.similarity for h in hits), reverse=True)
        assert hits[0].caption == by_pair[hits[0].pair_id]["caption"]


def test_a_picture_is_nearest_to_itself(store):
    nearest, asking = open_index(store, "cpu")
    for row in (0, nearest.pictures - 1):
        hits = nearest.search(asking.picture(nearest.picture(row)), 3)
        assert hits[0].similarity > 0.999
        assert nearest.search(nearest.vector(row), 1)[0].similarity > 0.999


def test_cells_give_the_exact_cosine_and_tell_their_recall(
    store, made, model, monkeypatch, tmp_path
):
    root = tmp_path / "run"
    shutil.copytree(made.root, root)
    monkeypatch.setattr(building, "_FLAT", 4)
    monkeypatch.setattr(building, "_CELLS", 0.5)
    built = building.build(Store(str(root)))
    assert built.kind.startswith("IVF") and built.kind.endswith("SQ8")
    assert 0.5 <= built.recall <= 1
    vector = model.embed_texts(["a green star"])[0]
    cells, flat = (Nearest(s).search(vector, 5) for s in (Store(str(root)), store))
    exact = {hit.pair_id: hit.similarity for hit in flat}
    assert {h.pair_id for h in cells} & set(exact)
    for hit in cells:
        assert hit.similarity == pytest.approx(exact.get(hit.pair_id, hit.similarity), abs=1e-3)


def test_the_kind_grows_with_the_number():
    kinds = [building.kind_of(n, 512) for n in (100, 60_000, 10_000_000)]
    assert kinds == ["SQfp16", "IVF1024,SQ8", "IVF16384,PQ64x8"]
    assert building.kind_of(10_000_000, 511) == "IVF16384,SQ8"


def test_what_is_missing_is_told(made, tmp_path, capsys):
    with pytest.raises(InputError, match=r"no embeddings by a model 'other'; it has clip"):
        building.build(Store(str(made.root)), "other")
    with pytest.raises(InputError, match="no row 100000"):
        Nearest(Store(str(made.root))).picture(100_000)
    assert main(["index", "--run", str(tmp_path)]) == 2
    assert "is no run that was scored" in capsys.readouterr().err
    other = tmp_path / "other"
    shutil.copytree(made.root, other, ignore=shutil.ignore_patterns("index"))
    assert open_index(Store(str(other))) == (None, None)
    with pytest.raises(InputError, match="make index"):
        open_explorer(str(other))
    told = json.loads((other / "embeddings" / "_models.json").read_text())
    told["models"]["clip"]["weights"] = "0" * 64
    (other / "embeddings" / "_models.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="other weights"):
        Model(Store(str(other)), "clip", clip.SHIPPED_MODEL, "", "cpu")


@contextmanager
def served(root):
    explorer = open_explorer(str(root), device="cpu")
    thread = threading.Thread(target=explorer.serve_forever, daemon=True)
    thread.start()
    try:
        yield explorer
    finally:
        explorer.shutdown()
        explorer.server_close()
        thread.join()


def ask(explorer, path, body=None, host="127.0.0.1", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", explorer.server_address[1], timeout=30)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"Host": host, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_page_answers_texts_rows_and_pictures(store, made):
    with served(made.root) as explorer:
        assert ask(explorer, "/")[1].startswith(b"<!doctype html>")
        status, body = ask(explorer, "/search?text=a+red+star")
        found = json.loads(body)
        assert status == 200 and found["pictures"] == len(kept_pictures(made))
        row = found["hits"][0]["row"]
        status, picture = ask(explorer, f"/picture/{row}")
        assert status == 200 and picture[:3] == b"\xff\xd8\xff"
        same = json.loads(ask(explorer, "/search", picture)[1])["hits"][0]
        assert same["similarity"] > 0.999
        assert json.loads(ask(explorer, f"/search?row={row}")[1])["hits"][0]["row"] == row


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/search", None, 400),
        ("/search?row=-1", None, 400),
        ("/search?row=1e3", None, 400),
        ("/search?row=" + "9" * 30, None, 400),
        ("/picture/999999", None, 400),
        ("/picture/../page.py", None, 400),
        ("/../../etc/passwd", None, 404),
        ("/page.html", None, 404),
        ("/search", b"no picture", 400),
        ("/", b"x", 404),
    ],
)
def test_bad_requests_are_refused_in_words(store, made, path, body, status):
    with served(made.root) as explorer:
        found, told = ask(explorer, path, body)
        assert found == status and json.loads(told)["error"]


def test_a_name_that_another_page_points_here_is_refused(store, made):
    with served(made.root) as explorer:
        assert ask(explorer, "/search?text=x", host="evil.example")[0] == 421
        assert ask(explorer, "/search", b"", headers={"Content-Length": "99999999999"})[0] == 413
        assert ask(explorer, "/", host="localhost:1")[0] == 200


def test_a_person_searches_in_a_browser(store, made):
    """By words, by one of the pictures found, and by a picture of one's own; nothing that the web
    wrote is more than text, and nothing is asked of anybody else."""
    with served(made.root) as explorer, browser() as tab:
        base = f"http://127.0.0.1:{explorer.server_address[1]}/"
        tab.open(base)
        tab.run("document.getElementById('text').value = 'a red star'")
        tab.run("document.querySelector('button[type=submit]').click()")
        wait(tab, "document.querySelectorAll('#hits li').length > 0")
        captions = [p["caption"] for p in made.kept]
        shown = json.loads(
            tab.run(
                "JSON.stringify([...document.querySelectorAll('#hits span')].map(e => e.textContent))"
            )
        )
        assert shown and set(shown) <= set(captions)
        assert tab.run("document.querySelectorAll('#hits span *').length") == 0
        for width in (420, 1280):
            tab.size(width)
            assert tab.run("document.documentElement.scrollWidth") <= width
        wait(tab, "[...document.images].some(i => i.naturalWidth > 0)")

        tab.run("document.querySelectorAll('#hits li button')[1].click()")
        wait(tab, f"document.querySelector('#hits span').textContent === {json.dumps(shown[1])}")
        assert tab.run("document.querySelector('#hits small').textContent").startswith("1.000")

        tab.run("document.getElementById('hits').replaceChildren()")
        tab.run(
            "fetch('picture/0').then(r => r.blob()).then(b => { const d = new DataTransfer();"
            "d.items.add(new File([b], 'mine.jpg')); const f = document.getElementById('file');"
            "f.files = d.files; f.dispatchEvent(new Event('change')); }), 0"
        )
        wait(tab, "document.querySelectorAll('#hits li').length > 0")
        assert float(tab.run("document.querySelector('#hits small').textContent")[:5]) > 0.999
        assert tab.complaints == []
        assert all(url.startswith(base) for url in tab.requests)


def wait(tab, condition):
    until = time.monotonic() + 60
    while not tab.run(condition):
        assert time.monotonic() < until, condition
        time.sleep(0.02)
