"""The real command line in a subprocess."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The engine that needs no weights and hears everything: for tests of what is around the engine.
ECHO = {"REELMILL_ENGINE__NAME": "echo", "REELMILL_ENGINE__MODEL": "echo", "REELMILL_SPEECH__GATE": "none"}


def reelmill(*arguments: object, seconds: float = 240, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=os.environ | variables,
        check=False,
    )


def start(*arguments: object, log: Path, **variables: str) -> subprocess.Popen[bytes]:
    """Start a command that stays."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
            stdout=out,
            stderr=out,
            env=os.environ | variables,
            # As from a terminal: a test run in the background of a script ignores Ctrl-C, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - the tests hold no locks
        )


@contextmanager
def started(*arguments: object, log: Path, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A command that stays; whatever becomes of the test, it is gone afterwards."""
    process = start(*arguments, log=log, **variables)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def documents(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The JSON documents that a command printed, one a line."""
    assert done.stdout, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
