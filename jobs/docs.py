"""Write what pages say of the code anew, and build the site of the documentation: `make docs`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.docs_blocks import refresh, stale
from pipeline.core.errors import PairmillError
from pipeline.core.run import guarded

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description="Pairmill: documentation")
    parser.add_argument("--check", action="store_true", help="name stale pages, write none")
    parser.add_argument("--out", default=str(ROOT / "build" / "site"), help="folder of the site")
    args = parser.parse_args(argv)

    def work() -> None:
        pages = stale(DOCS)
        if args.check:
            if pages:
                names = ", ".join(str(page.relative_to(ROOT)) for page in pages)
                raise PairmillError(f"not what the code says: {names}; run make docs")
            return
        for page in pages:
            page.write_text(refresh(page.read_text("utf-8")), encoding="utf-8")
            print(f"written: {page.relative_to(ROOT)}")
        build(Path(args.out))
        print(f"site: {Path(args.out) / 'index.html'}")

    return guarded(work)


def build(folder: Path) -> None:
    """The site, into a folder. Raises PairmillError for a link that leads nowhere, naming it."""
    try:
        from mkdocs.commands.build import build as build_site
        from mkdocs.config import load_config
        from mkdocs.exceptions import MkDocsException
    except ImportError:
        raise PairmillError("MkDocs is not installed; run make setup") from None
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    try:
        build_site(config)
    except MkDocsException as error:
        raise PairmillError(f"the site was not built: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
