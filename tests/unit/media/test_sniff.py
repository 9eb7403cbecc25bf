import struct
import time

import pytest

from pipeline.errors import PermanentError
from pipeline.media.sniff import Recognised, id3_bytes, recognise

TS = b"".join(b"\x47" + bytes(187) for _ in range(6))
M2TS = b"".join(bytes(4) + b"\x47" + bytes(187) for _ in range(6))
MP3 = b"\xff\xfb\x90\x64" + bytes(400)
ADTS = b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(400)


#: A frame of each format that comes without a container, of the length that it says.
ROWS = {
    "mp3": b"\xff\xfb\x90\x64" + bytes(413),
    "aac": b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9),
    "ac3": b"\x0b\x77\x12\x34\x14\x40\x43" + bytes(761),
    "eac3": b"\x0b\x77\x01\xbf\x34\x86\xff" + bytes(889),
    "loas": b"\x56\xe0\x1a" + bytes(26),
}


def id3(length: int, *, footer: bool = False) -> bytes:
    size = bytes(length >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00" + (b"\x10" if footer else b"\x00") + size + bytes(length + (10 if footer else 0))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x00\x00\x00\x20ftypM4A ", "mov"),
        (b"\x00\x00\x00\x08wide\x00\x00", "mov"),
        (b"\x1a\x45\xdf\xa3\x01", "matroska"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "wav"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "wav"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi"),
        (b"OggS\x00\x02", "ogg"),
        (b"fLaC\x00\x00\x00\x22", "flac"),
        (b"FORM\x00\x00\x00\x00AIFFCOMM", "aiff"),
        (b"FORM\x00\x00\x00\x00AIFCFVER", "aiff"),
        (b"caff\x00\x01", "caf"),
        (b"FLV\x01\x05", "flv"),
        (b".snd\x00\x00\x00\x18", "au"),
        (b"#!AMR\n\x3c", "amr"),
        (b"\x0b\x77\x12\x34\x14\x40\x43", "ac3"),
        (b"\x0b\x77\x01\xbf\x34\x86\xff", "eac3"),
        (b"riff\x2e\x91\xcf\x11\xa5\xd6", "w64"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6", "asf"),
        (b"\x00\x00\x01\xba\x44", "mpeg"),
        (b"\x06\x0e\x2b\x34\x02", "mxf"),
        (b"DKIF\x00\x00\x20\x00VP80", "ivf"),
        (b"nut/multimedia container\x00N", "nut"),
        (b".RMF\x00\x00\x00\x12\x00", "rm"),
        (b"YUV4MPEG2 W176 H144 F25:1\nFRAME\n" + bytes(9), "yuv4mpegpipe"),
        (TS, "mpegts"),
        (M2TS, "mpegts"),
        (ADTS, "aac"),
        (MP3, "mp3"),
        (b"\xff\xf3\x40\xc0" + bytes(100), "mp3"),
        (id3(50) + MP3, "mp3"),
        (id3(50) + bytes(30) + MP3, "mp3"),
        (id3(50) + b"fLaC\x00", "flac"),
        (id3(50, footer=True) + ADTS, "aac"),
        (id3(20) + id3(30) + ADTS, "aac"),
        (id3(100_000)[:4096], "mp3"),
        (b"BW64\xff\xff\xff\xffWAVEds64", "wav"),
        (b"wvpk\x2e\x00\x00\x00\x10\x04", "wv"),
        (b"TTA1\x01\x00\x01\x00\x10\x00", "tta"),
        (b"Creative Voice File\x1a\x1a\x00\x0a\x01", "voc"),
        (b"\x7f\xfe\x80\x01\xfc\x3c", "dts"),
        (b"\xff\x1f\x00\xe8\xf1\x07", "dts"),
        (b"\x40\x28\xff\xd8\xf8\x72\x6f\xba\x00", "truehd"),
        (b"\x40\x28\xff\xd8\xf8\x72\x6f\xbb\x0f", "mlp"),
        (bytes(100) + TS, "mpegts"),
        (3 * ROWS["loas"], "loas"),
    ],
)
def test_media_is_known_by_its_first_bytes(head: bytes, expected: str) -> None:
    assert recognise(head) == Recognised("timed", expected)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_frames_is_known_wherever_it_begins(name: str) -> None:
    row = b"\x55" + ROWS[name][7:] + 4 * ROWS[name]
    assert recognise(row) == recognise(row[:-10]) == Recognised("timed", name)
    assert recognise(bytes(30_000) + 4 * ROWS[name]) == Recognised("timed", name)
    tag = b"APETAGEX" + struct.pack("<IIII", 2000, 60, 1, 0xA0000000) + bytes(8 + 60 + 1940)
    assert recognise(tag + 4 * ROWS[name] + b"TAG" + bytes(125)) == Recognised("timed", name)


