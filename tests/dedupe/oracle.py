"""What dedupe should give, by dicts alone, and rows of PAIRS to give it."""

import random
import re
from collections import defaultdict

from pipeline.core.ids import image_id, pair_id
from pipeline.core.reasons import CaptionKind

KINDS = list(CaptionKind)


def pair(path: str, caption: str | None, page: str, **more) -> dict:
    """A row of PAIRS. more: domain, fragment, kinds, lang, optout, archive, offset, position."""
    domain = more.get("domain", "cdn.example")
    canonical = f"https://{domain}/{path}"
    image = image_id(canonical)
    kinds = more.get("kinds", 1)
    told = caption is not None
    return {
        "image_id": image,
        "pair_id": pair_id(image, caption) if told else None,
        "url": canonical + more.get("fragment", ""),
        "canonical_url": canonical,
        "domain": domain,
        "caption": caption,
        "caption_original": f" {caption}" if told and more.get("original") else None,
        "caption_kind": KINDS[(kinds & -kinds).bit_length() - 1].value if told else None,
        "caption_kinds": kinds if told else 0,
        "caption_lang": "en" if told else None,
        "caption_lang_confidence": 0.5 if told else None,
        "page_url": f"https://{page}",
        "page_domain": page.split("/")[0],
        "page_lang": more.get("lang"),
        "page_lang_detected": "und",
        "page_optout": more.get("optout"),
        "archive": more.get("archive", "a"),
        "record_offset": more.get("offset", 0),
        "position": more.get("position", 0),
    }


def pattern(caption: str) -> tuple[str, ...]:
    """What is left of a caption of Latin, Hangul and Han letters when it is masked."""
    parts = re.findall(r"[0-9]+|[^\W\d_一-鿿]+|\S", caption)
    words = [part for part in parts if part[0].isalpha()]
    found, masked, literal = [], 0, 0.0
    for at, part in enumerate(parts):
        is_han = "一" <= part <= "鿿"
        is_first = not any(p[0].isalpha() and not "一" <= p <= "鿿" for p in parts[:at])
        following = next((p for p in parts[at + 1 :] if p[0].isalpha()), "")
        if part.isdigit():
            found.append("<number>")
            masked += 1
        elif part[0].isupper() and not (is_first and not following[:1].isupper()):
            if found[-1:] != ["<name>"]:
                found.append("<name>")
            masked += 1
        else:
            found.append(part.lower())
            literal += 0.5 if is_han else part[0].isalpha()
    return tuple(found) if masked and int(literal) >= 2 and words else (caption, "itself")


def oracle(rows: list[dict], registry: set[bytes] = frozenset(), cap: int = 1000):
    """(candidates by canonical URL without `part` and what one row was chosen for, the rows each
    caption may be told by, pairs account, images account), with dicts alone."""
    new = [r for r in rows if r["image_id"] not in registry]
    pages, images, domains = defaultdict(set), defaultdict(set), defaultdict(set)
    on_domain, told, of_image = defaultdict(set), defaultdict(list), defaultdict(list)
    of_pattern = defaultdict(set)
    for row in new:
        of_image[row["image_id"]].append(row)
        if row["pair_id"]:
            pages[row["pair_id"]].add(row["page_url"])
            images[row["caption"]].add(row["image_id"])
            domains[row["caption"]].add(row["page_domain"])
            on_domain[row["caption"], row["page_domain"]].add(row["image_id"])
            of_pattern[pattern(row["caption"]), row["page_domain"]].add(row["pair_id"])
            told[row["pair_id"]].append(row)
    found, over = {}, 0
    for image, of in of_image.items():
        ids = sorted({r["pair_id"] for r in of if r["pair_id"]}, key=lambda p: (-len(pages[p]), p))
        over += len(ids[cap:])
        if not ids:
            continue
        captions = [
            {
                "pair_id": pair,
                "caption": told[pair][0]["caption"],
                "caption_kinds": _any(r["caption_kinds"] for r in told[pair]),
                "pages": len(pages[pair]),
                "caption_images": len(images[told[pair][0]["caption"]]),
                "caption_domains": len(domains[told[pair][0]["caption"]]),
                "caption_domain_images": {
                    d: len(on_domain[told[pair][0]["caption"], d])
                    for d in {r["page_domain"] for r in told[pair]}
                },
                "caption_pattern_pairs": {
                    d: len(of_pattern[pattern(told[pair][0]["caption"]), d])
                    for d in {r["page_domain"] for r in told[pair]}
                },
            }
            for pair in sorted(ids[:cap])
        ]
        optouts = [r["page_optout"] for r in of if r["page_optout"]]
        found[of[0]["canonical_url"]] = {
            "image_id": image,
            "domain": of[0]["domain"],
            "page_optout": min(optouts, default=None),
            "pages": len({r["page_url"] for r in of}),
            "page_domains": len({r["page_domain"] for r in of}),
            "captions": captions,
        }
    held = [r for r in rows if r["image_id"] in registry]
    kept = sum(len(c["captions"]) for c in found.values())
    pairs = {
        "no_caption": sum(r["pair_id"] is None for r in rows),
        "registered": len({r["pair_id"] for r in held if r["pair_id"]}),
        "over_caption_cap": over,
    }
    pairs["duplicate_pair"] = len(rows) - kept - sum(pairs.values())
    dropped = {
        "registered": len({r["image_id"] for r in held}),
        "no_caption": len(of_image) - len(found),
    }
    return found, told, pairs, dropped


