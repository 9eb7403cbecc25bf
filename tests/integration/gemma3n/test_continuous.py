"""Continuous batching gives every request the tokens that `model.generate` gives it alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.engines.gemma3n.host_embeddings import keep_on_host
from pipeline.engines.gemma3n.sequences import Finished
from pipeline.engines.gemma3n.variants import Variant
from pipeline.engines.gemma3n.views import view
from tests.integration.gemma3n.driving import SHAPES, decoder, drive, wrong
from tests.integration.gemma3n.mixed import Case, generate_alone, load
from tests.integration.gemma3n.mutations import MUTATIONS
from tests.integration.gemma3n.pool import draw_cases, shuffled
from tests.integration.gemma3n.revealing import num_differing

RUN = 20  # requests of one run
SEEN_IN_EVERY_RUN = (
    "the sliding window is one wider in prefill",
    "idle rows write",
    "a slot keeps the position of its last sequence",
)


@pytest.fixture(scope="module")
def model(loaded: tuple[Any, Any]) -> Any:
    return loaded[0]


@pytest.mark.parametrize("layout", SHAPES)
def test_every_request_gets_its_tokens_whatever_the_layout(model: Any, cases: list[Case], layout: str) -> None:
    random = np.random.default_rng(list(layout.encode()))
    drawn = shuffled(cases, random, RUN)
    ended = drive(decoder(model, SHAPES[layout]), [case.sequence for case in drawn], random)
    assert wrong(drawn, ended) == []


def test_what_is_expected_of_derived_requests_is_what_generate_gives(model: Any, cases: list[Case]) -> None:
    random = np.random.default_rng(2)
    for case in shuffled(cases, random, 4):
        assert generate_alone(model, case.sequence) == case.expected


@pytest.mark.parametrize("name", SEEN_IN_EVERY_RUN)
def test_a_planted_bug_is_seen(model: Any, cases: list[Case], name: str) -> None:
    with MUTATIONS[name](model):
        assert num_differing(model, cases[::4]) > 0


def test_a_view_with_its_embeddings_on_the_host_is_as_exact_and_so_is_its_parent_beside_it(
    random_checkpoint: Path,
) -> None:
    parent, processor = load(random_checkpoint)
    keep_on_host(parent, random_checkpoint)
    half = view(parent, Variant(name="half", widths=(64,) * 7, skipped=frozenset({0})))
    pairs = [(one, draw_cases(one, processor, 5, 3, 2)) for one in (parent, half)]
    decoders = [decoder(one, {"slots": 4, "ahead": 4, "view": 128}) for one, _ in pairs]
    ended: list[dict[str, Any]] = [{}, {}]
    for continuous, (_, cases) in zip(decoders, pairs, strict=True):
        continuous.admit([case.sequence for case in cases])
    while any(continuous.running for continuous in decoders):
        for continuous, into in zip(decoders, ended, strict=True):
            into.update(continuous.step())
    assert [wrong(cases, into) for (_, cases), into in zip(pairs, ended, strict=True)] == [[], []]
    assert [case.expected for case in pairs[0][1]] != [case.expected for case in pairs[1][1]]


def test_waiting_sequences_go_through_the_encoders_in_one_round(model: Any, cases: list[Case]) -> None:
    media = [case for case in cases if case.sequence.has_media][:6]
    continuous = decoder(model, {"slots": 2, "ahead": 6})
    first, *later = (case.sequence for case in media)
    continuous.look_ahead(later)
    continuous.admit([first])
    continuous.step()
    assert (continuous.counters.encodes, continuous.counters.encoded) == (1, 6)
    continuous.admit(later[1:])
    continuous.look_ahead([])  # the first of them went elsewhere
    ended: dict[str, Any] = {}
    while continuous.running:
        ended |= continuous.step()
    assert continuous.counters.encodes == 1
    assert all(isinstance(one, Finished) for one in ended.values())
