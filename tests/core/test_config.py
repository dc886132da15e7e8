"""A recipe is read once and refused early, with the key, the value and what was allowed."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import Field

from pipeline.core.config import Config, RunSection, load
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Bound, Filter, Relative
from pipeline.core.stage import Stage, StageSection, tuning


class FetchSection(StageSection):
    timeout_s: float = Field(default=10, gt=0)
    concurrency: int = tuning(64, gt=0)


@dataclass(frozen=True)
class Length(Filter):
    min_chars: int = 5
    max_chars: int = 100

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("chars", self.min_chars, self.max_chars),)


def read(tmp_path: Path, text: str, *overrides: str) -> Config:
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    return load(
        str(file), overrides, {"run": RunSection, "fetch": FetchSection}, {"length": Length}
    )


GOOD = '[run]\nroot = "r"\n[fetch]\ntimeout_s = 20\n[filters.length]\nmin_chars = 6\n'


def test_values_defaults_and_filters(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.run.root == "r"
    assert config.sections["fetch"].timeout_s == 20  # type: ignore[attr-defined]
    assert config.filters == {"length": Length(min_chars=6)}


def test_overrides_are_toml_or_plain_text(tmp_path: Path) -> None:
    config = read(
        tmp_path, GOOD, "fetch.timeout_s=2.5", "run.root=runs/x", "filters.length.max_chars=9"
    )
    assert config.sections["fetch"].timeout_s == 2.5  # type: ignore[attr-defined]
    assert config.run.root == "runs/x"
    assert config.filters["length"] == Length(6, 9)


@pytest.mark.parametrize(
    ("text", "overrides", "named"),
    [
        ('[run]\nroot="r"\n[fetch]\ntimeout=3\n', (), ["fetch.timeout", "timeout_s"]),
        (
            '[run]\nroot="r"\n[fetch]\ntimeout_s="fast"\n',
            (),
            ["fetch.timeout_s", "'fast'", "number"],
        ),
        (
            '[run]\nroot="r"\n[fetch]\ntimeout_s=-1\n',
            (),
            ["fetch.timeout_s", "-1", "greater than 0"],
        ),
        ('[run]\nroot="r"\n[fetsh]\n', (), ["[fetsh]", "did you mean fetch?"]),
        ('[run]\nroot="r"\n[filters.lenght]\n', (), ["[lenght]", "did you mean length?"]),
        ('[run]\nroot="r"\n[filters.length]\nmin=1\n', (), ["filters.length.min", "min_chars"]),
        (
            '[run]\nroot="r"\n[filters.length]\nmin_chars="x"\n',
            (),
            ["filters.length.min_chars", "'x'"],
        ),
        ("[run]\n", (), ["run.root is required"]),
        ("[run\n", (), ["not readable TOML"]),
        (GOOD, ("timeout_s=3",), ["expected section.key=value"]),
        (GOOD, ("run.root.deeper=3",), ["root is a value"]),
    ],
)
def test_refused_with_the_offender_and_what_is_allowed(
    tmp_path: Path, text: str, overrides: tuple[str, ...], named: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text, *overrides)
    message = str(error.value)
    assert "\n" not in message
    for part in named:
        assert part in message


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.toml"):
        load(str(tmp_path / "nowhere.toml"), (), {}, {})


def test_identity_leaves_tuning_out(tmp_path: Path) -> None:
    stage = Stage("fetch", (), (), FetchSection, lambda context: [], uses=("filters",))
    slow = read(tmp_path, GOOD).identity(stage)
    fast = read(tmp_path, GOOD, "fetch.concurrency=9").identity(stage)
    other = read(tmp_path, GOOD, "fetch.timeout_s=9").identity(stage)
    assert slow == fast != other
    assert slow["filters"] == {"length": {"min_chars": 6, "max_chars": 100}}


def test_bound_needs_a_side_and_order() -> None:
    with pytest.raises(ValueError, match="neither"):
        Bound("x")
    with pytest.raises(ValueError, match="over high"):
        Bound("x", 2, 1)
    assert Bound("x", low=1).reasons == ("x_low", "x_missing")


@dataclass(frozen=True)
class Score(Filter):
    low: float = 0.2
    high: float | None = None
    epsilon: float = 0.1
    bound_settings = ("low", "high", "epsilon")

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("score", self.low, self.high), Bound("likeness", high=1 - self.epsilon))


def score(tmp_path: Path, settings: str) -> Score:
    file = tmp_path / "recipe.toml"
    file.write_text(f'[run]\nroot = "r"\n[filters.score]\n{settings}\n')
    found = load(str(file), (), {"run": RunSection}, {"score": Score}).filters["score"]
    assert isinstance(found, Score)
    return found


def test_a_side_of_a_bound_may_be_stated_by_what_it_does(tmp_path: Path) -> None:
    found = score(tmp_path, 'low = { keep = 0.3, per = "language" }\nhigh = 0.9')
    bound = found.bounds()[0]
    assert bound.low == Relative(keep=0.3, per="language") and bound.high == 0.9
    assert bound.is_relative and bound.reasons == ("score_low", "score_high", "score_missing")
    assert found.settings()["low"] == {
        "keep": 0.3,
        "per": "language",
        "of": "measured",
        "false_accept": None,
    }
    other = score(tmp_path, "low = { false_accept = 0.01 }")
    assert other.measure_settings() == found.measure_settings() == {}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("low = { keep = 1.5 }", ["filters.score.low", "keep = 1.5"]),
        ("low = { keep = 0 }", ["filters.score.low", "keep = 0"]),
        ("low = { false_accept = 1 }", ["filters.score.low", "false_accept = 1"]),
        ("low = { keep = 0.3, false_accept = 0.1 }", ["filters.score.low", "either"]),
        ("low = {}", ["filters.score.low", "either"]),
        ("low = { keeep = 0.3 }", ["filters.score.low.keeep", "did you mean keep?"]),
        ('low = { keep = "most" }', ["filters.score.low.keep", "'most'"]),
        ('low = { keep = 0.3, per = "page" }', ["filters.score.low.per", "language"]),
        ('low = { false_accept = 0.1, per = "language" }', ["per and of go with keep"]),
        ("epsilon = { keep = 0.3 }", ["filters.score.epsilon must be a number"]),
        ("high = { keep = 0.3 }\nlow = 'x'", ["filters.score.low", "'x'"]),
    ],
)
def test_a_side_that_says_nothing_clear_is_refused(
    tmp_path: Path, settings: str, named: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        score(tmp_path, settings)
    for part in named:
        assert part in str(error.value)


def test_a_signed_url_is_part_of_the_identity_without_its_signature(tmp_path: Path) -> None:
    class ReadSection(StageSection):
        archives: tuple[str, ...] = ()

    stage = Stage("read", (), (), ReadSection, lambda ctx: [])

    def identity(signature: str, file: str = "a") -> str:
        url = f"https://me:{signature}@host.example/{file}.gz?X-Amz-Signature={signature}"
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(f'[run]\nroot = "r"\n[read]\narchives = ["{url}"]\n')
        config = load(str(recipe), (), {"run": RunSection, "read": ReadSection}, {})
        section = config.sections["read"]
        assert isinstance(section, ReadSection) and section.archives == (url,)  # what is read
        return json.dumps(config.identity(stage))

    first = identity("cAnArY0001")
    assert "cAnArY" not in first and "host.example/a.gz" in first
    assert first == identity("cAnArY0002") != identity("cAnArY0001", "b")


def test_what_is_said_of_alarms_and_figures_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"alarm_usual.*kept: the lowest, 0\.9, is over"):
        read(tmp_path, GOOD, "fetch.alarm_usual={kept=[0.9,0.1]}")
    with pytest.raises(ConfigError, match=r"run\.metrics_file.*end in \.prom alone"):
        read(tmp_path, GOOD, "run.metrics_file=/tmp/pairmill.txt")
    with pytest.raises(ConfigError, match=r"fetch\.alarm = 'ring'"):
        read(tmp_path, GOOD, "fetch.alarm=ring")