def _any(kinds) -> int:
    bits = 0
    for kind in kinds:
        bits |= kind
    return bits


def compare(found: dict, accounts: dict, rows: list[dict], registry=frozenset(), cap=1000) -> None:
    """Every row against the oracle's; what one row was chosen for, against all it may be."""
    expected, told, pairs, images = oracle(rows, registry, cap)
    assert found.keys() == expected.keys()
    for url, want in expected.items():
        got = found[url]
        assert {k: got[k] for k in want if k != "captions"} == {
            k: v for k, v in want.items() if k != "captions"
        }
        assert got["url"] in {r["url"] for r in rows if r["canonical_url"] == url}
        assert len(got["captions"]) == len(want["captions"])
        for caption, wanted in zip(got["captions"], want["captions"], strict=True):
            here = dict(caption)
            for name in ("caption_domain_images", "caption_pattern_pairs"):
                here[name] = {here["page_domain"]: here[name]}
                wanted[name] = {here["page_domain"]: wanted[name][here["page_domain"]]}
            assert {k: here[k] for k in wanted} == wanted
            kinds = wanted["caption_kinds"]
            assert here["caption_kind"] == KINDS[(kinds & -kinds).bit_length() - 1].value
            one = ("page_url", "page_domain", "page_lang", "page_lang_detected")
            one += ("caption_original", "caption_lang", "caption_lang_confidence")
            assert any(all(here[n] == r[n] for n in one) for r in told[caption["pair_id"]])
    assert accounts["pairs"].rows_in == len(rows)
    assert accounts["pairs"].dropped == {k: v for k, v in pairs.items() if v}
    assert accounts["images"].dropped == {k: v for k, v in images.items() if v}


def many(count: int, seed: int) -> list[dict]:
    """Pairs in which images, captions, pages and domains meet again and again."""
    rng = random.Random(seed)
    rows = []
    for n in range(count):
        caption = f"caption {int(rng.paretovariate(0.6)) % 60}"
        if rng.random() < 0.3:
            caption = f"The {caption} of {rng.choice(['Jane', 'Jane Doe', 'me'])}"
        if rng.random() < 0.15:
            caption = None
        rows.append(
            pair(
                f"{int(rng.paretovariate(0.7)) % 150}",
                caption,
                f"p{rng.randrange(12)}.example/{rng.randrange(4)}",
                domain=rng.choice(["giant.example"] * 4 + ["a.example", "b.example"]),
                fragment=f"#{n}",
                kinds=rng.choice([1, 2, 4, 5, 64]),
                original=rng.random() < 0.5,
                optout=rng.choice([None] * 8 + ["meta:noai", "header:noimageai"]),
                archive=f"archive {n % 3}",
                offset=n,
                position=n % 7,
            )
        )
    return rows
