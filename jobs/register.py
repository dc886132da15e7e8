"""Add the kept pictures of a finished release to a registry."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import filters
from jobs.line import EXTRA
from pipeline.core.run import guarded, load_config
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.stages.line import LINE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    parser = argparse.ArgumentParser(description="Pairmill: register")
    parser.add_argument("--config", required=True, help="the recipe of the finished run")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--registry", required=True, help="folder or URL; made when not there")
    parser.add_argument("--name", help="what the release is called; default: shard.name")
    args = parser.parse_args(argv)

    def work() -> None:
        config = load_config(args.config, args.set, LINE, filters.load(), EXTRA)
        sections: Any = config.sections
        held = registry.open_or_new(args.registry, "REGISTRY")
        store = Store(config.run.root)
        name = args.name or sections["shard"].name
        from pipeline.stages import register

        register.refuse(held, register.finished_release(store), name)
        from pipeline.core.spark import session

        spark = session("pairmill register")
        texture = sections["download"].min_texture
        grown, added = register.register(spark, store, held, name, texture)
        what = "is there already" if grown is held else "added"
        print(
            f"register: {added.name}: {added.pictures:,} pictures, {what}; {args.registry} holds "
            f"{grown.pictures:,} of {len(grown.releases)} releases",
            file=sys.stderr,
        )

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
