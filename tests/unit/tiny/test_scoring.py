import pytest

from tests.tiny.scoring import exact_phrases

PHRASES = ["one two", "three", "four five six"]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("one two three four five six", 3),
        ("one two, three, four five six", 3),
        ("one two four five six", 2),
        ("one three four five six", 2),
        ("one two three nine four five six", 2),
        ("one two three four five six seven", 2),
        ("one two three four nine six", 2),
        ("", 0),
    ],
)
def test_phrases_count_when_they_stand_whole_and_alone(text: str, right: int) -> None:
    assert exact_phrases(PHRASES, text) == right
