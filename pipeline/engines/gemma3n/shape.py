"""How a continuous decoder is laid out, and what it counts."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UsageError

Compile = Literal["none", "compile", "graph"]
#: torch.compile gives up after eight variants of one function (torch._dynamo.config.recompile_limit); a CUDA graph
#: takes memory for each.
MAX_COMPILED_VIEWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Fixed sizes of a continuous decoder. Raises UsageError when they contradict each other."""

    slots: int = 8  #: sequences that decode together
    max_length: int = 2048  #: tokens of a slot: prompt and answer
    bucket: int = 64  #: prompts are padded to a multiple of this
    prefill_tokens: int = 2048  #: padded prompt tokens that one step may prefill before it decodes
    chunk: int = 1024  #: padded prompt tokens of one prefill pass over a single long prompt
    prefill_rows: int = 4  #: prompts of one bucket in one prefill pass
    fast_prefill: bool = True  #: layers that only read others' keys and values see each prompt's last token alone
    ahead: int = 0  #: sequences whose media go through the encoders together, those that still wait included
    view: int = 0  #: decoding reads full layers in multiples of this many tokens; 0: always all of the slot
    compile: Compile = "none"  #: of the decode step: eager, torch.compile, or a captured CUDA graph

    def __post_init__(self) -> None:
        positive = ("slots", "max_length", "bucket", "prefill_tokens", "chunk", "prefill_rows")
        for name in positive:
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.ahead < 0 or self.view < 0:
            raise UsageError("ahead and view must not be negative")
        if self.compile != "none" and self.num_views > MAX_COMPILED_VIEWS:
            raise UsageError(
                f"a slot of {self.max_length} tokens in views of {self.view} needs {self.num_views} compiled steps; "
                f"at most {MAX_COMPILED_VIEWS} are kept: make the view larger"
            )

    @property
    def num_views(self) -> int:
        return -(-self.max_length // self.view) if self.view else 1

    def padded(self, tokens: int) -> int:
        """Length of a prompt, or of the rest of one, in whole buckets."""
        return min(-(-tokens // self.bucket) * self.bucket, self.max_length)

    def columns(self, longest: int) -> int:
        """How many tokens of every slot a decode step reads when the longest sequence has this many."""
        return min(-(-longest // self.view) * self.view, self.max_length) if self.view else self.max_length


@dataclass(slots=True)
class Counters:
    """What a decoder has done so far. The shares of padding and of idle rows are its waste."""

    steps: int = 0  #: decode steps
    row_steps: int = 0  #: rows that went through decode steps, idle ones included
    useful: int = 0  #: rows that gave a sequence its next token
    prefills: int = 0  #: prefill passes
    prefill_rows: int = 0  #: prompts, or chunks of one, in them
    prefill_tokens: int = 0  #: tokens in them, padding included
    prefill_useful: int = 0  #: tokens of prompts in them
    encodes: int = 0  #: rounds of the encoders
    encoded: int = 0  #: sequences whose media went through them
