"""The contract of a format: a document made from a Result. A new format is one new file here.

The file gives `SUFFIX`, `CONTENT_TYPE`, `TIMED` and `render(result)`. A file without `SUFFIX` is a part that formats
share.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

from pipeline.errors import UsageError
from pipeline.job import Result

#: Formats that come first, in this order; any other follows by name.
_FIRST = ("txt", "srt", "vtt", "json")


class Format(Protocol):
    """What a file in this folder gives."""

    SUFFIX: str  #: of the file name, without the dot
    CONTENT_TYPE: str
    TIMED: bool  #: it is made of times, so that a text or a picture has none

    def render(self, result: Result) -> str: ...


def _found() -> dict[str, Format]:
    """Every format in this folder by its file's name, in an order that does not depend on the disk."""
    names = sorted(module.name for module in iter_modules(__path__))
    ordered = [*(name for name in _FIRST if name in names), *(name for name in names if name not in _FIRST)]
    modules = {name: import_module(f"{__name__}.{name}") for name in ordered}
    return {name: cast(Format, module) for name, module in modules.items() if hasattr(module, "SUFFIX")}


FORMATS: dict[str, Format] = _found()
#: Formats stored beside `result.json` when a job ends; `json` is that file itself.
TRANSCRIPTS = tuple(name for name in FORMATS if name != "json")


def render(name: str, result: Result) -> bytes:
    """The result as a UTF-8 document. Raises UsageError when there is no such format."""
    if name not in FORMATS:
        raise UsageError(f"there is no format named {name!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[name].render(result).encode()
