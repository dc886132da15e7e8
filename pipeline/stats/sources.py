"""Figures of domains and hosts as text in DuckDB's SQL: who has the pairs, who failed, who
objects. Of the tables they name, `domains` is `domains()` and `hosts` is `hosts()`.
"""

from pipeline.core.reasons import Status
from pipeline.stats import samples

_NOT_FAILED = f"('{Status.OK}', '{Status.FILTERED}')"
_SILENT = "('allowed', 'unknown', 'adopted')"


def domains() -> str:
    """One row per registrable domain of pictures: domain, pairs found, pairs kept."""
    kept = "SELECT domain, count(*) AS kept FROM judged WHERE is_kept GROUP BY domain"
    found = "SELECT domain, count(*) AS pairs FROM pairs GROUP BY domain"
    return (
        "SELECT domain, coalesce(pairs, 0) AS pairs, coalesce(kept, 0) AS kept "
        f"FROM ({found}) FULL JOIN ({kept}) USING (domain)"
    )


def hosts() -> str:
    """Images of each domain that were not downloaded or whose site objects, by what became of them:
    domain, status, consent, images. The others, which are most, are not joined with their domains.
    """
    return (
        "SELECT c.domain, i.status, i.consent, count(*) AS images FROM "
        "(SELECT CAST(image_id AS UUID) AS image, status, consent FROM images "
        f"WHERE status <> '{Status.OK}' OR consent NOT IN {_SILENT}) i "
        "JOIN (SELECT CAST(image_id AS UUID) AS image, domain FROM candidates) c USING (image) "
        "GROUP BY 1, 2, 3"
    )


def _failing(top: int) -> str:
    """The `top` domains with most failed downloads: domain, failed."""
    return (
        f"SELECT domain, sum(images) AS failed FROM hosts WHERE status NOT IN {_NOT_FAILED} "
        f"GROUP BY domain ORDER BY failed DESC, domain LIMIT {top}"
    )


def largest(top: int) -> str:
    """The `top` domains by pairs found and by pairs kept, with both counts; how many there are."""

    def best(by: str) -> str:
        return f"(SELECT * FROM domains ORDER BY {by} DESC, domain LIMIT {top})"

    shown = f"(SELECT * FROM {best('pairs')} UNION SELECT * FROM {best('kept')})"
    return (
        "SELECT 'domain' AS figure, series, domain AS bucket, CAST(n AS DOUBLE) AS value "
        f"FROM (UNPIVOT {shown} ON pairs, kept INTO NAME series VALUE n) UNION ALL "
        + " UNION ALL ".join(
            f"SELECT 'domains', '{name}', 'distinct', CAST(count(*) FILTER ({name} > 0) AS DOUBLE) "
            "FROM domains"
            for name in ("pairs", "kept")
        )
    )


def sizes() -> str:
    """How many domains have as many pairs: series ('pairs', 'kept'), size, members."""
    each = "(UNPIVOT (SELECT pairs, kept FROM domains) ON pairs, kept INTO NAME series VALUE size)"
    return f"SELECT series, size, count(*) AS members FROM {each} WHERE size > 0 GROUP BY ALL"


def by_host(top: int) -> str:
    """The `top` domains with most failed downloads: 'host' has their images asked for ('asked') and
    downloaded ('ok'), 'host_status' has, by domain, what the others came to."""
    worst = f"({_failing(top)})"
    # Each candidate has one image: those that are not among the others were downloaded.
    all_of_them = (
        "SELECT domain, count(*) AS images FROM candidates "
        f"SEMI JOIN {worst} USING (domain) GROUP BY domain"
    )
    others = (
        f"SELECT domain, sum(images) AS images FROM hosts WHERE status <> '{Status.OK}' "
        "GROUP BY domain"
    )
    counted = (
        "(SELECT domain, w.failed, a.images - o.images AS ok "
        f"FROM {worst} w JOIN ({all_of_them}) a USING (domain) JOIN ({others}) o USING (domain))"
    )
    return (
        "SELECT 'host' AS figure, series, domain AS bucket, CAST(n AS DOUBLE) AS value FROM "
        f"(UNPIVOT (SELECT domain, CAST(failed + ok AS BIGINT) AS asked, CAST(ok AS BIGINT) AS ok "
        f"FROM {counted}) "
        "ON asked, ok INTO NAME series VALUE n) "
        "UNION ALL SELECT 'host_status', h.domain, h.status, CAST(sum(h.images) AS DOUBLE) "
        f"FROM hosts h SEMI JOIN {worst} w ON h.domain = w.domain "
        f"WHERE h.status NOT IN {_NOT_FAILED} GROUP BY 2, 3"
    )


def objecting(top: int) -> str:
    """Who objects: the `top` domains of every kind of opt-out ('consent_domain': series the kind),
    and how many there are of each ('consent_domains')."""
    each = (
        "(SELECT consent, domain, sum(images) AS images FROM hosts "
        f"WHERE consent NOT IN {_SILENT} GROUP BY consent, domain)"
    )
    placed = (
        "(SELECT *, row_number() OVER (PARTITION BY consent ORDER BY images DESC, domain) AS place "
        f"FROM {each})"
    )
    return (
        "SELECT 'consent_domain' AS figure, consent AS series, domain AS bucket, "
        f"CAST(images AS DOUBLE) AS value FROM {placed} WHERE place <= {top} "
        "UNION ALL SELECT 'consent_domains', 'domains', consent, CAST(count(*) AS DOUBLE) "
        f"FROM {each} GROUP BY consent"
    )


def failures(seed: int, per_status: int) -> str:
    """URLs of failed downloads, random ones of every status: status, status_detail, url."""
    one = "{'image_id': image_id, 'status_detail': status_detail}"
    chosen = f"arg_min({one}, {samples.place_sql('image_id', seed)}, {per_status})"
    return (
        "SELECT p.status, p.one.status_detail AS status_detail, c.url FROM ("
        f"SELECT status, unnest({chosen}) AS one FROM images WHERE status <> 'ok' "
        "GROUP BY status) p "
        "JOIN candidates c ON c.image_id = p.one.image_id ORDER BY 1, 3"
    )
