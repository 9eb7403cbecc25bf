"""Sizes of a Gemma 3n: which layers of a checkpoint take part, and how wide the feed-forward net of each is.

Gemma 3n is a MatFormer: the first columns of a wide feed-forward net are a narrower one, and some layers can be left
out. A size is only a table; `views.py` makes a model of it in memory, `slicing.py` a checkpoint of its own. Nothing
here needs torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipeline.errors import PermanentError, WorldError

WHOLE = "whole"  #: the size that every checkpoint has: all of it
OWN_SIZES_FILE = "variants.json"  #: beside config.json: {"half": {"ffn": [width of each layer], "skip": [layer]}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The text layers of a checkpoint, in order; one entry per layer in each table."""

    widths: tuple[int, ...]  #: of the feed-forward nets
    kinds: tuple[str, ...]  #: `sliding_attention` or `full_attention`
    sparsity: tuple[float, ...]  #: share of the feed-forward activations that is dropped
    num_shared: int  #: last layers that read the keys and values of earlier ones

    @classmethod
    def of(cls, config: Any) -> Self:
        """From a `Gemma3nConfig`, or its text part."""
        text = config.get_text_config()
        return cls(
            widths=tuple(text.intermediate_size),
            kinds=tuple(text.layer_types),
            sparsity=tuple(text.activation_sparsity_pattern),
            num_shared=text.num_kv_shared_layers,
        )

    @property
    def first_shared(self) -> int:
        return len(self.widths) - self.num_shared

    def producer(self, layer: int) -> int:
        """The layer whose keys and values a layer attends to: itself, or the last one of its kind that has its own."""
        if layer < self.first_shared:
            return layer
        return max(early for early in range(self.first_shared) if self.kinds[early] == self.kinds[layer])


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A size of a checkpoint. `widths` has an entry for each of its layers, the skipped ones too."""

    name: str
    widths: tuple[int, ...]
    skipped: frozenset[int] = frozenset()

    @property
    def kept(self) -> tuple[int, ...]:
        """The layers that take part, in order."""
        return tuple(layer for layer in range(len(self.widths)) if layer not in self.skipped)

    @property
    def kept_widths(self) -> tuple[int, ...]:
        return tuple(self.widths[layer] for layer in self.kept)

    @property
    def total_width(self) -> int:
        """Orders sizes by what they cost: nearly all work of a layer is in its feed-forward net."""
        return sum(self.kept_widths)

    def text_fields(self, layers: Layers) -> dict[str, Any]:
        """What a text config of this size has other than the config of the checkpoint with those `layers`."""
        return {
            "num_hidden_layers": len(self.kept),
            "num_kv_shared_layers": sum(layer >= layers.first_shared for layer in self.kept),
            "intermediate_size": list(self.kept_widths),
            "layer_types": [layers.kinds[layer] for layer in self.kept],
            "activation_sparsity_pattern": [layers.sparsity[layer] for layer in self.kept],
        }


E4B_LAYERS, E4B_WIDTH, E2B_WIDTH = 35, 16_384, 8_192
_NOT_IN_E2B = frozenset(range(20, 25))


def _of_e4b(name: str, *, wide: frozenset[int], skipped: frozenset[int] = frozenset()) -> Variant:
    widths = tuple(E4B_WIDTH if layer in wide else E2B_WIDTH for layer in range(E4B_LAYERS))
    return Variant(name=name, widths=widths, skipped=skipped)


#: Tables for the E4B checkpoint that its authors published as `google/gemma3n-slicing-configs`.
PUBLISHED: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        _of_e4b("e4b", wide=frozenset(range(E4B_LAYERS))),
        _of_e4b("e2.54b", wide=frozenset({4}) | _NOT_IN_E2B),
        _of_e4b("e1.96b", wide=frozenset({4}), skipped=_NOT_IN_E2B),
        _of_e4b("e2b", wide=frozenset(), skipped=_NOT_IN_E2B),
    )
}


def named(name: str, layers: Layers, own: Mapping[str, Variant] | None = None) -> Variant:
    """The size of that name: the whole checkpoint, one of its `own`, or a published one that it is large enough for.

    Raises PermanentError when the checkpoint has no such size, WorldError when its own table of it is wrong.
    """
    if name == WHOLE:
        return Variant(name=WHOLE, widths=layers.widths)
    if own and name in own:
        return checked(own[name], layers)
    published = PUBLISHED.get(name)
    fitting = _fitted(published, layers) if published else None
    if fitting is None:
        raise PermanentError(f"the model has no size {name!r}; it has {', '.join(names(layers, own))}")
    return fitting


def names(layers: Layers, own: Mapping[str, Variant] | None = None) -> tuple[str, ...]:
    """Every name that `named` knows for a checkpoint with these layers."""
    published = [variant.name for variant in PUBLISHED.values() if _fitted(variant, layers)]
    return tuple(dict.fromkeys([WHOLE, *(own or {}), *published]))


def checked(variant: Variant, layers: Layers) -> Variant:
    """The variant itself. Raises WorldError that says why a checkpoint with these layers cannot have it."""
    reason = refusal(variant, layers)
    if reason:
        raise WorldError(f"the size {variant.name!r} does not fit the model: {reason}")
    return variant


def refusal(variant: Variant, layers: Layers) -> str | None:
    """Why a checkpoint with these layers cannot have a size, in plain words; None when it can."""
    num_layers = len(layers.widths)
    if len(variant.widths) != num_layers:
        return f"it gives widths for {len(variant.widths)} layers, the model has {num_layers}"
    beyond = sorted(variant.skipped - set(range(num_layers)))
    if beyond:
        return f"it skips layer {beyond[0]}, the model's layers are 0 to {num_layers - 1}"
    if not variant.kept:
        return "it skips every layer"
    for layer, (width, widest) in enumerate(zip(variant.widths, layers.widths, strict=True)):
        if not 1 <= width <= widest:
            return f"layer {layer} cannot be {width} wide, it has 1 to {widest}"
    for layer in variant.kept:
        producer = layers.producer(layer)
        if producer in variant.skipped:
            return f"layer {producer} cannot be skipped, layer {layer} reads its keys and values"
    return None


def runs(kept: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as half-open stretches of neighbours: 0, 1, 4 gives (0, 2), (4, 5)."""
    stretches: list[tuple[int, int]] = []
    for number in kept:
        if stretches and stretches[-1][1] == number:
            stretches[-1] = (stretches[-1][0], number + 1)
        else:
            stretches.append((number, number + 1))
    return stretches


