"""What several tests of whole mills need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.services import Valkey


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of the test's own, to be treated badly."""
    valkey = Valkey(tmp_path / "valkey")
    valkey.start()
    yield valkey
    valkey.stop()
