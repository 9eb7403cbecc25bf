"""Sound whose samples must be counted, told by the bytes of its file."""

import time
from pathlib import Path

from pipeline.media.sound import adts, counting

FLAC = b"fLaC\x00\x00\x00\x22" + bytes(500)
TWO_FRAMES = 2 * (b"\xff\xf1\x50\x80\x02\x1f\xfc" + b"\x01" * 9)


def test_joined_flac_is_counted_and_a_single_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "sound"
    tag = b"ID3" + bytes(90)
    for data, is_joined in ((FLAC, False), (tag + FLAC, False), (2 * FLAC, True), (tag + FLAC + tag + FLAC, True)):
        path.write_bytes(data)
        assert counting.is_due(path, "flac") == is_joined
        assert not counting.is_due(path, "wav")
    path.write_bytes(b"")
    assert not counting.is_due(path, "flac")


def test_what_looks_like_frames_everywhere_is_not_looked_at_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "sound"
    path.write_bytes(TWO_FRAMES + b"\0" + 6_000_000 * b"\xff\xf1\x60")
    started = time.process_time()
    assert adts.changes_rate(path)
    assert time.process_time() - started < 5
