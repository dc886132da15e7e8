"""Configuration: one TOML file per recipe, one section per stage, refused early and clearly.

    [run]
    root = "runs/demo"
    [download]
    timeout_s = 20
    [filters.caption_length]
    min_chars = 6

`--set download.timeout_s=20` overrides a value; the right side is TOML, or else a plain string.
A relative path in the file is taken from the working directory.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError, field_validator

from pipeline.core.errors import ConfigError
from pipeline.core.filter import Filter, Relative
from pipeline.core.filters_first import filters_first, identity_of
from pipeline.core.redact import redact_all, unsigned
from pipeline.core.stage import Section, Stage, tuning


class RunSection(Section):
    """`[run]`: where a run lives and the seed of everything random in it."""

    # The run's folder, on a disk or on object storage.
    root: str
    # Of everything that is drawn or sampled.
    seed: int = 0
    # Where `jobs/run.py` lets the download go: the real web, the embedded one, or the responses
    # recorded in the archives themselves.
    web: Literal["live", "embedded", "replay"] = tuning("live")
    # Folders of earlier runs of the same kind: what their stages counted is usual for the alarms of
    # this one, from three on.
    usual_runs: tuple[str, ...] = tuning(())
    # Where the figures for Prometheus are written, on the driver's machine: a .prom file in the
    # folder that node-exporter's textfile collector reads. Empty: nowhere.
    metrics_file: str = tuning("")
    # "debug": the event log has the whole text of a failure, which may quote captions and pages.
    log_level: Literal["info", "debug"] = tuning("info")

    @field_validator("metrics_file")
    @classmethod
    def _is_prom(cls, value: str) -> str:
        if value and not value.endswith(".prom"):
            raise ValueError("node-exporter reads files that end in .prom alone")
        return value


@dataclass(frozen=True)
class Config:
    """A whole, validated configuration.

    sections: every stage's section by name, and "run"; extra sections the job declared too.
    filters: enabled filters by name, in the order of the file: the first one that a pair fails
        names its reason.
    """

    sections: Mapping[str, Section]
    filters: Mapping[str, Filter]

    @property
    def run(self) -> RunSection:
        run = self.sections["run"]
        assert isinstance(run, RunSection)
        return run

    def identity(self, stage: Stage) -> dict[str, Any]:
        """What a stage's output depends on: section -> values that are not mere tuning. Without
        credentials: of a URL that is signed, the signature is no part of what it names."""
        wanted: dict[str, Any] = {stage.name: self.sections[stage.name].identity()}
        for name in stage.uses:
            if name == "filters":
                wanted["filters"] = {n: f.settings() for n, f in self.filters.items()}
            elif name == "filters_first":
                # Named only where there are some: a download without them is as it ever was.
                wanted_first: bool | Sequence[str] = getattr(self.sections[stage.name], name)
                first = filters_first(wanted_first, self.filters)
                wanted |= {name: identity_of(first)} if first else {}
            elif name == "measures":
                wanted["measures"] = {
                    n: f.measure_settings() for n, f in self.filters.items() if f.measures
                }
            else:
                wanted[name] = self.sections[name].identity()
        return dict(redact_all(wanted, unsigned))


def load(
    path: str,
    overrides: Sequence[str],
    sections: Mapping[str, type[Section]],
    filters: Mapping[str, type[Filter]],
) -> Config:
    """Read and check a config file. Raises ConfigError that names key, value and what is allowed.

    sections: section name -> its type. A section absent from the file takes its defaults.
    filters: all filters there are; the file's [filters.<name>] sections enable some.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file at {path}; recipes are in conf/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not readable TOML: {error}") from None
    for override in overrides:
        _apply(data, override)
    chosen = data.pop("filters", {})
    _refuse_unknown(path, "section", data, [*sections, "filters"])
    _refuse_unknown(path, "filter", chosen, list(filters))
    config = Config(
        sections={
            name: parse(path, name, kind, data.get(name, {})) for name, kind in sections.items()
        },
        filters={
            name: _parse_filter(path, name, filters[name], settings)
            for name, settings in chosen.items()
        },
    )
    _refuse_unmet(path, config)
    return config


def _parse_filter(path: str, name: str, kind: type[Filter], settings: Any) -> Filter:
    """A filter with its settings; those that move a bound may be tables of `Relative`."""
    section = f"filters.{name}"
    given = settings if isinstance(settings, dict) else {}
    tables = {k: v for k, v in given.items() if k in kind.bound_settings and isinstance(v, dict)}
    if not tables:
        chosen: Filter = parse(path, section, kind, settings)
        return chosen
    found = {k: parse(path, f"{section}.{k}", Relative, v) for k, v in tables.items()}
    plain = parse(path, section, kind, {k: v for k, v in given.items() if k not in tables})
    try:
        chosen = dataclasses.replace(plain, **found)
        sides = [value for bound in chosen.bounds() for value in bound.sides.values()]
    except TypeError:  # it reckons with the setting, which has no value yet
        sides = []
    except ValueError as error:
        raise ConfigError(f"{path}: [{section}]: {error}") from None
    for key, value in found.items():
        if not any(side is value for side in sides):
            raise ConfigError(f"{path}: {section}.{key} must be a number: {tables[key]} is none")
    return chosen


def _refuse_unmet(path: str, config: Config) -> None:
    """Raise ConfigError for a filter on something that a stage is told not to find."""
    for name, chosen in config.filters.items():
        for needed in chosen.needs:
            section, *keys = needed.split(".")
            if section in config.sections and not _is_on(config.sections[section], keys):
                raise ConfigError(
                    f"{path}: [filters.{name}] needs {needed}, which is off; set it, or leave the "
                    "filter out"
                )


def _is_on(value: Any, keys: list[str]) -> bool:
    """Whether there is something under the keys: of a section, a mapping, or an item of a list."""
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, tuple):
            value = key in value
        else:
            value = getattr(value, key)
    return bool(value)


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or len(names) < 2 or not all(names):
        raise ConfigError(f"--set {override}: expected section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for name in names[:-1]:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            raise ConfigError(f"--set {override}: {name} is a value, not a section")
    data[names[-1]] = value


def _refuse_unknown(path: str, what: str, given: Any, allowed: list[str]) -> None:
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: [filters] must hold one section per filter")
    for name in given:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(
                f"{path}: unknown {what} [{name}]: {hint}allowed: {', '.join(allowed)}"
            )


def parse(path: str, name: str, kind: type[Any], values: Any) -> Any:
    """Values of one section of a file as its type. Raises ConfigError that names file and key."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(name, kind, error)}") from None
    except ValueError as error:  # a filter whose bounds contradict each other
        raise ConfigError(f"{path}: [{name}]: {error}") from None


def _explain(section: str, kind: type[Any], error: ValidationError) -> str:
    """All problems of one section in one line."""
    problems = []
    fields = getattr(kind, "model_fields", None) or [f.name for f in dataclasses.fields(kind)]
    for problem in error.errors():
        key = ".".join(filter(None, [section, *map(str, problem["loc"])]))
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            near = difflib.get_close_matches(str(problem["loc"][-1]), list(fields), 1)
            hint = f"did you mean {near[0]}? " if near else ""
            problems.append(f"unknown key {key}: {hint}allowed: {', '.join(fields) or 'none'}")
        elif problem["type"] in ("missing", "missing_argument"):
            problems.append(f"{key} is required")
        else:
            problems.append(f"{key} = {problem['input']!r}: {problem['msg']}")
    return "; ".join(problems)
