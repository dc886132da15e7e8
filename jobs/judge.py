"""Judge recipes by the models that their views of one pool train; draw how that scales.

python -m jobs.judge judge --config conf/demo.toml --recipes a.toml b.toml --out runs/judge
python -m jobs.judge scaling --config conf/demo.toml --recipes a.toml --out runs/judge
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filters
from jobs.line import EXTRA, run_stages
from pipeline.core import records
from pipeline.core.config import Config
from pipeline.core.errors import ConfigError, InputError, PairmillError
from pipeline.core.run import guarded, load_config
from pipeline.core.storage import Store
from pipeline.judge import curves, subsets, table, tasks
from pipeline.judge.settings import JudgeSection
from pipeline.judge.trials import Arm, Result, Trials
from pipeline.stages import judged
from pipeline.stages.line import LINE
from pipeline.stream import views
from pipeline.stream.views import View

UNFILTERED = "no filtering"
# Stages that a run must have behind it to be judged.
_MADE = ("extract", "dedupe", "download", "match", "score", "cluster")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    args = _arguments(argv)
    return guarded(lambda: {"judge": _judge, "scaling": _scaling}[args.command](args))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.judge", description="Pairmill: judge")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("judge", "train on each recipe's view, on the whole pool and on random subsets"),
        ("scaling", "train on nested subsets of one recipe's view, with several models"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("--config", required=True, help="the recipe that made the run")
        command.add_argument("--judge", default="", help="a TOML file laid over it, with [judge]")
        command.add_argument("--recipes", nargs="+", required=True, help="recipes to judge")
        command.add_argument("--run", default="", help="the run's folder, if not the recipe's")
        command.add_argument("--evaluation", default="", help="a folder of held-out tasks")
        command.add_argument("--model", default="", help="an architecture of open_clip")
        command.add_argument("--release", default="", help="a release that is the whole pool")
        command.add_argument("--out", required=True, help="folder for views, results and tables")
        command.add_argument(
            "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="of all recipes"
        )
    return parser.parse_args(argv)


@dataclass(frozen=True)
class _Setting:
    """What both commands work on. kept: each recipe's view by its name. ids: of the pool."""

    section: JudgeSection
    pool: View
    kept: dict[str, View]
    trials: Trials


def _judge(args: argparse.Namespace) -> None:
    setting = _prepare(args)
    section, pool = setting.section, setting.pool
    ids = subsets.ids_of(pool)
    arms = [Arm(UNFILTERED, lambda seed: pool)]
    pairs: list[tuple[str, str]] = []
    names = list(setting.kept)
    for name, kept in setting.kept.items():
        chance = f"random, as many as {name}"

        def drawn(seed: int, samples: int = kept.samples) -> View:
            return subsets.subset(pool, samples, ids, f"random {seed}")

        arms += [Arm(name, lambda seed, kept=kept: kept), Arm(chance, drawn)]  # type: ignore[misc]
        pairs += [(name, UNFILTERED), (name, chance)]
        pairs += [(name, names[0])] if name != names[0] else []
    results: dict[str, list[Result]] = {arm.name: [] for arm in arms}
    # Seed by seed, so that a run that is cut short has compared something.
    for seed in range(section.seeds):
        for arm in arms:
            results[arm.name].append(setting.trials.result(arm, section, seed))
    found = table.compare(results, pairs)
    text = table.render(results, found)
    store = Store(args.out)
    store.write_json("judge.json", table.to_json(results, found))
    _write(store, "judge.md", text)
    print(f"\n{text}")


def _scaling(args: argparse.Namespace) -> None:
    if len(args.recipes) != 1:
        raise ConfigError(f"scaling is of one recipe, not of {len(args.recipes)}")
    setting = _prepare(args)
    section = setting.section
    ids = subsets.ids_of(setting.pool)
    ((name, kept),) = setting.kept.items()
    results: dict[str, list[Result]] = {model: [] for model in section.scaling_models}
    for seed in range(section.seeds):
        for share in section.scaling_shares:
            samples = round(share * kept.samples)
            part = Arm(
                f"{share:g} of {name}",
                lambda seed, n=samples: subsets.subset(kept, n, ids, f"nested {seed}"),  # type: ignore[misc]
            )
            for model in section.scaling_models:
                sized = section.model_copy(update={"model": model})
                results[model].append(setting.trials.result(part, sized, seed))
    text = table.curve(results)
    store = Store(args.out)
    store.write_json("scaling.json", results)
    _write(store, "scaling.md", text)
    if store.is_local:
        for ending in ("svg", "png"):
            curves.draw(results, Path(store.path(f"scaling.{ending}")))
    print(f"\n{text}")


