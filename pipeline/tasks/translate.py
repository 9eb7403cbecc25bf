"""translate: what is spoken or written, in another language."""

from pipeline.engines import Turn
from pipeline.errors import UsageError
from pipeline.job import Kind, MediaInfo, Options
from pipeline.languages import language_name
from pipeline.payload import Payload
from pipeline.tasks import Task, need_sound, prompt

SYSTEM = "Translate faithfully. Write the translation, and nothing else."


class Translate(Task):
    takes = frozenset({"to", "language", "audio_stream", "channels"})
    line = "what is spoken or written, in another language (--to)"

    def check(self, options: Options) -> None:
        if options.to is None:
            raise UsageError("translate needs --to LANGUAGE, such as --to de")
        language_name(options.to)

    def kinds(self, media: MediaInfo, options: Options) -> tuple[Kind, ...]:
        del options
        if media.kind == "text":
            return ("text",)
        need_sound(media, "translate")
        return ("sound",)

    def turns(self, payload: Payload, options: Options) -> tuple[Turn, ...]:
        what = "this text" if payload.kind == "text" else "the speech"
        return prompt(SYSTEM, payload, f"Translate {what} into {language_name(options.to or 'en')}.")

    def max_tokens(self, kind: Kind) -> int:
        return 4096 if kind == "text" else super().max_tokens(kind)


TASK = Translate()