def own_sizes(directory: Path, file: Path | None = None) -> dict[str, Variant]:
    """The sizes in `file`, or those that a checkpoint brings in its own `variants.json`; none without either.

    Raises WorldError when the file is not what it should be. Whether a size fits is looked at when it is asked for.
    """
    if file is not None:
        return read_sizes(file)
    return read_sizes(directory / OWN_SIZES_FILE) if (directory / OWN_SIZES_FILE).exists() else {}


def read_sizes(file: Path) -> dict[str, Variant]:
    """The sizes in a file, by name. Raises WorldError when it is not a table of sizes."""
    try:
        tables = _TABLES.validate_json(file.read_bytes())
    except OSError as error:
        raise WorldError(f"the sizes in {file} cannot be read: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise WorldError(
            f'{file} is not a table of sizes such as {{"half": {{"ffn": [64, 64], "skip": [1]}}}}: '
            f"{where + ': ' if where else ''}{problem['msg']}"
        ) from error
    if WHOLE in tables:
        raise WorldError(f"{file} gives the name {WHOLE!r} to a size of its own; that name means all of a checkpoint")
    return {
        name: Variant(name=name, widths=tuple(table.ffn), skipped=frozenset(table.skip))
        for name, table in tables.items()
    }


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ffn: list[int]
    skip: list[int] = []


_TABLES: TypeAdapter[dict[str, _Table]] = TypeAdapter(dict[str, _Table])


def _fitted(variant: Variant, layers: Layers) -> Variant | None:
    """A published size in the layers of a checkpoint: of E4B, or of one that was itself cut out of E4B."""
    if len(layers.widths) == len(variant.kept):
        variant = Variant(name=variant.name, widths=variant.kept_widths)
    return None if refusal(variant, layers) else variant
