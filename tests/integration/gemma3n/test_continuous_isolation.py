"""What happens to one sequence does not happen to the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from pipeline.engines.gemma3n.decoding import Decoding
from pipeline.engines.gemma3n.encoders import Encoders
from pipeline.engines.gemma3n.prefill import Prefill
from pipeline.engines.gemma3n.sequences import Clip, Sequence
from pipeline.errors import EngineLostError, PermanentError, ResourceError
from tests.integration.gemma3n.driving import MAX_LENGTH, decoder, drive, wrong
from tests.integration.gemma3n.mixed import Case, Prompt

BAD = "bad"


@pytest.fixture(scope="module")
def model(loaded: tuple[Any, Any]) -> Any:
    return loaded[0]


def together(model: Any, cases: list[Case], bad: list[Sequence], **options: Any) -> tuple[list[str], list[Any]]:
    """Run good and bad ones in one burst, good ones on both sides; returns which good ones differ, and the bad ends."""
    good = [case.sequence for case in cases]
    continuous = decoder(model, {"slots": 3, "ahead": 8, **options})
    ended = drive(continuous, [*good[:4], *bad, *good[4:]], np.random.default_rng(0), gap=0)
    assert continuous.free_slots == 3
    assert not continuous.running
    return wrong(cases, ended), [ended[one.id] for one in bad]


def remade(case: Case, name: str = BAD, **changes: Any) -> Sequence:
    one = case.sequence
    prompt = {"ids": one.ids, "clips": one.clips, "pixels": one.pixels, **changes}
    return Prompt(**prompt).sequence(name, 8)


def text(case: Case, **changes: Any) -> Sequence:
    return remade(case, **{"clips": (), "pixels": None, **changes})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda few: text(few[0], ids=torch.zeros(0, dtype=torch.int64)), "the prompt is empty"),
        (lambda few: text(few[0], ids=torch.tensor([2, 5000])), "ids that the model does not have"),
        (lambda few: text(few[0], ids=torch.tensor([2.0])), "not a row of int64 ids"),
        (lambda few: text(few[0], ids=torch.full((MAX_LENGTH - 7,), 9)), "633 prompt tokens and up to 8 answer"),
        (lambda few: text(few[2]), "places for the soft tokens of 0 clips, not 0"),
        (lambda few: remade(few[4], pixels=few[4].sequence.pixels.double() / 0), "pixels that are not numbers"),
        (lambda few: remade(few[4], pixels=few[4].sequence.pixels[:, :1]), "not float pixels of shape"),
        (lambda few: clip_of(few[2], torch.full((50, 128), torch.nan)), "features that are not numbers"),
        (lambda few: clip_of(few[2], torch.zeros(3009, 128)), "3009 frames, the model hears 3008"),
        (lambda few: clip_of(few[2], torch.zeros(0, 128)), "a clip holds no sound"),
        (lambda few: clip_of(few[2], torch.zeros(50, 64)), r"not float32 features of shape \(frames, 128\)"),
    ],
)
def test_a_sequence_that_cannot_be_answered_comes_back_with_the_reason(
    model: Any, few: list[Case], spoil: Callable[[list[Case]], Sequence], reason: str
) -> None:
    continuous = decoder(model, {"slots": 1})
    continuous.admit([spoil(few)])
    error = continuous.step()[BAD]
    with pytest.raises(PermanentError, match=reason):
        raise error  # type: ignore[misc]
    assert continuous.free_slots == 1


def clip_of(case: Case, features: torch.Tensor) -> Sequence:
    return remade(case, clips=(Clip(features, torch.ones(len(features), dtype=torch.bool)),))


def test_numbers_that_overflow_fail_their_sequence_alone_and_leave_a_clean_slot(model: Any, few: list[Case]) -> None:
    clip = few[2].sequence.clips[0]
    loud = Clip(torch.full_like(clip.features, 3e38), clip.mask)
    huge = [remade(few[2], f"{BAD}-{index}", clips=(loud,)) for index in range(3)]
    for options in ({}, {"chunk": 64, "prefill_tokens": 64}):
        differ, ends = together(model, few, huge, **options)
        assert differ == []
        assert all(isinstance(end, PermanentError) and "overflow" in end.reason for end in ends)


@contextmanager
def failing(owner: Any, method: str, fails: Callable[[Any], bool], error: Exception) -> Iterator[list[int]]:
    """Let a method raise for some of its items; yields the sizes of the calls."""
    right = getattr(owner, method)
    sizes: list[int] = []

    def call(self: Any, items: Any, *rest: Any) -> Any:
        sizes.append(len(items))
        if fails(items):
            raise error
        return right(self, items, *rest)

    with patch.object(owner, method, call):
        yield sizes


def test_the_media_of_one_sequence_that_break_an_encoder_fail_alone(model: Any, few: list[Case]) -> None:
    def is_bad(items: Any) -> bool:
        return any(one.id == BAD for one in items)

    with failing(Encoders, "prompts", is_bad, RuntimeError("no kernel for this")) as sizes:
        differ, (end,) = together(model, few, [remade(few[4])])
    assert differ == []
    assert isinstance(end, ResourceError)
    assert "no kernel for this" in end.reason
    assert max(sizes) > 2  # they did go in together


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), torch.AcceleratorError("CUDA error: out of memory")],
    ids=["of PyTorch", "of the driver"],
)
def test_too_many_media_for_the_memory_are_halved_and_none_fails(model: Any, few: list[Case], error: Exception) -> None:
    with failing(Encoders, "prompts", lambda items: len(items) > 2, error) as sizes:
        differ, _ = together(model, few, [])
    assert differ == []
    assert {4, 2} <= set(sizes) or {3, 1} <= set(sizes)


def test_a_prompt_that_never_fits_the_memory_fails_alone(model: Any, few: list[Case]) -> None:
    def is_bad(items: Any) -> bool:
        return any(row.sequence.id == BAD for row in items)

    with failing(Prefill, "advance", is_bad, torch.OutOfMemoryError("CUDA out of memory")) as sizes:
        differ, (end,) = together(model, few, [remade(few[0])], bucket=256)
    assert differ == []
    assert isinstance(end, ResourceError)
    assert "more memory than there is" in end.reason
    assert max(sizes) > 1


def test_a_decode_step_that_raises_fails_what_runs_and_the_decoder_goes_on(model: Any, few: list[Case]) -> None:
    continuous = decoder(model, {"slots": 2})
    long = [case for case in few if len(case.expected) > 4]
    running, later = long[:2], long[2:]
    continuous.admit([case.sequence for case in running])
    continuous.step()
    with patch.object(Decoding, "step", side_effect=RuntimeError("the kernel failed")):
        ended = continuous.step()
    assert set(ended) == {case.sequence.id for case in running}
    assert all(isinstance(one, ResourceError) and "the kernel failed" in one.reason for one in ended.values())
    assert wrong(later, drive(continuous, [case.sequence for case in later], np.random.default_rng(0))) == []


@pytest.mark.parametrize(("owner", "method"), [(Encoders, "prompts"), (Prefill, "advance"), (Decoding, "step")])
def test_a_device_that_failed_is_no_fault_of_any_sequence(model: Any, few: list[Case], owner: Any, method: str) -> None:
    continuous = decoder(model, {"slots": 2})
    continuous.admit([case.sequence for case in few[:2]])
    error = torch.AcceleratorError("CUDA error: device-side assert triggered")
    with patch.object(owner, method, side_effect=error), pytest.raises(EngineLostError, match="device-side assert"):
        continuous.step()


def test_a_cancelled_sequence_is_not_heard_of_again_wherever_it_was(model: Any, few: list[Case]) -> None:
    long = max(few, key=lambda case: case.sequence.num_prompt_tokens)
    for num_steps in (0, 2, 5):  # waiting, prefilled in part, decoding
        continuous = decoder(model, {"slots": 1, "chunk": 128, "prefill_tokens": 128})
        continuous.admit([remade(long)])
        for _ in range(num_steps):
            assert not continuous.step()
        continuous.cancel(BAD)
        assert (continuous.free_slots, continuous.running) == (1, frozenset())
        assert wrong(few[:2], drive(continuous, [case.sequence for case in few[:2]], np.random.default_rng(0))) == []


def test_a_sequence_is_admitted_once(model: Any, few: list[Case]) -> None:
    continuous = decoder(model, {"slots": 2})
    continuous.admit([few[0].sequence])
    with pytest.raises(ValueError, match="runs already"):
        continuous.admit([few[0].sequence])
