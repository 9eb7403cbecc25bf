"""Clips to text through whisper, in real batches: one pass of the model for all clips, whatever their languages.

faster-whisper's own batched pipeline is not used: it drops what follows the last finished phrase of a window (its
one-by-one decoder goes back and reads that again), keeps one language per batch, and does not tell which it heard.
Here the batch does what the one-by-one decoder does, window by window, but without chance: text that looks wrong is
decoded again by fixed rules instead of by drawing words at random, so that the same clip always gives the same text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines import Clip, Reply
from pipeline.engines.whisper.marks import Hypothesis, Piece, best, split
from pipeline.job import SAMPLE_RATE, Span

WINDOW_SECONDS = 30  # what the encoder sees at once, always: shorter sound is padded
BEAM_SIZE = 5
MAX_ROUNDS = 6  # windows of one clip; a clip that fits one window rarely takes more than two
MIN_REST_SAMPLES = SAMPLE_RATE // 5  # a rest shorter than this holds no word
SILENT_PEAK = 1e-4  # -80 dBFS; whisper invents words for digital silence
LATEST_FIRST_MARK = 50  # whisper may not begin later than 1 s into a window

#: What is tried, in this order, on a window that looks wrong. None of it draws at random.
SECOND_TRIES: tuple[Mapping[str, Any], ...] = (
    {"beam_size": 1},
    # What these two yield is never fully believed: they forbid repeating, and people do repeat themselves.
    {"beam_size": BEAM_SIZE, "repetition_penalty": 1.2},
    {"beam_size": BEAM_SIZE, "no_repeat_ngram_size": 3},
)


@dataclass(slots=True)
class Draft:
    """A clip on its way to its reply."""

    clip: Clip
    language: str | None
    read: int = 0  #: samples that are accounted for
    is_read: bool = False
    spans: list[Span] = field(default_factory=list)
    is_suspect: bool = False

    @property
    def rest(self) -> Clip:
        return self.clip[self.read : self.read + WINDOW_SECONDS * SAMPLE_RATE]

    def add(self, piece: Piece, text: str) -> None:
        """Keep a piece of the window that begins at `read`, in times of the clip."""
        if not text:
            return
        begin, length = self.read / SAMPLE_RATE, self.clip.size / SAMPLE_RATE
        start, end = (round(min(begin + time, length), 3) for time in (piece.start, piece.end))
        if start < end:
            self.spans.append(Span(start=start, end=end, text=text))
        else:  # words that take no time, or come after the sound has ended, are invented
            self.is_suspect = True

    def move_on(self, samples: int) -> None:
        self.read += samples
        self.is_read = self.clip.size - self.read < MIN_REST_SAMPLES

    def reply(self) -> Reply:
        flags = [] if self.spans else ["no_speech"]
        if self.is_suspect or not self.is_read:
            flags.append("suspect")
        return Reply(spans=tuple(self.spans), flags=tuple(flags), language=self.language if self.spans else None)


class Decoder:
    """A loaded `faster_whisper.WhisperModel` that decodes batches."""

    def __init__(self, model: Any) -> None:
        from faster_whisper.tokenizer import Tokenizer

        self._model = model
        self._is_multilingual = bool(model.model.is_multilingual)
        self._tokenizers = {
            language: Tokenizer(model.hf_tokenizer, self._is_multilingual, task="transcribe", language=language)
            for language in model.supported_languages
            if not self._is_multilingual or model.hf_tokenizer.token_to_id(f"<|{language}|>") is not None
        }
        self._text = next(iter(self._tokenizers.values()))  # the languages differ only in their prompts
        self._suppressed = sorted({*self._text.non_speech_tokens, *_never_said(self._text)})

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639-1 codes that the model knows."""
        return frozenset(self._tokenizers)

    def transcribe(self, clips: Sequence[Clip], languages: Sequence[str | None]) -> list[Reply]:
        """One reply per clip, in order. A clip without a language gets the one that the model hears in it.

        What a clip becomes does not depend on its batch mates.
        """
        drafts = [
            Draft(clip, language, is_read=bool(np.abs(clip).max(initial=0) < SILENT_PEAK))
            for clip, language in zip(clips, languages, strict=True)
        ]
        for _ in range(MAX_ROUNDS):
            waiting = [draft for draft in drafts if not draft.is_read]
            if not waiting:
                break
            self._read_on(waiting)
        return [draft.reply() for draft in drafts]

    def _read_on(self, drafts: Sequence[Draft]) -> None:
        """Decode the next window of each draft, as one batch."""
        features = np.stack([self._features(draft.rest) for draft in drafts])
        encoded = self._model.encode(features)
        self._hear_languages(drafts, encoded)
        prompts = [self._prompt(draft) for draft in drafts]
        hypotheses = self._generate(encoded, prompts, beam_size=BEAM_SIZE)
        for draft, feature, prompt, hypothesis in zip(drafts, features, prompts, hypotheses, strict=True):
            if hypothesis.is_bad and not hypothesis.is_silence:
                self._take(draft, *self._try_again(feature, prompt, hypothesis))
            else:
                self._take(draft, hypothesis, is_suspect=False)

    def _take(self, draft: Draft, hypothesis: Hypothesis, is_suspect: bool) -> None:
        """Move a window's text into its draft, and the draft on to what is still unread."""
        size = draft.rest.size
        if hypothesis.is_silence:
            draft.move_on(size)
            return
        draft.is_suspect |= is_suspect
        pieces, seconds = split(hypothesis.tokens, self._text.timestamp_begin, size / SAMPLE_RATE)
        for piece in pieces:
            draft.add(piece, self._text.decode(piece.tokens).strip())
        draft.move_on(min(round(seconds * SAMPLE_RATE), size))

    def _features(self, clip: Clip) -> NDArray[np.float32]:
        """Log-mel spectrogram of one window, shape (mels, 3000)."""
        from faster_whisper.audio import pad_or_trim

        features: NDArray[np.float32] = pad_or_trim(self._model.feature_extractor(clip)[..., :-1])
        return features

    def _hear_languages(self, drafts: Sequence[Draft], encoded: Any) -> None:
        if all(draft.language for draft in drafts):
            return
        if not self._is_multilingual:
            heard = ["en"] * len(drafts)
        else:
            heard = [ranking[0][0].strip("<|>") for ranking in self._model.model.detect_language(encoded)]
        for draft, language in zip(drafts, heard, strict=True):
            draft.language = draft.language or language

    def _prompt(self, draft: Draft) -> list[int]:
        prompt: list[int] = self._model.get_prompt(self._tokenizers[draft.language or "en"], previous_tokens=[])
        return prompt

    def _try_again(self, feature: NDArray[np.float32], prompt: list[int], first: Hypothesis) -> tuple[Hypothesis, bool]:
        """Decode a window by itself until it looks right. Returns the best try, and whether it is still suspect."""
        tries = [first]
        for options in SECOND_TRIES:
            encoded = self._model.encode(feature[np.newaxis])
            tries += self._generate(encoded, [prompt], **options)
            if not tries[-1].is_bad:
                return tries[-1], options is not SECOND_TRIES[0]
        return best(tries), True

    def _generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> list[Hypothesis]:
        results = self._model.model.generate(
            encoded,
            prompts,
            max_length=self._model.max_length,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
            max_initial_timestamp_index=LATEST_FIRST_MARK,
            **options,
        )
        return [self._hypothesis(result) for result in results]

    def _hypothesis(self, result: Any) -> Hypothesis:
        tokens = tuple(result.sequences_ids[0])
        return Hypothesis(
            tokens=tokens,
            text=self._text.decode(tokens),
            # The score is an average over the tokens; the end token counts too.
            logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),
            no_speech=result.no_speech_prob,
        )


def _never_said(tokenizer: Any) -> list[int]:
    """Tokens that steer the model and are not text."""
    names = ("transcribe", "translate", "sot", "sot_prev", "sot_lm", "no_speech")
    return [getattr(tokenizer, name) for name in names]
