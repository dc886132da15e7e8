"""The tags, attributes and metas that matter to extraction, as numbers for the kernels."""

from pipeline.core.optout import AGENTS
from pipeline.extract.names import table

# --- tags -----------------------------------------------------------------------------------------
(
    IMG, IMAGE, SOURCE, PICTURE, FIGURE, FIGCAPTION, A, NOSCRIPT, TEMPLATE, SVG, FOREIGN_OBJECT,
    META, BASE, HTML, SCRIPT, RAW_TEXT, ESCAPABLE_TEXT, PLAINTEXT, BLOCK, BREAKOUT,
) = range(1, 21)  # fmt: skip

# Elements whose text does not flow into that of their neighbours.
_BLOCKS = (
    "p div br li ul ol dl dt dd h1 h2 h3 h4 h5 h6 tr td th table hr section article aside header "
    "footer nav main form option pre blockquote body"
).split()
# Start tags that end an unclosed `svg` (with those of `_BLOCKS` and `img`, which do so too).
# Source: WHATWG HTML, section 13.2.6.5 "The rules for parsing tokens in foreign content".
_BREAKOUTS = (
    "b big center code em embed head i listing menu nobr ruby s small span strike strong sub sup "
    "tt u var"
).split()
TAGS = table(
    {
        "img": IMG,
        "amp-img": IMG,
        "image": IMAGE,
        "source": SOURCE,
        "picture": PICTURE,
        "figure": FIGURE,
        "figcaption": FIGCAPTION,
        "a": A,
        "noscript": NOSCRIPT,
        "template": TEMPLATE,
        "svg": SVG,
        "foreignobject": FOREIGN_OBJECT,
        "meta": META,
        "base": BASE,
        "html": HTML,
        "script": SCRIPT,
        "plaintext": PLAINTEXT,
        **dict.fromkeys(("style", "xmp", "iframe", "noembed", "noframes"), RAW_TEXT),
        **dict.fromkeys(("title", "textarea"), ESCAPABLE_TEXT),
        **dict.fromkeys(_BLOCKS, BLOCK),
        **dict.fromkeys(_BREAKOUTS, BREAKOUT),
    }
)

# --- attributes -----------------------------------------------------------------------------------
(
    SRC, SRCSET, ALT, TITLE, ARIA_LABEL, ARIA_LABELLEDBY, HREF, LANG, XML_LANG, NAME, PROPERTY,
    HTTP_EQUIV, CONTENT, TYPE,
) = range(1, 15)  # fmt: skip

# Where scripts keep the URL they put into `src` once the image scrolls into view; the first one
# that holds a URL is taken, and the `src` beside it is a placeholder.
# Source: lazysizes, lozad and vanilla-lazyload (data-src, data-srcset), jQuery Lazy Load and
# Magento (data-original), WP Rocket and a3 Lazy Load (data-lazy-src, data-lazy-srcset), Slick
# (data-lazy), FooGallery (data-src-fg), Autoptimize (data-src), Jetpack (data-lazy-src), and the
# list in the data processing code of OBELICS (Laurençon et al. 2023, arXiv 2306.16527).
LAZY_SRC = (
    "data-src data-original data-lazy-src data-lazy data-lazyload data-lazy-original data-src-fg "
    "data-original-src data-orig-src data-echo data-ll-src data-gt-lazy-src data-lateloadsrc "
    "data-img-src data-scroll-image data-url data-image data-hi-res-src data-actualsrc "
    "data-delayed-url data-defer-src data-cfsrc src2"
).split()
LAZY_SRCSET = "data-srcset data-lazy-srcset data-original-set data-srcset-fg".split()
FIRST_LAZY_SRC = 20
FIRST_LAZY_SRCSET = FIRST_LAZY_SRC + len(LAZY_SRC)
ATTRIBUTE_NUMBERS = FIRST_LAZY_SRCSET + len(LAZY_SRCSET)
ATTRIBUTES = table(
    {
        "src": SRC,
        "srcset": SRCSET,
        "alt": ALT,
        "title": TITLE,
        "aria-label": ARIA_LABEL,
        "aria-labelledby": ARIA_LABELLEDBY,
        "href": HREF,
        "lang": LANG,
        "xml:lang": XML_LANG,
        "name": NAME,
        "property": PROPERTY,
        "http-equiv": HTTP_EQUIV,
        "content": CONTENT,
        "type": TYPE,
        **{name: FIRST_LAZY_SRC + i for i, name in enumerate(LAZY_SRC)},
        **{name: FIRST_LAZY_SRCSET + i for i, name in enumerate(LAZY_SRCSET)},
    }
)

# --- metas and headers ----------------------------------------------------------------------------
OG_IMAGE, OG_IMAGE_ALT, TWITTER_IMAGE, TWITTER_IMAGE_ALT = 1, 2, 3, 4
TDM_RESERVATION, TDM_POLICY, JSON_LD, DESCRIPTION, LANGUAGE = 5, 6, 7, 8, 9
HEADER_ROBOTS_TAG, HEADER_TDM_RESERVATION, HEADER_TDM_POLICY = 11, 12, 13
FIRST_AGENT = 20

# Crawlers that pages address by name in a robots meta: those that count for us, and the search
# engines', which are stored but say nothing to us.
# Source: the engines' documentation of their user agent tokens (Google, Bing, Yandex, Yahoo,
# DuckDuckGo, Naver, Baidu, Apple).
AGENT_NAMES = sorted(
    (AGENTS - {"*"})
    | {
        "googlebot",
        "googlebot-news",
        "googlebot-image",
        "bingbot",
        "msnbot",
        "slurp",
        "yandex",
        "yandexbot",
        "duckduckbot",
        "yeti",
        "baiduspider",
        "applebot",
        "perplexitybot",
        "amazonbot",
        "cohere-ai",
        "ai2bot",
        "diffbot",
        "omgilibot",
        "facebookbot",
        "oai-searchbot",
        "chatgpt-user",
        "claude-web",
    }
)
# og:image:url and :secure_url are other addresses of the image that og:image names.
METAS = table(
    {
        "og:image": OG_IMAGE,
        "og:image:alt": OG_IMAGE_ALT,
        "twitter:image": TWITTER_IMAGE,
        "twitter:image:src": TWITTER_IMAGE,
        "twitter:image:alt": TWITTER_IMAGE_ALT,
        "tdm-reservation": TDM_RESERVATION,
        "tdm-policy": TDM_POLICY,
        "description": DESCRIPTION,
        "html@/lang": LANGUAGE,
        **{name: FIRST_AGENT + i for i, name in enumerate(AGENT_NAMES)},
    }
)
HEADER_NUMBERS = {
    "x-robots-tag": HEADER_ROBOTS_TAG,
    "tdm-reservation": HEADER_TDM_RESERVATION,
    "tdm-policy": HEADER_TDM_POLICY,
}
HEADERS = table(HEADER_NUMBERS)
