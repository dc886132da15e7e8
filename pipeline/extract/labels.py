"""The texts that `aria-labelledby` names by the ids of elements elsewhere on the page.

Few pages have such images; they are parsed into a tree, which an id needs.
"""

from collections.abc import Sequence

from selectolax.lexbor import LexborHTMLParser

_MAX_IDS = 8
# Beyond it the id is of a part of the page, not of a label.
_MAX_LABEL_CHARS = 1000


def labels(body: bytes, references: Sequence[str]) -> list[str]:
    """The text of each reference: the elements its ids name, joined; "" where there are none.

    body: the page in UTF-8. Source: WAI-ARIA 1.2, aria-labelledby; Accessible Name 1.2, step 2B.
    """
    wanted = {name for text in references for name in text.split()[:_MAX_IDS]}
    texts: dict[str, str] = {}
    for node in LexborHTMLParser(body).css("[id]"):
        name = node.attributes.get("id") or ""
        if name in wanted and name not in texts:
            texts[name] = " ".join(node.text(separator=" ").split())[:_MAX_LABEL_CHARS]
            if len(texts) == len(wanted):
                break
    return [
        " ".join(filter(None, (texts.get(name) for name in text.split()[:_MAX_IDS])))
        for text in references
    ]
