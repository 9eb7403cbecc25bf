"""A decode step as a CUDA graph: all its kernels are started by one call, where the host would be too slow.

The eager step is captured rather than a compiled one, because under torch.compile transformers expands grouped keys and
values to one copy per query head. NOT YET RUN ON A GPU: what is tested is that nothing in the step needs the host.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pipeline.engines.gemma3n.rows import RowState

#: From per-layer inputs, shape (slots, 1, layers, size), to the next token of every slot, int64, shape (slots,).
Step = Callable[[Tensor], Tensor]

WARM_UPS = 3  #: as PyTorch's manual does: libraries set themselves up in the first runs, which cannot be captured


class CapturedStep:
    """Captures `step` when it is made, and replays it when it is called.

    The step reads and changes the tensors of `state` and of the cache in place; its one argument is copied into a
    tensor of the graph's own. The tensor that a call returns is overwritten by the next call.
    """

    def __init__(self, step: Step, per_layer_inputs: Tensor, state: RowState) -> None:
        self._inputs = per_layer_inputs.clone()
        self._graph = torch.cuda.CUDAGraph()
        with state.at_rest(), ScalarsOnDevice():
            self._warm_up(step)
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._chosen = step(self._inputs)

    def __call__(self, per_layer_inputs: Tensor) -> Tensor:
        self._inputs.copy_(per_layer_inputs)
        self._graph.replay()
        return self._chosen

    def _warm_up(self, step: Step) -> None:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                step(self._inputs)
        torch.cuda.current_stream().wait_stream(aside)


class ScalarsOnDevice(TorchFunctionMode):
    """Makes `torch.tensor(number, device=...)` fill its tensor on the device instead of copying it from the host.

    The layers with activation sparsity make such a tensor in every pass. The copy waits for the device, which a capture
    forbids.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and isinstance(args[0], int | float):
            return torch.full((), *args, **kwargs)
        return func(*args, **kwargs)
