"""What other bounds would keep and drop of a measured run; nothing is written to it."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import filters
from jobs.line import EXTRA
from pipeline.core import records
from pipeline.core.config import Config
from pipeline.core.run import guarded, identity, load_config
from pipeline.core.storage import Store
from pipeline.stages import decide, measure
from pipeline.stages.line import LINE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    parser = argparse.ArgumentParser(description="Pairmill: what-if")
    parser.add_argument("--config", required=True, help="the recipe of a measured run")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FILTER.SETTING=VALUE,VALUE",
        help="bounds to look at, every combination; SECTION.KEY=VALUE overrides the recipe",
    )
    args = parser.parse_args(argv)

    def work() -> None:
        from pipeline.stages import what_if

        kinds = filters.load()
        overrides, varied = what_if.split(args.set, kinds)

        def load(*more: str) -> Config:
            return load_config(args.config, [*overrides, *more], LINE, kinds, EXTRA)

        recipe = load()
        chosen = what_if.settings(varied, recipe.filters)
        variants = [what_if.Variant("the recipe", recipe.filters)]
        for sets in chosen:
            label = ", ".join(one.removeprefix("filters.").replace("=", " = ", 1) for one in sets)
            variants.append(what_if.Variant(label, load(*sets).filters))
        store = Store(recipe.run.root)
        records.refuse_other_config(store, measure.STAGE, identity(measure.STAGE, recipe))
        records.inputs(store, decide.STAGE, LINE)
        print(_told(store, recipe, variants))

    return guarded(work)


def _told(store: Store, recipe: Config, variants: Any) -> str:
    from pipeline.core.context import Context
    from pipeline.core.spark import session
    from pipeline.stages import what_if
    from pipeline.stats.outcomes import render

    spark = session("pairmill what-if")
    section: Any = recipe.sections[decide.STAGE.name]
    ctx: Context[Any] = Context("what-if", spark, store, section, recipe.sections, recipe.filters)
    return render(what_if.compare(ctx, variants))


if __name__ == "__main__":
    sys.exit(main())
