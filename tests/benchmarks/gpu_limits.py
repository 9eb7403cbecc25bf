"""What a card can do at most, and how rows of the GPU sweep are told to people. Arithmetic only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Equal requests: one medium each, prompts and answers of fixed length."""

    name: str
    prompt_tokens: int
    answer_tokens: int
    unit: str  #: what a person counts
    units: float  #: of them in one request
    #: Computed limit by batch, in units a second: E4B in bfloat16 on an H100 SXM (3.35 TB/s, 989 TFLOP/s), counting
    #: the bytes of a decode step, the FLOPs of prefill and encoders, and nothing else.
    limits: Mapping[int, float] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        return self.prompt_tokens + self.answer_tokens


AUDIO = Workload(
    name="audio",
    prompt_tokens=208,
    answer_tokens=100,
    unit="audio s",
    units=30.0,
    limits={1: 111, 16: 1504, 64: 4058, 256: 7052},
)
IMAGE = Workload(
    name="image",
    prompt_tokens=276,
    answer_tokens=60,
    unit="images",
    units=1.0,
    limits={1: 6.1, 16: 74, 64: 167, 256: 244},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured cell of the sweep; without figures where it could not be had, and `note` says why."""

    workload: str
    batch: int
    rung: str
    units_per_second: float | None = None
    over_limit: float | None = None
    steps_per_second: float | None = None
    over_bandwidth: float | None = None  #: steps a second over those that the card's bandwidth allows
    peak_gib: float | None = None
    note: str = ""


def key_value_bytes(text_config: Any, tokens: float, element_bytes: int) -> float:
    """Bytes of keys and values that a decode step reads for one sequence of so many tokens.

    Layers that share another layer's keys and values store none and read all the same.
    """
    each: int = 2 * text_config.num_key_value_heads * text_config.head_dim * element_bytes
    seen = (
        min(tokens, text_config.sliding_window) if kind == "sliding_attention" else tokens
        for kind in text_config.layer_types
    )
    return each * sum(seen, 0.0)


def step_limit(bandwidth: float, weight_bytes: float, batch: int, bytes_per_sequence: float) -> float:
    """Decode steps a second that a card of this bandwidth (bytes a second) can do at most."""
    return bandwidth / (weight_bytes + batch * bytes_per_sequence)


def share(value: float | None, limit: float | None) -> float | None:
    return value / limit if value is not None and limit else None


def markdown(facts: Mapping[str, str], rows: Sequence[Row]) -> str:
    """The facts as a list, and a table for each workload."""
    lines = ["# GPU sweep", "", *(f"- {name}: {value}" for name, value in facts.items())]
    for workload in dict.fromkeys(row.workload for row in rows):
        lines += ["", f"## {workload}", "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
        chosen = [row for row in rows if row.workload == workload]
        lines += [_line(row) for row in sorted(chosen, key=lambda row: row.batch)]
    return "\n".join(lines) + "\n"


COLUMNS = ("batch", "rung", "units/s", "of the limit", "steps/s", "of the bandwidth", "peak GiB", "note")


def _line(row: Row) -> str:
    cells = [
        str(row.batch),
        row.rung,
        _number(row.units_per_second, 1),
        _number(row.over_limit, 3),
        _number(row.steps_per_second, 1),
        _number(row.over_bandwidth, 3),
        _number(row.peak_gib, 1),
        row.note,
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
