"""The arithmetic by which the GPU sweep judges a card."""

from types import SimpleNamespace

import pytest

from tests.benchmarks.gpu_limits import Row, key_value_bytes, markdown, share, step_limit

#: Of the published E4B: every fifth of 35 layers looks at everything, 15 of them share others' keys and values.
E4B = SimpleNamespace(
    num_key_value_heads=2,
    head_dim=256,
    sliding_window=512,
    layer_types=(["sliding_attention"] * 4 + ["full_attention"]) * 7,
)
BF16 = 2  # bytes


def test_every_layer_of_a_short_sequence_reads_all_of_it() -> None:
    assert key_value_bytes(E4B, 1, BF16) == 35 * 2_048
    assert key_value_bytes(E4B, 308, BF16) == 308 * 71_680


def test_beyond_the_window_only_full_layers_read_more() -> None:
    assert key_value_bytes(E4B, 1_512, BF16) - key_value_bytes(E4B, 512, BF16) == 7 * 2_048 * 1_000


def test_steps_are_bound_by_weights_alone_and_by_sequences_in_a_large_batch() -> None:
    assert step_limit(3.35e12, 8.97e9, 1, 0) == pytest.approx(373, abs=1)
    assert step_limit(100.0, 10.0, 4, 10.0) == 2.0


def test_without_a_limit_there_is_no_share() -> None:
    assert share(1.0, 4.0) == 0.25
    assert share(None, 4.0) is None
    assert share(1.0, None) is None


def test_a_table_for_each_workload_by_batch_with_the_reason_of_a_gap() -> None:
    rows = [
        Row(workload="audio", batch=16, rung="static batch", note="failed: out of memory"),
        Row(workload="image", batch=1, rung="static batch", units_per_second=4.0),
        Row(workload="audio", batch=1, rung="static batch", units_per_second=12.0, over_limit=0.108),
    ]
    lines = markdown({"device": "a card"}, rows).splitlines()
    assert "- device: a card" in lines
    tables = [line for line in lines if line.startswith("## ") or "static" in line]
    assert tables == [
        "## audio",
        "| 1 | static batch | 12.0 | 0.108 |  |  |  |  |",
        "| 16 | static batch |  |  |  |  |  | failed: out of memory |",
        "## image",
        "| 1 | static batch | 4.0 |  |  |  |  |  |",
    ]
