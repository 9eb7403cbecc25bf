"""The quickest of the fault experiments, with few items. All of them, with their controls: `make faults`."""

from dataclasses import replace

import pytest

from pipeline.settings import S3
from tests.faults.experiment import Experiment, run
from tests.faults.experiments import EXPERIMENTS

#: Enough that there is work as long as the fault lasts.
NUM_ITEMS = {1: 60}
FEW_ITEMS = 24
QUICK = [experiment for experiment in EXPERIMENTS if experiment.quick]


@pytest.mark.parametrize("experiment", QUICK, ids=lambda experiment: f"{experiment.number} {experiment.name}")
def test_the_promise_is_kept(experiment: Experiment, s3: S3) -> None:
    num_items = NUM_ITEMS.get(experiment.number, FEW_ITEMS)
    few = replace(experiment, setup=replace(experiment.setup, items=num_items, engine_seconds=0.3))
    (row,) = run(few, s3, seed=1, full=False, controls=False)
    assert row.skipped is None
    assert row.complaints == ()
    assert row.submitted == num_items
    assert (row.lost, row.doubled) == (0, 0)
