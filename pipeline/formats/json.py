"""The Result itself: all that is known, for programs."""

from pipeline.job import Result

SUFFIX = "json"
CONTENT_TYPE = "application/json"
TIMED = False


def render(result: Result) -> str:
    """The same bytes as the stored `result.json`."""
    return result.to_bytes().decode()
