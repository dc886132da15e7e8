"""What a number of pairs will cost on a cluster, stage by stage; nothing is run.

python -m jobs.plan --pairs 10e9 --cluster conf/clusters/cloud.toml [--config conf/coyo.toml]
    [--rates conf/rates/measured.toml | --run runs/sample [--write-rates rates.toml]]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import filters
from jobs.line import EXTRA
from pipeline.core.config import Config
from pipeline.core.errors import ConfigError
from pipeline.core.run import guarded, load_config
from pipeline.stages.line import LINE
from pipeline.stages.plan import Recipe, plan
from pipeline.stages.plan_files import load_cluster, load_rates, to_toml
from pipeline.stages.plan_run import measured_rates, recipe_of_run
from pipeline.stages.plan_text import render

RATES = Path(__file__).resolve().parent.parent / "conf" / "rates" / "measured.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status (see `guarded`)."""
    parser = argparse.ArgumentParser(prog="python -m jobs.plan", description="Pairmill: plan")
    parser.add_argument("--pairs", help="pairs found in archives, e.g. 10e9")
    parser.add_argument("--cluster", help="a file of conf/clusters/")
    parser.add_argument("--config", help="a recipe; default: that of the run, or the defaults")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--rates", default=str(RATES), help="measured rates; default: %(default)s")
    parser.add_argument("--run", help="a finished run to take rates and ratios from")
    parser.add_argument("--write-rates", metavar="FILE", help="write the rates of --run and end")
    args = parser.parse_args(argv)
    return guarded(lambda: _plan(args))


def _plan(args: argparse.Namespace) -> None:
    rates = load_rates(args.rates)
    recipe = Recipe(rates.match_radius, rates.score_models)
    if args.run:
        rates, recipe = measured_rates(args.run, rates), recipe_of_run(args.run)
    if args.write_rates:
        if not args.run:
            raise ConfigError("--write-rates needs --run")
        Path(args.write_rates).write_text(to_toml(rates), encoding="utf-8")
        print(f"rates of {args.run}: {args.write_rates}")
        return
    if args.config:
        recipe = recipe_of_config(load_config(args.config, args.set, LINE, filters.load(), EXTRA))
    if not args.pairs or not args.cluster:
        raise ConfigError("give how many pairs and a cluster: PAIRS=10e9 CLUSTER=conf/clusters/...")
    cluster = load_cluster(args.cluster)
    found = plan(_pairs(args.pairs), cluster, rates, recipe)
    print(render(found, cluster, rates, recipe, Path(args.cluster).stem))


def recipe_of_config(config: Config) -> Recipe:
    """What of a recipe changes the cost."""
    sections: Any = config.sections
    score, download = sections["score"], sections["download"]
    has_cluster = bool(score.copy_model) or sections["cluster"].semantic
    return Recipe(
        sections["match"].radius,
        (score.model, *(model.model for model in score.models.values())),
        download.host_interval_s,
        has_cluster,
    )


def _pairs(text: str) -> float:
    try:
        pairs = float(text)
    except ValueError:
        pairs = 0.0
    if not 1 <= pairs <= 1e15:
        raise ConfigError(f"PAIRS={text}: expected a number of pairs from 1 to 1e15, e.g. 10e9")
    return pairs


if __name__ == "__main__":
    sys.exit(main())
