"""The dataset card: README.md with the YAML that Hugging Face `datasets` and the Hub read.

Source of the keys: https://huggingface.co/docs/hub/datasets-cards and
https://huggingface.co/docs/datasets/repository_structure
"""

import json
from collections.abc import Sequence

import pyarrow as pa

from pipeline.core import release
from pipeline.core.provenance import LIMITS, Provenance, recipe_lines, removal_line, source_lines
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


_CONSENT = "## Consent and licence"
_PROVENANCE = "## Provenance"
# Keys of the .json member, see `sample.Record`.
_MEANINGS = {
    "caption": "the caption, as in `.txt`",
    "caption_lang": "its language as detected: ISO 639-1, or `und` when it cannot be told",
    "caption_url": "image that the caption stood beside: `url`, or a near-duplicate of it",
    "clip_similarity": "cosine of the CLIP embeddings of that image and the caption, -1 to 1",
    "domain": "registrable domain of the picture's host",
    "height": "of the stored picture, pixels",
    "image_id": "hash of the picture's canonical URL: 128-bit BLAKE2b, hex",
    "key": "id of the pair: hash of the caption and its image's id, 128-bit BLAKE2b, hex",
    "original_height": "as it was on the web, upright, pixels",
    "original_width": "as it was on the web, upright, pixels",
    "page_lang": "language that the page declares, empty when it declares none",
    "page_url": "a page the caption stands on",
    "sha256": "of the file as it was on the web, hex",
    "url": "where the picture was downloaded from",
    "width": "of the stored picture, pixels",
}


def size_category(samples: int) -> str:
    """The Hub's name for a data set of this many samples."""
    return next((name for end, name in _CATEGORIES if samples < end), "n>1T")


# How samples lie, by whether the release holds shards of earlier versions.
_ORDER = {
    False: (
        "Samples lie in the order of a hash of their id, so a part of the tars is",
        "a random part of the set.",
    ),
    True: (
        "The tars of earlier versions come first. In those that a version",
        "added, samples lie in the order of a hash of their id: a part of these is a random part",
        "of what it added.",
    ),
}


def card(
    manifest: Manifest,
    licence: str,
    licence_note: str,
    languages: Sequence[str],
    record_fields: Sequence[str],
    coyo: pa.Schema | None = None,
    coyo_absent: Sequence[str] = (),
    told: str = "",
) -> str:
    """README.md of a release.

    licence: an identifier the Hub knows, or "other". record_fields: keys of the .json member.
    coyo: COYO-700M's columns in `.meta/coyo/`, if there are any; coyo_absent: those that are not.
    told: of `provenance`, or of `stated_provenance` of the release that this one is made of.
    """
    is_grown = release.GROWN_FROM in manifest.stages
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
        f"{manifest.samples:,} pictures from the web, each with a caption that stood beside it on "
        f"a page: {len(manifest.shards):,}",
        f"WebDataset tars, {manifest.bytes / 1e9:,.3f} GB. {_ORDER[is_grown][0]}",
        *_ORDER[is_grown][1:],
        "",
        *_loading(manifest),
        *_fields(record_fields),
        *(_coyo(coyo, coyo_absent) if coyo is not None else []),
        "## Where it comes from",
        "",
        "Pairs were collected from archived web pages. The pictures were downloaded, compared to "
        "find near-duplicates,",
        "scored for how well they fit their captions, and filtered. Pictures are JPEG, upright, "
        "and no larger than the",
        "recipe's limit; `sha256` and the original size tell what was on the web. `url` and "
        "`page_url` credit the source.",
        "",
        "The same pages, answers and settings give the same bytes. The id of this content is",
        f"`{manifest.id}`;",
        "`.meta/manifest.json` has the ids of the stages behind it and the SHA-256 of every tar.",
        "",
        *([told, ""] if told else []),
        _CONSENT,
        "",
        licence_note,
        "",
        *(
            []
            if told
            else [
                "Captions may be wrong, biased or offensive, and pictures may show people: the web "
                "was filtered by rules and models,",
                "not read by people. To have a picture removed, name its `url` or `image_id` to "
                "whoever publishes this copy.",
                "",
            ]
        ),
    ]
    return "\n".join(lines)


