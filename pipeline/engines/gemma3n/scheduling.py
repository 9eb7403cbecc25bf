"""Which waiting sequences are prefilled next, together. Decisions only."""

from collections.abc import Sequence as Items
from collections.abc import Set as AbstractSet

from pipeline.engines.gemma3n.sequences import Sequence
from pipeline.engines.gemma3n.shape import Shape


def next_group(waiting: Items[Sequence], num_free: int, shape: Shape) -> list[Sequence]:
    """The oldest sequence and its companions: those whose padded prompts are as long as its own, oldest first.

    At most as many as there are free slots, rows in a pass, and padded prompts in a step's budget. A prompt that is
    longer than a chunk goes alone.
    """
    if not waiting or num_free < 1:
        return []
    length = shape.padded(waiting[0].num_prompt_tokens)
    most = 1 if length > shape.chunk else max(1, min(num_free, shape.prefill_rows, shape.prefill_tokens // length))
    alike = [sequence for sequence in waiting if shape.padded(sequence.num_prompt_tokens) == length]
    return alike[:most]


def to_encode(group: Items[Sequence], coming: Items[Sequence], ready: AbstractSet[str], shape: Shape) -> list[Sequence]:
    """Whose media go through the encoders in one round: the group's, and up to `ahead` in all with those that wait.

    `ready`: ids of sequences whose media went through already.
    """
    needed = [sequence for sequence in group if sequence.id not in ready]
    if not any(sequence.has_media for sequence in needed):
        return needed  # no round worth joining
    along = [
        sequence for sequence in coming if sequence.has_media and sequence.id not in ready and sequence not in needed
    ]
    return [*needed, *along[: max(0, shape.ahead - len(needed))]]
