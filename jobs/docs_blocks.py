"""What the documentation says of stages, tables, keys, reasons and filters, written from the code.

A page holds `<!-- generated: <kind> <name> -->` and `<!-- end -->`; what stands between is
written by `refresh`, and by nobody else.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from jobs.docs_keys import Key, keys, paragraph
from jobs.docs_reasons import REASONS, filter_rows
from jobs.line import EXTRA
from pipeline.core.config import RunSection
from pipeline.core.errors import ConfigError
from pipeline.core.reasons import Status
from pipeline.core.stage import Section, Stage, StageSection
from pipeline.core.tables import HOSTS, Table
from pipeline.match.lists import ListSection
from pipeline.score.heads import HeadSection
from pipeline.stages.line import LINE
from pipeline.stages.score_section import ModelSection
from pipeline.stages.shard import CoyoSection
from pipeline.stats.wording import FIXED

_MARK = re.compile(r"(<!-- generated: ([\w.-]+)(?: ([\w.-]+))? -->\n).*?(<!-- end -->)", re.DOTALL)
_NAME = re.compile(r"<(?!br>)")  # a line's end in a cell is meant

STAGES = {stage.name: stage for stage in LINE}
SECTIONS: dict[str, type[Section]] = {
    **{name: stage.config for name, stage in STAGES.items()},
    **EXTRA,
    "run": RunSection,
    "every-stage": StageSection,
    "match.lists": ListSection,
    "score.models": ModelSection,
    "score.heads": HeadSection,
    "shard.coyo": CoyoSection,
}


# What `Stage.uses` names.
_USES = {
    "filters": "all of the filters' (`[filters.*]`)",
    "measures": "those of the filters (`[filters.*]`) that change what is measured",
    "filters_first": "those of the filters that go before the download",
}


def refresh(text: str) -> str:
    """A page with every marked block written anew. Raises ConfigError for a kind there is not."""

    def written(found: re.Match[str]) -> str:
        kind, name = found[2], found[3] or ""
        if kind not in BLOCKS:
            raise ConfigError(f"generated: {kind}: allowed: {', '.join(BLOCKS)}")
        return f"{found[1]}\n{BLOCKS[kind](name)}\n\n{found[4]}"

    return _MARK.sub(written, text)


def stale(folder: Path) -> list[Path]:
    """Pages below a folder whose blocks are not what the code says."""
    pages = sorted(folder.rglob("*.md"))
    return [page for page in pages if refresh(text := page.read_text("utf-8")) != text]


def _stage(name: str) -> Stage:
    if name not in STAGES:
        raise ConfigError(f"no stage {name!r}: allowed: {', '.join(STAGES)}")
    return STAGES[name]


def _row(*cells: str) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """Text of a table's cell. Outside of code a `<part>` would be taken for markup."""
    pieces = text.replace("|", "\\|").split("`")
    outside = [_NAME.sub("&lt;", piece) for piece in pieces[::2]]
    pieces[::2] = outside
    return "`".join(pieces)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "\n".join([_row(*head), _row(*("---" for _ in head)), *(_row(*row) for row in rows)])


def _code(text: str) -> str:
    return f"`{text}`"


def _sentence(text: str) -> str:
    """Begun by a capital, unless it begins with a name."""
    first = text.partition(" ")[0].rstrip(".,:;")
    is_name = re.search(r"[._`/]", first) or first in ("http", "https")
    return text if is_name else text[:1].upper() + text[1:]


def _writer(table: Table) -> str:
    """The stage that writes a table."""
    return next(stage.name for stage in LINE if table.name in {t.name for t in stage.writes})


def flow(name: str) -> str:
    """What a stage reads and writes, and what else it depends on."""
    stage = _stage(name)
    reads = [f"[`{t.name}`]({_writer(t)}.md#{t.name})" for t in stage.reads]
    writes = [f"[`{t.name}`](#{t.name})" for t in stage.writes]
    rows = [
        ("reads", ", ".join(reads) or "what lies outside: archives, indexes, lists"),
        ("writes", ", ".join(writes)),
        ("other folders", ", ".join(_code(f"{folder}/") for folder in stage.folders)),
        ("to open", _code(stage.output) if stage.output else ""),
        ("settings besides its own", "; ".join(_USES[used] for used in stage.uses)),
    ]
    return _table(("", ""), [row for row in rows if row[1]])


def tables(name: str) -> str:
    """The columns of every table that a stage writes."""
    return "\n\n".join(_columns(table) for table in _stage(name).writes)


def table_beside(name: str) -> str:
    """The columns of a table that is kept beside what stages write."""
    if name != HOSTS.name:
        raise ConfigError(f"no table {name!r}: allowed: {HOSTS.name}")
    return _columns(HOSTS)