def provenance(facts: Provenance) -> str:
    """What a card says of sources, recipe, limits and removal."""
    return "\n".join(
        [
            _PROVENANCE,
            "",
            *source_lines(facts),
            "## Recipe",
            "",
            "What was kept is what passes all of these:",
            "",
            *recipe_lines(facts),
            "## Known limits",
            "",
            *(f"- {limit}" for limit in LIMITS),
            "",
            "## Removal",
            "",
            removal_line(facts),
        ]
    )


def stated_provenance(text: str) -> str:
    """What `provenance` said in a card; empty where it has none."""
    _, heading, rest = text.partition(f"\n{_PROVENANCE}\n")
    told = rest.partition(f"\n{_CONSENT}\n")[0].rstrip("\n")
    return f"{_PROVENANCE}\n{told}" if heading else ""


def stated_facts(text: str) -> tuple[str, str, list[str]]:
    """Licence, note on it and languages that a card states, to be said of what is made of its
    release; "other" and nothing where it is none of ours."""
    front, _, body = text.removeprefix("---\n").partition("\n---\n")
    licence, languages, under = "other", [], ""
    for line in front.splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.startswith((" ", "-")):
            under = key
            licence = value.strip().strip('"') if key == "license" else licence
        elif under == "language" and line.startswith("- "):
            languages.append(line[2:].strip().strip('"'))
    note = body.partition(_CONSENT)[2].strip().partition("\n\n")[0]
    return licence, note, languages


def _loading(manifest: Manifest) -> list[str]:
    """How to read it, in three ways."""
    return [
        "## Loading",
        "",
        "With Hugging Face `datasets`, from this folder or by the repository's name:",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'rows = load_dataset("path/to/this/folder", split="train", streaming=True)',
        'row = next(iter(rows))  # row["jpg"]: a PIL image, row["txt"], row["json"]',
        "```",
        "",
        "With `webdataset`, in this folder:",
        "",
        "```python",
        "import webdataset",
        "",
        f'tars = webdataset.WebDataset("{_braces(manifest)}", shardshuffle=False)',
        'for picture, caption in tars.decode("pil").to_tuple("jpg", "txt"):',
        "    ...",
        "```",
        "",
        "With open_clip's trainer: "
        f"`--dataset-type webdataset --train-data '{_braces(manifest)}'` and",
        f"`--train-num-samples {manifest.samples}`; `sizes.json` has the samples of each tar.",
        "",
    ]


def _fields(names: Sequence[str]) -> list[str]:
    """The members of a sample, and a table of the keys of its record."""
    return [
        "## Samples",
        "",
        "A sample is three neighbouring members of a tar: `<key>.jpg` (the picture), `<key>.txt` "
        "(its caption, UTF-8) and",
        "`<key>.json`, in which no value is ever null:",
        "",
        "| key | meaning |",
        "| --- | --- |",
        *(f"| `{name}` | {_MEANINGS.get(name, 'as its source has it')} |" for name in names),
        "",
        "`.meta/` holds for every tar an index of sample offsets and a Parquet table of its "
        "samples with their checksums.",
        "",
    ]


def _coyo(columns: pa.Schema, absent: Sequence[str]) -> list[str]:
    """What `.meta/coyo/` holds."""
    return [
        "## COYO-700M's columns",
        "",
        "`.meta/coyo/` holds the samples as a Parquet table with the columns of COYO-700M, a file "
        "for each tar:",
        "",
        "| column | type | meaning |",
        "| --- | --- | --- |",
        *(
            f"| `{field.name}` | {field.type} | {field.metadata[b'doc'].decode()} |"
            for field in columns
        ),
        "",
        *(
            [f"Of those that COYO-700M has, {', '.join(f'`{n}`' for n in absent)} are not here."]
            if absent
            else ["All columns that COYO-700M has are here."]
        ),
        "",
    ]


def _braces(manifest: Manifest) -> str:
    first, last = manifest.shards[0].path, manifest.shards[-1].path
    if first == last:
        return first
    return f"{{{first.removesuffix('.tar')}..{last.removesuffix('.tar')}}}.tar"
