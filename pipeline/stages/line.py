"""The line: all stages in flow order."""

from pipeline.stages import (
    cluster,
    decide,
    dedupe,
    download,
    extract,
    match,
    measure,
    report,
    score,
    shard,
)

LINE = (
    extract.STAGE,
    dedupe.STAGE,
    download.STAGE,
    match.STAGE,
    score.STAGE,
    cluster.STAGE,
    measure.STAGE,
    decide.STAGE,
    shard.STAGE,
    report.STAGE,
)
