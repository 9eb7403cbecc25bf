"""summarize: a short text that says what long media says: its transcript or captions, put together step by step."""

from pipeline.engines import Turn
from pipeline.job import Kind, MediaInfo, Options
from pipeline.payload import Payload
from pipeline.tasks import Fold, Task, prompt
from pipeline.tasks.caption import TASK as CAPTION
from pipeline.tasks.transcribe import TASK as TRANSCRIBE

SYSTEM = "Summarise faithfully and briefly, and write nothing else."


class Summarize(Task):
    takes = frozenset({"language", "frames", "video_stream", "audio_stream", "channels"})
    line = "a short text that says what sound, pictures, video or text say"

    def kinds(self, media: MediaInfo, options: Options) -> tuple[Kind, ...]:
        del options
        match media.kind:
            case "sound":
                return ("sound",)
            case "video":
                return ("frames",) if media.audio is None else ("frames", "sound")
            case _:
                return (media.kind,)

    def fold(self, media: MediaInfo) -> Fold:
        """A text is summarised at once, anything else has to become text first."""
        return "several" if media.kind == "text" else "always"

    def turns(self, payload: Payload, options: Options) -> tuple[Turn, ...]:
        if payload.kind in ("text", "fold"):
            return prompt(SYSTEM, payload, "Summarise this text.")
        return (TRANSCRIBE if payload.kind == "sound" else CAPTION).turns(payload, options)

    def max_tokens(self, kind: Kind) -> int:
        return CAPTION.max_tokens(kind) if kind == "frames" else super().max_tokens(kind)


TASK = Summarize()
