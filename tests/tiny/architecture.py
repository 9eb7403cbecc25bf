"""A small Gemma 3n made of the real classes: every kind of block of the published model, few channels.

What is small: widths and depths. What is as published: MobileNetV5 with MSFA, the conformer, AltUp, Laurel, per-layer
embeddings, activation sparsity, sliding and full attention, shared keys and values, the layout of the token ids.
"""

import json
from dataclasses import dataclass
from typing import Any

from timm.models._efficientnet_builder import decode_arch_def
from transformers import (
    Gemma3nAudioConfig,
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nProcessor,
    Gemma3nTextConfig,
    Gemma3nVisionConfig,
    GenerationConfig,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.tiny.tokenizer import (
    AUDIO_TOKEN_ID,
    FIRST_AUDIO_ID,
    FIRST_VISION_ID,
    IMAGE_TOKEN_ID,
    MEDIA_IDS,
    TEXT_IDS,
    build_tokenizer,
    token_id,
)

SLIDING, FULL = "sliding_attention", "full_attention"
#: Samples of one audio soft token: 160 ms at 16 kHz, a fact of the conformer's strides.
SAMPLES_PER_SOFT_TOKEN = 2560
#: The towers' last stride: a picture of 16 n pixels gives n x n cells.
PIXELS_PER_CELL = 16
#: timm's encoder ends in this many channels, whatever its width.
VISION_CHANNELS = 2048

#: The published form of a Gemma 3 turn: system text comes before the user's, in the first user turn.
CHAT_TEMPLATE = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- else -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'audio' -%}{{ '<audio_soft_token>' }}
            {%- elif item['type'] == 'image' -%}{{ '<image_soft_token>' }}
            {%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What makes one tiny Gemma 3n another than the next. The defaults are those of the random checkpoint."""

    hidden: int = 64
    per_layer: int = 16  #: width of a per-layer embedding
    feed_forward: int = 128
    layer_types: tuple[str, ...] = (SLIDING, FULL, SLIDING, FULL, SLIDING, SLIDING, FULL)
    shared_layers: int = 3  #: last layers that read the keys and values of earlier ones
    sparsity: tuple[float, ...] = (0.95, 0.95, 0.0, 0.0, 0.0, 0.0, 0.0)
    sliding_window: int = 32
    audio_tokens: int = 188  #: soft tokens of a clip: 30 s
    audio_hidden: int = 32
    audio_layers: int = 2
    audio_channels: tuple[int, int] = (8, 4)
    grid: int = 4  #: cells along each side of a picture; grid * grid soft tokens
    vision_stem: int = 8
    #: timm's names of blocks, one tuple per stage; a stage must not end on attention (mqa).
    vision_stages: tuple[tuple[str, ...], ...] = (
        ("er_r1_k3_s2_e2_c8",),
        ("uir_r1_a3_k5_s2_e2_c16",),
        ("uir_r1_a3_k5_s2_e2_c16", "mqa_r1_k3_h2_v2_s1_d8_c16", "uir_r1_a0_k0_s1_e2_c16"),
        ("uir_r1_a3_k5_s2_e2_c16", "mqa_r1_k3_h2_s1_d8_c16", "uir_r1_a0_k0_s1_e2_c16"),
    )

    @property
    def pixels(self) -> int:
        """Side of the picture that the vision tower takes."""
        return PIXELS_PER_CELL * self.grid

    @property
    def image_tokens(self) -> int:
        return self.grid * self.grid

    @property
    def clip_samples(self) -> int:
        """Longest clip at 16 kHz."""
        return self.audio_tokens * SAMPLES_PER_SOFT_TOKEN


def build_config(sizes: Sizes) -> Gemma3nConfig:
    layers = len(sizes.layer_types)
    text = Gemma3nTextConfig(
        vocab_size=TEXT_IDS + 2 * MEDIA_IDS,
        vocab_size_per_layer_input=TEXT_IDS,
        hidden_size=sizes.hidden,
        hidden_size_per_layer_input=sizes.per_layer,
        intermediate_size=[sizes.feed_forward] * layers,
        num_hidden_layers=layers,
        num_kv_shared_layers=sizes.shared_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        layer_types=list(sizes.layer_types),
        activation_sparsity_pattern=list(sizes.sparsity),
        sliding_window=sizes.sliding_window,
        laurel_rank=8,
        max_position_embeddings=4096,
    )
    vision = Gemma3nVisionConfig(
        architecture="mobilenetv5_300m_enc",
        model_args=vision_arguments(sizes),
        hidden_size=VISION_CHANNELS,
        vocab_size=MEDIA_IDS,
        vocab_offset=FIRST_VISION_ID,
    )
    audio = Gemma3nAudioConfig(
        hidden_size=sizes.audio_hidden,
        conf_num_attention_heads=4,
        conf_num_hidden_layers=sizes.audio_layers,
        sscp_conv_channel_size=list(sizes.audio_channels),
        vocab_size=MEDIA_IDS,
        vocab_offset=FIRST_AUDIO_ID,
    )
    return Gemma3nConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        vision_soft_tokens_per_image=sizes.image_tokens,
        audio_soft_tokens_per_image=sizes.audio_tokens,
        boi_token_id=token_id("<start_of_image>"),
        eoi_token_id=FIRST_VISION_ID,
        image_token_id=IMAGE_TOKEN_ID,
        boa_token_id=token_id("<start_of_audio>"),
        eoa_token_id=FIRST_AUDIO_ID,
        audio_token_id=AUDIO_TOKEN_ID,
    )


def vision_arguments(sizes: Sizes) -> dict[str, Any]:
    """What timm builds the vision tower from; a fresh object each time, because timm edits it."""
    blocks = decode_arch_def([list(stage) for stage in sizes.vision_stages])
    return {
        "block_args": json.loads(json.dumps(blocks)),
        "stem_size": sizes.vision_stem,
        "msfa_output_resolution": sizes.grid,
        "layer_scale_init_value": 0.5,  # timm's 1e-5 makes every block an identity until it is trained for long
    }


def restore_vision_arguments(model: Gemma3nForConditionalGeneration, sizes: Sizes) -> None:
    """Undo timm's edit of the config, which can neither be saved nor be built from again."""
    for config in (model.config.vision_config, model.model.vision_tower.config):
        config.model_args = vision_arguments(sizes)


def build_model(sizes: Sizes) -> Gemma3nForConditionalGeneration:
    """A model with the library's initial weights, float32, evaluation mode; seed torch before."""
    model = Gemma3nForConditionalGeneration(build_config(sizes)).float().eval()
    restore_vision_arguments(model, sizes)
    model.generation_config = GenerationConfig(
        bos_token_id=token_id("<bos>"),
        pad_token_id=token_id("<pad>"),
        eos_token_id=[token_id("<eos>"), token_id("<end_of_turn>")],
        do_sample=False,
    )
    return model


def build_processor(sizes: Sizes) -> Gemma3nProcessor:
    size = {"height": sizes.pixels, "width": sizes.pixels}
    image_processor = SiglipImageProcessorPil(
        size=size, do_resize=True, do_rescale=True, do_normalize=False, resample=2
    )
    return Gemma3nProcessor(
        feature_extractor=Gemma3nAudioFeatureExtractor(),
        image_processor=image_processor,
        tokenizer=build_tokenizer(),
        chat_template=CHAT_TEMPLATE,
        audio_seq_length=sizes.audio_tokens,
        image_seq_length=sizes.image_tokens,
    )
