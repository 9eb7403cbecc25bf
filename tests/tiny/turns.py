"""What is asked about the samples and what the right answer is: the mixture of tasks that the language model learns."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.tiny.world import (
    ASK_BOTH,
    ASK_DIGITS,
    ASK_SHAPES,
    CAPTION,
    CAPTION_FRAMES,
    DIGITS,
    SYSTEM,
    TRANSCRIBE,
    TRANSCRIBE_HINTED,
    TRANSLATIONS,
    Scene,
    ask_colour,
    ask_shape,
    digit_string,
    translate_speech,
    translate_text,
    translated,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and its answer. Media are numbers into the samples; pictures come first, then the clip, then words."""

    task: str
    words: str
    answer: str
    pictures: tuple[int, ...] = ()
    clip: int | None = None


class Turns:
    """Draws turns about the samples: `clips` are the words of each clip, `scenes` what each picture shows."""

    def __init__(self, clips: Sequence[tuple[str, ...]], scenes: Sequence[Scene], rng: random.Random) -> None:
        self._clips, self._scenes, self._rng = clips, scenes, rng
        self._simple = [number for number, scene in enumerate(scenes) if len(scene.things) < 2]
        self._shown = [number for number, scene in enumerate(scenes) if scene.things]
        self._alike = [number for number, scene in enumerate(scenes) if _is_alike(scene)]
        self._spoken = [number for number, words in enumerate(clips) if words]
        self._kinds: dict[Callable[[], Turn], float] = {
            self.transcribe: 0.36,
            self.caption: 0.26,
            self.caption_alike: 0.07,
            self.translate_speech: 0.10,
            self.translate_text: 0.04,
            self.frames: 0.07,
            self.question: 0.04,
            self.count_shapes: 0.01,
            self.count_digits: 0.02,
            self.both: 0.03,
        }

    def draw(self) -> Turn:
        return self._rng.choices(list(self._kinds), weights=list(self._kinds.values()))[0]()

    def transcribe(self) -> Turn:
        clip = self._rng.randrange(len(self._clips))
        words = TRANSCRIBE_HINTED if self._rng.random() < 0.25 else TRANSCRIBE
        return Turn(task="transcribe", words=words, answer=" ".join(self._clips[clip]), clip=clip)

    def translate_speech(self) -> Turn:
        clip, language = self._rng.randrange(len(self._clips)), self._language()
        answer = translated(self._clips[clip], language)
        return Turn(task="translate", words=translate_speech(language), answer=answer, clip=clip)

    def translate_text(self) -> Turn:
        words, language = digit_string(self._rng, self._rng.randint(1, 8), "train"), self._language()
        asked = translate_text(language, " ".join(words))
        return Turn(task="translate", words=asked, answer=translated(words, language))

    def caption(self) -> Turn:
        return self._captioned(self._rng.randrange(len(self._scenes)))

    def caption_alike(self) -> Turn:
        """Two things of one colour: a small model would look the shape up by its colour."""
        return self._captioned(self._rng.choice(self._alike))

    def frames(self) -> Turn:
        pictures = tuple(self._rng.choice(self._simple) for _ in range(self._rng.randint(2, 4)))
        answer = ", ".join(self._scenes[number].caption for number in pictures)
        return Turn(task="caption", words=CAPTION_FRAMES, answer=answer, pictures=pictures)

    def question(self) -> Turn:
        """The colour of a shape or the shape of a colour that is there once."""
        while True:
            picture = self._rng.choice(self._shown)
            things = self._scenes[picture].things
            thing = self._rng.choice(things)
            by_shape = self._rng.random() < 0.5
            shape_is_clear = sum(other.shape == thing.shape for other in things) == 1
            colour_is_clear = sum(other.colour == thing.colour for other in things) == 1
            if by_shape and shape_is_clear:
                return Turn(task="ask", words=ask_colour(thing.shape), answer=thing.colour, pictures=(picture,))
            if not by_shape and colour_is_clear:
                return Turn(task="ask", words=ask_shape(thing.colour), answer=thing.shape, pictures=(picture,))

    def count_shapes(self) -> Turn:
        picture = self._rng.randrange(len(self._scenes))
        answer = DIGITS[len(self._scenes[picture].things)]
        return Turn(task="ask", words=ASK_SHAPES, answer=answer, pictures=(picture,))

    def count_digits(self) -> Turn:
        while True:
            clip = self._rng.randrange(len(self._clips))
            if len(self._clips[clip]) < len(DIGITS):
                return Turn(task="ask", words=ASK_DIGITS, answer=DIGITS[len(self._clips[clip])], clip=clip)

    def both(self) -> Turn:
        picture, clip = self._rng.randrange(len(self._scenes)), self._rng.choice(self._spoken)
        answer = f"{self._scenes[picture].caption}; {' '.join(self._clips[clip])}"
        return Turn(task="ask", words=ASK_BOTH, answer=answer, pictures=(picture,), clip=clip)

    def _captioned(self, picture: int) -> Turn:
        answer = self._scenes[picture].caption
        return Turn(task="caption", words=CAPTION, answer=answer, pictures=(picture,))

    def _language(self) -> str:
        return self._rng.choice(tuple(TRANSLATIONS))


def messages(
    task: str, words: str, pictures: Sequence[object] = (), clip: object | None = None
) -> list[dict[str, object]]:
    """The conversation that the product would send."""
    media: list[dict[str, object]] = [{"type": "image", "image": picture} for picture in pictures]
    if clip is not None:
        media.append({"type": "audio", "audio": clip})
    return [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM[task]}]},
        {"role": "user", "content": [*media, {"type": "text", "text": words}]},
    ]


def _is_alike(scene: Scene) -> bool:
    return len(scene.things) == 2 and scene.things[0].colour == scene.things[1].colour
