"""What the tests of continuous batching share: a random model, and requests with the tokens that they get alone."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.gemma3n.mixed import Case, load
from tests.integration.gemma3n.pool import draw_cases

PROMPTS, CASES_PER_PROMPT = 10, 4


@pytest.fixture(scope="session")
def loaded(random_checkpoint: Path) -> tuple[Any, Any]:
    """Model, float32, and processor. Tests must leave the model as it is."""
    return load(random_checkpoint)


@pytest.fixture(scope="session")
def cases(loaded: tuple[Any, Any]) -> list[Case]:
    """40 requests of every kind, four to a prompt."""
    return draw_cases(*loaded, 1, PROMPTS, CASES_PER_PROMPT)


@pytest.fixture(scope="session")
def few(cases: list[Case]) -> list[Case]:
    """Two of each kind, in the order of KINDS."""
    return [case for start in range(0, 5 * CASES_PER_PROMPT, CASES_PER_PROMPT) for case in cases[start : start + 2]]
