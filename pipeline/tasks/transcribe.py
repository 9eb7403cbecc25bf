"""transcribe: the words that are spoken, with their times."""

from pipeline.engines import Turn
from pipeline.job import Kind, MediaInfo, Options
from pipeline.languages import language_name
from pipeline.payload import Payload
from pipeline.tasks import Task, need_sound, prompt

SYSTEM = "Write down the words that are spoken, and nothing else."


class Transcribe(Task):
    takes = frozenset({"language", "audio_stream", "channels"})
    line = "the words that are spoken, with their times"

    def check(self, options: Options) -> None:
        if options.language is not None:
            language_name(options.language)

    def kinds(self, media: MediaInfo, options: Options) -> tuple[Kind, ...]:
        del options
        need_sound(media, "transcribe")
        return ("sound",)

    def turns(self, payload: Payload, options: Options) -> tuple[Turn, ...]:
        hint = f" It is in {language_name(options.language)}." if options.language else ""
        return prompt(SYSTEM, payload, f"Transcribe the speech.{hint}")


TASK = Transcribe()
