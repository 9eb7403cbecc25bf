"""Options that several commands share."""

import json
from collections.abc import Callable, Container
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import typer

from pipeline import settings as configuration
from pipeline import tasks
from pipeline.cli.submitting import Order
from pipeline.errors import UsageError
from pipeline.job import Options
from pipeline.media.video import choice
from pipeline.settings import Settings
from pipeline.webhooks.addresses import check

Paths = Annotated[list[str], typer.Argument(help="Files, folders (taken whole) or globs.", show_default=False)]
Names = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(help="Ids of jobs, ids or names of collections. None: all.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document per line on standard output.")]
DataDir = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option("--data-dir", help="Where local mode keeps everything. Default: REELMILL_DATA_DIR or .reelmill"),
]
Language = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--language", help="Language spoken (ISO 639-1, such as en). Default: the engine decides."),
]
TaskName = Annotated[str, typer.Option("--task", help="What to do; `reelmill tasks` lists what there is.")]
To = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--to", help="translate: the language to translate into, as ISO 639-1 or its English name."),
]
Question = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--question", help="ask: the question."),
]
Schema = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--schema", help="ask: a file with the JSON Schema that the answer must fit."),
]
Speech = Annotated[bool, typer.Option("--speech", help="caption: also what is said in a video, on the same timeline.")]
Frames = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--frames",
        help="Frames of a video to look at: fps=N (exact), scene[=SECONDS] (after each cut, and one at least of so "
        "many seconds), keyframes[=N] (a cheap preview). Default: one a second; scene above 20 minutes.",
    ),
]
VideoStreamNumber = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--video-stream", min=0, help="Number of the video stream, from 0. Default: the file's own default."),
]
AudioStreamNumber = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--audio-stream", min=0, help="Number of the audio stream, from 0. Default: the file's own default."),
]
Channels = Annotated[
    Literal["mix", "split"],
    typer.Option(
        "--channels", help="Channels of the sound: mix, or split for call recordings (a transcript of each, merged)."
    ),
]
Variant = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--variant", help="Size of the model (e4b, e2b, ...), or auto: smaller while much waits."),
]
Adapter = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--adapter", help="A LoRA adapter for the model: a directory or a hub id."),
]
Force = Annotated[bool, typer.Option("--force", help="Do anew what is already done.")]
Webhook = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--webhook", help="Who is told when a job has ended: an https:// address that takes signed POSTs."),
]


def load(data_dir: Path | None, adapter: str | None = None) -> Settings:
    """Settings from the environment, with the data directory and the adapter of the command line."""
    settings = configuration.load()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    if adapter is not None:
        settings = settings.model_copy(update={"engine": settings.engine.model_copy(update={"adapter": adapter})})
    return settings


def checked_webhook(url: str | None, settings: Settings) -> str | None:
    """Raises UsageError for what nothing can be sent to."""
    return None if url is None else check(url, private=settings.webhooks.private)


def order_of(
    task: TaskName = "transcribe",
    language: Language = None,
    to: To = None,
    question: Question = None,
    schema: Schema = None,
    speech: Speech = False,
    frames: Frames = None,
    video_stream: VideoStreamNumber = None,
    audio_stream: AudioStreamNumber = None,
    channels: Channels = "mix",
    variant: Variant = None,
    force: Force = False,
) -> Order:
    """What the command line asks for. Raises UsageError when the task lacks an option, or would leave one unread."""
    chosen = Options(
        language=language,
        to=to,
        question=question,
        json_schema=None if schema is None else _read_schema(schema),
        speech=speech,
        frames=frames,
        video_stream=video_stream,
        audio_stream=audio_stream,
        channels=channels,
        variant=variant,
    )
    if chosen.frames is not None:
        choice.parse(chosen.frames)
    tasks.check(task, chosen)
    return Order(task, chosen, force)


def with_order(command: Callable[..., None], *, without: Container[str] = ()) -> Callable[..., None]:
    """A command for typer whose parameter `order` is written on the command line as the options of `order_of`."""
    options = {name: one for name, one in signature(order_of).parameters.items() if name not in without}

    @wraps(command)
    def asked(**given: Any) -> None:
        command(order=order_of(**{name: given.pop(name) for name in options}), **given)

    own = signature(command).parameters
    every = [one for name in own for one in (options.values() if name == "order" else [own[name]])]
    # By keyword alone: typer calls it so, and then those without a default may stand behind others.
    parameters = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in every]
    asked.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    asked.__annotations__ = {one.name: one.annotation for one in parameters}
    del asked.__wrapped__  # typer would read the annotations of what is behind it
    return asked


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a JSON Schema: {error}") from error
    if not isinstance(schema, dict):
        raise UsageError(f"{path} holds no JSON object, so it is no JSON Schema")
    return schema
