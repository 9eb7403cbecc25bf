"""Whether an AVI file holds all that it says it does. Nothing is decoded."""

from pathlib import Path

_HEADER_BYTES = 8  # of a part: its kind, and its length without these


def is_cut_off(path: Path) -> bool:
    """Whether the file ends before its last part does. A large one has several, one behind the other."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        while place + _HEADER_BYTES <= size:
            file.seek(place)
            header = file.read(_HEADER_BYTES)
            if header[:4] != b"RIFF":
                return False  # what some programs leave behind the end
            place += _HEADER_BYTES + int.from_bytes(header[4:], "little")
            place += place % 2
    return place > size + 1
