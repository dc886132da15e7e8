"""The world: deterministic, of the size asked for, with every kind of truth in it."""

from collections import Counter

import pytest

from pipeline.fakeweb.captioning import scene_of
from pipeline.fakeweb.config import DemoSection
from pipeline.fakeweb.hostile import Kind
from pipeline.fakeweb.model import Encoding, Form, Label, OptOut, Place, Variant
from pipeline.fakeweb.world import make_world


@pytest.fixture(scope="module")
def world():
    return make_world(DemoSection(pages=600))


def test_equal_sections_give_equal_worlds_and_other_seeds_others():
    section = DemoSection(pages=40)
    assert make_world(section) == make_world(section)
    other = make_world(DemoSection(pages=40, seed=1))
    assert {i.url for i in other.images}.isdisjoint(i.url for i in make_world(section).images)


@pytest.mark.parametrize("pages", [40, 200, 1000])
def test_sizes_scale_with_pages(pages):
    world = make_world(DemoSection(pages=pages))
    assert len(world.pages) == pages
    assert 2 * pages <= len(world.images) <= max(2.1 * pages, 2 * pages + 120)
    assert pages / 12 <= len(world.hosts) <= pages / 8 + 100


def test_every_kind_of_truth_is_there(world):
    links = [link for page in world.pages for link in page.links]
    assert {i.kind for i in world.images} == set(Kind)
    assert {i.variant for i in world.images} == set(Variant)
    assert {i.encoding for i in world.images} == set(Encoding)
    assert {i.optout for i in world.images} == set(OptOut)
    assert {k.label for k in links} == set(Label)
    assert {k.form for k in links} == set(Form)
    assert {k.place for k in links} == set(Place)
    assert {p.charset for p in world.pages} >= {"utf-8", "euc-kr", "cp949"}
    korean = sum(p.lang == "ko" for p in world.pages) / len(world.pages)
    assert 0.25 < korean < 0.55


def test_urls_are_distinct_and_every_image_stands_on_a_page(world):
    assert len({i.url for i in world.images}) == len(world.images)
    linked = {link.image for page in world.pages for link in page.links}
    assert linked == set(range(len(world.images)))


def test_a_caption_has_one_worth_for_an_image(world):
    labels = {}
    for page in world.pages:
        for link in page.links:
            assert labels.setdefault((link.image, link.caption), link.label) == link.label


def test_wrong_captions_speak_of_shapes_the_picture_lacks(world):
    # The English names of shapes, as a right caption of the picture would use them.
    for page in world.pages:
        for link in page.links:
            if link.label is Label.WRONG and page.lang == "en":
                scene = scene_of(0, world.images[link.image].picture)
                shapes = {g.shape for g in scene.groups if len(g.shape) > 1}
                words = {w.rstrip("s") for w in link.caption.split()}
                assert not shapes & words


def test_boilerplate_stands_on_more_than_ten_images(world):
    images = Counter()
    for caption, _ in {
        (k.caption, k.image) for p in world.pages for k in p.links if k.label is Label.BOILERPLATE
    }:
        images[caption] += 1
    assert min(images.values()) > 10


def test_only_sound_images_stand_on_pages_that_opt_out(world):
    for page in world.pages:
        if page.optout:
            for link in page.links:
                image = world.images[link.image]
                assert image.kind is Kind.SOUND
                assert image.optout is OptOut.PAGE
                assert link.caption


def test_no_redirect_leads_to_a_withheld_image(world):
    for image in world.images:
        if image.kind is Kind.REDIRECTED:
            assert world.images[image.source].optout is OptOut.NONE


def test_wat_pages_use_only_what_wat_can_say(world):
    for page in world.pages:
        if page.is_wat:
            assert {k.form for k in page.links} <= {Form.SRC}
            assert {k.place for k in page.links} <= {Place.ALT, Place.TITLE}
