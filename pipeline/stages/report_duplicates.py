"""The report's part on duplicates: chains, and groups to look at."""

from collections.abc import Iterator
from itertools import groupby

from pipeline.core.raw import PLACE, Place
from pipeline.stages.report_tables import Tables
from pipeline.stats import duplicates, samples, wording
from pipeline.stats.chains import find_chains
from pipeline.stats.pictures import Album
from pipeline.stats.sheets import Group, Member, Sheet
from pipeline.stats.tally import Row

# Links between groups of duplicates that the driver follows, some 200 bytes each; of more, only
# their number is told.
_MOST_LINKS = 500_000


def chain_rows(tables: Tables) -> Iterator[Row]:
    """What links between kept pictures come to, where there are not too many to follow."""
    links = tables.ask(duplicates.links(_MOST_LINKS))
    figure, series = "duplicate_chain", "kept"
    yield figure, series, "links", float(len(links))
    if len(links) > _MOST_LINKS:
        return
    sizes = tables.ask(duplicates.linked_sizes()) if links else []
    found = find_chains(
        [(row["a"], row["b"]) for row in links],
        {row["image"]: row["pictures"] for row in sizes},
    )
    for bucket, value in (
        ("linked", found.linked),
        ("would_drop", found.would_drop),
        ("components", found.components),
        ("largest_kept", found.largest_kept),
        ("largest_pictures", found.largest_pictures),
        ("longest", found.longest),
    ):
        yield figure, series, bucket, float(value)


def group_sheets(tables: Tables, album: Album, query: str) -> list[Sheet]:
    """The largest groups of duplicates, and random ones by the rule of their least sure member.

    query: of `duplicates.samples`.
    """
    rows = tables.ask(query)
    rows.sort(key=lambda row: (row["sheet"], row["place"], row["position"]))
    wanted = {row[name] for row in rows for name in ("image_id", "duplicate_of")}
    stored = pictures_of(tables, wanted)

    def member(image: bytes, told: str = "") -> Member:
        size, domain, place = stored.get(image, ("", "", None))
        return Member(album.picture(place) if place else None, size, domain, told)

    found: dict[str, list[Group]] = {}
    for (sheet, _), members in groupby(rows, key=lambda row: (row["sheet"], row["place"])):
        shown = list(members)
        dropped = tuple(
            member(r["image_id"], wording.duplicate(r["rule"], r["distance"], r["similarity"]))
            for r in shown
        )
        group = Group(member(shown[0]["duplicate_of"]), dropped, shown[0]["pictures"] + 1)
        found.setdefault(sheet, []).append(group)
    largest = [Sheet("The largest groups", tuple(found.pop("largest", ())))]
    chance = [
        Sheet(f"Groups at random: {wording.rule(rule)}", tuple(groups))
        for rule, groups in sorted(found.items())
    ]
    return [sheet for sheet in largest + chance if sheet.groups]


def pictures_of(tables: Tables, wanted: set[bytes]) -> dict[bytes, tuple[str, str, Place]]:
    """Size in words, domain and place of some images, by image_id."""
    if not wanted:
        return {}
    rows = tables.ask(
        f"SELECT DISTINCT original_width, original_height, domain, {', '.join(PLACE)} "
        "FROM measures SEMI JOIN "
        f"(SELECT unnest([{samples.listed(wanted)}]) AS image_id) USING (image_id)"
    )
    return {
        row["image_id"]: (
            f"{row['original_width']}\u00a0×\u00a0{row['original_height']}",
            row["domain"],
            Place(*(row[name] for name in PLACE)),
        )
        for row in rows
    }
