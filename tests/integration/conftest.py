"""What integration tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma 3n of the real architecture with random weights: config, safetensors, processor."""
    pytest.importorskip("transformers")
    from tests.tiny.random_checkpoint import build

    return build(tmp_path_factory.mktemp("random-gemma3n"))
