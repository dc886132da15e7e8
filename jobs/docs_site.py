"""What the site's generator is told: files outside of docs that pages link to are pages too.

A link to `../pipeline/core/ids.py` leads to that file in the repository. On the site it leads to a
page `source/pipeline/core/ids.py.html` with its text, so that the site is whole by itself.
"""

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs"
SOURCE = "source"
# A link of Markdown to no other server: target, and anchor.
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:)([^()\s#]*)(#[^()\s]*)?(?=\))")
# Code, in which nothing is a link.
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links(text: str) -> list[tuple[str, str]]:
    """Target and anchor of every link to the repository; "" for the page itself, or for none."""
    return [(target, (anchor or "")[1:]) for target, anchor in LINK.findall(without_code(text))]


def without_code(text: str) -> str:
    """A page without code: what looks like a link in there is none."""
    return CODE.sub(lambda found: "" if found[0].startswith("```") else "`", text)


def repository_path(page: str, target: str) -> str:
    """Where a link of a page leads, both by their paths in the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def site_uri(path: str) -> str:
    """The page of the site for a file of the repository: docs are at its root."""
    inside = path.removeprefix(f"{DOCS}/")
    if inside != path:
        return inside
    # A README would become the index of its folder, and take the place of nothing here.
    return f"{SOURCE}/{path}" if path.endswith(".md") else f"{SOURCE}/{path}.md"


def for_site(page: str, text: str) -> str:
    """A page's text with its links as they are on the site. page: its path in the repository."""
    own = posixpath.dirname(site_uri(page))
    kept = CODE.findall(text)

    def moved(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        if not target:
            return anchor
        to = site_uri(repository_path(page, target))
        return posixpath.relpath(to, own or ".") + anchor

    # Code is left as it is: links are looked for between pieces of it alone.
    pieces = CODE.split(text)
    done = [LINK.sub(moved, piece) for piece in pieces]
    joined = [done[0]]
    for code, piece in zip(kept, done[1:], strict=True):
        joined += [code, piece]
    return "".join(joined)


def linked(pages: dict[str, str]) -> dict[str, str]:
    """Path -> text of the files that pages link to, and that are no pages, with those that these
    link to in turn. pages: path in the repository -> text. Folders are left out."""
    found: dict[str, str] = {}
    waiting = dict(pages)
    while waiting:
        page, text = waiting.popitem()
        if not page.endswith(".md"):
            continue
        for target, _ in links(text):
            path = repository_path(page, target) if target else ""
            if path and path not in pages and path not in found and (ROOT / path).is_file():
                found[path] = waiting[path] = (ROOT / path).read_text("utf-8")
    return found


def on_files(files: "Files", config: "MkDocsConfig", **_: Any) -> "Files":
    """Adds the files outside of docs that pages link to."""
    from mkdocs.structure.files import File, InclusionLevel

    pages = {f"{DOCS}/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    for path, text in sorted(linked(pages).items()):
        shown = text if path.endswith(".md") else f"# {path}\n\n````{_kind(path)}\n{text}\n````\n"
        made = File.generated(
            config, site_uri(path), content=shown, inclusion=InclusionLevel.NOT_IN_NAV
        )
        files.append(made)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leads links to where their files are on the site."""
    uri = page.file.src_uri
    inside = uri.removeprefix(f"{SOURCE}/")
    if inside == uri:
        return for_site(f"{DOCS}/{uri}", markdown)
    return for_site(inside, markdown) if (ROOT / inside).is_file() else markdown


def _kind(path: str) -> str:
    return {"py": "python", "toml": "toml", "sh": "bash"}.get(path.rpartition(".")[2], "text")
