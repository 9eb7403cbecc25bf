"""One run that shows a bug wherever it is: the requests that differ from `model.generate` alone."""

from collections.abc import Sequence as Items
from typing import Any

import numpy as np

from tests.integration.gemma3n.driving import decoder, drive, wrong
from tests.integration.gemma3n.mixed import Case
from tests.integration.gemma3n.mutations import REVEALING


def num_differing(model: Any, cases: Items[Case]) -> int:
    """How many cases get other tokens than alone, one of them arriving about every second step."""
    random = np.random.default_rng(0)
    ended = drive(decoder(model, REVEALING), [case.sequence for case in cases], random, gap=2.0)
    return len(wrong(cases, ended))
