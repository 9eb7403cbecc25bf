"""Cells of time: no frame that begins with its cell is taken for one of the cell before it."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.video.cells import begin, cell

RATES = st.one_of(st.integers(1, 60).map(float), st.floats(0.001, 60))


@given(st.integers(0, 5_000_000), RATES)
def test_a_time_as_it_is_written_lies_in_the_cell_that_it_begins(number: int, rate: float) -> None:
    exact = number / Fraction(rate)
    for written in (math.floor(exact * 1_000_000), math.ceil(exact * 1_000_000)):
        assert cell(written / 1e6, rate) == number


@given(st.integers(0, 5_000_000), RATES)
def test_a_cell_begins_where_the_one_before_it_ends(number: int, rate: float) -> None:
    first = begin(number, rate)
    assert cell(first, rate) == number
    assert number == 0 or cell(first - 1e-6, rate) == number - 1


@pytest.mark.parametrize("microseconds", [3, 10, 400])
def test_a_frame_a_little_before_a_cell_is_not_in_it(microseconds: int) -> None:
    for rate in (1.0, 24.0, 60.0):
        assert cell((1_000_000 - microseconds) / 1e6, rate) == rate - 1
