"""Prometheus' text format, read strictly. Source: prometheus.io, exposition formats, 0.0.4."""

import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
_SAMPLE = re.compile(
    rf"({_NAME})(?:\{{((?:{_LABEL}(?:, ?{_LABEL})*)?,?)\}})? "
    r"([+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|Inf|NaN)|NaN)(?: -?\d+)?"
)
_COMMENT = re.compile(
    rf"# (?:HELP {_NAME} .*|TYPE {_NAME} (?:counter|gauge|histogram|summary|untyped))"
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Samples:
    """(name, labels) -> value. Fails at a line that is none, and at a sample that is there twice."""
    assert text.endswith("\n")
    found: Samples = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            assert not line or _COMMENT.fullmatch(line), line
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")
        key = match[1], tuple(sorted(labels))
        assert key not in found, line
        found[key] = float(match[3])
    return found
