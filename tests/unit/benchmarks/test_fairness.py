"""The figures of waits."""

from tests.benchmarks.fairness import Waits, figures


def test_waits_are_told_by_class_as_medians_over_the_wait_alone() -> None:
    archive = Waits([0.5, 0.4, 0.6], [1.0, 2.0, 9.0])
    long = {"interactive": Waits([1.0], [2.0]), "normal": Waits([1.0, 1.0], [3.0, 5.0])}
    assert figures(archive, long) == {  # type: ignore[arg-type]
        "short_job_wait_ratio": 4.0,
        "alone_seconds": 0.5,
        "beside_seconds": 2.0,
        "interactive_wait_ratio_beside_10_hours": 2.0,
        "interactive_alone_seconds": 1.0,
        "interactive_beside_10_hours_seconds": 2.0,
        "normal_wait_ratio_beside_10_hours": 4.0,
        "normal_alone_seconds": 1.0,
        "normal_beside_10_hours_seconds": 4.0,
    }
