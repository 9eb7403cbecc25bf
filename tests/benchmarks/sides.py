"""The two sides of a comparison, each a process of its own: reelmill, and faster-whisper as its users run it.

`python -m tests.benchmarks.sides FILE...` is the second one; it prints a JSON object with `name` and `text` per file.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.engines.whisper.weights import PACKAGED, locate


def reelmill(files: Sequence[Path], data_dir: Path, *options: str) -> tuple[list[str], float]:
    """Texts of the files, in their order, and the seconds that the whole command took."""
    command = ["pipeline.cli", "run", "--json", "--data-dir", str(data_dir), *options]
    documents, seconds = _python(command, files)
    unfinished = [f"{document['name']}: {document['status']}" for document in documents if document["status"] != "done"]
    if unfinished:
        raise SystemExit(f"reelmill did not transcribe {', '.join(unfinished)}")
    return _texts(documents, files), seconds


def engine_alone(files: Sequence[Path]) -> tuple[list[str], float]:
    """The same, of faster-whisper with the same weights and as many threads."""
    documents, seconds = _python(["tests.benchmarks.sides"], files)
    return _texts(documents, files), seconds


def _python(command: Sequence[str], files: Sequence[Path]) -> tuple[list[dict[str, str]], float]:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *command, *map(str, files)], stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - started
    return [json.loads(line) for line in done.stdout.splitlines()], seconds


def _texts(documents: Sequence[dict[str, str]], files: Sequence[Path]) -> list[str]:
    texts = {Path(document["name"]).name: document["text"] for document in documents}
    return [texts[file.name] for file in files]


def main() -> None:
    from faster_whisper import WhisperModel

    path = str(locate(PACKAGED).path)
    model = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=os.cpu_count() or 1)
    for file in sys.argv[1:]:
        segments, _ = model.transcribe(file, beam_size=5, vad_filter=True)
        print(json.dumps({"name": file, "text": " ".join(segment.text.strip() for segment in segments)}))


if __name__ == "__main__":
    main()
