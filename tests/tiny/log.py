"""What a stage says while it runs: one JSON object a line, with the seconds since it began."""

import json
import time
from pathlib import Path


class Log:
    """Lines on the terminal and in a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._began = time.monotonic()

    def write(self, **values: object) -> None:
        line = json.dumps({"seconds": round(time.monotonic() - self._began), **values})
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")
