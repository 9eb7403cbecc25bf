"""Clips of different length through the audio tower together, each with its own end.

Zeros and a mask are not enough: the tower's first convolution has no mask, its normalisation turns zeros after a clip's
end into other numbers, and the second convolution looks two places ahead. Where a clip ends one to four frames into a
soft token, that token becomes another one than alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pipeline.engines.gemma3n.sequences import Sequence as Request


@contextmanager
def kept_ends(audio_tower: Any, frames: Sequence[int]) -> Iterator[None]:
    """Within it, the second convolution sees nothing after the end of each clip, as if no batch mate were longer.

    frames: of each clip of the batch, in order. The first convolution pads its input at the end, so that it makes
    frames / stride places of a clip, rounded up.
    """
    stride = audio_tower.config.sscp_conv_stride_size[0][0]
    places = torch.tensor([-(-number // stride) for number in frames])

    def hook(block: Any, args: Any, output: Tensor) -> Tensor:
        """output: shape (clips, channels, places, mel bins)."""
        times = torch.arange(output.shape[2], device=output.device)
        is_heard = times < places.to(output.device)[:, None]
        return output * is_heard[:, None, :, None]

    handle = audio_tower.subsample_conv_projection.conv_0.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def ends(sequences: Sequence[Request]) -> list[int]:
    """Where each clip ends in frames, for all clips in order: with the longest clip of its own sequence.

    That is how far a sequence alone is padded, so that several clips of one sequence stay as they are alone.
    """
    return [max(clip.num_frames for clip in one.clips) for one in sequences for _ in one.clips]
