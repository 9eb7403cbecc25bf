"""A size of a loaded Gemma 3n as a model of its own that has no weights of its own.

Every tensor of a view is its parent's tensor or a part of it, so a second size costs a few kilobytes of Python objects.
A view and its parent may be used in turn; their KV caches are not interchangeable. Make views when the parent is where
it will stay: moving either of them to another device or dtype parts them.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from transformers import Gemma3nConfig, Gemma3nForConditionalGeneration, Gemma3nTextConfig
from transformers.models.gemma3n.modeling_gemma3n import Gemma3nModel, Gemma3nTextDecoderLayer, Gemma3nTextModel

from pipeline.engines.gemma3n.variants import Layers, Variant, checked, runs
from pipeline.errors import WorldError

#: What a text model has outside its layers and takes over from its parent as it is.
SHARED_MODULES = (
    "embed_tokens",
    "norm",
    "rotary_emb",
    "per_layer_projection_norm",
    "altup_projections",
    "altup_unembed_projections",
)

_Module = TypeVar("_Module", bound=nn.Module)


class PerLayerColumns(nn.Module):
    """The per-layer embeddings of some layers, picked after the look-up in the parent's table."""

    def __init__(self, parent: nn.Module, kept: Sequence[int], num_layers: int) -> None:
        super().__init__()
        self.parent = parent
        self._runs = runs(kept)
        self._num_layers = num_layers

    @property
    def on_host(self) -> bool:
        """Whether the table is on the host and wants its token ids there."""
        return bool(getattr(self.parent, "on_host", False))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids, any shape, to their embeddings, (*shape, kept layers x width)."""
        rows: Tensor = self.parent(input_ids)
        by_layer = rows.reshape(*input_ids.shape, self._num_layers, -1)
        return torch.cat([by_layer[..., start:end, :] for start, end in self._runs], dim=-2).flatten(-2)


class ProjectionRows(nn.Module):
    """The rows of `per_layer_model_projection` that belong to some layers: one view per run of neighbours."""

    def __init__(self, parent: nn.Linear, kept: Sequence[int], width: int) -> None:
        super().__init__()
        weight = parent.weight.detach()
        views = [weight[start * width : end * width] for start, end in runs(kept)]
        self.weights = nn.ParameterList([nn.Parameter(view, requires_grad=False) for view in views])

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states, (..., hidden size), to (..., kept layers x width)."""
        return torch.cat([nn.functional.linear(hidden, weight) for weight in self.weights], dim=-1)


def view(parent: Gemma3nForConditionalGeneration, variant: Variant) -> Gemma3nForConditionalGeneration:
    """A model of the variant's size that shares its parent's tensors.

    Raises WorldError when the size does not fit, or when the parent was loaded in a way that has no parts to share
    (quantized, or spread over devices by accelerate).
    """
    checked(variant, Layers.of(parent.config))
    _check_sharable(parent)
    config = text_config(parent.config, variant)
    model = _unshared_copy(parent)
    model.config = copy.copy(parent.config)
    model.config.text_config = config
    inner: Gemma3nModel = _unshared_copy(parent.model)
    inner.config = model.config
    inner.language_model = _text_view(parent.model.language_model, config, variant)
    model.model = inner
    model.generation_config = copy.deepcopy(parent.generation_config)
    _check_whole(model)
    return model


def text_config(parent: Gemma3nConfig, variant: Variant) -> Gemma3nTextConfig:
    """The text part of the parent's config, at the variant's size."""
    config = copy.deepcopy(cast(Gemma3nTextConfig, parent.text_config))
    for name, value in variant.text_fields(Layers.of(parent)).items():
        setattr(config, name, value)
    return config


def _text_view(parent: Gemma3nTextModel, config: Gemma3nTextConfig, variant: Variant) -> Gemma3nTextModel:
    with torch.device("meta"):
        text = type(parent)(config)
    text.train(parent.training)
    for name in SHARED_MODULES:
        setattr(text, name, getattr(parent, name))
    text._buffers.update(parent._buffers)
    num_layers = len(variant.widths)
    columns = PerLayerColumns(parent.embed_tokens_per_layer, variant.kept, num_layers)
    text.register_module("embed_tokens_per_layer", columns)
    projection = parent.per_layer_model_projection
    rows = ProjectionRows(projection, variant.kept, projection.out_features // num_layers)
    text.register_module("per_layer_model_projection", rows)
    for layer, number in zip(text.layers, variant.kept, strict=True):
        whole = cast(Gemma3nTextDecoderLayer, parent.layers[number])
        _share_layer(cast(Gemma3nTextDecoderLayer, layer), whole, variant.widths[number])
    return text


def _share_layer(layer: Gemma3nTextDecoderLayer, parent: Gemma3nTextDecoderLayer, width: int) -> None:
    """Give a layer its parent's tensors, and the first `width` columns of its feed-forward net."""
    own, whole = layer.mlp, parent.mlp
    for name, child in layer.named_children():
        if child is not own:
            _share(child, parent.get_submodule(name))
    own.gate_proj.weight = _part(whole.gate_proj.weight[:width])
    own.up_proj.weight = _part(whole.up_proj.weight[:width])
    own.down_proj.weight = _part(whole.down_proj.weight[:, :width])


def _share(module: nn.Module, parent: nn.Module) -> None:
    for name in module._parameters:
        module._parameters[name] = parent._parameters[name]
    for name in module._buffers:
        module._buffers[name] = parent._buffers[name]
    for name, child in module.named_children():
        _share(child, parent.get_submodule(name))


def _part(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)


def _unshared_copy(module: _Module) -> _Module:
    """The same module again, with registries of its own, so that its parts can be replaced; the parts are the same."""
    twin = copy.copy(module)
    for name, value in vars(module).items():
        if isinstance(value, dict):
            setattr(twin, name, copy.copy(value))
    return twin


def _check_sharable(parent: Gemma3nForConditionalGeneration) -> None:
    text = parent.model.language_model
    for name, module in text.named_modules():
        if hasattr(module, "_hf_hook"):
            raise WorldError("a model that accelerate has spread over devices has no sizes: load it onto one device")
        if name.endswith(("gate_proj", "up_proj", "down_proj")) and type(module) is not nn.Linear:
            raise WorldError(f"a model with {type(module).__name__} weights has no sizes: load it unquantized")


def _check_whole(model: nn.Module) -> None:
    missing = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    if missing:
        raise WorldError(f"this version of transformers builds Gemma 3n otherwise; sizes lack {', '.join(missing[:5])}")
