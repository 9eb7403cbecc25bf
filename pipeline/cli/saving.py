"""Writing a finished job's formats to a folder, under a name made from its media's name."""

import re
from pathlib import Path

from pipeline import formats
from pipeline.errors import UsageError
from pipeline.job import Result
from pipeline.producer import Producer


def save(producer: Producer, result: Result, folder: Path, names: tuple[str, ...] = ()) -> dict[str, str]:
    """Write the formats (all of them when `names` is empty) of a result; returns format -> path."""
    for name in names:
        if name not in formats.FORMATS:
            raise UsageError(f"there is no format {name}; there are {', '.join(formats.FORMATS)}")
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, str] = {}
    for name, key in result.outputs.items():
        if names and name not in names:
            continue
        # What is no format came with the media, and its name is that of a file.
        suffix = formats.FORMATS[name].SUFFIX if name in formats.FORMATS else name
        path = (folder / f"{file_stem(result)}.{suffix}").absolute()
        path.write_bytes(producer.read(key))
        paths[name] = str(path)
    return paths


def file_stem(result: Result) -> str:
    """A file name that is safe anywhere, tells the media, and differs between jobs."""
    words = re.sub(r"[^\w.-]+", "_", Path(result.media.name).name).strip("._") or "media"
    return f"{words[:80]}.{result.job[1:7]}"
