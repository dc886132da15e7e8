"""What a stage is said to have taken."""

from pipeline.core.usage import Usage


def test_what_was_taken_between_two_looks() -> None:
    assert Usage(12.5, 9.0, 700).since(Usage(2.25, 4.0, 200)) == Usage(10.25, 5.0, 500)
    assert Usage(None, 9.0, 7).since(Usage(None, 4.0, 2)).to_json() == {
        "task_seconds": 5.0,
        "shuffle_bytes": 5,
    }


def test_processor_time_that_was_lost_is_not_known() -> None:
    """Workers that ended took their time with them: less than before is no figure."""
    assert Usage(3.0, 9.0, 7).since(Usage(20.0, 4.0, 2)).cpu_seconds is None
