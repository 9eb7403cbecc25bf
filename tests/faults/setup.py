"""How the mill of an experiment is put up, and what it gets to do."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.load import Item


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a mill is put up, and what it gets to do."""

    items: int = 40
    per_second: float = 40.0
    sick: Callable[[Path, random.Random], list[Item]] = lambda folder, chance: []
    tones: bool = True
    long_every: int = 20
    crew: Mapping[str, str] = field(
        default_factory=lambda: {"prepare": "prepare", "infer": "infer", "steward": "steward"}
    )
    """Roles by name of the member."""
    redis_proxy: bool = False
    s3_proxy: bool = False
    conditions: bool = True
    """False: the store ignores If-None-Match, which the proxy takes away."""
    environment: Mapping[str, str] = field(default_factory=dict)
    engine_seconds: float = 0.15
    stall_seconds: float = 6
    lease_seconds: float = 3
    jobs_in_flight: int = 64
    max_attempts: int = 3
    crash_points: tuple[str, ...] = ()
    """Armed before anything is submitted."""
    quiet_seconds: float = 240
    """How long the mill may take, after the last fault, until everything has ended."""
    state: Callable[[Path], Path] = lambda folder: folder
    """Where the queue and the workers keep their files."""
    full: Mapping[str, Any] = field(default_factory=dict)
    """What is otherwise in a run of full scale."""


#: A store that takes every write, and a mill that does not notice.
UNCONDITIONAL: dict[str, Any] = {
    "s3_proxy": True,
    "conditions": False,
    "environment": {"FAULTS_WITHOUT": "self-test"},
}
