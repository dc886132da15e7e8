"""The benchmark of a GPU runs its own path, on a processor where there is no GPU."""

from pipeline.score import clip
from tests.benchmarks import score


def test_the_path_of_a_gpu_is_measured_whole_and_alone():
    clip.register_shipped()
    figures = score.run_gpu(clip.SHIPPED_MODEL, count=24, batch=8, device="cpu")
    assert figures["items"] == 24
    alone = figures["resident_pictures_per_second"]
    assert figures["picture_share"] == figures["pictures_per_second"] / alone > 0
    assert figures["share"] > 0
