"""Every table of the line: name, key and Arrow schema, in flow order. Tables are the only
interface between stages.

Identities are 16-byte binaries, never hex: `image_id` = BLAKE2b-128 of the canonical URL,
`pair_id` = BLAKE2b-128 of image_id and the normalised caption (see `ids`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

ID = pa.binary()  # always 16 bytes; Spark knows no fixed-size binary


def column(
    name: str, kind: pa.DataType, doc: str, *, unit: str | None = None, null: str | None = None
) -> pa.Field:
    """A documented column. `null` says what a missing value means; without it null is refused."""
    metadata = {"doc": doc}
    if unit:
        metadata["unit"] = unit
    if null:
        metadata["null"] = null
    return pa.field(name, kind, nullable=null is not None, metadata=metadata)


@dataclass(frozen=True)
class Table:
    """A named, keyed, documented table. `partition` names the column its folders are split by."""

    name: str
    doc: str
    key: tuple[str, ...]
    schema: pa.Schema
    partition: str | None = None


PAIRS = Table(
    "pairs",
    "One row per image link with a caption, as found on one page; besides, one row without a "
    "caption for a captionless link on a page that opts out.",
    ("archive", "record_offset", "position", "caption_kind"),
    pa.schema(
        [
            column("image_id", ID, "BLAKE2b-128 of canonical_url"),
            column("pair_id", ID, "BLAKE2b-128 of image_id and caption", null="no caption"),
            column("url", pa.string(), "absolute image URL as the page gives it"),
            column("canonical_url", pa.string(), "WHATWG form without fragment and trackers"),
            column("domain", pa.string(), "registrable domain of the image's host, or the host"),
            column("caption", pa.string(), "normalised, never empty", null="no caption"),
            column(
                "caption_original",
                pa.string(),
                "the caption as the page has it, character references resolved",
                null="no caption, or the same as `caption`",
            ),
            column("caption_kind", pa.string(), "the first CaptionKind it has", null="no caption"),
            column(
                "caption_kinds",
                pa.int32(),
                "every CaptionKind under which this link has this caption, as a bit set: bit i is "
                "the i-th kind; 0 without a caption",
            ),
            column("caption_lang", pa.string(), "ISO 639-1 code, or 'und'", null="no caption"),
            column(
                "caption_lang_confidence",
                pa.float32(),
                "0 to 1: the model's probability, or the share of the script that decided",
                null="no caption",
            ),
            column("page_url", pa.string(), "URL of the page; empty where a list names none"),
            column("page_domain", pa.string(), "registrable domain of the page, or empty"),
            column("page_lang", pa.string(), "declared language (html lang)", null="undeclared"),
            column(
                "page_lang_detected",
                pa.string(),
                "language of the page's text (of its title and captions in WAT), or 'und'",
            ),
            column(
                "page_optout",
                pa.string(),
                "opt-out of the page that counts for us, as source:value, e.g. 'meta:noimageai'",
                null="the page states none",
            ),
            column(
                "page_robots_meta",
                pa.string(),
                "all robots metas, 'agent: directives' joined by '; ', e.g. 'googlebot: noindex'",
                null="none",
            ),
            column("page_robots_tag", pa.string(), "X-Robots-Tag headers, likewise", null="none"),
            column(
                "page_tdm",
                pa.string(),
                "tdm-reservation as 'meta:1' or 'header:0', with ' policy:<url>' where given",
                null="none",
            ),
            column("archive", pa.string(), "archive the page was read from, or the file of a list"),
            column(
                "record_offset",
                pa.int64(),
                "byte offset of its record in it; of a list, the row's number from 0",
            ),
            column("position", pa.int32(), "index of the link on its page, from 0"),
        ]
    ),
)

CAPTION = pa.struct(
    [
        column("pair_id", ID, "BLAKE2b-128 of image_id and caption"),
        column("caption", pa.string(), "normalised caption"),
        column(
            "caption_original", pa.string(), "as on the first page", null="the same as `caption`"
        ),
        column("caption_kind", pa.string(), "the first CaptionKind among `caption_kinds`"),
        column("caption_kinds", pa.int32(), "every CaptionKind it was found as, a bit set"),
        column("caption_lang", pa.string(), "ISO 639-1 code, or 'und'"),
        column("caption_lang_confidence", pa.float32(), "0 to 1"),
        column("page_url", pa.string(), "the page it is told by: a fixed choice among all"),
        column("page_domain", pa.string(), "registrable domain of that page"),
        column("page_lang", pa.string(), "declared language of that page", null="undeclared"),
        column("page_lang_detected", pa.string(), "language of that page's text, or 'und'"),
        column("pages", pa.int64(), "distinct pages this image has this caption on"),
        column("caption_images", pa.int64(), "distinct images that carry this caption anywhere"),
        column("caption_domains", pa.int64(), "distinct page domains it is on anywhere"),
        column(
            "caption_domain_images",
            pa.int64(),
            "distinct images that carry it on pages of `page_domain`",
        ),
        column(
            "caption_pattern_pairs",
            pa.int64(),
            "distinct pairs on pages of `page_domain` whose captions have its pattern: numbers and "
            "names masked",
        ),
    ]
)

CANDIDATES = Table(
    "candidates",
    "One row per canonical image URL, with all its distinct captions.",
    ("image_id",),
    pa.schema(
        [
            column("image_id", ID, "BLAKE2b-128 of canonical_url"),
            column("url", pa.string(), "the URL to ask for: a fixed choice among the given ones"),
            column("canonical_url", pa.string(), "WHATWG form without fragment and trackers"),
            column("domain", pa.string(), "registrable domain of the image's host"),
            column("page_optout", pa.string(), "an opt-out of a page it is on", null="none"),
            column("pages", pa.int64(), "distinct pages with this image"),
            column("page_domains", pa.int64(), "distinct page domains with this image"),
            column("captions", pa.list_(CAPTION), "distinct captions, ordered by pair_id"),
            column("part", pa.int32(), "bucket it is downloaded in, from 0"),
        ]
    ),
    partition="part",
)

HOSTS = Table(
    "hosts",
    "One row per site and product token: what its robots.txt said when it was last asked for, or "
    "why it could not be had. Kept beside the run, or wherever runs share it.",
    ("scheme", "host", "port", "agent"),
    pa.schema(
        [
            column("scheme", pa.string(), "http or https"),
            column("host", pa.string(), "lower case, punycode"),
            column("port", pa.int32(), "as in the URL"),
            column("agent", pa.string(), "product token that the rules are for"),
            column(
                "robots",
                pa.string(),
                "the rules for the agent, as a robots.txt of one group; empty: all is allowed",
                null="not to be had",
            ),
            column("failure", pa.string(), "the Status of its URLs meanwhile", null="had"),
            column("detail", pa.string(), "what that came from", null="had"),
            column("failures", pa.int32(), "in a row"),
            column("fetched_at", pa.int64(), "Unix time of the answer", unit="seconds"),
            column("expires_at", pa.int64(), "Unix time to ask again", unit="seconds"),
        ]
    ),
)

IMAGES = Table(
    "images",
    "One row per candidate: what its download gave.",
    ("image_id",),
    pa.schema(
        [
            column("image_id", ID, "of the candidate"),
            column("part", pa.int32(), "bucket; the bytes are in raw/part-<part>.tar"),
            column(
                "raw_round",
                pa.int32(),
                "0, or K where they are in raw/part-<part>.rK.tar",
                null="not ok",
            ),
            column("status", pa.string(), "a Status"),
            column("status_detail", pa.string(), "what exactly happened", null="nothing to add"),
            column(
                "consent",
                pa.string(),
                "'allowed', the source of the opt-out, 'adopted' from another downloader's folder, "
                "or 'unknown' when nobody was asked",
            ),
            column("http_status", pa.int32(), "of the last response", null="no response"),
            column("final_url", pa.string(), "after redirects", null="no response"),
            column("content_type", pa.string(), "as the server claims", null="not stated"),
            column("fetch_ms", pa.int32(), "from first connect to last byte", unit="ms"),
            column("fetched_at", pa.int64(), "when this was found, Unix time", unit="s"),
            column(
                "downloads",
                pa.int32(),
                "how often this was tried: 1, and 1 for each `retry`; 0 where it is `filtered`",
            ),
            column(
                "retry_at",
                pa.int64(),
                "from when on `retry` asks again by the settings of that download, Unix time",
                unit="s",
                null="never: it succeeded, or never will",
            ),
            column(
                "retry_after_s",
                pa.int32(),
                "how long the host asked to be left alone (Retry-After)",
                unit="s",
                null="it did not ask",
            ),
            column("etag", pa.string(), "of the response, for `recheck`", null="not ok or none"),
            column(
                "last_modified", pa.string(), "of the response, likewise", null="not ok or none"
            ),
            column("body_bytes", pa.int64(), "received", unit="bytes", null="no body"),
            column("sha256", pa.binary(), "of the received body, 32 bytes", null="no picture"),
            column(
                "md5",
                pa.binary(),
                "of the received body, 16 bytes",
                null="no picture, or download.md5 is off",
            ),
            column("format", pa.string(), "JPEG, PNG, WEBP, ...", null="not decoded"),
            column("frames", pa.int32(), "frames; more than 1 is animated", null="not decoded"),
            column("original_width", pa.int32(), "upright", unit="pixels", null="not decoded"),
            column("original_height", pa.int32(), "upright", unit="pixels", null="not decoded"),
            column("width", pa.int32(), "stored", unit="pixels", null="not ok"),
            column("height", pa.int32(), "stored", unit="pixels", null="not ok"),
            column("raw_offset", pa.int64(), "of the bytes in the raw tar", null="not ok"),
            column("raw_bytes", pa.int32(), "stored size", unit="bytes", null="not ok"),
            column("hash64", pa.int64(), "DCT hash, 64 bits as signed", null="not ok"),
            column("hash256", pa.binary(), "PDQ, 256 bits as 32 bytes", null="not ok"),
            column(
                "texture",
                pa.int32(),
                "0 (flat) to 100; low values make hashes meaningless",
                null="not ok",
            ),
            column(
                "fingerprint",
                ID,
                "equal for pictures that are the same for `match`",
                null="not ok",
            ),
            column(
                "turned64",
                pa.list_(pa.int64()),
                "hash64 of the picture under each of the 7 turns of `fetch.turns.TURNS`: left to "
                "right, top to bottom, by 180 degrees; transposed, by 90 and by 270 degrees "
                "counter-clockwise, transposed along the other diagonal",
                null="not ok, or download.turned_hashes is off",
            ),
            column(
                "turned256",
                pa.list_(pa.binary()),
                "hash256 likewise",
                null="not ok, or download.turned_hashes is off",
            ),
        ]
    ),
)

NEIGHBORS = Table(
    "neighbors",
    "Edges between fingerprints held to be the same picture; each unordered pair once.",
    ("fingerprint_a", "fingerprint_b"),
    pa.schema(
        [
            column("fingerprint_a", ID, "the smaller of the two"),
            column("fingerprint_b", ID, "the larger of the two"),
            column(
                "distance",
                pa.int32(),
                "Hamming distance of hash64; by the rule `turned`, of one's and the other's turned "
                "one",
                unit="bits",
            ),
            column("distance256", pa.int32(), "likewise of hash256", unit="bits"),
            column("rule", pa.string(), "a MatchRule"),
        ]
    ),
)

RELEASED_NEIGHBORS = Table(
    "released_neighbors",
    "Pictures of this run that an earlier release holds already: the nearest released picture of "
    "each such fingerprint (least distance, then the smaller image_id).",
    ("fingerprint",),
    pa.schema(
        [
            column("fingerprint", ID, "of pictures of this run"),
            column("released_image_id", ID, "the released picture"),
            column("release", pa.string(), "the release that holds it"),
            column("distance", pa.int32(), "of hash64; 0 for the same fingerprint", unit="bits"),
            column("distance256", pa.int32(), "of hash256", unit="bits"),
        ]
    ),
)

LISTED = Table(
    "listed",
    "Pictures of this run that a list names: one row per fingerprint and list, the surest rule.",
    ("fingerprint", "list"),
    pa.schema(
        [
            column("fingerprint", ID, "of pictures of this run"),
            column("list", pa.string(), "name of the list in the config"),
            column("kind", pa.string(), "'block' or 'evaluation'"),
            column("rule", pa.string(), "a ListRule"),
            column("distance", pa.int32(), "in bits of the hash compared; 0 for digests"),
        ]
    ),
)

# Names of models in EMBEDDINGS: that of [score], and the one that copies are found by. Further ones
# are those of [score.models.<name>].
CLIP_MODEL = "clip"
COPY_MODEL = "copy"

EMBEDDINGS = Table(
    "embeddings",
    "One row per model and distinct picture (by sha256), and per model and distinct caption; by "
    "the copy-detection model one per distinct fingerprint whose picture is not flat. In a file, "
    "the rows of one model and kind come by rising content_id. `_models.json` beside the files "
    "says what each model is.",
    ("model", "kind", "content_id"),
    pa.schema(
        [
            column("model", pa.string(), "'clip' for that of [score], 'copy', or a further one's"),
            column("kind", pa.string(), "'image', 'flipped' (the picture mirrored), or 'text'"),
            column("content_id", ID, "first 16 bytes of sha256, or BLAKE2b-128 of the caption"),
            # Spark cannot read Parquet's float16, so the vector is stored as its bytes.
            column("vector", pa.binary(), "unit norm; little-endian float16 [model width]"),
        ]
    ),
)

EMBEDDING_INDEX = Table(
    "embedding_index",
    "Where each embedding lies: one row per row of `embeddings`, sorted by content_id in a bucket.",
    ("model", "kind", "content_id"),
    pa.schema(
        [
            column("content_id", ID, "as in `embeddings`"),
            column("model", pa.string(), "as in `embeddings`"),
            column("kind", pa.string(), "as in `embeddings`"),
            column("part", pa.int32(), "of the file embeddings/part-<part>.parquet"),
            column("row", pa.int64(), "in that file, from 0"),
            column(
                "bucket",
                pa.int32(),
                "the first 16 bits of content_id, as a number, times buckets over 65,536; there is "
                "a folder for each",
            ),
        ]
    ),
    partition="bucket",
)


def similarity_name(model: str, *, flipped: bool = False) -> str:
    """The column of SCORES with the similarity by a model of `[score.models]`, or by the one of
    `[score]` ("clip"); flipped: of the mirrored picture."""
    name = "clip_similarity" if model == CLIP_MODEL else f"clip_similarity_{model}"
    return f"{name}_flipped" if flipped else name


def similarity_fields(models: Sequence[str] = (), *, flipped: bool = False) -> list[pa.Field]:
    """The columns of SCORES beside `clip_similarity`.

    models: names of `[score.models]`. flipped: whether mirrored pictures are scored, by the model
    of `[score]`.
    """
    found = [
        column(
            similarity_name(model),
            pa.float32(),
            f"cosine of picture and caption by the model {model}, -1 to 1",
        )
        for model in models
    ]
    if flipped:
        name = similarity_name(CLIP_MODEL, flipped=True)
        doc = "cosine of the mirrored picture and the caption, -1 to 1"
        found.append(column(name, pa.float32(), doc))
    return found


def scores_table(models: Sequence[str] = (), *, flipped: bool = False) -> Table:
    """`scores`, with `similarity_fields`."""
    return Table(
        "scores",
        "One row per pair whose picture was downloaded.",
        ("pair_id",),
        pa.schema(
            [
                column("pair_id", ID, "of the pair"),
                column("image_id", ID, "of its image"),
                column("part", pa.int32(), "of its image"),
                column("clip_similarity", pa.float32(), "cosine of picture and caption, -1 to 1"),
                *similarity_fields(models, flipped=flipped),
            ]
        ),
    )


SCORES = scores_table()  # of one model


def picture_scores_table(fields: Sequence[pa.Field] = ()) -> Table:
    """`picture_scores`: a column for each field that scorers give."""
    return Table(
        "picture_scores",
        "One row per distinct picture (by sha256) that could be decoded: what scorers find.",
        ("content_id",),
        pa.schema([column("content_id", ID, "first 16 bytes of sha256"), *fields]),
    )


NULL_SCORES = Table(
    "null_scores",
    "Similarities of pictures with captions that are not theirs, of the same language: a sample.",
    ("measure", "pair_id"),
    pa.schema(
        [
            column("lang", pa.string(), "caption_lang of both pairs"),
            column("pair_id", ID, "the pair whose picture is taken"),
            column("caption_pair_id", ID, "the pair whose caption is taken, of another picture"),
            column("measure", pa.string(), "the column of `scores` whose null this is"),
            column("similarity", pa.float32(), "cosine of that picture and that caption, -1 to 1"),
        ]
    ),
)

COPIES = Table(
    "copies",
    "Edges between fingerprints whose pictures' embeddings are held to show the same picture; each "
    "unordered pair once. Empty without a copy-detection model.",
    ("fingerprint_a", "fingerprint_b"),
    pa.schema(
        [
            column("fingerprint_a", ID, "the smaller of the two"),
            column("fingerprint_b", ID, "the larger of the two"),
            column("similarity", pa.float32(), "cosine of the two embeddings, -1 to 1"),
        ]
    ),
)

SEMANTICS = Table(
    "semantics",
    "One row per embedded picture: how much it resembles those before it in its cluster.",
    ("content_id",),
    pa.schema(
        [
            column("content_id", ID, "first 16 bytes of sha256"),
            column("cluster", pa.int32(), "nearest centroid, from 0"),
            column("centroid_similarity", pa.float32(), "cosine to it, -1 to 1"),
            column(
                "semantic_similarity",
                pa.float32(),
                "largest cosine to a picture of the cluster that comes before it in SemDeDup's "
                "order; -1 for the first",
            ),
        ]
    ),
)

# What `measure` sees: one row per pair whose picture was downloaded. Filters read from this.
PAIR_VIEW = pa.schema(
    [
        column("pair_id", ID, "of the pair"),
        column("image_id", ID, "of its image"),
        column("url", pa.string(), "image URL"),
        column("domain", pa.string(), "registrable domain of the image's host"),
        column("caption", pa.string(), "normalised caption"),
        column("caption_kind", pa.string(), "the first CaptionKind among `caption_kinds`"),
        column("caption_kinds", pa.int32(), "every CaptionKind it was found as, a bit set"),
        column("caption_lang", pa.string(), "language of the caption: ISO 639-1, or 'und'"),
        column("caption_lang_confidence", pa.float32(), "confidence in it, 0 to 1"),
        column("pages", pa.int64(), "distinct pages this image has this caption on"),
        column("caption_images", pa.int64(), "distinct images that carry this caption"),
        column("caption_domains", pa.int64(), "distinct page domains this caption is on"),
        column(
            "caption_domain_images",
            pa.int64(),
            "distinct images that carry this caption on pages of `page_domain`",
        ),
        column(
            "caption_pattern_pairs",
            pa.int64(),
            "distinct pairs on pages of `page_domain` whose captions have the same pattern",
        ),
        column("page_url", pa.string(), "a page it is on"),
        column("page_domain", pa.string(), "registrable domain of that page"),
        column("page_lang", pa.string(), "declared language of that page", null="undeclared"),
        column("page_lang_detected", pa.string(), "language of that page's text, or 'und'"),
        column("page_optout", pa.string(), "an opt-out of a page it is on", null="none"),
        column("consent", pa.string(), "as in `images`: 'allowed', 'adopted' or an opt-out"),
        column("format", pa.string(), "of the received file"),
        column("frames", pa.int32(), "more than 1 is animated"),
        column("body_bytes", pa.int64(), "received", unit="bytes"),
        column("original_width", pa.int32(), "upright", unit="pixels"),
        column("original_height", pa.int32(), "upright", unit="pixels"),
        column("width", pa.int32(), "stored", unit="pixels"),
        column("height", pa.int32(), "stored", unit="pixels"),
        column("texture", pa.int32(), "0 (flat) to 100"),
        column("hash64", pa.int64(), "DCT hash of the picture, 64 bits as signed"),
        column("fingerprint", ID, "equal for pictures that are the same for `match`"),
        column("sha256", pa.binary(), "of the received body"),
        column("part", pa.int32(), "bucket of the image"),
        column("raw_round", pa.int32(), "of the download that stored the bytes, 0 for the first"),
        column("raw_offset", pa.int64(), "of the stored bytes in the raw tar"),
        column("raw_bytes", pa.int32(), "stored size", unit="bytes"),
        column("clip_similarity", pa.float32(), "cosine of picture and caption"),
        column(
            "semantic_similarity",
            pa.float32(),
            "largest cosine to a picture before it in its cluster, see `semantics`",
            null="not searched",
        ),
        column(
            "evaluation_list", pa.string(), "evaluation list that names the picture", null="none"
        ),
    ]
)

# The columns of it that are known before the download: of the candidate, and of each caption.
KNOWN_BEFORE_DOWNLOAD = tuple(
    name
    for name in PAIR_VIEW.names
    if name in {*CANDIDATES.schema.names, *(field.name for field in CAPTION)}
)

# The columns of it that are those of the image: the same in all its pairs.
PICTURE = (
    "image_id",
    "url",
    "domain",
    "consent",
    "format",
    "frames",
    "body_bytes",
    "original_width",
    "original_height",
    "width",
    "height",
    "texture",
    "hash64",
    "fingerprint",
    "sha256",
    "part",
    "raw_round",
    "raw_offset",
    "raw_bytes",
)


def pair_view(score_fields: Sequence[pa.Field] = ()) -> pa.Schema:
    """What filters read: PAIR_VIEW, and beside it what further models and scorers found.

    score_fields: `similarity_fields` and the columns of `picture_scores` but the key.
    """
    return pa.schema([*PAIR_VIEW, *score_fields])


def measures_table(
    filter_fields: Sequence[pa.Field], score_fields: Sequence[pa.Field] = ()
) -> Table:
    """`measures`: the pair view and, beside it, one column per measure of the given filters."""
    return Table(
        "measures",
        "One row per pair whose picture was downloaded: all it is judged and written by.",
        ("pair_id",),
        pa.schema([*pair_view(score_fields), *filter_fields]),
    )


DECISIONS = Table(
    "decisions",
    "One row per measured pair: kept, or the reasons why not.",
    ("pair_id",),
    pa.schema(
        [
            column("pair_id", ID, "of the pair"),
            column("image_id", ID, "of its image"),
            column("is_kept", pa.bool_(), "true: the pair is in the release"),
            column("reason", pa.string(), "the first bound it fails", null="kept"),
            column("reasons", pa.list_(pa.string()), "every bound it fails; empty when kept"),
            column(
                "picture_id",
                ID,
                "image_id of the picture it is released with: of its own image, unless its caption "
                "is kept with the picture that `duplicate_of` names",
            ),
            column(
                "duplicate_of",
                ID,
                "image_id of the picture that its own gives way to",
                null="no duplicate",
            ),
            column(
                "duplicate_rule",
                pa.string(),
                "what holds the two to be the same: a MatchRule",
                null="no duplicate",
            ),
            column(
                "duplicate_distance",
                pa.int32(),
                "of their hash64; 0 for the same fingerprint",
                unit="bits",
                null="no duplicate, or a copy, which hashes do not tell",
            ),
            column(
                "duplicate_similarity",
                pa.float32(),
                "cosine of their embeddings",
                null="no duplicate, or none that embeddings tell",
            ),
        ]
    ),
)

CUTOFFS = Table(
    "cutoffs",
    "What every bound came to: one row for each side of a bound on what is measured before "
    "`decide`, and for each language where it differs by language.",
    ("filter", "measure", "side", "language"),
    pa.schema(
        [
            column("filter", pa.string(), "the filter that states it"),
            column("measure", pa.string(), "the column it is on"),
            column("side", pa.string(), "'low' or 'high'"),
            column(
                "language",
                pa.string(),
                "of the captions it holds for",
                null="all, or all that have no row of their own",
            ),
            column("value", pa.float64(), "the end of the interval, which belongs to it"),
            column(
                "last_id",
                ID,
                "of pairs with exactly `value`, those up to this pair_id are kept",
                null="all of these are",
            ),
            column(
                "how",
                pa.string(),
                "'value': as given; 'keep': the share that is kept; 'false_accept': the share of "
                "mismatched pairs; 'false_accept_pooled': of those of all languages, as this one "
                "has too few",
            ),
            column(
                "rows",
                pa.int64(),
                "pairs, or mismatched pairs, that it was found among",
                null="given as a value",
            ),
            column("passing", pa.int64(), "how many of these pass", null="given as a value"),
        ]
    ),
)

SHARDS = Table(
    "shards",
    "One row per tar of the release.",
    ("shard",),
    pa.schema(
        [
            column("shard", pa.int32(), "number, from 0 without gaps"),
            column("path", pa.string(), "file name in the release"),
            column("samples", pa.int32(), "samples in it"),
            column("bytes", pa.int64(), "size of the tar", unit="bytes"),
            column("sha256", pa.string(), "of the tar, hex"),
        ]
    ),
)

STATS = Table(
    "stats",
    "Numbers and histograms of the run, in long form.",
    ("figure", "series", "bucket"),
    pa.schema(
        [
            column("figure", pa.string(), "e.g. 'funnel', 'status', 'clip_similarity'"),
            column("series", pa.string(), "e.g. a stage, a language, 'kept'"),
            column("bucket", pa.string(), "a reason, a category, or the low edge of a bin"),
            column("value", pa.float64(), "count or value"),
        ]
    ),
)
