"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline import settings as configuration
from pipeline.settings import Settings

Paths = Annotated[list[str], typer.Argument(help="Files, folders (taken whole) or globs.", show_default=False)]
JobIds = Annotated[Optional[list[str]], typer.Argument(help="Job ids. None: every job.", show_default=False)]  # noqa: UP045
Json = Annotated[bool, typer.Option("--json", help="One JSON document per line on standard output.")]
DataDir = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option("--data-dir", help="Where local mode keeps everything. Default: REELMILL_DATA_DIR or .reelmill"),
]
Language = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--language", help="Language spoken (ISO 639-1, such as en). Default: the engine decides."),
]
Force = Annotated[bool, typer.Option("--force", help="Do anew what is already done.")]


def load(data_dir: Path | None) -> Settings:
    """Settings from the environment, with the data directory of the command line."""
    settings = configuration.load()
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir})
