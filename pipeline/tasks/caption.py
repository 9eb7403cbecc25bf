"""caption: what is seen in a picture, or in a video as it goes on."""

from pipeline.engines import Turn
from pipeline.errors import PermanentError
from pipeline.job import Kind, MediaInfo, Options
from pipeline.payload import Payload
from pipeline.tasks import Task, prompt
from pipeline.tasks.transcribe import TASK as TRANSCRIBE

SYSTEM = "Describe what is seen in plain words, and nothing else."


class Caption(Task):
    takes = frozenset({"speech", "language", "frames", "video_stream", "audio_stream"})
    line = "what is seen in a picture or a video (--speech: with what is said beside it)"

    def kinds(self, media: MediaInfo, options: Options) -> tuple[Kind, ...]:
        if media.kind == "picture":
            return ("picture",)
        if media.video is None:
            raise PermanentError("there is nothing to caption: the file has no picture")
        return ("frames", "sound") if options.speech and media.audio is not None else ("frames",)

    def turns(self, payload: Payload, options: Options) -> tuple[Turn, ...]:
        if payload.kind == "sound":
            return TRANSCRIBE.turns(payload, options)
        many = len(payload.frames) > 1
        return prompt(SYSTEM, payload, "Describe the pictures, in order." if many else "Describe the picture.")

    def max_tokens(self, kind: Kind) -> int:
        return super().max_tokens(kind) if kind == "sound" else 256


TASK = Caption()
