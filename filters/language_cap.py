"""Pairs of one language."""

from dataclasses import dataclass

from pipeline.core.balance import LANGUAGE_RANK, Cap


@dataclass(frozen=True)
class LanguageCap(Cap):
    """At most `max_pairs` pairs whose caption is of one language, 'und' among them.

    English is about half of the web's captions, and drowns the others. A size has to be given: it
    depends on what there is of the other languages. `language_rank` is found by `decide`, after
    every other bound and near-duplicates; `by` and `seed` as in `core.balance`.

    Source: MetaCLIP 2 (arXiv 2507.22062) evens out the languages' concepts one by one, because
    English takes the capacity of the others ("curse of multilinguality"); a plain cap is what
    remains of that without lists of concepts for each language.
    """

    group = "caption_lang"
    rank = LANGUAGE_RANK