def _columns(table: Table) -> str:
    key = ", ".join(map(_code, table.key))
    split = f" Split into folders by `{table.partition}`." if table.partition else ""
    rows = [row for field in table.schema for row in _fields(field, "")]
    text = f"### `{table.name}`\n\n{table.doc} Key: {key}.{split}"
    return f"{text}\n\n{_table(('column', 'type', 'meaning', 'null means'), rows)}"


def _fields(field: pa.Field, before: str) -> Iterator[tuple[str, ...]]:
    """A row for a column, and one for each field of the records it lists."""
    about = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
    unit = f" ({about['unit']})" if "unit" in about else ""
    lists = pa.types.is_list(field.type) and pa.types.is_struct(field.type.value_type)
    kind = "list of records" if lists else str(field.type)
    kind = "16 bytes" if kind == "binary" and field.name.endswith("_id") else kind
    meaning = _sentence(about.get("doc", "")) + unit
    yield _code(before + field.name), kind, meaning, about.get("null", "")
    if lists:
        for inner in field.type.value_type:
            yield from _fields(inner, f"{before}{field.name}.")


def section(name: str) -> str:
    """Every key of a section of a recipe."""
    if name not in SECTIONS:
        raise ConfigError(f"no section {name!r}: allowed: {', '.join(SECTIONS)}")
    kind = SECTIONS[name]
    if not keys(kind):
        return "It has no keys of its own."
    general = re.sub(r"^`\[[^`]*`[:.]? ?", "", paragraph(kind))
    table = _table(("key", "default", "unit, range", "what it does"), _grouped(keys(kind)))
    return f"{_sentence(general)}\n\n{table}" if general and name != "every-stage" else table


def _grouped(found: list[Key]) -> Iterator[tuple[str, str, str, str]]:
    """A row for each key, or for those that one comment is about."""
    groups: list[list[Key]] = []
    for key in found:
        if key.doc or not groups:
            groups.append([key])
        else:
            groups[-1].append(key)
    for group in groups:
        names = [f"`{key.name}`" + ("" if key.is_tuning else " *") for key in group]
        allowed = [key.allowed for key in group]
        yield (
            "<br>".join(names),
            "<br>".join(_code(key.default) for key in group),
            "<br>".join(allowed) if any(allowed) else "",
            _sentence(group[0].doc),
        )


def reasons(name: str) -> str:
    """The reasons under which a stage counts what it does not keep."""
    counted = REASONS[_stage(name).name]
    if not counted:
        return "It has none of its own."
    return "\n\n".join(_reasons(unit, list(which)) for unit, which in counted.items())


def _reasons(unit: str, which: list[str]) -> str:
    status = all(isinstance(reason, Status) for reason in which)
    head = ("reason", "what it means", *(("asked for again",) if status else ()))
    rows = []
    for reason in which:
        again = ("yes" if Status(reason).is_transient else "",) if status else ()
        rows.append((_code(str(reason)), _sentence(FIXED[reason]), *again))
    return f"Of {unit.replace('_', ' ')}:\n\n{_table(head, rows)}"


def filter_list(_: str) -> str:
    """Every filter with its settings and the reasons it can give."""
    head = ("filter", "what it looks at", "settings and defaults", "reasons")
    return _table(head, filter_rows())


def overview(_: str) -> str:
    """All stages, what each reads and writes."""
    rows = []
    for stage in LINE:
        reads = ", ".join(_code(t.name) for t in stage.reads)
        writes = ", ".join(_code(t.name) for t in stage.writes)
        rows.append((f"[{stage.name}]({stage.name}.md)", reads or "archives, lists", writes))
    return _table(("stage", "reads", "writes"), rows)


def where(_: str) -> str:
    """Every key, table and reason in alphabetical order, and the page that has it."""
    found: dict[str, set[str]] = {}
    for stage in LINE:
        for key in keys(stage.config):
            found.setdefault(f"{stage.name}.{key.name}", set()).add(f"{stage.name}.md#knobs")
        for table in stage.writes:
            found.setdefault(table.name, set()).add(f"{stage.name}.md#{table.name}")
        for which in REASONS[stage.name].values():
            for reason in which:
                found.setdefault(reason, set()).add(f"{stage.name}.md#what-can-go-wrong")
    for name, *_rest in filter_rows():
        found.setdefault(f"filters.{name.strip('`')}", set()).add("filters.md")
    rows = []
    for word in sorted(found):
        pages = [f"[{page.partition('.')[0]}]({page})" for page in sorted(found[word])]
        rows.append((_code(word), ", ".join(pages)))
    return _table(("word", "page"), rows)


BLOCKS: dict[str, Callable[[str], str]] = {
    "flow": flow,
    "tables": tables,
    "table": table_beside,
    "keys": section,
    "reasons": reasons,
    "filters": filter_list,
    "stages": overview,
    "words": where,
}
