"""The dataset card: README.md with the YAML that Hugging Face `datasets` and the Hub read.

Source of the keys: https://huggingface.co/docs/hub/datasets-cards and
https://huggingface.co/docs/datasets/repository_structure
"""

import json
from collections.abc import Sequence

from pipeline.core.release import Manifest

# Upper ends, exclusive, of the Hub's size categories.
_CATEGORIES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
    (10**11, "10B<n<100B"),
    (10**12, "100B<n<1T"),
)


def size_category(samples: int) -> str:
    """The Hub's name for a data set of this many samples."""
    return next((name for end, name in _CATEGORIES if samples < end), "n>1T")


def card(
    manifest: Manifest,
    licence: str,
    licence_note: str,
    languages: Sequence[str],
    record_fields: Sequence[str],
) -> str:
    """README.md of a release.

    licence: an identifier the Hub knows, or "other". record_fields: keys of the .json member.
    """
    lines = [
        "---",
        f"pretty_name: {json.dumps(manifest.name, ensure_ascii=False)}",
        f"license: {json.dumps(licence)}",
        *(["language:", *(f"- {json.dumps(code)}" for code in languages)] if languages else []),
        "size_categories:",
        f"- {json.dumps(size_category(manifest.samples))}",
        "tags:",
        '- "image-text"',
        '- "webdataset"',
        "configs:",
        '- config_name: "default"',
        "  data_files:",
        '  - split: "train"',
        '    path: "*.tar"',
        "---",
        "",
        f"# {manifest.name}",
        "",
        f"{manifest.samples:,} image-text pairs in {len(manifest.shards):,} tars "
        f"({manifest.bytes:,} bytes), mixed: samples are ordered by a hash of their content.",
        f"Content id: `{manifest.id}`.",
        "",
        "## Licence",
        "",
        licence_note,
        "",
        "## Samples",
        "",
        "A sample is three neighbouring members of a tar: `<key>.jpg` (the picture), `<key>.txt` "
        "(its caption, UTF-8) and",
        "`<key>.json` with " + ", ".join(f"`{name}`" for name in record_fields) + ".",
        "The key is the pair's id: a hash of the picture's URL and the caption. No field is ever "
        "null. Sizes are in pixels,",
        "`sha256` is that of the file as it was on the web, `clip_similarity` a cosine.",
        "",
        "## Reading it",
        "",
        "```python",
        "import webdataset",
        f'samples = webdataset.WebDataset("{_braces(manifest)}", shardshuffle=False).decode("pil")',
        "",
        "from datasets import load_dataset",
        'rows = load_dataset("path/to/this/folder", split="train")',
        "```",
        "",
        "`.meta/` holds per tar an index of sample offsets and a table of its samples with",
        "checksums, and `manifest.json` with the SHA-256 of every tar.",
        "",
    ]
    return "\n".join(lines)


def _braces(manifest: Manifest) -> str:
    first, last = manifest.shards[0].path, manifest.shards[-1].path
    if first == last:
        return first
    return f"{{{first.removesuffix('.tar')}..{last.removesuffix('.tar')}}}.tar"
