"""Writing a finished job's formats to a folder, under a name made from its media's name."""

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline import formats
from pipeline.errors import UsageError
from pipeline.job import Result
from pipeline.planning.look import Seen
from pipeline.producer import Producer


def save(
    producer: Producer, result: Result, folder: Path, names: tuple[str, ...] = (), taken: Seen | None = None
) -> dict[str, str]:
    """Write the formats (all of them when `names` is empty) of a result; returns format -> path.

    `taken`: the stems that were written before, so that two files of one name with the same bytes have two transcripts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = _free(file_stem(result), taken)
    paths: dict[str, str] = {}
    for name, key in result.outputs.items():
        if names and name not in names:
            continue
        # What is no format came with the media, and its name is that of a file.
        suffix = formats.FORMATS[name].SUFFIX if name in formats.FORMATS else name
        path = (folder / f"{stem}.{suffix}").absolute()
        path.write_bytes(formats.render(name, result) if name == "json" else producer.read(key))
        paths[name] = str(path)
    return paths


def check_formats(names: Iterable[str]) -> None:
    """Raise UsageError for what is no format."""
    for name in names:
        if name not in formats.FORMATS:
            raise UsageError(f"there is no format {name}; there are {', '.join(formats.FORMATS)}")


def called(result: Result, name: str) -> Result:
    """The result of a file that goes by another name than the one that came with its bytes first."""
    return result.model_copy(update={"media": result.media.model_copy(update={"name": name})})


def _free(stem: str, taken: Seen | None) -> str:
    number, free = 1, stem
    while taken is not None and not taken.is_new(free):
        number += 1
        free = f"{stem}-{number}"
    return free


def file_stem(result: Result) -> str:
    """A file name that is safe anywhere, tells the media, and differs between jobs."""
    words = re.sub(r"[^\w.-]+", "_", Path(result.media.name).name).strip("._") or "media"
    return f"{words[:80]}.{result.job[1:7]}"
