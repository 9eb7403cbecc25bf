"""Whether bytes are plain text, and in which encoding. Text that points at other files is refused."""

import re

from pipeline.errors import PermanentError

_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BLANK = "\ufeff \t\r\n\f"
#: Lines that only a playlist has.
_PLAYLIST_LINE = re.compile(r"^\s*(#extm3u|#ext-x-|#extinf:|ffconcat version|\[playlist\])", re.MULTILINE)
#: How a playlist or a session description begins. A `file` directive has one argument and nothing behind it.
_PLAYLIST_START = re.compile(r"concat:|v=0\s*$|file\s+('[^\n]*'|\"[^\n]*\"|\S+)\s*$|<mpd|<asx|<smil", re.MULTILINE)
_PLAYLIST_TAG = re.compile(r"<(mpd|asx|smil|playlist)\b")
_MARKUP = re.compile(r"<[?!a-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")  # all but those that stand in texts
_PAGES = ("%!ps", "%pdf", "{\\rtf")


def encoding(head: bytes) -> str | None:
    """`utf-8` or `utf-16` when a file that begins with `head` is plain text, None when it is something else.

    Raises PermanentError, in plain words, for playlists, markup and page descriptions.
    """
    name = "utf-16" if head[:2] in _BYTE_ORDER_MARKS else "utf-8"
    text = _text(head, name)
    if text is None:
        return None
    start = text.lower().lstrip(_BLANK)
    if _PLAYLIST_LINE.search(start) or _PLAYLIST_START.match(start):
        raise PermanentError("this is a playlist that points at other files, not media")
    if _MARKUP.match(start):
        if _PLAYLIST_TAG.search(start):
            raise PermanentError("this is a playlist that points at other files, not media")
        raise PermanentError("this is text with markup (HTML, SVG, XML) that may point at other files, not plain text")
    if start.startswith(_PAGES):
        raise PermanentError("this is text made for a printer or a word processor, not plain text")
    return name


def _text(head: bytes, name: str) -> str | None:
    """The head as text, if that is what it is."""
    # The head may end inside a character.
    text = head.decode(name, "ignore")
    if name == "utf-8" and len(text.encode()) < len(head) - 3:
        return None
    return text if text and not _CONTROL.search(text) else None
