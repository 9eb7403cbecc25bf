"""The tokenizer of the tiny checkpoints: every word of their world is one token, everything else falls into letters.

The ids are laid out as in the published model: text first, then 128 ids of vision, then 128 of audio.
"""

import json
import re
import string

from tokenizers import Tokenizer, models, trainers
from transformers import GemmaTokenizer

from tests.tiny.world import answer_words, prompt_texts

TEXT_IDS = 1024
MEDIA_IDS = 128
FIRST_VISION_ID = TEXT_IDS
FIRST_AUDIO_ID = TEXT_IDS + MEDIA_IDS
IMAGE_TOKEN_ID = FIRST_VISION_ID + 1
AUDIO_TOKEN_ID = FIRST_AUDIO_ID + 1

SPECIAL_TOKENS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<start_of_audio>",
)
#: Names by which the processor asks for a token.
NAMED_TOKENS = {
    "image_token": "<image_soft_token>",
    "audio_token": "<audio_soft_token>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "boa_token": "<start_of_audio>",
    "eoa_token": "<end_of_audio>",
    "sot_token": "<start_of_turn>",
    "eot_token": "<end_of_turn>",
}
SPACE = "▁"
ALPHABET = string.ascii_letters + string.digits + ".,;:?!'éü\n" + SPACE


def token_id(token: str) -> int:
    """Id of a special token."""
    return SPECIAL_TOKENS.index(token)


def build_tokenizer() -> GemmaTokenizer:
    """The tokenizer; the same one every time, since nothing in it is drawn."""
    vocabulary, merges = _byte_pairs()
    first_media = {FIRST_VISION_ID: ("<end_of_image>", "<image_soft_token>", "vision")}
    first_media[FIRST_AUDIO_ID] = ("<end_of_audio>", "<audio_soft_token>", "audio")
    for index in range(len(vocabulary), TEXT_IDS):
        vocabulary[f"<unused{index}>"] = index
    for first, (end, soft, name) in first_media.items():
        names = [end, soft, *(f"<{name}{index}>" for index in range(2, MEDIA_IDS))]
        vocabulary.update({token: first + index for index, token in enumerate(names)})
    return GemmaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True, extra_special_tokens=NAMED_TOKENS)


def whole_words() -> list[str]:
    """The words that are one token each, without and with a space in front."""
    in_prompts = {word for text in prompt_texts() for word in re.findall(r"\w+", text)}
    return sorted({*in_prompts, *answer_words(), "user", "model"})


def _byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_IDS,
        show_progress=False,
        special_tokens=[*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=list(ALPHABET),
    )
    # Words one by one, so that no token spans two of them; "\n\n" stands around every medium.
    corpus = ["\n\n", *(space + word for word in whole_words() for space in ("", SPACE))]
    tokenizer.train_from_iterator(corpus * 100, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    missing = [word for word in whole_words() for space in ("", SPACE) if space + word not in vocabulary]
    if missing:
        raise ValueError(f"{TEXT_IDS} text ids are too few: no token for {missing}")
    return vocabulary, [(left, right) for left, right in model["merges"]]
