"""Text cut where a reader would cut it: between words, at the ends of phrases and sentences.

Chinese and Japanese are written without spaces: there a cut is allowed between characters, but never before closing
or after opening punctuation. Thai, Lao, Khmer and Burmese would need a dictionary; their runs stay whole, as any word
without spaces does.
"""

import re
from unicodedata import east_asian_width

_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff]")  # those that are not white space
_UNSPACED = (
    "\u2e80-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff9f\U00020000-\U0003ffff"
)
_OPENING = re.escape("([{“‘「『（【〔《〈［｛")
_QUOTES = re.escape("\"'”’»)]}」』）】〕》〉］｝")
_COMBINING = "\u0300-\u036f\u200d\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef"
_NO_LINE_STARTS_WITH = (
    _QUOTES + _COMBINING + re.escape(",.!?;:%…、。，．！？；：・ーゝゞ々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ")
)
#: Put behind text that may not be what was said. It is never cut from that text.
DOUBT = " [?]"
_CUT = re.compile(
    rf"(?<= )(?!{re.escape(DOUBT.strip())})"
    rf"|(?:(?<=[{_UNSPACED}])|(?=[{_UNSPACED}]))(?<![{_OPENING}])(?![{_NO_LINE_STARTS_WITH} ])"
)
_UNSPACED_END = re.compile(rf"[{_UNSPACED}]\Z")
_UNSPACED_START = re.compile(rf"[{_UNSPACED}]")

#: The `?` of a mark of doubt ends no sentence; the mark may stand behind an end.
SENTENCE_END = re.compile(rf"(?<!\[)[.!?…。．！？؟۔।][{_QUOTES}]*(?:{re.escape(DOUBT)})? ?\Z")
PHRASE_END = re.compile(rf"[,;:—–،؛、，；：][{_QUOTES}]* ?\Z")


def clean(text: str) -> str:
    """The same words on one line: white space becomes single spaces, control characters go."""
    return " ".join(_CONTROL.sub("", text).split())


def words(text: str) -> list[str]:
    """Clean text in its smallest parts, each with the space behind it, so that joining them gives the text again."""
    return [part for part in _CUT.split(text) if part]


def sentences(text: str) -> list[str]:
    """Clean text cut behind every sentence end."""
    found = [""]
    for word in words(text):
        if SENTENCE_END.search(found[-1]):
            found.append("")
        found[-1] += word
    return [sentence.strip() for sentence in found if sentence]


def join(left: str, right: str) -> str:
    """Two stretches of text as one, with the space that their script wants between them."""
    tight = not left or (_UNSPACED_END.search(left) and _UNSPACED_START.match(right))
    return left + right if tight else f"{left} {right}"


def width(text: str) -> int:
    """Columns that text takes up: a wide character (Chinese, Japanese, Korean, emoji) counts as two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