@pytest.mark.parametrize("name", ROWS)
def test_frames_that_something_else_follows_are_in_some_other_file(name: str) -> None:
    frames = b"\x55" + 4 * ROWS[name]
    archive = b"PK\x03\x04" + bytes(26) + 4 * ROWS[name]
    for head in (frames + b"\x01" * 500, b"\x55" * 9000 + frames, b"\x55" + 2 * ROWS[name], archive):
        with pytest.raises(PermanentError, match="not a media format"):
            recognise(head)


def test_what_is_made_to_look_like_frames_everywhere_is_not_looked_at_for_ever() -> None:
    started = time.monotonic()
    for head in (b"\x55" + 11_000 * b"\xff\xf1\x60\x00\x01\x00" + b"\x01" * 9, b"\x55" + 22_000 * b"\x56\xe0\x01\xff"):
        with pytest.raises(PermanentError, match="not a media format"):
            recognise(head)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "the file is empty"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "playlist"),
        (b"\xef\xbb\xbf#EXTM3U\n", "playlist"),
        ("#EXTM3U\n".encode("utf-16"), "playlist"),
        (b"ffconcat version 1.0\nfile x\n", "playlist"),
        (b"file '/etc/passwd'\n", "playlist"),
        (b"concat:a|b", "playlist"),
        (b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">', "playlist"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 5004 RTP/AVP 0\r\n", "playlist"),
        (b"[playlist]\nFile1=http://x\n", "playlist"),
        (b"# a comment\n#EXTINF:1,\n/etc/passwd\n", "playlist"),
        (b"  file 'a b.wav'\nduration 3\n", "playlist"),
        (b"<asx version='3.0'><ref href='http://x'/></asx>", "playlist"),
        (b"<?xml version='1.0'?><playlist xmlns='http://xspf.org/ns/0/'>", "playlist"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://x'/></svg>", "this is text"),
        (b"<!DOCTYPE html><html><img src='http://x'></html>", "this is text"),
        (b"%!PS-Adobe-3.0\n(/etc/passwd) run\n", "printer"),
        (b"{\\rtf1 {\\field http://x}}", "word processor"),
        (b"%PDF-1.7\n\xe2\xe3\xcf\xd3\x00", "not a media format"),
        (b"\x7fELF\x02\x01\x01\x00", "not a media format"),
        (bytes(4096), "not a media format"),
        (b"\xff\xff\xff\xff" + bytes(40), "not a media format"),
        (b"\x47" + bytes(400), "not a media format"),
        (b"BM" + bytes(range(40)), "not a media format"),
    ],
)
def test_what_is_no_media_is_refused_in_plain_words(head: bytes, reason: str) -> None:
    with pytest.raises(PermanentError, match=reason):
        recognise(head)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("Grüße an alle\n".encode(), Recognised("text", "utf-8")),
        (("x" * 20 + "é").encode()[:-1], Recognised("text", "utf-8")),
        (b"\xef\xbb\xbfGr", Recognised("text", "utf-8")),
        ("Grüße".encode("utf-16"), Recognised("text", "utf-16")),
        ("Grüße".encode("utf-16")[:-1], Recognised("text", "utf-16")),
        (b"The free world", Recognised("text", "utf-8")),  # as an mp4 may begin, too
        (b"caffeine", Recognised("text", "utf-8")),
        (b"BMW is a company", Recognised("text", "utf-8")),
        (b"File formats are many.\nThis is one.", Recognised("text", "utf-8")),
        (b"# Notes\n\nUse ffconcat and #EXTM3U, a < b.", Recognised("text", "utf-8")),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", Recognised("picture", "jpeg")),
        (b"GIF89a\x01\x00", Recognised("picture", "gif")),
        (b"II*\x00\x08\x00", Recognised("picture", "tiff")),
        (b"MM\x00*\x00\x08", Recognised("picture", "tiff")),
        (b"BM\x36\x00\x0c\x00\x00\x00\x00\x00\x36", Recognised("picture", "bmp")),
        (b"\x89PNG\r\n\x1a\n\x00", Recognised("picture", "png")),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", Recognised("picture", "webp")),
        (b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00avifmif1", Recognised("picture", "avif")),
        (b"\x00\x00\x00\x18ftypavis\x00\x00\x00\x00avismsf1", Recognised("picture", "avif")),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00miafavif", Recognised("picture", "avif")),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", Recognised("picture", "heif")),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00heicmif1", Recognised("picture", "heif")),
        (b"\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00mif1avif", Recognised("picture", "heif")),  # behind the box
        (b"\x00\x00\x00\x18ftypmsf1\x00\x00\x00\x00hevcmsf1", Recognised("timed", "mov")),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isomavif", Recognised("timed", "mov")),
    ],
)
def test_texts_and_pictures_are_known_by_their_first_bytes(head: bytes, expected: Recognised) -> None:
    assert recognise(head) == expected


def test_the_length_of_a_tag_is_read_from_its_seven_bit_digits() -> None:
    assert id3_bytes(id3(300)) == 310
    assert id3_bytes(id3(300, footer=True)) == 320
    assert id3_bytes(b"ID3\x04\x00\x00\x80\x00\x00\x00") == 0
    assert id3_bytes(struct.pack(">I", 7) * 4) == 0
