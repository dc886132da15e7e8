"""Accuracy and recall against their definitions, and ensembles of prompts."""

from typing import Any

import numpy as np
import pytest

from pipeline.judge.evaluate import accuracy, class_vectors, recalls


def unit(rng: np.random.Generator, rows: int, width: int = 6) -> np.ndarray:
    found = rng.normal(size=(rows, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_recalls_are_those_of_sorted_lists(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures, texts = unit(rng, 30), unit(rng, 70)
    owners = np.concatenate([np.arange(30), rng.integers(0, 30, 40)])
    likeness = pictures @ texts.T
    found = recalls(pictures, texts, owners, (1, 3, 10))
    for k in (1, 3, 10):
        to_text = [
            any(owners[text] == picture for text in np.argsort(-likeness[picture])[:k])
            for picture in range(30)
        ]
        to_image = [owners[text] in np.argsort(-likeness[:, text])[:k] for text in range(70)]
        assert found[f"image_to_text@{k}"] == pytest.approx(np.mean(to_text))
        assert found[f"text_to_image@{k}"] == pytest.approx(np.mean(to_image))


def test_many_rows_are_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pictures, texts, owners = unit(rng, 50), unit(rng, 50), rng.permutation(50)
    whole = recalls(pictures, texts, owners, (1, 5))
    monkeypatch.setattr("pipeline.judge.evaluate._ROWS", 7)
    assert recalls(pictures, texts, owners, (1, 5)) == whole


def test_a_model_that_tells_nothing_gets_nothing() -> None:
    same = np.ones((20, 4), np.float32) / 2
    found = recalls(same, same, np.arange(20), (1, 5))
    assert set(found.values()) == {0.0}
    assert accuracy(np.zeros((20, 5), np.float32), np.zeros(20, np.int64), 1) == 0


def test_accuracy_is_of_the_most_alike() -> None:
    likeness = np.array([[0.1, 0.9, 0.5], [0.8, 0.1, 0.2]], np.float32)
    labels = np.array([2, 0])
    assert accuracy(likeness, labels, 1) == 0.5
    assert accuracy(likeness, labels, 2) == 1
    assert accuracy(likeness, labels, 5) == 1


def test_prompts_are_averaged_at_unit_length() -> None:
    class Texts:
        asked: list[str] = []

        def embed_texts(self, texts: list[str]) -> np.ndarray:
            self.asked = texts
            return unit(np.random.default_rng(len(texts)), len(texts))

    clip: Any = Texts()
    found = class_vectors(clip, ["dog", "cat"], ["a {c}", "{c}s", "the {c} and a {c}"])
    assert clip.asked == [
        "a dog",
        "dogs",
        "the dog and a dog",
        "a cat",
        "cats",
        "the cat and a cat",
    ]
    parts = unit(np.random.default_rng(6), 6).reshape(2, 3, -1).mean(1)
    assert np.allclose(found, parts / np.linalg.norm(parts, axis=1, keepdims=True), atol=1e-6)