def _prepare(args: argparse.Namespace) -> _Setting:
    """The pool, the views of it, and what they are asked. Bad settings are refused first."""
    laid = [*_laid_over(args.judge), *_named(args)]
    kinds = filters.load()
    config = load_config(args.config, [*laid, *args.set], LINE, kinds, EXTRA)
    section = config.sections["judge"]
    assert isinstance(section, JudgeSection)
    recipes = _recipes(args, config)
    for name, recipe in recipes.items():
        judged.refuse_unanswerable(config, recipe, name)
    held_out = tasks.load(_evaluation(config, section, args.out))
    if config.run.web == "embedded" and not _is_made(Store(config.run.root)):
        sets = [part for one in (*laid, *args.set) for part in ("--set", one)]
        if run_stages(*_MADE, argv=["--config", args.config, *sets]):
            raise PairmillError("the run that is to be judged was not finished, see above")
    out = Store(args.out)
    root = args.release or judged.pool(config, section.pool_filters, out.path("pool"))
    pool = views.whole(root)
    kept = {}
    for name, recipe in recipes.items():
        kept[name] = judged.view(config, recipe, name, root, out.path("recipes"))
        views.save(kept[name], out.path("views", f"{name}.view"))
        share = kept[name].samples / max(pool.samples, 1)
        print(f"{name}: {kept[name].samples:,} of {pool.samples:,} samples ({share:.1%})")
        if kept[name].samples < section.batch_size:
            raise InputError(
                f"{name} keeps {kept[name].samples:,} samples of the pool, fewer than "
                f"judge.batch_size = {section.batch_size:,}"
            )

    def told(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    return _Setting(section, pool, kept, Trials(args.out, held_out, told))


def _is_made(store: Store) -> bool:
    """Whether all is there that a run is judged on."""
    found = [records.load(store, stage) for stage in _MADE]
    return all(record is not None and record["state"] == "done" for record in found)


def _recipes(args: argparse.Namespace, config: Config) -> dict[str, Config]:
    """The recipes by name: of their files, and where two are called alike, of the paths."""
    stems = [Path(path).stem for path in args.recipes]
    found = {}
    for path, stem in zip(args.recipes, stems, strict=True):
        name = stem if stems.count(stem) == 1 else str(Path(path).with_suffix("")).replace("/", "-")
        if name in found:
            raise ConfigError(f"{path} is named twice")
        # What a recipe leaves out is as in the run; a list of filters alone is a recipe.
        here = [f"run.root={json.dumps(config.run.root)}", *args.set]
        found[name] = load_config(path, here, LINE, filters.load(), EXTRA)
    return found


def _named(args: argparse.Namespace) -> list[str]:
    """What options of their own set."""
    named = {
        "run.root": args.run,
        "judge.evaluation": args.evaluation,
        "judge.model": args.model,
    }
    return [f"{key}={json.dumps(value)}" for key, value in named.items() if value]


def _laid_over(path: str) -> list[str]:
    """The values of a TOML file as overrides. Raises ConfigError when it cannot be read."""
    if not path:
        return []
    try:
        sections = tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no file of settings at {path}; some are in conf/judge/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not readable TOML: {error}") from None
    for name, values in sections.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: {name} stands outside of a section, such as [judge]")
    return list(_overrides("", sections))


def _overrides(prefix: str, values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _overrides(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


def _evaluation(config: Config, section: JudgeSection, out: str) -> str:
    """The folder of held-out tasks; those of the embedded web are made."""
    if section.evaluation:
        return section.evaluation
    if config.run.web != "embedded":
        raise ConfigError(
            "judge.evaluation is empty: give EVAL=<folder of held-out tasks> (docs/judge.md); only "
            "those of the embedded web are made here"
        )
    from pipeline.fakeweb.heldout import write_heldout

    folder = str(Path(out, "heldout"))
    write_heldout(folder)
    return folder


def _write(store: Store, name: str, text: str) -> None:
    with store.publish(name) as file:
        file.write(text.encode())


if __name__ == "__main__":
    sys.exit(main())
