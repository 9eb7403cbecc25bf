"""What a CUDA graph needs of the decode step, checked without a GPU."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from pipeline.engines.gemma3n.cache import SlotCache
from pipeline.engines.gemma3n.decoding import Decoding
from pipeline.engines.gemma3n.graph import ScalarsOnDevice
from pipeline.engines.gemma3n.rows import RowState
from pipeline.engines.gemma3n.shape import Shape
from pipeline.errors import UsageError

SLOTS, COLUMNS = 3, 64


class Transfers(TorchFunctionMode):
    """Counts numbers and tensors of the host that are brought to the device.

    Device data that is read on the host needs no counting: on the meta device that raises.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_transfer = self._devices((args, kwargs)) == {"cpu"} and self._devices(result) == {"meta"}
        self.number += is_transfer or (func is torch.tensor and self._devices(result) == {"meta"})
        return result

    @staticmethod
    def _devices(values: Any) -> set[str]:
        return {leaf.device.type for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)}


@pytest.fixture(scope="module")
def model(loaded: tuple[Any, Any]) -> Any:
    return loaded[0]


def parts(model: Any) -> tuple[Decoding, RowState, SlotCache]:
    text = model.config.text_config
    cache = SlotCache(text, SLOTS, COLUMNS, model.dtype, model.device)
    state = RowState(SLOTS, text.vocab_size, model.device)
    return Decoding(model, cache, state), state, cache


def per_layer_inputs(model: Any) -> torch.Tensor:
    text = model.config.text_config
    size = (SLOTS, 1, text.num_hidden_layers, text.hidden_size_per_layer_input)
    return torch.zeros(size, device=model.device)


@pytest.mark.parametrize(("mode", "is_capturable"), [(ScalarsOnDevice, True), (torch.no_grad, False)])
def test_the_decode_step_copies_nothing_from_the_host(model: Any, mode: Callable[[], Any], is_capturable: bool) -> None:
    on_device = copy.deepcopy(model).to("meta")  # it holds no numbers, so whatever reads one raises
    decoding, _, _ = parts(on_device)
    with torch.inference_mode(), Transfers() as transfers, mode():
        decoding.eager(COLUMNS)(per_layer_inputs(on_device))
    assert (transfers.number == 0) == is_capturable


@torch.inference_mode()
def test_a_step_is_the_same_with_its_scalars_made_on_the_device(model: Any) -> None:
    chosen = []
    for mode in (ScalarsOnDevice, torch.no_grad):
        decoding, state, _ = parts(model)
        state.tokens.copy_(torch.tensor([5, 700, 1100]))
        state.live.fill_(True)
        with mode():
            step = decoding.eager(COLUMNS)
            chosen.append([step(per_layer_inputs(model)).tolist() for _ in range(4)])
    assert chosen[0] == chosen[1]
    assert len({token for tokens in chosen[0] for token in tokens}) > 1


@torch.inference_mode()
def test_steps_at_rest_change_nothing(model: Any) -> None:
    decoding, state, cache = parts(model)
    state.tokens.copy_(torch.tensor([5, 700, 1100]))
    state.positions.copy_(torch.tensor([0, 3, 9]))
    state.live.fill_(True)
    step = decoding.eager(COLUMNS)
    step(per_layer_inputs(model))
    kept = [state.tokens, state.positions, state.owed, state.live]
    kept += [tensor for store in cache._stores if store for tensor in store.both]
    before = [tensor.clone() for tensor in kept]
    with state.at_rest():
        step(per_layer_inputs(model))
    assert all(torch.equal(now, then) for now, then in zip(kept, before, strict=True))
    step(per_layer_inputs(model))
    assert not torch.equal(state.positions, before[1])


def test_a_layout_that_needs_too_many_captures_is_refused() -> None:
    Shape(max_length=1024, view=128, compile="graph")
    with pytest.raises(UsageError, match="needs 16 compiled steps"):
        Shape(max_length=1024, view=64, compile="graph")
    with pytest.raises(UsageError, match="slots must be at least 1"):
        Shape(slots=0)
