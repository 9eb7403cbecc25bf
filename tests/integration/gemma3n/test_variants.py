"""Sizes of a checkpoint: which there are, which are refused, and views of them that share every tensor."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma3nTextConfig

from pipeline.engines.gemma3n.variants import (
    PUBLISHED,
    WHOLE,
    Layers,
    Variant,
    checked,
    named,
    names,
    own_sizes,
)
from pipeline.engines.gemma3n.views import text_config, view
from pipeline.errors import PermanentError, WorldError
from tests.integration.gemma3n.mixed import load
from tests.integration.gemma3n.size_checks import (
    difference,
    extra_bytes,
    greedy_tokens,
    logits,
    mixed_batch,
    random_size,
)

E4B = Gemma3nTextConfig()
E2B = Gemma3nTextConfig(num_hidden_layers=30, intermediate_size=8192, num_kv_shared_layers=10)
SLIDING, FULL = "sliding_attention", "full_attention"
TINY = Layers(
    widths=(8, 8, 8, 8, 8, 8),
    kinds=(SLIDING, FULL, SLIDING, FULL, SLIDING, FULL),
    sparsity=(0.95, 0.0, 0.0, 0.0, 0.0, 0.0),
    num_shared=2,
)


@pytest.fixture(scope="module")
def loaded(random_checkpoint: Path) -> tuple[Any, dict[str, Any]]:
    model, processor = load(random_checkpoint)
    return model, mixed_batch(processor)


def test_e2b_of_the_published_e4b_is_the_published_e2b_field_by_field() -> None:
    sliced = text_config(_Config(E4B), named("e2b", Layers.of(E4B)))
    assert (sliced.num_hidden_layers, sliced.num_kv_shared_layers) == (30, 10)
    assert sliced.to_dict() == E2B.to_dict()
    assert E4B.num_hidden_layers == 35, "the parent's config is left as it is"


def test_published_sizes_are_known_for_what_is_large_enough() -> None:
    of_e4b, of_e2b = Layers.of(E4B), Layers.of(E2B)
    assert names(of_e4b) == (WHOLE, "e4b", "e2.54b", "e1.96b", "e2b")
    assert named("e4b", of_e4b).widths == named(WHOLE, of_e4b).widths
    assert names(of_e2b) == (WHOLE, "e2b"), "E2B alone holds no larger size"
    assert named("e2b", of_e2b) == Variant(name="e2b", widths=(8192,) * 30)
    assert names(TINY) == (WHOLE,)
    with pytest.raises(PermanentError, match="no size 'e2b'; it has whole"):
        named("e2b", TINY)


def test_published_sizes_cost_what_their_names_say() -> None:
    """Billions of effective parameters, as published: the whole's, less three matrices for every column left out."""
    layers, attention = Layers.of(E4B), 0.0118  # of a layer that is skipped
    for name, variant in PUBLISHED.items():
        saved = sum(layers.widths) - variant.total_width
        effective = 3.98 - saved * 3 * 2048 / 1e9 - attention * len(variant.skipped)
        assert effective == pytest.approx(
            float(name[1:-1]) if "." in name else {"e4b": 3.98, "e2b": 1.91}[name], abs=0.03
        )


def test_what_belongs_to_a_layer_moves_up_with_it() -> None:
    fields = Variant(name="odd", widths=(1, 2, 3, 4, 5, 6), skipped=frozenset({0, 5})).text_fields(TINY)
    assert fields == {
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 1,
        "intermediate_size": [2, 3, 4, 5],
        "layer_types": [FULL, SLIDING, FULL, SLIDING],
        "activation_sparsity_pattern": [0.0, 0.0, 0.0, 0.0],
    }


@pytest.mark.parametrize(
    ("widths", "skipped", "reason"),
    [
        ((8,) * 5, set(), "widths for 5 layers, the model has 6"),
        ((8,) * 6, {6}, "skips layer 6"),
        ((8,) * 6, {-1}, "skips layer -1"),
        ((8,) * 6, set(range(6)), "skips every layer"),
        ((8, 8, 9, 8, 8, 8), set(), "layer 2 cannot be 9 wide, it has 1 to 8"),
        ((8, 8, 8, 0, 8, 8), set(), "layer 3 cannot be 0 wide"),
        ((8,) * 6, {2}, "layer 2 cannot be skipped, layer 4 reads its keys and values"),
        ((8,) * 6, {3}, "layer 3 cannot be skipped, layer 5 reads its keys and values"),
        ((8,) * 6, {0, 1}, None),  # nobody reads them
        ((8,) * 6, {3, 5}, None),  # who would read it is skipped too
    ],
)
def test_a_size_that_does_not_fit_is_refused(widths: tuple[int, ...], skipped: set[int], reason: str | None) -> None:
    variant = Variant(name="odd", widths=widths, skipped=frozenset(skipped))
    if reason is None:
        assert checked(variant, TINY) is variant
    else:
        with pytest.raises(WorldError, match=reason):
            checked(variant, TINY)


def test_a_checkpoint_brings_its_own_sizes(tmp_path: Path) -> None:
    assert own_sizes(tmp_path) == {}
    table = {"half": {"ffn": [4] * 6, "skip": [1]}, "narrow": {"ffn": [1] * 6}}
    (tmp_path / "variants.json").write_text(json.dumps(table))
    own = own_sizes(tmp_path)
    assert names(TINY, own) == (WHOLE, "half", "narrow")
    assert named("half", TINY, own) == Variant(name="half", widths=(4,) * 6, skipped=frozenset({1}))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"half": [4]}', '{"half": {"ffn": ["4"]}}', '{"half": {"fnn": [4]}}', '{"whole": {"ffn": [4]}}'],
)
def test_a_bad_file_of_sizes_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "variants.json").write_text(text)
    with pytest.raises(WorldError, match=r"variants\.json"):
        own_sizes(tmp_path)


def test_a_view_has_no_memory_and_leaves_its_parent_as_it_was(loaded: tuple[Any, dict[str, Any]]) -> None:
    parent, batch = loaded
    before, tokens = logits(parent, batch), greedy_tokens(parent, batch)
    config = copy.deepcopy(parent.config.text_config.to_dict())
    for seed in range(3):
        small = view(parent, random_size(Layers.of(parent.config), seed))
        assert extra_bytes(small, parent) == 0
        assert difference(logits(small, batch), before) > 0.1, "it is another model"
        greedy_tokens(small, batch)
    assert torch.equal(logits(parent, batch), before)
    assert greedy_tokens(parent, batch) == tokens
    assert parent.config.text_config.to_dict() == config


def test_a_view_of_the_whole_is_the_whole(loaded: tuple[Any, dict[str, Any]]) -> None:
    parent, batch = loaded
    whole = view(parent, named(WHOLE, Layers.of(parent.config)))
    assert torch.equal(logits(whole, batch), logits(parent, batch))


def test_a_quantized_parent_has_no_views(loaded: tuple[Any, dict[str, Any]]) -> None:
    parent = copy.deepcopy(loaded[0])
    parent.model.language_model.layers[0].mlp.up_proj = torch.nn.Bilinear(1, 1, 1)
    with pytest.raises(WorldError, match="Bilinear weights"):
        view(parent, named(WHOLE, Layers.of(parent.config)))


class _Config:
    """The text part alone, as a whole config has it."""

    def __init__(self, text: Gemma3nTextConfig) -> None:
        self.text_config = text

    def get_text_config(self) -> Gemma3nTextConfig:
        return self.text_config
