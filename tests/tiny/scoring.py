"""How much of what was said or shown is in a text, phrase by phrase."""

from collections.abc import Sequence
from difflib import SequenceMatcher


def exact_phrases(expected: Sequence[str], text: str) -> int:
    """How many of the phrases stand in the text word for word, in order, with no word too many in them.

    A word that the text has too many between two phrases spoils the one before it.
    """
    words = [word for phrase in expected for word in phrase.split()]
    given = text.replace(",", " ").split()
    places: list[int | None] = [None] * len(words)
    for block in SequenceMatcher(None, words, given, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            places[block.a + offset] = block.b + offset
    right = position = 0
    for phrase in expected:
        end = position + len(phrase.split())
        found = places[position:end]
        following = places[end] if end < len(places) else len(given)
        first = found[0]
        is_whole = first is not None and found == list(range(first, first + len(found)))
        # Nothing between this phrase and the next one, unless the next one itself is not there.
        right += is_whole and (following is None or following == (first or 0) + len(found))
        position = end
    return right
