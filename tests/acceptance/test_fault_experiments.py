"""The quickest of the fault experiments, at small scale. All of them, with their controls: `make faults`."""

import pytest

from pipeline.settings import S3
from tests.faults.experiment import Experiment, run
from tests.faults.experiments import EXPERIMENTS

QUICK = [experiment for experiment in EXPERIMENTS if experiment.quick]


@pytest.mark.parametrize("experiment", QUICK, ids=lambda experiment: f"{experiment.number} {experiment.name}")
def test_the_promise_is_kept(experiment: Experiment, s3: S3) -> None:
    (row,) = run(experiment, s3, seed=1, full=False, controls=False)
    assert row.skipped is None
    assert row.complaints == ()
    assert row.submitted > 0
    assert (row.lost, row.doubled) == (0, 0)
