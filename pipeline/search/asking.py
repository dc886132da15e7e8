"""What is asked, as a vector of the model that made the run's embeddings."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.embeddings import read_models
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.score import clip
from pipeline.score.looks import Asked, Looker

Vector = NDArray[np.float32]


class Model:
    """A CLIP model, checked to be the one of the embeddings; not for two threads at once."""

    def __init__(self, store: Store, name: str, model: str, pretrained: str, device: str) -> None:
        told = read_models(store)["models"].get(name)
        if told is None:
            raise InputError(f"{store.root} has no embeddings by a model {name!r}")
        digest = clip.digest_of(model, pretrained)
        if told["weights"] != (digest or pretrained):
            raise InputError(
                f"score.pretrained = {pretrained!r} has other weights than those that embedded "
                f"{store.root}; give that file, or redo score"
            )
        self._clip: Any = clip.load(model, pretrained, device=device)
        self._look = Looker((self._clip.shape,))

    def text(self, text: str) -> Vector:
        """Unit vector of a text, float32 [width]."""
        vector: Vector = self._clip.embed_texts([text])[0]
        return vector

    def picture(self, body: bytes) -> Vector:
        """Unit vector of an encoded picture. Raises InputError where it does not decode."""
        looked = self._look(Asked(body))
        if looked is None:
            raise InputError("this is no picture that can be decoded")
        vector: Vector = self._clip.embed_images(np.stack(looked.pixels))[0]
        return vector
