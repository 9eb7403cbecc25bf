"""One bad sequence must not fail its batch mates: work on several is taken apart until the culprit stands alone."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from pipeline.errors import EngineLostError, PipelineError, ResourceError

Item = TypeVar("Item")
Result = TypeVar("Result")

#: What PyTorch says when the host has no memory left; on a device it raises torch.OutOfMemoryError.
HOST_OUT_OF_MEMORY = "DefaultCPUAllocator"


def isolate(work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> list[Result | PipelineError]:
    """One outcome per item, in order: what `work` made of it, or the error that it raised for it alone.

    Work that runs out of memory is tried again on halves, work that fails in another way on each item by itself.
    Raises EngineLostError when the device itself failed.
    """
    try:
        return list(work(items))
    except Exception as error:
        failure = as_failure(error)
        size = len(items) // 2 if is_out_of_memory(error) else 1
    # Out of the handler: the exception no longer keeps the tensors of the failed try alive.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(items) == 1:
        return [failure]
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    return [outcome for part in parts for outcome in isolate(work, part)]


def as_failure(error: Exception) -> PipelineError:
    """An exception of the model as a verdict on the sequence that raised it alone.

    Raises EngineLostError for an error of the device: after one, every call on it fails while the process lives
    (https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html, cudaErrorAssert and its neighbours).
    """
    if isinstance(error, PipelineError):
        return error
    if is_out_of_memory(error):
        return ResourceError("the sequence needs more memory than there is", repr(error))
    if isinstance(error, torch.AcceleratorError):
        raise EngineLostError(f"the device failed: {error}") from error
    return ResourceError(f"the model failed: {error}", repr(error))


def is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.AcceleratorError):  # a driver's allocation that PyTorch did not make itself
        return "out of memory" in str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or HOST_OUT_OF_MEMORY in str(error)
